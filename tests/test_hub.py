"""Weights from a hub, end to end: the real client against a hub on the loopback address."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from latentcy.pipelines.models import weights as weights_module
from latentcy.pipelines.models.catalog import KNOWN, MINIATURE_FOLDER
from latentcy.pipelines.models.hub import HUB_PARTS
from latentcy.pipelines.models.weights_source import Weights
from loopback_hub import LoopbackHub, Repository, files_of

pytestmark = pytest.mark.system

NAME = "owner/miniature"
FIRST, SECOND = "a" * 40, "b" * 40
UNET = "unet/diffusion_pytorch_model.safetensors"

FETCH = """
import sys
from latentcy.pipelines.models.weights import LatentcyError, Weights, fetch
try:
    print(fetch(Weights(sys.argv[1], revision=sys.argv[2])))
except LatentcyError as error:
    sys.exit(str(error))
"""
# Writes fail as they do on a full disk, after so many bytes of one file.
FULL_DISK = """
import errno, functools
import huggingface_hub.file_download as client

class Full:
    def __init__(self, file):
        self._file = file

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name):
        return getattr(self._file, name)

get = client.http_get
client.http_get = lambda url, temp_file, **settings: get(url, Full(temp_file), **settings)
"""
GENERATE = """
import sys
import torch
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.loading import load_pipeline
from latentcy.pipelines.models.catalog import MINIATURE, resolve_model
from latentcy import Variant

torch.set_num_threads(1)
device = find_device("cpu")
model, sentence = resolve_model(sys.argv[1], device)
made = []
for each in (model, MINIATURE):
    pipeline = load_pipeline(each, Variant("plain", "Nothing."), device)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    settings = dict(latents=noise, num_inference_steps=2, height=64, width=64, output_type="np")
    made.append(pipeline("a red square", **settings).images)
print(sentence, (made[0] == made[1]).all(), made[0].std() > 0.05)
"""


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return files_of(MINIATURE_FOLDER / "pipeline")


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def repository(hub: LoopbackHub, files: dict[str, bytes]) -> Repository:
    return hub.commit(NAME, files, FIRST)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The hub client's folder of a user who has never downloaded anything."""
    return tmp_path / "home"


def client(hub: LoopbackHub, home: Path) -> dict[str, str]:
    """The environment of a process that takes this hub for the real one."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(home),
        "NO_PROXY": "127.0.0.1,localhost",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(weights_module.__file__).parents[3]),
    }


def ask(
    hub: LoopbackHub, home: Path, *, revision: str = "main", program: str = FETCH
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, NAME, revision],
        env=client(hub, home),
        capture_output=True,
        text=True,
        timeout=120,
    )


def fetched(done: subprocess.CompletedProcess[str]) -> Path:
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def message(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The one message that the process ended with: its three parts by their labels."""
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    lines = done.stderr.strip().splitlines()[-3:]
    parts = dict(line.split(maxsplit=1) for line in lines)
    assert list(parts) == ["found", "expected", "do"]
    return parts


def test_a_model_from_the_hub_makes_the_same_image_as_the_folder_that_it_serves(
    hub: LoopbackHub, repository: Repository, home: Path
) -> None:
    done = ask(hub, home, program=GENERATE)
    assert done.stdout.split()[-2:] == ["True", "True"], done.stderr
    assert f"the hub's {NAME}" in done.stdout


def test_only_configs_tokenizer_and_safetensors_are_asked_for(
    hub: LoopbackHub, files: dict[str, bytes], home: Path
) -> None:
    pickle, other = "unet/diffusion_pytorch_model.bin", "safety_checker/model.safetensors"
    hub.commit(NAME, {**files, pickle: b"pickle", other: b"other", "card.png": b"png"}, FIRST)
    folder = fetched(ask(hub, home))
    assert hub.files_asked() == set(files)
    assert {path: (folder / path).read_bytes() for path in files} == files


def test_a_pinned_revision_is_the_one_that_comes_when_main_has_moved_on(
    hub: LoopbackHub, files: dict[str, bytes], home: Path
) -> None:
    hub.commit(NAME, files, FIRST)
    hub.commit(NAME, {**files, "moved_on.json": b"{}"}, SECOND)
    pinned, main = fetched(ask(hub, home, revision=FIRST)), fetched(ask(hub, home))
    assert (pinned.name, main.name) == (FIRST, SECOND)
    assert not (pinned / "moved_on.json").exists() and (main / "moved_on.json").exists()


@pytest.mark.parametrize("revision", ["main", FIRST])
def test_what_was_downloaded_is_used_again_where_the_hub_cannot_be_reached(
    hub: LoopbackHub, repository: Repository, home: Path, revision: str
) -> None:
    first = fetched(ask(hub, home, revision=revision))
    hub.stop()
    assert fetched(ask(hub, home, revision=revision)) == first


def test_what_was_downloaded_is_not_downloaded_again(
    hub: LoopbackHub, repository: Repository, home: Path
) -> None:
    fetched(ask(hub, home))
    hub.asked.clear()
    fetched(ask(hub, home))
    assert not [path for method, path, _ in hub.asked if method == "GET" and "/api/" not in path]


def test_a_download_shows_its_progress_on_a_terminal(
    hub: LoopbackHub, repository: Repository, home: Path
) -> None:
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    process = subprocess.Popen(
        [sys.executable, "-c", FETCH, NAME, "main"],
        env=client(hub, home),
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = _read(ours)
    assert process.wait(timeout=60) == 0
    assert "100%" in shown and "Fetching" in shown


def _read(terminal: int) -> str:
    shown = b""
    try:
        while part := os.read(terminal, 65536):
            shown += part
    except OSError:  # how a terminal ends on Linux
        pass
    os.close(terminal)
    return shown.decode(errors="replace")


def test_a_repository_without_a_part_that_the_pipeline_names_is_told_by_it(
    hub: LoopbackHub, files: dict[str, bytes], home: Path
) -> None:
    hub.commit(NAME, {path: each for path, each in files.items() if path != UNET}, FIRST)
    told = message(ask(hub, home))
    assert "no safetensors weights in" in told["found"] and NAME in told["found"]
    assert "the repository lacks it" in told["do"]


def test_a_pipeline_of_another_class_is_refused_before_its_weights_are_downloaded(
    hub: LoopbackHub, files: dict[str, bytes], home: Path
) -> None:
    index = files["model_index.json"].replace(b"StableDiffusionPipeline", b"FluxPipeline")
    hub.commit(NAME, {**files, "model_index.json": index}, FIRST)
    told = message(ask(hub, home))
    assert "a FluxPipeline in" in told["found"] and "delete" not in told["do"]
    assert hub.files_asked() == {"model_index.json"}


def test_weights_that_are_there_in_half_precision_alone_are_taken(
    hub: LoopbackHub, files: dict[str, bytes], home: Path
) -> None:
    plain, copies = "model.safetensors", "model.fp16.safetensors"
    half = {path.replace(plain, copies): each for path, each in files.items()}
    hub.commit(NAME, half, FIRST)
    folder = fetched(ask(hub, home))
    assert (folder / UNET.replace("model.safe", "model.fp16.safe")).is_file()
    assert hub.files_asked() == set(half)


def test_a_file_that_is_listed_and_not_given_is_named(
    hub: LoopbackHub, repository: Repository, home: Path
) -> None:
    repository.withheld.add("unet/config.json")
    told = message(ask(hub, home))
    assert "lists a file that it does not give" in told["found"]
    assert "unet/config.json" in told["found"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository_says_to_accept_its_terms(
    hub: LoopbackHub, repository: Repository, home: Path, status: int
) -> None:
    repository.gated_status = status
    told = message(ask(hub, home))
    assert f"{NAME} is gated" in told["found"] and "accept its terms" in told["do"]


def test_a_pinned_revision_that_is_gone_is_named(
    hub: LoopbackHub, repository: Repository, home: Path
) -> None:
    told = message(ask(hub, home, revision=SECOND))
    assert f"no revision '{SECOND}' of {NAME}" in told["found"]


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(hub: LoopbackHub, home: Path) -> None:
    """The client writes ten million bytes at a time, hence a file of more."""
    large = save({"weight": np.arange(6_000_000, dtype=np.float32)})
    hub.commit(NAME, {"config.json": b"{}", "model.safetensors": large}, FIRST)
    hub.breaks["model.safetensors"] = [len(large) // 2 + 1]
    folder = fetched(ask(hub, home))
    assert (folder / "model.safetensors").read_bytes() == large
    starts = [int(each.removeprefix("bytes=")[:-1]) for *_, each in hub.asked if each]
    assert starts and 0 < starts[0] <= len(large) // 2 + 1


def test_a_transfer_that_breaks_off_every_time_says_so_and_goes_on_in_the_next_run(
    hub: LoopbackHub, repository: Repository, home: Path, files: dict[str, bytes]
) -> None:
    hub.breaks[UNET] = [100_000] + [0] * 50
    told = message(ask(hub, home))
    assert f"the download of {NAME} broke off" in told["found"]
    assert "run again" in told["do"]
    hub.breaks.clear()
    assert (fetched(ask(hub, home)) / UNET).read_bytes() == files[UNET]


def test_a_download_that_was_cut_off_is_no_model_where_the_hub_cannot_be_reached(
    hub: LoopbackHub, repository: Repository, home: Path
) -> None:
    hub.breaks[UNET] = [0] * 50
    message(ask(hub, home))
    hub.stop()
    assert "cached here only in part" in message(ask(hub, home))["found"]


def test_a_damaged_file_from_the_hub_is_named(
    hub: LoopbackHub, files: dict[str, bytes], home: Path
) -> None:
    hub.commit(NAME, {**files, UNET: b"\xff" * 64 + files[UNET][64:]}, FIRST)
    told = message(ask(hub, home))
    assert UNET in told["found"] and "damaged or truncated" in told["found"]
    assert "delete that folder" in told["do"]


def test_a_disk_that_fills_up_is_told_with_its_folder(
    hub: LoopbackHub, repository: Repository, home: Path
) -> None:
    told = message(ask(hub, home, program=FULL_DISK + FETCH))
    assert "no room left on the disk" in told["found"] and str(home) in told["found"]
    assert "HF_HOME" in told["do"]


def test_a_real_disk_that_is_too_small_is_told_the_same(
    hub: LoopbackHub, repository: Repository, home: Path
) -> None:
    home.mkdir()
    mounted = f"mount -t tmpfs -o size=1m none '{home}'"
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*own, "sh", "-c", mounted]).returncode:
        pytest.skip("this user may not mount a small disk")
    done = subprocess.run(
        [
            *own,
            "sh",
            "-c",
            f'{mounted} && exec "$@"',
            "sh",
            sys.executable,
            "-c",
            FETCH,
            NAME,
            FIRST,
        ],
        env=client(hub, home),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "no room left on the disk" in message(done)["found"]


def test_every_hub_part_has_a_licence_and_a_whole_commit_hash_where_it_is_pinned() -> None:
    for part in HUB_PARTS.values():
        assert part.licence
        assert part.revision is None or (len(part.revision) == 40 and int(part.revision, 16))


def test_the_known_models_are_pinned_as_the_table_says() -> None:
    named = KNOWN["sd15"], KNOWN["sd14"]
    for model in named:
        part = HUB_PARTS[model.name]
        assert model.pipeline == Weights(part.location, revision=part.revision)
        assert model.licence == part.licence
    assert {model.distilled for model in named} == {
        Weights("nota-ai/bk-sdm-small", revision=HUB_PARTS["distilled"].revision, subfolder="unet")
    }
