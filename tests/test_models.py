"""Naming a model, checking its weights, and loading it with a variant applied."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import utils as errors
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file

from latentcy.core.errors import LatentcyError
from latentcy.pipelines import loading as loading_module
from latentcy.pipelines.devices.device import Device, find_device
from latentcy.pipelines.loading import load_pipeline
from latentcy.pipelines.models import catalog as models_module
from latentcy.pipelines.models import weights as weights_module
from latentcy.pipelines.models.catalog import KNOWN, Model, resolve_model
from latentcy.pipelines.models.weights import fetch
from latentcy.pipelines.models.weights_source import Weights
from latentcy.pipelines.variants import BUILTIN, Variant
from tiny import build_tiny

CPU = find_device("cpu")
GPU = Device(kind="cuda", index=0, name="A100", slug="a100", capability=(8, 0))
BY_ID = {each.id: each for each in BUILTIN}
PLAIN = BY_ID["precision/baseline"]
UNET = "pipeline/unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("built") / "tiny")


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(built, tmp_path / "tiny"))


@pytest.fixture
def model(built: Path) -> Model:
    return resolve_model(str(built), CPU)[0]


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches the hub; one that would fails as if it could not be reached."""
    hub_raises(monkeypatch, errors.LocalEntryNotFoundError("no connection"))


def hub_raises(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def download(*_: object, **__: object) -> str:
        raise error

    weights_module._snapshot.cache_clear()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)


def hub_answer(kind: type[Exception], status: int) -> Exception:
    """An HTTP error of the hub client, whichever HTTP library this version is built on."""
    error = kind.__new__(kind)
    error.args = (f"{status} Client Error",)
    return error


def test_a_folder_is_a_model_with_what_stands_beside_its_pipeline(built: Path) -> None:
    model, sentence = resolve_model(str(built), CPU)
    assert (model.name, model.source, model.height, model.width) == ("tiny", "local", 64, 64)
    assert model.tiny == Weights(str(built / "vae-tiny"))
    assert model.scorer == Weights(str(built / "scorer"))
    assert str(built) in sentence


def test_a_pipeline_folder_alone_is_a_model_without_distilled_parts(built: Path) -> None:
    model, _ = resolve_model(str(built / "pipeline"), CPU)
    assert model.distilled is None and model.scorer is None
    with pytest.raises(LatentcyError, match="has no distilled UNet"):
        load_pipeline(model, BY_ID["distillation/distilled"], CPU)


def _renamed(folder: Path, *, sharded: bool) -> None:
    """Leaves a part's weights in their fp16 copies alone, whole or as two shards with an index."""
    (file,) = folder.glob("*.safetensors")
    stem = file.name.removesuffix(".safetensors")
    tensors = load_file(file)
    file.unlink()
    if not sharded:
        save_file(tensors, folder / f"{stem}.fp16.safetensors", {"format": "pt"})
        return
    names = sorted(tensors)
    places = {}
    for number in (1, 2):
        shard = f"{stem}.fp16-0000{number}-of-00002.safetensors"
        part = {name: tensors[name] for name in names[number - 1 :: 2]}
        save_file(part, folder / shard, {"format": "pt"})
        places |= dict.fromkeys(part, shard)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / f"{stem}.safetensors.index.fp16.json").write_text(json.dumps(index))


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
def test_weights_in_half_precision_copies_alone_are_read(tmp_path: Path, sharded: bool) -> None:
    folder = build_tiny(tmp_path) / "pipeline"
    plain = load_pipeline(resolve_model(str(folder), CPU)[0], BY_ID["precision/baseline"], CPU)
    for part in ("unet", "vae", "text_encoder"):
        _renamed(folder / part, sharded=sharded)
    copy = load_pipeline(resolve_model(str(folder), CPU)[0], BY_ID["precision/baseline"], CPU)
    for name, weight in plain.unet.state_dict().items():
        assert torch.equal(weight, copy.unet.state_dict()[name])


def test_a_single_file_is_said_to_be_one_and_how_it_is_converted(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(LatentcyError, match="a single file") as caught:
        resolve_model(str(tmp_path / "model.safetensors"), CPU)
    assert "from_single_file" in caught.value.do


def test_an_unknown_model_gets_the_nearest_name() -> None:
    with pytest.raises(LatentcyError) as caught:
        resolve_model("minature", CPU)
    assert "'miniature'" in caught.value.do


@pytest.mark.parametrize("spec", ["./none", "/nowhere/at/all", "tests/none"])
def test_a_folder_that_is_not_there_is_no_hub_id(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LatentcyError, match=f"no folder {spec}"):
        resolve_model(spec, CPU)


def test_auto_on_a_cpu_is_the_miniature_and_says_why(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        models_module,
        "MINIATURE",
        replace(KNOWN["miniature"], pipeline=Weights(str(built / "pipeline"))),
    )
    model, sentence = resolve_model("auto", CPU)
    assert model.name == "miniature" and "no CUDA device" in sentence


def test_auto_on_cuda_downloads_nothing_and_says_what_would(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        models_module,
        "MINIATURE",
        replace(KNOWN["miniature"], pipeline=Weights(str(built / "pipeline"))),
    )
    model, sentence = resolve_model("auto", GPU)
    assert model.name == "miniature" and "--model sd15 downloads them" in sentence


def test_auto_on_cuda_is_sd15_where_its_weights_are_here(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights_module._snapshot.cache_clear()
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **__: str(built / "pipeline")
    )
    model, sentence = resolve_model("auto", GPU)
    weights_module._snapshot.cache_clear()
    assert model is KNOWN["sd15"] and "A100" in sentence


def test_a_missing_miniature_says_to_restore_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = replace(KNOWN["miniature"], pipeline=Weights(str(tmp_path / "gone")))
    monkeypatch.setitem(KNOWN, "miniature", gone)
    with pytest.raises(LatentcyError, match="restore fixtures/miniature"):
        resolve_model("miniature", CPU)


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (errors.LocalEntryNotFoundError("no connection"), "the hub cannot be reached"),
        (hub_answer(errors.GatedRepoError, 403), "is gated"),
        (hub_answer(errors.RevisionNotFoundError, 404), "no revision 'v9'"),
        (hub_answer(errors.RepositoryNotFoundError, 404), "no repository owner/name"),
        (errors.HFValidationError("bad"), "is no hub id"),
        (RuntimeError("proxy says no\nmore"), "RuntimeError: proxy says no)"),
    ],
)
def test_each_hub_failure_says_what_happened(
    error: Exception, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_raises(monkeypatch, error)
    with pytest.raises(LatentcyError) as caught:
        resolve_model("owner/name@v9", CPU)
    assert found in caught.value.found


@pytest.fixture
def hub() -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """A hub on the loopback address: its address, and the answer that it gives to everything."""
    answer: list[tuple[int, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, code = answer[0]
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", answer
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "found"),
    [
        (404, "RepoNotFound", "no repository owner/name"),
        (404, "RevisionNotFound", "no revision 'v9'"),
        (403, "GatedRepo", "is gated"),
        (500, "", "500"),
        (0, "", "the hub cannot be reached"),
    ],
)
def test_the_real_hub_client_failing_ends_in_a_message(
    hub: tuple[str, list[tuple[int, str]]], tmp_path: Path, status: int, code: str, found: str
) -> None:
    address, answer = hub
    answer.append((status, code))
    if status == 0:  # a port that nobody listens on
        address = "http://127.0.0.1:9"
    program = (
        "from latentcy.pipelines.models.weights import LatentcyError, Weights, fetch\n"
        "try: fetch(Weights('owner/name', revision='v9'))\n"
        "except LatentcyError as error: print(error)"
    )
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        "HF_ENDPOINT": address,
        "HF_HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(Path(weights_module.__file__).parents[3]),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert found in done.stdout


def test_a_named_hub_model_that_cannot_be_had_is_an_error() -> None:
    with pytest.raises(LatentcyError, match="the hub cannot be reached"):
        resolve_model("sd15", CPU)


def test_from_the_hub_come_only_the_safetensors_that_are_used(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict = {}

    def download(location: str, **settings: object) -> str:
        asked.update(settings, location=location)
        return str(built / "pipeline")

    weights_module._snapshot.cache_clear()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model, _ = resolve_model("owner/name@v1", CPU)
    weights_module._snapshot.cache_clear()
    files = [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "text_encoder/model.safetensors",
        "text_encoder/pytorch_model.bin",
        "tokenizer/merges.txt",
        "safety_checker/model.safetensors",
        "v1-5-pruned.safetensors",
        "v1-5-pruned.ckpt",
    ]
    taken = filter_repo_objects(
        files, allow_patterns=asked["allow_patterns"], ignore_patterns=asked["ignore_patterns"]
    )
    assert list(taken) == [files[place] for place in (0, 1, 2, 5, 6, 8)]
    assert (asked["location"], asked["revision"]) == ("owner/name", "v1")
    assert model.pipeline == Weights("owner/name", revision="v1")


def remove(file: str):
    return lambda folder: (folder / file).unlink()


def truncate(folder: Path) -> None:
    data = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(data[:-10])


def garble(folder: Path) -> None:
    data = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(b"\xff" * 64 + data[64:])


def pickle_only(folder: Path) -> None:
    (folder / UNET).rename(folder / "pipeline/unet/diffusion_pytorch_model.bin")


def other_class(folder: Path) -> None:
    file = folder / "pipeline/model_index.json"
    file.write_text(file.read_text().replace("StableDiffusionPipeline", "FluxPipeline"))


def own_code(folder: Path) -> None:
    file = folder / "pipeline/model_index.json"
    index = json.loads(file.read_text())
    index["unet"] = ["my_unet", "MyUNet"]
    file.write_text(json.dumps(index))


def broken_json(folder: Path) -> None:
    (folder / "pipeline/model_index.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (remove("pipeline/model_index.json"), "no model_index.json in"),
        (broken_json, "model_index.json, which cannot be read"),
        (other_class, "a FluxPipeline"),
        (own_code, "made by code of its own (my_unet)"),
        (lambda folder: shutil.rmtree(folder / "pipeline/vae"), "no folder vae"),
        (remove("pipeline/unet/config.json"), "no config.json"),
        (remove("pipeline/scheduler/scheduler_config.json"), "no scheduler_config.json"),
        (remove(UNET), "no safetensors weights in"),
        (pickle_only, "only pickled weights in"),
        (truncate, "diffusion_pytorch_model.safetensors, which is damaged or truncated"),
        (garble, "diffusion_pytorch_model.safetensors, which is damaged or truncated"),
    ],
)
def test_a_damaged_folder_is_told_by_its_fault(folder: Path, damage, found: str) -> None:
    damage(folder)
    with pytest.raises(LatentcyError) as caught:
        resolve_model(str(folder), CPU)
    assert found in caught.value.found
    assert str(folder) in str(caught.value)


def test_a_shard_that_is_missing_is_named(folder: Path) -> None:
    part = folder / "pipeline/unet"
    (part / "diffusion_pytorch_model.safetensors").unlink()
    index = {"weight_map": {"conv_in.weight": "part-1.safetensors"}}
    (part / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(LatentcyError, match=r"no part-1\.safetensors"):
        fetch(Weights(str(folder / "pipeline")))


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_a_tensor_that_is_missing_is_named_and_not_made_up(folder: Path, part: str) -> None:
    (file,) = (folder / "pipeline" / part).glob("*.safetensors")
    tensors = load_file(file)
    lost = min(tensors)
    del tensors[lost]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(LatentcyError, match=f"missing.*{re.escape(lost)}"):
        load_pipeline(resolve_model(str(folder), CPU)[0], PLAIN, CPU)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    tensors = load_file(folder / UNET)
    tensors["conv_in.weight"] = torch.zeros(3, 3)
    save_file(tensors, folder / UNET, metadata={"format": "pt"})
    with pytest.raises(LatentcyError, match="which does not load"):
        load_pipeline(resolve_model(str(folder), CPU)[0], PLAIN, CPU)


@pytest.mark.parametrize("name", ["precision/fp16", "precision/bf16", "precision/autocast"])
def test_every_part_has_the_dtype_that_the_variant_says(model: Model, name: str) -> None:
    pipeline = load_pipeline(model, BY_ID[name], CPU)
    found = {
        parameter.dtype
        for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder)
        for parameter in part.parameters()
    }
    assert found == {getattr(torch, BY_ID[name].resolved_dtype(CPU))}
    assert pipeline.safety_checker is None


def test_a_part_that_loads_in_another_dtype_is_an_error(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = loading_module._part
    monkeypatch.setattr(loading_module, "_part", lambda *a: load(*a).half())
    with pytest.raises(LatentcyError, match=r"unet\.\S+ loaded as torch\.float16"):
        load_pipeline(model, PLAIN, CPU)


def test_half_precision_files_load_as_float32_for_the_baseline(folder: Path) -> None:
    for file in (folder / "pipeline").rglob("*.safetensors"):
        halves = {name: tensor.half() for name, tensor in load_file(file).items()}
        save_file(halves, file, metadata={"format": "pt"})
    pipeline = load_pipeline(resolve_model(str(folder), CPU)[0], PLAIN, CPU)
    assert {each.dtype for each in pipeline.text_encoder.parameters()} == {torch.float32}


def test_distilled_and_tiny_parts_replace_the_full_ones(model: Model) -> None:
    full = load_pipeline(model, BY_ID["distillation/baseline"], CPU)
    small = load_pipeline(model, BY_ID["distillation/distilled-tiny-vae"], CPU)
    assert type(small.vae).__name__ == "AutoencoderTiny"
    assert small.unet.mid_block is None and full.unet.mid_block is not None
    assert small.vae_scale_factor == full.vae_scale_factor == 8


def test_the_scheduler_follows_the_group_with_the_models_noise_schedule(model: Model) -> None:
    ddim = load_pipeline(model, PLAIN, CPU).scheduler
    assert type(ddim).__name__ == "DDIMScheduler"
    assert (ddim.config.beta_start, ddim.config.beta_schedule) == (0.00085, "scaled_linear")
    assert (ddim.config.steps_offset, ddim.config.clip_sample) == (1, False)
    pndm = load_pipeline(model, BY_ID["distillation/baseline"], CPU).scheduler
    assert type(pndm).__name__ == "PNDMScheduler" and pndm.config.skip_prk_steps


def test_prepare_runs_last_and_on_the_loaded_pipeline(model: Model) -> None:
    seen: list[str] = []
    hooked = Variant("mine", "c", prepare=lambda p: seen.append(type(p.scheduler).__name__))
    load_pipeline(model, hooked, CPU)
    assert seen == ["DDIMScheduler"]


def test_a_hook_that_raises_is_named(model: Model) -> None:
    def prepare(_: object) -> None:
        raise KeyError("no such block")

    with pytest.raises(LatentcyError, match=r"prepare of variant precision/mine raised KeyError"):
        load_pipeline(model, Variant("mine", "c", prepare=prepare), CPU)


def test_memory_that_ran_out_in_a_hook_stays_an_out_of_memory_error(model: Model) -> None:
    def prepare(_: object) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        load_pipeline(model, Variant("mine", "c", prepare=prepare), CPU)


def test_a_hook_that_returns_another_pipeline_is_refused(model: Model) -> None:
    other = load_pipeline(model, PLAIN, CPU)
    with pytest.raises(LatentcyError, match="returned another pipeline"):
        load_pipeline(model, Variant("mine", "c", prepare=lambda _: other), CPU)


def test_a_variant_that_cannot_run_here_is_refused_with_the_reason(model: Model) -> None:
    with pytest.raises(LatentcyError, match="needs an NVIDIA GPU"):
        load_pipeline(model, BY_ID["precision/tf32"], CPU)
