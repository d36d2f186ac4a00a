"""Finding a device, its switches, its memory."""

from __future__ import annotations

import re

import pytest
import torch

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.devices import device as device_module
from latentcy.pipelines.devices.device import (
    environment,
    find_device,
    free,
    is_out_of_memory,
    peak_memory,
    switches,
    synchronize,
)


def precisions() -> tuple[object, object]:
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    if hasattr(matmul, "fp32_precision"):
        return matmul.fp32_precision, convolution.conv.fp32_precision
    return matmul.allow_tf32, convolution.allow_tf32


def test_the_cpu_has_a_stable_slug_that_a_path_can_hold() -> None:
    cpu = find_device("cpu")
    assert (cpu.kind, cpu.threads) == ("cpu", torch.get_num_threads())
    assert re.fullmatch(r"[a-z0-9-]+", cpu.slug) and cpu.slug == find_device("cpu").slug


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("NVIDIA A100-SXM4-80GB", "nvidia-a100-sxm4-80gb"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "intel-xeon"),
        ("///", "unknown"),
    ],
)
def test_a_slug_is_made_of_letters_digits_and_dashes(name: str, slug: str) -> None:
    assert device_module._slug(name) == slug


def test_auto_takes_cuda_where_it_is_and_else_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto").kind == "cpu"


def test_cuda_without_a_cuda_build_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(LatentcyError, match="a build without CUDA"):
        find_device("cuda")


def test_cuda_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LatentcyError, match="no GPU that torch"):
        find_device("cuda:0")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(LatentcyError, match="a device cuda:2"):
        find_device("cuda:2")


def test_an_unknown_device_gets_the_nearest_name() -> None:
    with pytest.raises(LatentcyError, match="use 'cuda'"):
        find_device("cudda")


@pytest.mark.parametrize("tf32", [True, False])
def test_tf32_is_set_for_products_and_convolutions_and_put_back(tf32: bool) -> None:
    before = precisions()
    with pytest.raises(KeyError), switches(tf32=tf32):
        inside = precisions()
        raise KeyError
    assert inside in ((("tf32",) * 2, (True,) * 2) if tf32 else (("ieee",) * 2, (False,) * 2))
    assert precisions() == before


def test_peak_memory_sees_what_was_freed_before_the_end() -> None:
    cpu = find_device("cpu")
    with peak_memory(cpu) as quiet:
        pass
    with peak_memory(cpu) as busy:
        block = torch.ones(64 * 2**20, dtype=torch.uint8)
        del block
    if quiet.bytes is None:
        pytest.skip("this system does not let the peak be reset")
    assert busy.bytes is not None and busy.bytes - quiet.bytes > 48 * 2**20


def test_an_exhausted_allocator_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory."))
    wrapped = ValueError("a case failed")
    wrapped.__cause__ = MemoryError()
    assert is_out_of_memory(wrapped)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_the_environment_is_text_and_names_what_speed_depends_on() -> None:
    cpu = find_device("cpu")
    found = environment(cpu)
    assert {"python", "torch", "diffusers", "transformers", "numpy", "os", "device"} <= set(found)
    assert all(isinstance(value, str) and value for value in found.values())
    assert found["torch"] == torch.__version__


def test_waiting_and_freeing_do_nothing_on_a_cpu() -> None:
    cpu = find_device("cpu")
    synchronize(cpu)
    free(cpu)
