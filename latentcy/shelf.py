"""The shelf: the baselines stored for one device and model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from latentcy.case import Case
from latentcy.errors import LatentcyError
from latentcy.generate.device import Device
from latentcy.generate.models import Model
from latentcy.judge.baselines import (
    StoredBaseline,
    baseline_path,
    fingerprint,
    read_baseline,
    write_baseline,
)
from latentcy.settings import Settings
from latentcy.track.records import Record


class Shelf:
    """Reads and writes the baselines of one device and model under `settings.baselines`."""

    def __init__(
        self, settings: Settings, device: Device, model: Model, environment: Mapping[str, str]
    ) -> None:
        self._settings, self._device, self._model = settings, device, model
        self._environment = environment

    def stored(self, case: Case) -> StoredBaseline | None:
        """The case's baseline; None where there is none.

        Raises LatentcyError where it cannot be read, unless it is being replaced anyway.
        """
        try:
            return read_baseline(self._path(case))
        except LatentcyError:
            if self._settings.record:
                return None
            raise

    def store(self, case: Case, record: Record) -> StoredBaseline:
        """Makes a measured record the case's baseline. Raises LatentcyError where it cannot."""
        if record.seconds is None:
            raise ValueError(f"{case.id} was not measured")
        baseline = StoredBaseline(
            case=case.id,
            fingerprint=self.fingerprint(case),
            seconds=record.seconds,
            rounds=record.rounds,
            peak_bytes=record.peak_bytes,
            recorded=datetime.now(UTC).date().isoformat(),
        )
        write_baseline(self._path(case), baseline)
        return baseline

    def fingerprint(self, case: Case) -> dict[str, str]:
        """What is measured on what, for comparing with a stored baseline."""
        return fingerprint(
            device=self._device,
            model=self._model,
            workload=case.workload,
            environment=self._environment,
        )

    def _path(self, case: Case) -> Path:
        return baseline_path(
            self._settings.baselines,
            self._device.slug,
            self._model.name,
            case.variant.group,
            case.variant.name,
        )
