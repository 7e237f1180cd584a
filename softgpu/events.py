"""The stream of events of a running kernel, as the checks read it: one row for each access and each synchronisation.

Both engines write the same rows. Rows of one thread are in its program order, and a barrier's rows stand between what
came before and what comes after it; how the rows of different threads interleave is up to the engine, so a check must
not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum, IntFlag

import numpy as np
from numpy.typing import NDArray

EVENT = np.dtype(
    [
        ("kind", np.uint8),
        ("space", np.uint8),
        ("nbytes", np.uint8),
        ("flags", np.uint8),
        ("pc", np.int32),
        ("lane", np.int32),
        ("detail", np.int32),
        ("address", np.uint64),
        ("value", np.uint64),
    ]
)
"""One event, 32 bytes.

- `kind`, `space`, `flags`: EventKind, Space (of softgpu.trace), EventFlag
- `pc`: index of the instruction in its kernel
- `lane`: index of the thread in the chunk of blocks that runs; its block is `chunk.first_block + lane //
  threads_per_block`
- `address`, `nbytes`, `value`: of an access: where (a device address; for shared and local memory the offset in that
  of the block or thread), how many bytes (1 to 8; a vector access has one row an element), and the bits loaded or
  stored, for an atomic those it left
- `detail`: see EventKind
"""


class EventKind(IntEnum):
    """What happened."""

    LOAD = 0
    STORE = 1
    ATOMIC = 2
    """Also mbarrier operations: an arrival as a RELEASE and a successful wait as an ACQUIRE at the mbarrier."""
    COPY_DONE = 3
    """The asynchronous store of these bytes (see EventFlag.ASYNC) has become visible to `lane`, which waited for it."""
    FENCE = 4
    """`detail` is the scope: 0 block, 1 GPU, 2 system."""
    ARRIVE = 5
    """A thread arrives at barrier `detail`; the low 32 bits of `value` are the thread count it names, 0 for the whole
    block. Where not all rows are written, one stands for all lanes of a warp at the instruction: above, their mask."""
    OPEN = 6
    """Barrier `detail` opens for those who arrived: `lane` is the block's first, `value` how many had exited before."""
    WARP = 7
    """Lanes of a warp met at a warp-level instruction: `lane` is the warp's first, `value` the mask of those there."""
    EXIT = 8
    """Where not all rows are written, `value` has a mask above 32 bits as that of ARRIVE has."""
    NOT_IN_MASK = 9
    """A thread executed a warp-level instruction whose member mask `value` does not name it."""
    MEMBER_EXITED = 10
    """A warp-level instruction went on without the lanes `value` of its member mask, because they had exited."""
    ABSENT_SOURCE = 11
    """A shuffle read from lane `detail`, which took no part: the result is undefined."""
    BARRIER = 12
    """All threads of a block arrived at barrier `detail`, each warp at one instruction, and it opened; nobody had
    exited. Stands for the rows ARRIVE and OPEN where not all rows are written."""
    UNWRITTEN = 13
    """A load or atomic of bytes that nothing had written, where not all rows are written."""


class EventFlag(IntFlag):
    """What a row says besides."""

    STRONG = 1
    """A volatile, relaxed, acquire or release access: it races with no other strong access."""
    ACQUIRE = 2
    RELEASE = 4
    """Ordering of an access or fence; a fence of `acq_rel` or `sc` has both."""
    ASYNC = 8
    """A store that cp.async makes: not visible, not even to its own thread, before its COPY_DONE."""
    INVALID = 16
    """Out of bounds or misaligned: nothing was read or written."""
    WAITS = 32
    """ARRIVE: the thread waits; without it, it only arrives (`barrier.arrive`)."""
    MEMORY = 64
    """WARP: orders memory among the lanes, as `bar.warp.sync` does; a shuffle or vote does not."""
    ALIGNED = 128
    """ARRIVE, WARP: all threads of the warp must execute it together (`bar.sync`, `.aligned`)."""


class Rows(IntFlag):
    """Which rows an observer needs. Native code writes no others, where nobody needs ALL of them.

    Then a row says when it happened: by a clock that counts the synchronisations, in `detail` of an access and in
    `address` of a synchronisation. `softgpu.native.filters` says more.
    """

    INVALID = 1
    """Accesses that are INVALID, or that leave the shared variable their address is made from."""
    BARRIERS = 2
    """Synchronisations; BARRIER where it says all, and EXIT only before a synchronisation that misses the thread."""
    UNWRITTEN = 4
    """Rows of kind UNWRITTEN; the engine keeps `Allocation.written`."""
    CONFLICTS = 8
    """Synchronisations, and accesses that may conflict with those of other threads."""
    ALL = 16
    RELEASES = 32
    """Fences and strong accesses as well, by which others may be ordered."""


class ReleasesMatter(Exception):
    """Raised by an observer in `events`, where it gets no RELEASES: they decide whether it has found something. The
    launch begins anew, with them."""


PLAIN = EventFlag(0)
"""An ordinary access, which says nothing besides."""


SPACES = {"global": 0, "shared": 1, "local": 2, "const": 3}
"""Numbers of the state spaces: those of softgpu.trace.Space."""

KINDS = {
    "load": EventKind.LOAD,
    "store": EventKind.STORE,
    "atomic": EventKind.ATOMIC,
    "copy_done": EventKind.COPY_DONE,
}

BATCH = 1 << 14
"""Rows that are handed over at once: half a megabyte, so that all checks find them in the processor's cache."""


class EventLog:
    """Collects the rows of a chunk and hands them to `listeners`, in batches and in order."""

    def __init__(self, listeners: Sequence[Callable[[NDArray], None]]):
        self._listeners = listeners
        self._rows = np.zeros(BATCH, EVENT)
        self._count = 0

    def add(self, kind: EventKind, pc: int, lanes: NDArray, **columns: NDArray | int) -> None:
        """One row for each of the lanes; columns that are not given are 0."""
        done = 0
        while done < len(lanes):
            taken = min(len(lanes) - done, BATCH - self._count)
            rows = self._rows[self._count : self._count + taken]
            rows[:] = 0
            rows["kind"], rows["pc"] = kind, pc
            rows["lane"] = lanes[done : done + taken]
            for name, values in columns.items():
                rows[name] = values[done : done + taken] if isinstance(values, np.ndarray) else values
            self._count += taken
            done += taken
            if self._count == BATCH:
                self.flush()

    def flush(self) -> None:
        rows, self._count = self._rows[: self._count], 0
        if len(rows):
            for listener in self._listeners:
                listener(rows)
