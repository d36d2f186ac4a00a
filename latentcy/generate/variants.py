"""The old place of `latentcy.pipelines.variants`, for one release."""

import warnings

from latentcy.pipelines.variants import *  # noqa: F403

warnings.warn(
    "latentcy.generate.variants is now latentcy: from latentcy import Variant, Quality, Tolerance",
    DeprecationWarning,
    stacklevel=2,
)
