"""The recorder: what is known of each case so far, on disk as soon as it is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from latentcy.core.record import Record
from latentcy.core.verdict import INCONCLUSIVE, Verdict
from latentcy.pipelines.case import Case
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.families import STABLE_DIFFUSION
from latentcy.pipelines.models.catalog import Model
from latentcy.store.published_tables import published
from latentcy.store.results import Results


class Recorder:
    """The records of a run's cases, written to `results` after every change."""

    def __init__(
        self,
        *,
        model: Model,
        device: Device,
        environment: Mapping[str, str],
        results: Results,
        reason: str,
        cases: Sequence[Case],
    ) -> None:
        self._model, self._device, self._environment = model, device, environment
        self._results, self._reason = results, reason
        self._order = tuple(case.id for case in cases)
        self._records: dict[str, Record] = {}

    @property
    def records(self) -> tuple[Record, ...]:
        """The records so far, in the order of the cases."""
        return tuple(self._records[one] for one in self._order if one in self._records)

    def record_of(self, case: Case) -> Record:
        """The case's record; an empty one where nothing is known."""
        return self._records.get(case.id) or self._empty(case)

    def update(self, case: Case, **changed: object) -> Record:
        """Changes fields of the case's record."""
        self._records[case.id] = replace(self.record_of(case), **changed)  # type: ignore[arg-type]
        self._results.write(self._reason, self._environment, self.records)
        return self._records[case.id]

    def adopt(self, record: Record) -> None:
        """Takes a record that another process has made as the case's own."""
        self._records[record.case] = record
        self._results.write(self._reason, self._environment, self.records)

    def end(self, interrupted: str) -> None:
        """Writes how far the run came, where it did not come to its end; "" where it did."""
        self._results.end(interrupted)
        if self._records:
            self._results.write(self._reason, self._environment, self.records)

    def add_verdict(self, case: Case, verdict: Verdict) -> Verdict:
        """Adds a verdict, in place of an earlier one of the same gate; returns it."""
        others = tuple(one for one in self.record_of(case).verdicts if one.gate != verdict.gate)
        self.update(case, verdicts=(*others, verdict))
        return verdict

    def leave_open(self, case: Case, gate: str, reason: str) -> Verdict:
        """Adds the verdict that nothing could be held against the case."""
        return self.add_verdict(case, Verdict(gate, INCONCLUSIVE, reason))

    def _empty(self, case: Case) -> Record:
        # The published page is of Stable Diffusion 1.x, and says nothing of another family.
        of_the_page = self._model.family is STABLE_DIFFUSION
        variant = case.variant
        row = published(None, variant.group, variant.name) if of_the_page else None
        return Record(
            case=case.id,
            model=self._model.name,
            group=case.variant.group,
            variant=case.variant.name,
            changes=case.variant.changes,
            device=self._device.name,
            published_seconds=row.seconds if row else None,
            published_speedup=row.speedup if row else None,
            control=case.variant.control,
            environment=self._environment,
        )
