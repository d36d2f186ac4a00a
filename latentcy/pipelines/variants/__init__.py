"""Variants: what one is, those that are built in, and choosing among them."""

from latentcy.pipelines.variants.published import BUILTIN
from latentcy.pipelines.variants.requirements import DEVICE_KINDS, Needs
from latentcy.pipelines.variants.selection import load_variants, merge, select, with_references
from latentcy.pipelines.variants.stack import STACK
from latentcy.pipelines.variants.variant import DTYPES, GROUP_WORKLOADS, Quality, Tolerance, Variant

EVERY = (*BUILTIN, *STACK)  # BUILTIN runs where none is named, STACK where it is asked for

__all__ = [
    "BUILTIN",
    "DEVICE_KINDS",
    "DTYPES",
    "EVERY",
    "GROUP_WORKLOADS",
    "STACK",
    "Needs",
    "Quality",
    "Tolerance",
    "Variant",
    "load_variants",
    "merge",
    "select",
    "with_references",
]
