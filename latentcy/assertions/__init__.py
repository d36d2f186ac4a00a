"""Assertions for one's own tests: on images, on speed, on repeatability; with or without pytest."""

from latentcy.assertions.determinism import assert_deterministic
from latentcy.assertions.images import assert_not_black, assert_same_images
from latentcy.assertions.speed import assert_no_slower

__all__ = ["assert_deterministic", "assert_no_slower", "assert_not_black", "assert_same_images"]
