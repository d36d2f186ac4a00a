"""A case: model x variant x workload."""

from __future__ import annotations

from dataclasses import dataclass

from latentcy.pipelines.variants import Variant
from latentcy.pipelines.workload import Workload


@dataclass(frozen=True)
class Case:
    """Model x variant x workload; `id` is stable, because history hangs on it."""

    id: str
    variant: Variant
    workload: Workload

    @property
    def label(self) -> str:
        """The id without the model: "precision-fp16"."""
        return f"{self.variant.group}-{self.variant.name}"
