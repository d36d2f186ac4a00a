"""The prompt sets, and the user's own file of prompts."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from latentcy.core.data import PROMPTS_FOLDER
from latentcy.core.errors import LatentcyError
from latentcy.miniature import world
from latentcy.pipelines.models.catalog import KNOWN, MINIATURE
from latentcy.pipelines.prompt_file import LONGEST, read_prompt_file, read_prompts
from latentcy.pipelines.prompts import (
    FIRST_SEED,
    IMAGES,
    chosen_prompts,
    prompt_set,
)
from latentcy.pipelines.workload import PUBLISHED_PROMPTS

SD15 = KNOWN["sd15"]
SEEN_IN_TRAINING = 6  # as the miniature's file says, beside the published ones


@pytest.mark.parametrize(("name", "count"), [("miniature", 64), ("general", 128)])
def test_a_set_has_its_number_of_prompts_the_published_first_and_none_twice(
    name: str, count: int
) -> None:
    read = read_prompt_file(PROMPTS_FOLDER / f"{name}.txt")
    assert read.prompts[:2] == PUBLISHED_PROMPTS
    assert len(read.prompts) == len({prompt.casefold() for prompt in read.prompts}) == count
    assert read.notes == () and set(read.seeds) == {None}


def test_every_prompt_of_the_miniature_is_a_caption_of_its_world() -> None:
    caption = re.compile(_captions())
    odd = [one for one in read_prompts(PROMPTS_FOLDER / "miniature.txt") if not caption.match(one)]
    assert odd == []
    assert not caption.match("a photo of a red giraffe on a blue background")


def test_the_miniature_never_saw_its_prompts_but_for_those_that_the_file_names() -> None:
    prompts = read_prompts(PROMPTS_FOLDER / "miniature.txt")[2:]
    seen = [prompt for prompt in prompts if not world.held_out(prompt)]
    assert len(seen) == SEEN_IN_TRAINING
    assert all(re.search("astronaut|brown|gray|black horse", prompt) for prompt in seen)


@pytest.mark.parametrize(("start", "end"), [(0, 16), (16, 32), (32, 48), (48, 64)])
def test_any_sixteen_of_the_miniatures_prompts_are_a_fair_sample(start: int, end: int) -> None:
    prompts = read_prompts(PROMPTS_FOLDER / "miniature.txt")[start:end]
    kinds = {
        "pair": sum(" to the " in one for one in prompts),
        "vase": sum("vase" in one for one in prompts),
        "place": sum(any(p.phrase in one for p in world.PLACES.values()) for one in prompts),
    }
    kinds["single"] = len(prompts) - sum(kinds.values())
    assert 2 <= kinds["pair"] <= 4 and 1 <= kinds["vase"] <= 3
    assert 3 <= kinds["place"] <= 6 and 5 <= kinds["single"] <= 8


def test_the_miniatures_prompts_have_every_kind_colour_background_and_place() -> None:
    text = " ".join(read_prompts(PROMPTS_FOLDER / "miniature.txt"))
    wanted = [
        *(kind for kind in world.KINDS if kind != "rider"),
        *world.COLOURS,
        *(f"{colour} background" for colour in world.BACKGROUNDS),
        *(f"{colour} vase" for colour in world.VASE_COLOURS),
        *(place.phrase for place in world.PLACES.values()),
        *("small", "large", "on the left on", "on the right on", "riding", "different flowers"),
        *("to the left of", "to the right of"),
    ]
    assert [one for one in wanted if one not in text] == []


def test_the_miniatures_prompts_fit_its_tokenizer() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(f"{MINIATURE.pipeline.location}/tokenizer")
    ids = tokenizer(list(read_prompts(PROMPTS_FOLDER / "miniature.txt"))).input_ids
    assert max(len(one) for one in ids) <= tokenizer.model_max_length


def test_no_general_prompt_is_near_clips_77_tokens() -> None:
    prompts = read_prompts(PROMPTS_FOLDER / "general.txt")
    # Words and marks; with the two tokens around them 60 leave room for rare words of two tokens.
    lengths = [len(re.findall(r"\w+|[^\w\s]", prompt)) for prompt in prompts]
    assert max(lengths) <= 60 and min(lengths) == 2
    assert all(prompt.isascii() for prompt in prompts)


def test_a_file_is_one_prompt_a_line_whatever_its_line_ends_and_white_space(tmp_path: Path) -> None:
    text = "\ufeff# mine\r\n a red cat \r\n \t \r\n\r\na blue café\n  # also mine\rthe last one"
    read = read_prompt_file(_written(tmp_path, text))
    assert read.prompts == ("a red cat", "a blue café", "the last one")
    assert read.seeds == (None, None, None) and read.notes == ()


def test_only_line_ends_end_a_prompt(tmp_path: Path) -> None:
    text = "a cat\u2028and a dog\na \x0b bird \x85 flies"
    assert read_prompts(_written(tmp_path, text)) == (
        "a cat\u2028and a dog",
        "a \x0b bird \x85 flies",
    )


@pytest.mark.parametrize("name", ["own.txt", "own.tsv"])
def test_a_seed_can_stand_behind_a_tab(tmp_path: Path, name: str) -> None:
    read = read_prompt_file(_written(tmp_path, "a cat\t7\na dog\na bird\t\na fish\t 0 \n", name))
    assert read.prompts == ("a cat", "a dog", "a bird", "a fish")
    assert read.seeds == (7, None, None, 0) and read.notes == ()


def test_columns_after_the_seed_are_left_out_and_said(tmp_path: Path) -> None:
    read = read_prompt_file(_written(tmp_path, "a cat\t7\tanimals\teasy\na dog\t8\n"))
    assert read.prompts == ("a cat", "a dog") and read.seeds == (7, 8)
    assert read.notes == ("lines whose columns after the seed are left out: 1",)


def test_a_prompt_written_twice_is_kept_and_said(tmp_path: Path) -> None:
    read = read_prompt_file(_written(tmp_path, "a cat\na dog\na cat\na dog\na cat\n"))
    assert len(read.prompts) == 5
    assert read.notes == ("prompts that stand there more than once: 2",)


def test_a_prompt_written_twice_with_one_seed_is_said_to_be_one_image(tmp_path: Path) -> None:
    (note,) = read_prompt_file(_written(tmp_path, "a cat\t5\na cat\t5\n")).notes
    assert "same image" in note


@pytest.mark.parametrize(
    "content",
    [b"", b"# nothing\n\n", b" \n\t\n \t \r\n", b"\xef\xbb\xbf"],
    ids=["empty", "comments", "white space", "byte order mark"],
)
def test_a_file_without_a_prompt_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "own.txt"
    file.write_bytes(content)
    with pytest.raises(LatentcyError, match="no prompt in") as caught:
        read_prompts(file)
    assert str(file) in caught.value.found


@pytest.mark.parametrize(
    "content",
    [b"caf\xe9\n", "a cat\n".encode("utf-16"), "a cat\n".encode("utf-16-le"), b"\x80\x81"],
    ids=["latin-1", "utf-16", "utf-16 without mark", "no text"],
)
def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "own.txt"
    file.write_bytes(content)
    with pytest.raises(LatentcyError, match="no UTF-8|not UTF-8") as caught:
        read_prompts(file)
    assert str(file) in caught.value.found and "UTF-8" in caught.value.do


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LatentcyError, match="no file .*gone.txt"):
        read_prompts(tmp_path / "gone.txt")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LatentcyError, match="cannot be read"):
        read_prompts(tmp_path)


@pytest.mark.parametrize(
    "seed", ["seven", "7.0", "-1", "1e3", "٣", "²", "+7", "7 8", "1_000", str(2**63), "9" * 5000]
)
def test_a_seed_that_is_no_whole_number_is_refused_with_its_line(tmp_path: Path, seed: str) -> None:
    with pytest.raises(LatentcyError) as caught:
        read_prompts(_written(tmp_path, f"# mine\na cat\t1\na dog\t{seed}\n"))
    assert "line 3 of" in caught.value.found and repr(seed[:40]) in caught.value.found
    assert "header" in caught.value.do


def test_the_largest_seed_is_taken(tmp_path: Path) -> None:
    assert read_prompt_file(_written(tmp_path, f"a cat\t{2**63 - 1}\n")).seeds == (2**63 - 1,)


def test_a_seed_without_a_prompt_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(LatentcyError, match="line 2 of .* has no prompt"):
        read_prompts(_written(tmp_path, "a cat\t1\n \t2\n"))


def test_a_line_that_is_too_long_for_any_prompt_is_refused(tmp_path: Path) -> None:
    longest = "a" * LONGEST
    assert read_prompts(_written(tmp_path, longest)) == (longest,)
    with pytest.raises(LatentcyError, match=f"line 2 of .* has {LONGEST + 1} characters"):
        read_prompts(_written(tmp_path, f"a cat\n{longest}a\n"))


def test_without_a_file_a_model_has_sixteen_prompts_of_its_own_set() -> None:
    for model, name in ((MINIATURE, "miniature"), (SD15, "general")):
        prompts = read_prompts(PROMPTS_FOLDER / f"{name}.txt")
        chosen = chosen_prompts(model, None, 0)
        assert chosen.prompts == prompts[:IMAGES] == prompt_set(model, None, 0)
        assert chosen.seeds == tuple(range(FIRST_SEED, FIRST_SEED + IMAGES))


def test_with_a_file_every_prompt_is_used_once(tmp_path: Path) -> None:
    file = _written(tmp_path, "a cat\t7\na dog\na dog\n")
    chosen = chosen_prompts(SD15, file, 0)
    assert chosen.prompts == ("a cat", "a dog", "a dog")
    assert chosen.seeds == (7, FIRST_SEED + 1, FIRST_SEED + 2)
    assert chosen.notes == read_prompt_file(file).notes != ()


def test_a_set_gone_through_again_gives_no_image_twice(tmp_path: Path) -> None:
    file = _written(tmp_path, f"a cat\t7\na dog\na fish\t{2**63 - 1}\n")
    chosen = chosen_prompts(SD15, file, 8)
    assert chosen.prompts[3:6] == chosen.prompts[:3]
    images = sorted(zip(chosen.prompts, chosen.seeds, strict=True))
    assert all(one != other for one, other in pairwise(images))
    assert chosen.seeds[3] == 10 and all(0 <= seed < 2**63 for seed in chosen.seeds)


def test_the_miniatures_seeds_go_on_behind_its_64_prompts() -> None:
    seeds = chosen_prompts(MINIATURE, None, 100).seeds
    assert seeds == tuple(range(FIRST_SEED, FIRST_SEED + 100))


def test_fewer_images_than_none_are_refused() -> None:
    with pytest.raises(LatentcyError, match="--images -1"):
        chosen_prompts(MINIATURE, None, -1)


def _written(folder: Path, text: str, name: str = "own.txt") -> Path:
    file = folder / name
    file.write_bytes(text.encode())
    return file


def _captions() -> str:
    """A pattern of what `latentcy.miniature.world` can say."""
    colour, ground = "|".join(world.THING_COLOURS), "|".join(world.BACKGROUNDS)
    shape, thing = "|".join(world.SHAPES), "|".join((*world.SHAPES, *world.OBJECTS))
    side = "(?: on the (?:left|right))?"
    places = []
    for name, place in world.PLACES.items():
        horse = f"(?:(?:{'|'.join(place.horses)}) )?horse"
        coloured = f"(?:{'|'.join(world.PLACE_COLOURS[name])}) (?:house|car)"
        astronaut = "" if name == "snow" else "|astronaut"
        rider = f"astronaut riding an? {horse}"
        places.append(f"(?:{horse}|{rider}|{coloured}{astronaut}) {place.phrase}")
    background = f" on a (?:{ground}) background"
    flowers = "|".join((*world.FLOWER_COLOURS, "different"))
    scenes = (
        f"(?:small |large )?(?:{colour}) (?:{thing}){side}{background}",
        f"(?:{colour}) (?:{shape}) to the (?:left|right) of an? (?:{colour}) (?:{shape})"
        f"{background}",
        f"(?:{'|'.join(world.VASE_COLOURS)}) vase with (?:{flowers}) flowers(?:{background})?",
        *places,
    )
    return f"^(?:a photo of )?an? (?:{'|'.join(scenes)})$"
