"""Numbers in a row, as a caller has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

Numbers: TypeAlias = Sequence[float] | np.ndarray
