"""The page: read a run, draw it, and write it as one file."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from latentcy.core.errors import LatentcyError
from latentcy.core.record import Record
from latentcy.report.html.case_views import (
    case_views,
    differing,
    environment_table,
    figures_table,
    gate_names,
    open_reasons,
    profile_tables,
)
from latentcy.report.html.cost_plots import memory_plot, quality_plots, stage_plot
from latentcy.report.html.image_differences import (
    Differences,
    differences,
    reference_name,
    shows_images,
)
from latentcy.report.html.image_sheets import Encoder, Sheet, Tiles, label, make_sheets, read_tiles
from latentcy.report.html.plot import Plot
from latentcy.report.html.run_view import RunView, read_shown
from latentcy.report.html.speed_plots import speed_plots
from latentcy.report.html.trend_plots import Series, trend_plots
from latentcy.report.html.wording import labels
from latentcy.report.terminal import sentence

NAME = "report.html"
LIMIT = 10_000_000  # bytes of the page
FIRST_PROMPTS = 8  # shown before "show all"

_SPARE = 150_000  # bytes left free
_FAILURES = 0.4  # of the bytes for pictures, at most, to those of failed cases


def write_report(
    run: Path,
    out: Path,
    *,
    trend: Sequence[Series] | None = None,
    compared: Mapping[str, Mapping[str, str]] | None = None,
) -> Path:
    """Writes the page of a run and returns its path, `out / NAME`.

    Args:
        run: a `run.json`, or the results folder that holds it.
        out: folder for the page; made where it is missing.
        trend: the history of the run's metrics; None where there is none.
        compared: environments that the run was held against, by name, beside those in the file.

    Raises:
        LatentcyError: the run cannot be read, or the page not be written.
    """
    page = build_page(read_shown(run), trend=trend, compared=compared)
    path = out / NAME
    part = out / f"{NAME}.part"
    try:
        out.mkdir(parents=True, exist_ok=True)
        part.write_bytes(page)
        os.replace(part, path)
    except OSError as error:
        raise LatentcyError(
            found=f"{path}, which cannot be written ({error.strerror or error})",
            expected="a folder that this user may write to, on a disk with room",
            do="name another folder",
        ) from error
    return path


def build_page(
    shown: RunView,
    *,
    trend: Sequence[Series] | None = None,
    compared: Mapping[str, Mapping[str, str]] | None = None,
    encoder: Encoder | None = None,
) -> bytes:
    """The page as UTF-8, below LIMIT bytes; pictures take what the rest leaves.

    Raises LatentcyError where even without pictures it is larger.
    """
    encoder = encoder or Encoder()
    texts = _texts(shown, trend, compared or {})
    tiles = read_tiles(shown.images, _folders(shown))
    room = LIMIT - _SPARE - len(_render(texts, _no_pictures(shown, tiles)))
    if room < 0:
        raise LatentcyError(
            found=f"{shown.path}, whose page is {-room / 1e6:.1f} MB larger than it may be",
            expected=f"a page below {LIMIT / 1e6:.0f} MB",
            do="make the reports of its shards, or of fewer cases",
        )
    # What stands around each tile has been rendered already; the rest is for pictures.
    return _render(texts, _pictures(shown, tiles, room, encoder))


@dataclass(frozen=True)
class _Row:
    """A case's images in the grid."""

    label: str
    status: str
    reference: int | None  # its place among the rows
    sheet: Sheet


@dataclass(frozen=True)
class _Pictures:
    failures: Mapping[int, Differences]  # by the record's index
    rows: tuple[_Row, ...]

    @property
    def prompts(self) -> int:
        """How many images the longest row has."""
        return max((len(one.sheet.whys) for one in self.rows), default=0)


def _texts(
    shown: RunView, trend: Sequence[Series] | None, compared: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """All that the templates need, but for the pictures."""
    names = labels(shown.records)
    views = case_views(shown, names)
    environment = environment_table(shown, compared)
    plots = _plots(shown.records, names)
    trends = trend_plots(trend) if trend is not None else None
    verdict = sentence(shown.records, interrupted=shown.run.interrupted)
    return {
        "shown": shown,
        "status": verdict.partition(":")[0].partition(";")[0].strip().lower(),
        "sentence": verdict.partition(":")[2].strip() or verdict,
        "labels": names,
        "views": views,
        "failures": [one for one in views if one.failed and not one.control],
        "findings": [one for one in views if one.failed and one.control],
        "opened": open_reasons(views),
        "gates": gate_names(shown.records),
        "figures": figures_table(shown.records, names),
        "profiles": profile_tables(shown, names),
        "environment": environment,
        "differing": differing(environment),
        "plots": plots,
        "trends": trends,
        "first_prompts": FIRST_PROMPTS,
    }


def _plots(records: Sequence[Record], names: Sequence[str]) -> dict[str, list[Plot]]:
    return {
        "speed": speed_plots(records, names),
        "quality": quality_plots(records, names),
        "costs": [one for one in (stage_plot(records, names), memory_plot(records, names)) if one],
    }


def _folders(shown: RunView) -> list[str]:
    """Of the cases, of the other environment's, and of references without a record of their own."""
    own = [label(one) for one in shown.records]
    others = [f"{one} ({side})" for one in own for side in ("other", "reference")]
    references = [
        f"{record.group}-{name}"
        for record, plain in zip(shown.records, shown.plain, strict=True)
        if isinstance(name := plain.get("image_reference"), str)
    ]
    return list(dict.fromkeys([*own, *others, *references]))


def _no_pictures(shown: RunView, tiles: Mapping[str, Tiles]) -> _Pictures:
    """The same page with every picture empty, to learn how large the rest is."""
    empty = {
        name: Sheet("data:", 8, -(-len(one) // 8), 1, 1, one.whys) for name, one in tiles.items()
    }
    return _assembled(shown, tiles, empty, {})


def _pictures(shown: RunView, tiles: Mapping[str, Tiles], room: int, encoder: Encoder) -> _Pictures:
    failed = [index for index, one in enumerate(shown.records) if shows_images(one)]
    found: dict[int, Differences] = {}
    captions = dict(zip(map(label, shown.records), labels(shown.records), strict=True))
    left = int(room * _FAILURES) if failed else 0
    for place, index in enumerate(failed):
        record = shown.records[index]
        name = reference_name(record, shown.plain[index], tiles)
        one = differences(
            tiles.get(label(record)),
            tiles.get(name),
            name=captions.get(name, name),
            budget=left // (len(failed) - place),
            encoder=encoder,
        )
        spent = sum(len(each.image + each.reference + each.difference) for each in one.shown)
        left, room = left - spent, room - spent
        found[index] = one
    # A failure's words and markup, which the first rendering had not.
    room -= sum(2000 * (1 + len(one.shown)) for one in found.values())
    return _assembled(shown, tiles, make_sheets(dict(tiles), max(room, 0), encoder), found)


def _assembled(
    shown: RunView,
    tiles: Mapping[str, Tiles],
    sheets: Mapping[str, Sheet],
    failures: Mapping[int, Differences],
) -> _Pictures:
    names = list(sheets)
    known = {
        label(record): (name, record.status, reference_name(record, plain, tiles))
        for name, record, plain in zip(
            labels(shown.records), shown.records, shown.plain, strict=True
        )
    }
    rows = []
    for name, sheet in sheets.items():
        caption, status, reference = known.get(name, (name, "", ""))
        place = names.index(reference) if reference in sheets else None
        rows.append(_Row(caption, status, place, sheet))
    return _Pictures(failures, tuple(rows))


def _script_data(texts: Mapping[str, Any], pictures: _Pictures) -> dict[str, Any]:
    """What page.js draws and enlarges."""
    plots = [one for group in texts["plots"].values() for one in group] + (texts["trends"] or [])
    return {
        "plots": {one.name: one.figure for one in plots},
        "rows": [{"label": one.label, "reference": one.reference} for one in pictures.rows],
        "prompts": list(texts["shown"].prompts),
        "seeds": list(texts["shown"].seeds),
    }


def _render(texts: Mapping[str, Any], pictures: _Pictures) -> bytes:
    page_js, theme_js = _static("page.js"), _static("theme.js")
    data = _script_data(texts, pictures)
    plotly = _plotly() if data["plots"] else ""
    scripts = " ".join(f"'sha256-{_digest(one)}'" for one in (theme_js, plotly, page_js))
    page = (
        _templates()
        .get_template("page.html")
        .render(
            **texts,
            pictures=pictures,
            data=data,
            css=Markup(_static("style.css")),
            theme_js=Markup(theme_js),
            plotly_js=Markup(plotly),
            page_js=Markup(page_js),
            policy="default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            f"script-src {scripts}; base-uri 'none'; form-action 'none'",
        )
    )
    return page.encode("utf-8", "replace")  # a lone surrogate from a file is no character


@cache
def _templates() -> Environment:
    loader = PackageLoader("latentcy.report.html", "templates")
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _static(name: str) -> str:
    place = files("latentcy.report.html").joinpath("static", name)
    return place.read_text(encoding="utf-8").replace("\r\n", "\n")


@cache
def _plotly() -> str:
    return get_plotlyjs()


@cache
def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
