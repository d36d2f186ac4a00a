"""Published rows: what a document states of another device, for show and for that device alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latentcy.core.data import BASELINES_FOLDER
from latentcy.core.files import damaged, read_json

PUBLISHED = BASELINES_FOLDER / "published" / "a100.json"


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table; it carries only what its document states."""

    model: str  # "sd15" | "sd14"
    group: str
    variant: str
    seconds: float
    speedup: float
    device: str  # "NVIDIA A100"
    source: str  # title, version and URL of the document
    differs: str = ""  # how its setup differs from the variant here, so that it cannot bind


def published(
    model: str | None, group: str, variant: str, *, path: Path = PUBLISHED
) -> PublishedRow | None:
    """Find a published row; with model None, that of whichever model the document measured.

    Raises:
        LatentcyError: the published tables are missing or damaged.
    """
    tables = read_json(path, do="restore the file from the repository")
    try:
        source = tables["source"]
        said_by = f"{source['document']} {source['version']}, {source['title']}: {source['url']}"
        for table in tables["tables"]:
            if table["group"] != group or model not in (None, table["model"]):
                continue
            for row in table["rows"]:
                if row["variant"] == variant:
                    return PublishedRow(
                        model=table["model"],
                        group=group,
                        variant=variant,
                        seconds=float(row["seconds"]),
                        speedup=float(row["speedup"]),
                        device=source["device"],
                        source=said_by,
                        differs=str(row.get("differs", "")),
                    )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, repr(error), do="restore the file from the repository") from error
    return None
