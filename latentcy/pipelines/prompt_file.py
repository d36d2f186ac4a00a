"""A file of prompts: one a line, where wanted with a seed behind a tab."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from latentcy.core.errors import LatentcyError

LONGEST = 10_000  # characters; CLIP reads about 300, so more is no prompt but another kind of file
SEEDS = 2**63  # a seed is below this: NumPy's and torch's largest signed integer


@dataclass(frozen=True)
class PromptFile:
    """What a prompt file states, in its order.

    Attributes:
        prompts: at least one; a prompt that is written twice is kept twice.
        seeds: of each prompt; None where the file states none.
        notes: sentences for the user, on what a reader of the file might not expect.
    """

    prompts: tuple[str, ...]
    seeds: tuple[int | None, ...]
    notes: tuple[str, ...] = ()


def read_prompts(path: str | Path) -> tuple[str, ...]:
    """The prompts in a file, as `read_prompt_file` reads them."""
    return read_prompt_file(path).prompts


def read_prompt_file(path: str | Path) -> PromptFile:
    """Reads a UTF-8 text file, whatever it is called: one prompt a line.

    A tab ends the prompt; what stands between it and the next tab is the prompt's seed, a whole
    number from 0 to 2^63 - 1, or empty. Further columns are left out, which a note says. Quotes are
    part of the prompt. Left out in silence are empty lines, those of white space only, those that
    begin with '#' (so must a header line), white space around a prompt, a byte order mark and the
    kind of line end.

    Raises:
        LatentcyError: the file is missing, unreadable, not UTF-8, holds NUL bytes or no prompt; a
            prompt has over `LONGEST` characters; a seed has no prompt or is no such number.
    """
    prompts, seeds, wider = [], [], 0
    for number, line in enumerate(_text(Path(path)).split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        prompt, *columns = (column.strip() for column in line.split("\t"))
        place = f"line {number} of {path}"
        prompts.append(_prompt(prompt, place))
        seeds.append(_seed(columns[0], place) if columns and columns[0] else None)
        wider += len(columns) > 1
    if not prompts:
        raise LatentcyError(
            found=f"no prompt in {path}", expected=_EXPECTED, do="write at least one prompt into it"
        )
    return PromptFile(tuple(prompts), tuple(seeds), _notes(prompts, seeds, wider))


_EXPECTED = "a UTF-8 text file with one prompt a line ('#' starts a comment line)"


def _text(path: Path) -> str:
    """The file's text, every line end as a newline."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LatentcyError(
            found=f"no file {path}", expected=_EXPECTED, do="check the path given to --prompts"
        ) from None
    except UnicodeDecodeError as error:
        raise LatentcyError(
            found=f"{path}, which is not UTF-8 (byte {error.start})",
            expected=_EXPECTED,
            do="save it as UTF-8",
        ) from None
    except OSError as error:
        raise LatentcyError(
            found=f"{path}, which cannot be read ({error.strerror})",
            expected=_EXPECTED,
            do="check the path given to --prompts and its permissions",
        ) from None
    if "\0" in text:  # UTF-16 without its mark is valid UTF-8
        raise LatentcyError(
            found=f"{path}, which holds NUL bytes, so it is no UTF-8 text",
            expected=_EXPECTED,
            do="save it as UTF-8",
        )
    return text


def _prompt(prompt: str, place: str) -> str:
    if not prompt:
        raise LatentcyError(
            found=f"{place} has no prompt before its tab",
            expected="the prompt, a tab, and its seed",
            do="write the prompt first, or take the line out",
        )
    if len(prompt) > LONGEST:
        raise LatentcyError(
            found=f"{place} has {len(prompt)} characters",
            expected=f"a prompt of at most {LONGEST} characters",
            do="give a text file with one prompt a line, or shorten the line",
        )
    return prompt


def _seed(text: str, place: str) -> int:
    # isdecimal alone takes other scripts' digits; the length keeps int() from refusing the text
    if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < SEEDS:
        return int(text)
    raise LatentcyError(
        found=f"{place} has {text[:40]!r} for a seed",
        expected="a whole number from 0 to 2^63 - 1 between the first tab and the next, or nothing",
        do="correct the seed; begin a header line with '#'",
    )


def _notes(prompts: list[str], seeds: list[int | None], wider: int) -> tuple[str, ...]:
    notes = []
    twice = [prompt for prompt, count in Counter(prompts).items() if count > 1]
    if twice:
        stated = Counter(pair for pair in zip(prompts, seeds, strict=True) if pair[1] is not None)
        alike = ", some with the same seed and so the same image" * any(
            count > 1 for count in stated.values()
        )
        notes.append(f"prompts that stand there more than once: {len(twice)}{alike}")
    if wider:
        notes.append(f"lines whose columns after the seed are left out: {wider}")
    return tuple(notes)
