"""Retraining the miniature: stages run, resume where they stopped, and say what is missing."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn

from latentcy.miniature.loop import Plan, fit
from latentcy.miniature.train import STAGES, main

PLAN = Plan("line", steps=40, batch=8, learning_rate=0.05, warm_up=1)


def _fit(work, steps_before_the_cut=None):
    module = nn.Linear(1, 1)
    nn.init.zeros_(module.weight)
    nn.init.zeros_(module.bias)

    def loss(line, moment):
        if moment.step == steps_before_the_cut:
            raise KeyboardInterrupt
        x = torch.randn(PLAN.batch, 1, generator=moment.generator)
        return (line(x) - 3 * x).square().mean()

    return fit(PLAN, module, loss, seed=1, work=work, say=lambda line: None)


def test_training_learns(tmp_path):
    assert abs(_fit(tmp_path).weight.item() - 3) < 3


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path, monkeypatch):
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = _fit(tmp_path / "whole").weight.item()
    monkeypatch.setattr("latentcy.miniature.loop.CHECKPOINT_SECONDS", -1.0)
    with contextlib.suppress(KeyboardInterrupt):
        _fit(tmp_path / "cut", steps_before_the_cut=17)
    assert _fit(tmp_path / "cut").weight.item() == whole


@pytest.mark.system
def test_every_stage_runs_and_the_parts_load_as_a_pipeline(tmp_path, capsys):
    command = ["--work", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cpu"]
    status = main([*command, "--scale", "0.0004", "--pictures", "192"])
    assert status == 0
    said = capsys.readouterr().out
    assert all(f"stage {stage}" in said for stage in STAGES)

    from latentcy import Variant
    from latentcy.pipelines.devices.device import find_device
    from latentcy.pipelines.loading import load_pipeline
    from latentcy.pipelines.models.catalog import resolve_model

    device = find_device("cpu")
    model, _ = resolve_model(str(tmp_path / "out"), device)
    smaller = Variant("smaller", "Both.", unet="distilled", vae="tiny")
    pipeline = load_pipeline(model, smaller, device)
    assert pipeline.unet.config.mid_block_type is None
    assert pipeline.unet.dtype == torch.float32


def test_a_stage_without_its_forerunner_says_what_to_run(tmp_path, capsys):
    status = main(["--work", str(tmp_path), "--stages", "vae-decoder", "--pictures", "64"])
    assert status == 1
    assert "run the stages before this one" in capsys.readouterr().err
