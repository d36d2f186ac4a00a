"""What the hub's failures mean, each as one message."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.models.weights_source import Weights


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
