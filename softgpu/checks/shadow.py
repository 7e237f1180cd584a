"""Where the bytes of global memory are in the checks' own tables, which run beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from softgpu.checks.compiled import compiled
from softgpu.memory import Allocation

BASE, END, FIRST, SHIFT = range(4)


def regions_of(allocations: Sequence[Allocation], shift: int) -> tuple[NDArray[np.uint64], int]:
    """One row an allocation, by address: its base and end, its first cell, and log2 of the bytes of a cell.

    Cells lie on multiples of their size, so that a base that does not begins within its first. Returns the rows, and
    how many cells there are in all.
    """
    rows = np.zeros((len(allocations), 4), np.uint64)
    cells = 0
    for row, allocation in zip(rows, allocations, strict=True):
        row[:] = allocation.base, allocation.end, cells, shift
        cells += cells_in(allocation.base, allocation.end, shift)
    return rows, cells


def cells_in(base: int, end: int, shift: int) -> int:
    """How many cells a region needs: it is followed from a multiple of 8 to a multiple of 8."""
    return (-(-end // 8) - base // 8) * 8 >> shift


@compiled
def find_region(regions: NDArray[np.uint64], address: int) -> int:
    """The number of the region that contains an address, or -1."""
    low, high = 0, len(regions)
    while low < high:
        middle = (low + high) // 2
        if regions[middle, 1] > address:
            high = middle
        else:
            low = middle + 1
    if low < len(regions) and regions[low, 0] <= address:
        return low
    return -1
