"""Inner products of 8-bit integers: exact, the same on every machine, and fast on each.

By NumKong, which has kernels for AVX2, AVX-512, VNNI, AMX, and for Arm with and without dot products, in one wheel, and
chooses among them by the CPU. It lets other threads run meanwhile, and has none of its own.
"""

from __future__ import annotations

import numkong
import numpy as np
from numpy.typing import NDArray

from .scalar import Codes

COLUMNS_AT_ONCE = 4  # by the kernel for AVX2; what is left over takes as long as eight


def dot_products(left: Codes, right: Codes) -> NDArray[np.int32]:
    """Return the inner products of all rows: ``(a, dim)``, ``(b, dim)`` → ``(a, b)`` int32.

    `right` is copied on the way and `left` is not, so the many belong on the left. Products are exact to dimension
    131,071.

    Examples
    --------
    >>> dot_products(np.array([[1, 2], [-3, 4]], np.int8), np.array([[5, 6]], np.int8)).tolist()
    [[17], [9]]
    """
    columns = len(right)
    if missing := -columns % COLUMNS_AT_ONCE:
        right = np.concatenate([right, np.zeros((missing, right.shape[1]), np.int8)])
    return np.asarray(numkong.dots_packed(left, numkong.dots_pack(right)))[:, :columns]
