"""The hub: which repositories and commits are used, and what its failures mean."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latentcy.core.errors import LatentcyError

if TYPE_CHECKING:
    from latentcy.pipelines.models.weights import Weights


@dataclass(frozen=True)
class HubPart:
    """A repository on the hub, and the commit of it that is used."""

    location: str
    revision: str | None  # a commit hash; None follows the repository's main branch
    licence: str


# Each commit is the one that public code pins and that public caches of main hold. For the tiny
# autoencoder no such place was found, so it follows main. The scorer's licence is that of its
# source, github.com/openai/CLIP, and the tiny autoencoder's that of github.com/madebyollin/taesd.
HUB_PARTS: dict[str, HubPart] = {
    "sd15": HubPart(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        "CreativeML OpenRAIL-M",
    ),
    "sd14": HubPart(
        "CompVis/stable-diffusion-v1-4",
        "133a221b8aa7292a167afc5127cb63fb5005638b",
        "CreativeML OpenRAIL-M",
    ),
    "distilled": HubPart(
        "nota-ai/bk-sdm-small",
        "572238db7ed3a10858900803f3fc8cca53e893e0",
        "CreativeML OpenRAIL-M",
    ),
    "tiny": HubPart("sayakpaul/taesd-diffusers", None, "MIT"),
    "scorer": HubPart(
        "openai/clip-vit-large-patch14",
        "32bd64288804d66eefd0ccbe215aa642df71cc41",
        "MIT",
    ),
}

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# By name, since the hub client has changed its HTTP library: httpx, requests and urllib3.
_BROKEN = (
    "RemoteProtocolError",
    "ReadError",
    "ReadTimeout",
    "ChunkedEncodingError",
    "ProtocolError",
    "IncompleteRead",
)


def hub_error(weights: Weights, error: Exception) -> LatentcyError:
    """What the hub client raised while it had `weights` to fetch, as the one message for it."""
    from huggingface_hub import utils as errors  # where every version since 0.20 has them

    if any(getattr(each, "errno", None) in _NO_ROOM for each in _causes(error)):
        return _no_room(weights)
    revision = weights.revision or "main"
    expected = f"the model {weights} on the hub, or in the local cache"
    if type(error).__name__ == "IncompleteSnapshotError":  # of newer hub clients
        return LatentcyError(
            found=f"{weights.location} is cached here only in part{_cause(error)}",
            expected=expected,
            do="run again with a connection (and without HF_HUB_OFFLINE), or use --model miniature",
        )
    kinds: tuple[tuple[type[Exception], str, str], ...] = (
        (  # before RepositoryNotFoundError, of which it is a kind
            errors.GatedRepoError,
            f"{weights.location} is gated, and this account has no access to it",
            "accept its terms on its page and log in with `hf auth login`",
        ),
        (
            errors.RevisionNotFoundError,
            f"no revision {revision!r} of {weights.location}",
            "name one that it has, as owner/name@revision",
        ),
        (
            errors.RepositoryNotFoundError,
            f"no repository {weights.location} on the hub, or a private one",
            "check the name; for a private one log in with `hf auth login`",
        ),
        (
            errors.HFValidationError,
            f"{weights.location!r}, which is no hub id",
            "write it as owner/name or owner/name@revision",
        ),
        (
            errors.LocalEntryNotFoundError,
            f"the hub cannot be reached{_cause(error)}, and {weights.location} is not cached here",
            "check the connection (and HF_HUB_OFFLINE), or use --model miniature",
        ),
        (  # after LocalEntryNotFoundError, which is a kind of it
            errors.EntryNotFoundError,
            f"{weights.location} lists a file that it does not give{_asked(error)}",
            "try again later, or name another revision or model",
        ),
    )
    for kind, found, do in kinds:
        if isinstance(error, kind):
            return LatentcyError(found=found, expected=expected, do=do)
    if any(_is_broken_transfer(each) for each in _causes(error)):
        return LatentcyError(
            found=f"the download of {weights.location} broke off ({_first_line(error)})",
            expected=expected,
            do="run again, it goes on where it stopped; or use --model miniature",
        )
    return LatentcyError(
        found=f"{weights.location} could not be downloaded ({_first_line(error)})",
        expected=expected,
        do="check the connection, the proxy and the disk, or use --model miniature",
    )


def _no_room(weights: Weights) -> LatentcyError:
    from huggingface_hub.constants import HF_HUB_CACHE

    return LatentcyError(
        found=f"no room left on the disk of {HF_HUB_CACHE}, while downloading {weights}",
        expected="room there for all its weights (4.3 GB for Stable Diffusion v1 in fp32)",
        do="free some, or set HF_HOME to a folder on a larger disk, and run again: "
        "the files that are whole are kept",
    )


def _is_broken_transfer(error: BaseException) -> bool:
    consistency = isinstance(error, OSError) and "Consistency check failed" in str(error)
    return consistency or type(error).__name__ in _BROKEN


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that led to it."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _asked(error: Exception) -> str:
    """The file that was asked for, where the hub's answer says so."""
    url = str(getattr(getattr(error, "response", None), "url", ""))
    return f" ({url.partition('/resolve/')[2]})" if "/resolve/" in url else ""


def _cause(error: Exception) -> str:
    return f" ({_first_line(error.__cause__)})" if error.__cause__ else ""


def _first_line(error: BaseException) -> str:
    """The exception's kind and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
