"""The report: one page that holds what the run holds, whatever the files are like."""

import argparse
import base64
import hashlib
import html.parser
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentcy.commands.report import add_commands
from latentcy.core.errors import LatentcyError
from latentcy.core.verdict import Verdict
from latentcy.report.html import LIMIT, write_report
from latentcy.report.html.image_differences import SHOWN, amplified, differences
from latentcy.report.html.image_sheets import RUNGS, Encoder, make_sheets, read_tiles
from latentcy.report.html.page import build_page
from latentcy.report.html.run_view import read_shown, run_again
from latentcy.report.html.speed_plots import speed_plots
from latentcy.report.html.trend_plots import trend_plots
from report_run import ENVIRONMENT, SSIM, record, trend, write_images, write_large_run, write_run

HOSTILE = "<script>window.hacked=1</script>\"'><img src=x onerror=alert(1)></style>{{7*7}}<!--"


class _Reader(html.parser.HTMLParser):
    """The page's text, elements and links, as a browser would read them."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.policy = ""
        self._inside = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.links += [values[name] for name in ("src", "href", "data") if values.get(name)]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(folder: Path, **options) -> _Reader:
    reader = _Reader()
    reader.feed(build_page(read_shown(folder), **options).decode())
    return reader


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    write_large_run(folder, cases=20, prompts=64)
    return folder


@pytest.fixture(scope="module")
def large_page(large: Path) -> _Reader:
    return page_of(large)


def test_twenty_cases_with_64_prompts_fit_and_each_case_is_one_picture(large):
    encoder = Encoder()
    page = build_page(read_shown(large), encoder=encoder)
    assert len(page) < LIMIT
    failed = 4
    assert 20 <= encoder.count <= 20 + len(RUNGS) + 3 * SHOWN * failed
    assert page.count(b'class="tile"') == 20 * 64


def test_pictures_get_coarser_until_they_fit_and_no_more_are_encoded_than_that(tmp_path):
    chance = np.random.default_rng(1)
    for label in ("a-one", "a-two", "a-three"):
        (tmp_path / label).mkdir()
        for index in range(16):
            noise = chance.integers(0, 256, (128, 128, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / label / f"{index:03}.png")
    tiles = read_tiles(tmp_path, ["a-one", "a-two", "a-three"])
    encoder = Encoder()
    sheets = make_sheets(tiles, 60_000, encoder)
    assert sum(len(one.uri) for one in sheets.values()) <= 60_000
    assert all(one.uri for one in sheets.values())
    assert {one.width for one in sheets.values()} < {32, 48, 64, 80, 96}
    assert encoder.count <= 3 + len(RUNGS)


def test_a_case_that_fits_at_no_size_is_left_out_with_a_sentence(tmp_path, monkeypatch):
    write_run(tmp_path, [record(1)])
    write_images(tmp_path, "precision-tf32", 8)
    no_room = lambda tiles, budget, encoder: make_sheets(tiles, 0, encoder)  # noqa: E731
    monkeypatch.setattr("latentcy.report.html.page.make_sheets", no_room)
    assert "no room for its images on this page" in page_of(tmp_path).text


def test_a_page_that_is_too_large_without_pictures_is_refused(tmp_path, monkeypatch):
    write_run(tmp_path, [record(1)])
    monkeypatch.setattr("latentcy.report.html.page.LIMIT", 1_000_000)
    with pytest.raises(LatentcyError, match="larger than it may be"):
        page_of(tmp_path)


def test_what_comes_from_a_file_is_shown_as_text_and_nothing_else(tmp_path):
    hostile = record(
        2,
        variant=HOSTILE,
        group=f"group {HOSTILE}",
        changes=HOSTILE,
        device=HOSTILE,
        paired_with=HOSTILE,
        marks=(HOSTILE,),
        verdicts=(Verdict(HOSTILE, "failed", HOSTILE), Verdict("speed", "inconclusive", HOSTILE)),
        environment={HOSTILE: HOSTILE},
    )
    write_run(
        tmp_path,
        [hostile, record(3)],
        prompts=[HOSTILE] * 3,
        commit=HOSTILE,
        started=HOSTILE,
        id=HOSTILE,
        command=[HOSTILE],
    )
    write_images(tmp_path, "precision-bf16", 3)
    series = replace(trend()[1], case=HOSTILE, metric=HOSTILE, unit=HOSTILE)
    harmless = page_of(_harmless(tmp_path / "harmless"), trend=[trend()[1]])
    page = page_of(tmp_path, trend=[series], compared={HOSTILE: {HOSTILE: HOSTILE, "torch": 1}})
    assert page.tags.count("script") == harmless.tags.count("script") == 4
    assert page.tags.count("style") == 2
    assert "x" not in page.links
    assert page.text.count(HOSTILE) >= 12
    assert "<script>" not in page.scripts[1]  # the data, which page.js reads


def test_text_that_no_encoding_holds_is_shown_as_far_as_it_goes(tmp_path):
    write_run(tmp_path, [record(2, changes="half a pair \ud83d and a nul \0")])
    assert "half a pair ? and a nul" in page_of(tmp_path).text


def test_a_very_long_text_is_cut_and_says_so(tmp_path):
    long = record(2, failed=True, verdicts=(Verdict("SSIM", "failed", "no " * 1_000_000),))
    write_run(tmp_path, [long])
    page = build_page(read_shown(tmp_path))
    assert len(page) < 6_000_000
    assert b"characters more in run.json" in page


def test_numbers_that_are_none_are_named_and_break_no_plot(tmp_path):
    nan = record(
        2,
        seconds=math.nan,
        rounds=(math.nan, 0.0, math.inf),
        speedup=math.inf,
        ssim=math.nan,
        clip=-math.inf,
        peak_bytes=None,
        stages={"denoising": math.nan},
        costs=None,
        published_speedup=0.0,
    )
    pairs = replace(nan.pairs, reference=(math.nan, 0.0, 1.0), candidate=(1.0, 1.0, 2.0))
    write_run(tmp_path, [replace(nan, pairs=pairs)])
    text = page_of(tmp_path).text
    assert "NaN inf" in text
    assert "-inf" in text


def test_the_sentence_of_verdict_stands_before_anything_else(large_page):
    text = large_page.text
    start = text.index("Failed", text.index("Latentcy report Dark"))
    assert text[start:].startswith("Failed 4 of 20 variants failed, precision/fp16 (SSIM)")
    places = [text.index(word, start) for word in ("Run it again", "Gates by case", "Held against")]
    assert places == sorted(places)


def test_a_failure_has_its_reason_and_the_command_that_runs_it_again(large_page):
    text = large_page.text
    assert SSIM in text
    assert "pytest --benchmark --latentcy-case=precision/fp16 --latentcy-model=sd15" in text


def test_a_run_in_which_all_passed_says_so_and_shows_no_failure(tmp_path):
    write_run(tmp_path, [record(1), record(2)])
    text = page_of(tmp_path).text
    assert "Passed 2 of 2 variants kept every promise." in text
    assert "Nothing failed. Every gate was judged and every one of them was kept." in text
    assert "Run it again" not in text


def test_a_controls_failure_is_a_finding_and_not_a_failure(tmp_path):
    write_run(tmp_path, [record(1), record(2, failed=True, control=True)])
    text = page_of(tmp_path).text
    assert "No promise was broken." in text
    assert "Findings" in text


def test_cases_that_failed_come_first_in_the_table_of_gates(tmp_path):
    write_run(tmp_path, [record(1), record(4), record(2, failed=True)])
    text = page_of(tmp_path).text
    table = text[text.index("Gates by case") : text.index("Figures by case")]
    assert table.index("fp16") < table.index("combined") < table.index("tf32")


def test_a_reason_why_nothing_was_judged_stands_once_for_all_its_cases(tmp_path):
    write_run(tmp_path, [record(4), record(9)])
    text = page_of(tmp_path).text
    entry = "memory of precision/combined, precision/distilled-tiny-vae no baseline is stored"
    assert entry in text


def test_an_unknown_status_counts_as_failed_and_a_skipped_case_says_why(tmp_path):
    odd = record(2, verdicts=(Verdict("SSIM", "splendid", "who knows"),))
    write_run(tmp_path, [odd, record(1, skipped="needs an NVIDIA GPU", verdicts=())])
    text = page_of(tmp_path).text
    assert "Skipped: needs an NVIDIA GPU" in text
    table = text[text.index("Gates by case") : text.index("Figures by case")]
    assert table.count("failed") == 3


def test_a_failure_that_no_image_shows_has_none(tmp_path):
    slow = record(2, verdicts=(Verdict("latency", "failed", "2 s: 60 % slower than stored"),))
    write_run(tmp_path, [record(0), slow])
    for label in ("precision-baseline", "precision-fp16"):
        write_images(tmp_path, label, 2)
    text = page_of(tmp_path).text
    card = text[text.index("Failures", text.index("Failures") + 1) : text.index("Gates by case")]
    assert "60 % slower" in card
    assert "reference" not in card


def test_without_images_the_page_says_so(tmp_path):
    write_run(tmp_path, [record(2, failed=True)])
    text = page_of(tmp_path).text
    assert "No images were kept with this run." in text
    assert "No images of this case were kept." in text


def test_a_damaged_or_missing_image_is_said_and_the_others_are_shown(tmp_path):
    write_run(tmp_path, [record(0), record(2, failed=True)], prompts=["a cat"] * 4)
    write_images(tmp_path, "precision-baseline", 4)
    write_images(tmp_path, "precision-fp16", 4, moved=3)
    folder = tmp_path / "images" / "precision-fp16"
    whole = (folder / "000.png").read_bytes()
    (folder / "000.png").write_bytes(whole[: len(whole) // 2])
    (folder / "001.png").unlink()
    (folder / "002.png").write_bytes(b"no picture")
    text = page_of(tmp_path).text
    assert "damaged: " in text
    assert "missing" in text
    assert "seed 2026" in text[text.index("Failures") : text.index("Gates by case")]


def test_images_that_cannot_be_read_at_all_are_said_to_be_so(tmp_path):
    write_run(tmp_path, [record(2, failed=True)])
    folder = tmp_path / "images" / "precision-fp16"
    folder.mkdir(parents=True)
    (folder / "000.png").write_bytes(b"")
    text = page_of(tmp_path).text
    assert "None of its images can be read." in text
    assert "precision/fp16 : no image of it can be read" in text.replace("fp16:", "fp16 :")


def test_without_its_references_images_a_failed_case_is_still_shown(tmp_path):
    write_run(tmp_path, [record(2, failed=True)])
    write_images(tmp_path, "precision-fp16", 2)
    text = page_of(tmp_path).text
    assert "No images of its reference were kept." in text
    assert "the reference has no image of this prompt" in text


def test_the_other_environments_images_are_the_reference_where_they_were_kept(tmp_path):
    write_run(tmp_path, [record(0), record(2, failed=True)])
    for label, moved in (("precision-baseline", 0), ("precision-fp16", 0)):
        write_images(tmp_path, label, 2, moved=moved)
    write_images(tmp_path, "precision-fp16 (other)", 2, moved=2)
    assert "reference precision-fp16 (other)" in page_of(tmp_path).text


def test_a_reference_of_this_environment_does_not_stand_in_for_another_environments(tmp_path):
    there = "in the other environment (torch 2.12.0 there, 2.13.0 here)"
    write_run(tmp_path, [record(0), record(2, failed=True, paired_with=there)])
    for label in ("precision-baseline", "precision-fp16"):
        write_images(tmp_path, label, 2)
    assert "No images of its reference were kept." in page_of(tmp_path).text


def test_images_are_held_against_the_variant_that_the_record_names(tmp_path):
    path = write_run(tmp_path, [record(8), record(9, failed=True)])
    data = json.loads(path.read_text())
    data["records"][1]["image_reference"] = "distilled"
    path.write_text(json.dumps(data))
    for label in ("precision-baseline", "precision-distilled", "precision-distilled-tiny-vae"):
        write_images(tmp_path, label, 2)
    assert "reference precision/ distilled" in page_of(tmp_path).text


def test_no_name_leads_out_of_the_images_folder(tmp_path):
    run = tmp_path / "run"
    write_images(tmp_path, "secret-one", 1)
    odd = record(2, group="../../images/secret", variant="one")
    write_run(run, [odd])
    (run / "images").mkdir()
    assert "No images were kept" in page_of(run).text


def test_a_difference_is_amplified_as_far_as_it_can_be_seen():
    own = Image.new("RGB", (8, 8), (100, 100, 100))
    other = Image.new("RGB", (8, 8), (100, 110, 100))
    picture, factor, mean = amplified(own, other)
    assert factor == 16
    assert picture.getpixel((3, 3)) == (0, 160, 0)
    assert mean == pytest.approx(10 / 3)


def test_the_prompts_that_differ_most_are_shown_first(tmp_path):
    for label in ("a-case", "a-baseline"):
        write_images(tmp_path, label, 6)
    folder = tmp_path / "images"
    Image.new("RGB", (64, 64), "white").save(folder / "a-case" / "004.png")
    tiles = read_tiles(folder, ["a-case", "a-baseline"])
    found = differences(
        tiles["a-case"], tiles["a-baseline"], name="a-baseline", budget=10**6, encoder=Encoder()
    )
    assert found.shown[0].index == 4
    assert found.shown[0].difference.startswith("data:image/")
    assert found.shown[1].says == "both images are the same"
    assert len(found.shown) == SHOWN


def test_images_of_unlike_size_are_shown_without_a_difference(tmp_path):
    write_images(tmp_path, "a-case", 1, side=32)
    write_images(tmp_path, "a-baseline", 1, side=64)
    tiles = read_tiles(tmp_path / "images", ["a-case", "a-baseline"])
    found = differences(
        tiles["a-case"], tiles["a-baseline"], name="a-baseline", budget=10**6, encoder=Encoder()
    )
    assert found.shown[0].says == "the sizes differ, 32 × 32 against 64 × 64 pixels"
    assert not found.shown[0].difference


def test_pictures_of_a_failure_stay_within_their_budget(tmp_path):
    write_images(tmp_path, "a-case", 4, side=256, moved=2)
    write_images(tmp_path, "a-baseline", 4, side=256)
    tiles = read_tiles(tmp_path / "images", ["a-case", "a-baseline"])
    for budget in (60_000, 20_000, 0):
        found = differences(
            tiles["a-case"], tiles["a-baseline"], name="", budget=budget, encoder=Encoder()
        )
        spent = [len(one.image + one.reference + one.difference) for one in found.shown]
        assert sum(spent) <= budget
    assert "no room" in found.says


def test_the_latency_plot_has_a_point_for_every_pair_and_every_generation():
    records = [record(0), record(2)]
    ratio, seconds = speed_plots(records, ["precision/baseline", "precision/fp16"])
    points = {one["name"]: one for one in ratio.figure["data"]}
    assert len(points["one pair"]["x"]) == 40
    pairs = records[1].pairs
    assert points["one pair"]["x"][20] == pairs.candidate[0] / pairs.reference[0]
    assert list(points["estimate and interval"]["x"]) == [r.comparison.ratio for r in records]
    assert list(points["published (A100)"]["x"]) == [1 / 1.5]
    assert list(points["slowest allowed"]["x"]) == [1.01, 1.01]
    drawn = {one["name"]: one for one in seconds.figure["data"]}
    assert len(drawn["one generation"]["x"]) == 40
    assert list(drawn["published (A100)"]["x"]) == [3.51]


def test_a_run_that_measured_nothing_has_no_empty_plots(tmp_path):
    nothing = ("seconds", "speedup", "pairs", "comparison", "peak_bytes", "stages", "costs")
    bare = replace(record(2), rounds=(), clip=None, ssim=None, **dict.fromkeys(nothing))
    write_run(tmp_path, [bare])
    page = page_of(tmp_path)
    assert "figure" not in page.tags
    assert "Gates by case" in page.text


def test_metrics_of_a_quality_profile_stand_with_interval_worst_and_direction(tmp_path):
    values = {"mean": 0.1, "low": 0.08, "high": 0.12, "worst": 0.4, "n": 64}
    profile = {
        "images": 64,
        "against": {"image distance": values, "SSIM": {"mean": math.nan, "low": None}},
        "alone": {"brightness": values, "odd": "no mapping"},
    }
    write_run(tmp_path, [record(2, profile=profile), record(3)])
    text = page_of(tmp_path).text
    assert "image distance (lower is better) SSIM (higher is better)" in text
    assert "0.1 (0.08 to 0.12), worst 0.4 NaN" in text
    assert "Each image alone case brightness precision/ fp16" in text


def test_what_differs_from_another_environment_is_named(tmp_path):
    write_run(tmp_path, [record(2)])
    other = {**ENVIRONMENT, "torch": "2.12.0", "triton": "3.5"}
    text = page_of(tmp_path, compared={"the baseline's": other}).text
    assert "What differs: torch , triton" in text.replace("torch,", "torch ,")
    assert "2.12.0" in text
    same = page_of(tmp_path, compared={"the baseline's": ENVIRONMENT}).text
    assert "Nothing differs." in same


def test_a_case_measured_elsewhere_has_its_environment_beside_the_runs(tmp_path):
    write_run(tmp_path, [record(1), record(2, environment={**ENVIRONMENT, "os": "another"})])
    assert "What differs: os" in page_of(tmp_path).text


def test_the_files_own_command_is_shown_where_it_names_one():
    one = record(2)
    assert run_again(one, {"reproduce": "run me"}, ()) == "run me"
    assert run_again(one, {"verdicts": [{"reproduce": "run it"}]}, ()) == "run it"
    odd = record(2, variant="a b; rm x")
    assert "'--latentcy-case=precision/a b; rm x'" in run_again(odd, {}, ("--model=sd15",))


def test_a_trend_shows_what_changed_first_and_joins_no_two_machines():
    latency, memory = trend_plots(trend())
    assert latency.title == "sd15/precision/fp16: latency"
    assert latency.rows[0][2:] == ("+4.00 %", "99.80%")
    assert [len(one["x"]) for one in latency.figure["data"]] == [40, 20]
    assert len(latency.figure["layout"]["shapes"]) == 2
    assert "no change was found" in memory.says


def test_a_trend_without_a_run_says_so_and_no_history_shows_no_section(tmp_path):
    write_run(tmp_path, [record(2)])
    assert "The history holds no run of these cases yet." in page_of(tmp_path, trend=()).text
    assert "Trend" not in page_of(tmp_path).text


def test_a_run_without_records_says_so(tmp_path):
    write_run(tmp_path, [])
    text = page_of(tmp_path).text
    assert "Inconclusive No variant was measured." in text
    assert "This run holds no record" in text


def test_the_page_names_nothing_outside_itself_and_runs_no_script_but_its_own(large_page):
    page = large_page
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert "default-src 'none'" in page.policy
    allowed = set(re.findall(r"'sha256-([^']+)'", page.policy))
    theme, _, plotly, own = page.scripts
    for script in (theme, plotly, own):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert digest in allowed


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"schema": 1}',
        '{"schema": 1, "model": "m", "environment": {}, "records": [{"schema": 3}]}',
        '{"version": "5.1.0", "benchmarks": []}',
        "[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_damaged_or_foreign_file_gets_a_message(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LatentcyError, match=re.escape(str(path))):
        write_report(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_record_whose_texts_are_none_gets_a_message(tmp_path):
    path = write_run(tmp_path, [record(2)])
    for key, value in (("group", 7), ("verdicts", [{"gate": "a", "status": [], "reason": "b"}])):
        data = json.loads(path.read_text())
        data["records"][0][key] = value
        other = tmp_path / f"{key}.json"
        other.write_text(json.dumps(data))
        with pytest.raises(LatentcyError, match="damaged"):
            write_report(other, tmp_path / "out")


def test_a_missing_run_gets_a_message(tmp_path):
    with pytest.raises(LatentcyError, match="cannot be read"):
        write_report(tmp_path, tmp_path)


def test_a_folder_that_cannot_be_written_gets_a_message(tmp_path):
    write_run(tmp_path, [record(2)])
    (tmp_path / "out").write_text("a file")
    with pytest.raises(LatentcyError, match="cannot be written"):
        write_report(tmp_path, tmp_path / "out")


def test_the_command_writes_the_page_beside_the_run_or_where_it_is_told(tmp_path, capsys):
    path = write_run(tmp_path / "run", [record(2, failed=True)])
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    for arguments, place in (
        ([str(path)], path.parent),
        ([str(path.parent), "--out", str(tmp_path / "new" / "place")], tmp_path / "new" / "place"),
    ):
        asked = parser.parse_args(["report", *arguments])
        assert asked.command(asked) == 0
        assert (place / "report.html").stat().st_size > 1_000_000
        assert str(place / "report.html") in capsys.readouterr().out


def test_a_report_is_made_without_torch():
    code = "import sys, latentcy.report.html; print('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[1]
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert ran.stdout.strip() == "False", ran.stderr


def _harmless(folder: Path) -> Path:
    write_run(folder, [record(2), record(3)], prompts=["a"] * 3)
    write_images(folder, "precision-bf16", 3)
    return folder
