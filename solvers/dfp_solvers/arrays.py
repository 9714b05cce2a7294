"""Types of arrays, by what they hold; shapes are in docstrings."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Complex = NDArray[np.complex128]
Integers = NDArray[np.int64]
