"""The runs stored for one device and model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from latentcy.core.errors import LatentcyError
from latentcy.core.record import Record
from latentcy.core.settings import Settings
from latentcy.pipelines.case import Case
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.models.catalog import Model
from latentcy.pipelines.models.fingerprint import weights_identity
from latentcy.pipelines.variants import Variant
from latentcy.store.baselines import (
    AddedRun,
    StoredBaseline,
    StoredRun,
    add_run,
    baseline_path,
    fingerprint,
    is_seconds,
    read_baseline,
    versions,
    write_baseline,
)


class BaselineStore:
    """Reads and writes the baselines of one device and model under `settings.baselines`."""

    def __init__(
        self,
        settings: Settings,
        device: Device,
        model: Model,
        environment: Mapping[str, str],
        *,
        identify: Callable[[Model, Variant], str] = weights_identity,
    ) -> None:
        self._settings, self._device, self._model = settings, device, model
        self._environment = environment
        self._identify = identify
        self._weights: dict[str, str] = {}

    @property
    def versions(self) -> dict[str, str]:
        """Versions here, for naming what changed since a stored run."""
        return versions(self._environment)

    def stored(self, case: Case) -> StoredBaseline | None:
        """The case's stored runs; None where there are none.

        Raises LatentcyError where they cannot be read, unless they are being recorded anyway.
        """
        try:
            return self._read(case)
        except LatentcyError:
            if self._settings.record:
                return None
            raise

    def store(
        self, case: Case, record: Record, *, yardstick_seconds: float | None = None
    ) -> AddedRun:
        """Adds a measured record to the case's stored runs, or begins them anew and says why.

        Args:
            case: what was measured.
            record: its measurement.
            yardstick_seconds: of the yardstick around it; None where it was not timed.

        Raises:
            LatentcyError: the place cannot be written, or a round took no time.
            ValueError: the record holds no measurement.
        """
        if record.seconds is None:
            raise ValueError(f"{case.id} was not measured")
        if not all(is_seconds(value) for value in (record.seconds, *record.rounds)):
            raise LatentcyError(
                found=f"rounds of {case.id} that took {record.rounds} s",
                expected="times above zero, all of them numbers",
                do="record it again; where it stays so, this machine's clock is broken",
            )
        run = StoredRun(
            recorded=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=record.seconds,
            rounds=record.rounds,
            yardstick_seconds=yardstick_seconds if is_seconds(yardstick_seconds) else None,
            peak_bytes=record.peak_bytes or None,
            versions=self.versions,
            counters=record.counters,
        )
        unread = None
        try:
            before = self._read(case)
        except LatentcyError as error:
            before, unread = None, error.found
        recorded = add_run(
            before, run, case=case.id, fingerprint=self.fingerprint(case, record.paired_with)
        )
        write_baseline(self._path(case), recorded.baseline)
        return replace(recorded, anew=unread) if unread else recorded

    def fingerprint(self, case: Case, paired_with: str | None) -> dict[str, str]:
        """What is measured on what and how, for comparing with stored runs."""
        if case.id not in self._weights:
            self._weights[case.id] = self._identify(self._model, case.variant)
        return fingerprint(
            device=self._device,
            model=self._model,
            workload=case.workload,
            weights=self._weights[case.id],
            timing=f"in pairs with {paired_with}" if paired_with else "alone",
        )

    def _read(self, case: Case) -> StoredBaseline | None:
        path = self._path(case)
        found = read_baseline(path)
        if found is not None and found.case != case.id:
            raise LatentcyError(
                found=f"the baseline {path} is of the case {found.case}",
                expected=f"one of {case.id}",
                do="put the file back in its place, or delete it and record it again with "
                "--benchmark-record",
            )
        return found

    def _path(self, case: Case) -> Path:
        return baseline_path(
            self._settings.baselines,
            self._device.slug,
            self._model.name,
            case.variant.group,
            case.variant.name,
        )
