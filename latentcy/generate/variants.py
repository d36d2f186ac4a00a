"""Variants: what one is, those that are built in, and choosing among them."""

from latentcy.generate.builtin import BUILTIN
from latentcy.generate.needs import DEVICE_KINDS, Needs
from latentcy.generate.selection import load_variants, merge, select, with_references
from latentcy.generate.stack import STACK
from latentcy.generate.variant import DTYPES, GROUP_WORKLOADS, Quality, Tolerance, Variant

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
