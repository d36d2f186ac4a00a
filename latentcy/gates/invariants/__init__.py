"""Invariants: what must hold of a case with no reference to compare it with."""
