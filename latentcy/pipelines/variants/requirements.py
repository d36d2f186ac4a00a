"""What must be there for a variant to run: the device, packages and their versions."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib import metadata, util

from packaging.requirements import InvalidRequirement, Requirement

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.devices.device import Device

DEVICE_KINDS = ("cpu", "cuda", "mps")
_NAMES = {"cpu": "a CPU", "cuda": "a CUDA GPU", "mps": "an Apple GPU"}


@dataclass(frozen=True)
class Needs:
    """The least that a variant can run on. Raises LatentcyError for what cannot be meant."""

    kinds: tuple[str, ...] = DEVICE_KINDS
    capability: tuple[int, int] | None = None  # least NVIDIA compute capability, on CUDA
    packages: tuple[str, ...] = ()  # as pip writes them: "torchao", "diffusers>=0.35"
    compiler: bool = False  # torch.compile: Triton on CUDA, a C++ compiler on a CPU

    def __post_init__(self) -> None:
        """Check what a variants file could get wrong."""
        wrong = [kind for kind in self.kinds if kind not in DEVICE_KINDS]
        if wrong or not self.kinds:
            raise LatentcyError(
                found=f"needs of kinds {self.kinds!r}",
                expected=f"some of {', '.join(DEVICE_KINDS)}",
                do="correct it",
            )
        for package in self.packages:
            try:
                Requirement(package)
            except InvalidRequirement as error:
                raise LatentcyError(
                    found=f"a needed package {package!r}",
                    expected="a requirement such as 'torchao' or 'diffusers>=0.35'",
                    do="correct it",
                ) from error

    def missing(self, device: Device) -> str | None:
        """What is not there, in one clause; None where everything is."""
        if device.kind not in self.kinds:
            wanted = " or ".join(_NAMES[kind] for kind in self.kinds)
            return f"it needs {wanted}, and this is {_NAMES[device.kind]}"
        if self.capability is not None and device.kind == "cuda":
            least = ".".join(map(str, self.capability))
            if device.capability is None:
                return f"it needs an NVIDIA GPU of compute capability {least} or later"
            if device.capability < self.capability:
                has = ".".join(map(str, device.capability))
                return f"it needs compute capability {least} or later, and {device.name} has {has}"
        return _missing_package(self.packages) or (
            _missing_compiler(device) if self.compiler else None
        )


ANYWHERE = Needs()


def _missing_package(packages: tuple[str, ...]) -> str | None:
    for package in packages:
        wanted = Requirement(package)
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            return f"it needs {package}, which is not installed"
        if not wanted.specifier.contains(version, prereleases=True):
            return f"it needs {package}, and {version} is installed"
    return None


def _missing_compiler(device: Device) -> str | None:
    """What torch.compile's own back end would look for, and not find, at its first call."""
    if device.kind == "cuda":
        there = util.find_spec("triton") is not None
        return None if there else "it needs the package triton to compile for CUDA"
    if device.kind == "cpu":
        named = os.environ.get("CXX")
        if not any(shutil.which(each) for each in ([named] if named else ["g++", "clang++"])):
            return f"it needs a C++ compiler, and there is no {named or 'g++ or clang++'}"
    return None
