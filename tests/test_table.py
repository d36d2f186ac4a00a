"""The closing table says everything in 100 columns, and the sentence says what matters."""

import math

from latentcy.core.record import Record
from latentcy.core.verdict import Verdict
from latentcy.report.terminal import sentence, table


def record(variant, *statuses, group="precision", **values):
    gates = ("latency", "quality", "black images")
    verdicts = tuple(
        Verdict(gate, status, f"the reason for {gate} " + "and more of it " * 8)
        for gate, status in zip(gates, statuses, strict=False)
    )
    return Record(
        f"miniature/{group}/{variant}",
        "miniature",
        group,
        variant,
        "changes",
        "Some CPU",
        verdicts=verdicts,
        **values,
    )


RECORDS = [
    record("baseline", "passed", "passed", seconds=0.771, speedup=1.0, peak_bytes=5 * 2**30),
    record("tf32", skipped="needs an NVIDIA GPU of compute capability 8.0 or later; " + "x " * 60),
    record(
        "fp16",
        "inconclusive",
        "failed",
        seconds=3.77,
        speedup=0.2045,
        published_seconds=3.51,
        published_speedup=1.5,
        clip=88.61,
        ssim=0.9995,
    ),
    record("autocast", "passed", "failed", control=True, seconds=0.05, ssim=math.nan),
    record("distilled-tiny-vae-and-a-long-name", "passed", group="distillation", seconds=0.44),
]


def line(text, start):
    return next(one for one in text.splitlines() if one.startswith(start))


def test_no_line_is_wider_than_100_columns():
    assert max(len(one) for one in table(RECORDS).splitlines()) <= 100


def test_a_row_holds_every_figure():
    row = line(table(RECORDS), "fp16")
    figures = "fp16 3.770 s ×0.20 3.51 s ×1.50 - 88.6 0.9995 FAILED"
    assert " ".join(row.split()) == figures


def test_small_and_large_figures_keep_their_units():
    text = table(RECORDS)
    assert "5120 MiB" in line(text, "baseline")
    assert "50.0 ms" in line(text, "autocast")


def test_nan_is_shown_as_nan():
    assert " NaN " in line(table(RECORDS), "autocast")


def test_a_skipped_variant_says_why():
    assert "skipped: needs an NVIDIA GPU" in line(table(RECORDS), "tf32")


def test_a_controls_failure_is_marked_as_one():
    assert line(table(RECORDS), "autocast").endswith("control failed")


def test_failures_are_explained_and_shared_reasons_are_said_once():
    same = Verdict("latency", "inconclusive", "no baseline is stored")
    records = [
        Record("c", "m", "precision", name, "", "CPU", verdicts=(same,)) for name in ("one", "two")
    ]
    assert table(records).count("no baseline is stored") == 1
    assert "one, two: latency inconclusive: no baseline is stored" in table(records)
    assert "fp16, autocast: quality failed: the reason" in table(RECORDS)


def test_each_group_has_its_own_table():
    text = table(RECORDS)
    assert "precision: miniature on Some CPU" in text
    assert "distillation: miniature on Some CPU" in text


def test_a_long_name_is_cut_where_one_can_see_it():
    assert line(table(RECORDS), "distilled-tiny-vae~").endswith("passed")


def test_the_sentence_names_what_failed_and_not_the_control():
    text = sentence(RECORDS)
    assert text.startswith("FAILED: 1 of 4 variants failed, precision/fp16 (quality)")
    assert "the control autocast failed" in text and "1 skipped" in text


def test_the_sentence_of_a_run_cut_off_passes_nothing():
    came = "1 of 7 cases were judged, precision/fp16 was cut off, 5 were not begun"
    sound = [record("baseline", "passed")]
    assert sentence(sound, interrupted=came) == f"INTERRUPTED: {came}."
    text = sentence(RECORDS, interrupted=came)
    assert text.startswith(f"INTERRUPTED: {came}; FAILED so far: ")


def test_the_sentence_of_a_sound_run_passes():
    records = [record("baseline", "passed"), record("fp16", "passed")]
    assert sentence(records) == "PASSED: 2 of 2 variants kept every promise."


def test_a_run_with_nothing_but_open_gates_is_inconclusive():
    text = sentence([record("baseline", "inconclusive", "inconclusive")])
    assert text == (
        "INCONCLUSIVE: no gate could be judged in 1 variants; "
        "1 could not be judged on latency, quality."
    )


def test_a_pass_with_an_open_gate_says_what_is_open():
    records = [record("baseline", "inconclusive", "passed")]
    assert sentence(records) == (
        "PASSED: 1 of 1 variants kept what could be judged; 1 could not be judged on latency."
    )
    assert line(table(records), "baseline").endswith("passed, 1 open")


def test_nothing_measured_is_no_pass():
    assert sentence([]).startswith("INCONCLUSIVE")
    assert sentence([record("tf32", skipped="no GPU")]).startswith("INCONCLUSIVE")
