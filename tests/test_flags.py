"""A variant's global switches hold while it generates, and for nothing else."""

import torch

from latentcy.pipelines.devices import global_switches as flags
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.sampler import open_sampler
from latentcy.pipelines.variants import Variant
from latentcy.pipelines.workload import workload
from tiny import build_tiny


def test_what_a_block_switches_is_recorded_and_undone():
    before = torch.backends.cudnn.benchmark, torch.backends.cuda.math_sdp_enabled()
    with flags.recorded() as changes:
        torch.backends.cudnn.benchmark = not before[0]
        torch.backends.cuda.enable_math_sdp(not before[1])
    assert changes == {"cudnn.benchmark": not before[0], "sdp.math": not before[1]}
    assert (torch.backends.cudnn.benchmark, torch.backends.cuda.math_sdp_enabled()) == before


def test_what_was_recorded_can_be_applied_and_is_undone_again():
    with flags.recorded() as changes:
        torch.backends.cudnn.deterministic = True
    with flags.applied(changes):
        assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.deterministic


def test_the_compilers_settings_are_among_them_also_when_loaded_meanwhile():
    with flags.recorded() as changes:
        import torch._inductor.config as inductor

        before = inductor.conv_1x1_as_mm
        inductor.conv_1x1_as_mm = not before
        torch.compiler.set_stance("force_eager")
    assert changes["torch._inductor.config:conv_1x1_as_mm"] is not before
    assert changes["compiler.stance"].stance == "force_eager"
    assert inductor.conv_1x1_as_mm is before
    with flags.applied(changes):
        assert inductor.conv_1x1_as_mm is not before
    assert inductor.conv_1x1_as_mm is before


def test_an_error_leaves_no_switch_behind():
    try:
        with flags.recorded():
            torch.backends.cudnn.benchmark = True
            raise RuntimeError
    except RuntimeError:
        pass
    assert not torch.backends.cudnn.benchmark


def test_a_variants_switch_holds_in_its_own_generations_alone(tmp_path):
    seen = []

    def prepare(pipeline):
        torch.backends.cudnn.benchmark = True
        pipeline.unet.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.benchmark))

    device = find_device("cpu")
    model, _ = resolve_model(str(build_tiny(tmp_path)), device)
    work = workload("single", height=64, width=64, guidance_scale=2.0)
    sampler = open_sampler(model, Variant("own", "A switch.", prepare=prepare), device, work)
    assert not torch.backends.cudnn.benchmark
    sampler.generate()
    assert set(seen) == {True}
    assert not torch.backends.cudnn.benchmark
