"""What racecheck remembers of memory, laid out so that native code can read and write it as well.

A whole cell is sixteen 32-bit columns, a cache line: the last write, two reads, and how far apart these are
(`softgpu.checks.races`). A short one has four, and one thread. A thread is its number in the launch plus 1; 0 is none.
A site is an instruction and SITE flags. Times are those of the clock that counts synchronisations.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

WRITER, READER, READER_2, QUIET_WARP = 0, 1, 2, 3
WRITE_TIME, READ_TIME, READ_TIME_2, LOUD = 4, 5, 6, 7
WRITE_SITE, READ_SITE, READ_SITE_2, VALUE = 8, 9, 10, 11
APART, MARK = 12, 13
CELL_COLUMNS = 16
TIME, SITE = 4, 8
"""The columns of an access begin at that of its thread; from there to its time, and to its site.

MARK is 1 if rows have been written of accesses to the cell that nobody may have read yet. A further read is no news if
its thread is of QUIET_WARP (in the block), or if LOUD is 0; both are kept by native code.
"""
NO_WARP, IS_LOUD = np.uint32(0xFFFFFFFF), np.uint32(0x7FFFFFFF)

OWNER, OWNER_TIME, OWNER_SITE, OWNER_VALUE = 0, 1, 2, 3
SHORT_COLUMNS = 4
LONG = np.uint32(0xFFFFFFFF)
"""OWNER of a short cell whose whole form is in the pool, at index OWNER_SITE."""
SEVERAL = 0x7FFFFFFF
"""OWNER of a cell that several threads access, all of them strongly, where native code does not tell who. Used where a
launch begins anew when something else happens to the cell (`softgpu.events.ReleasesMatter`)."""
MARKED = 0x80000000
"""Of an OWNER: rows are written of all accesses to this cell from now on."""

SITE_SHIFT = 5
SITE_STRONG, SITE_ASYNC, SITE_NARROW, SITE_ATOMIC, SITE_WRITES = 1, 2, 4, 8, 16

ONE_THREAD, ONE_WARP, ONE_BLOCK, TWO_BLOCKS = 0, 1, 2, 3

_KEPT_BYTES = 1 << 26
_LAST_CLOCK = 1 << 30


@dataclass(slots=True)
class _Buffer:
    """Short cells that launches use one after the other: what an earlier one left is told by its time."""

    short: NDArray[np.uint32]
    clock: int = 0


_kept: list[_Buffer] = []


@dataclass(slots=True)
class Cells:
    """The cells of one launch that native code and racecheck share.

    `regions` are the allocations that have short cells (`softgpu.checks.shadow`); `shared` are whole cells of shared
    memory, shape (blocks at a time, cells, columns), each of 2**`shared_shift` bytes. A block has those at
    `slots[block]`, and began when the clock was `began[block]`. What is older than `start` is of another launch.
    """

    regions: NDArray[np.uint64]
    buffer: _Buffer
    shared: NDArray[np.uint32]
    shared_shift: int
    began: NDArray[np.int64]
    slots: NDArray[np.int64]
    start: int = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.buffer.clock + 1

    def give_back(self, clock: int) -> None:
        """The launch has ended, at this time."""
        self.buffer.clock = clock
        if self.buffer.short.nbytes <= _KEPT_BYTES and clock < _LAST_CLOCK and not _kept:
            _kept.append(self.buffer)


def take_buffer(cells: int) -> _Buffer:
    """Room for so many short cells: that of an earlier launch, or new."""
    try:
        buffer = _kept.pop()
    except IndexError:
        buffer = None
    if buffer is None or len(buffer.short) < cells:
        buffer = _Buffer(np.zeros((cells, SHORT_COLUMNS), np.uint32))
    return buffer
