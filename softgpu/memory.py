"""The memories of a GPU: a global address space made of allocations, and scratch memory per block or thread.

An access is resolved in two steps. `locate` checks the addresses of all lanes and says where the words lie;
the caller then gathers from or scatters to those words. A store in which several lanes hit the same word
keeps the value of the last lane, so results are the same in every run.
"""

from __future__ import annotations

import bisect
import ctypes
import itertools
import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SHARED_WINDOW = 1 << 56
LOCAL_WINDOW = 2 << 56
PARAMETER_WINDOW = 3 << 56
WINDOWS = {"shared": SHARED_WINDOW, "local": LOCAL_WINDOW, "param": PARAMETER_WINDOW}
"""Where these memories appear among generic addresses: above every host pointer and allocation."""
WINDOW_SHIFT = np.uint64(56)

ALIGNMENT = 256
GUARD_BYTES = 4096
FIRST_ADDRESS = 1 << 36
LAST_ADDRESS = 1 << 44
"""Allocations of softgpu's own lie here, below the programs and heaps of every 64-bit Linux process."""
POISON = 0xFF
"""Fills scratch memory that nothing has written: as a float it is NaN."""


class InvalidAccess(Exception):
    """Accesses at these `positions` of the addresses given are not allowed; `reason` is that of the first."""

    def __init__(self, positions: NDArray[np.intp], reason: str):
        super().__init__(reason)
        self.positions = positions
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Words:
    """Where accessed words lie: word `index[i]` of `array` belongs to the access at `positions[i]`."""

    array: NDArray
    index: NDArray
    positions: slice | NDArray


_EVERY = slice(None)


def check_alignment(addresses: NDArray, nbytes: int) -> None:
    """Raises InvalidAccess at the first address that is not a multiple of the access size."""
    misaligned = addresses & np.uint64(nbytes - 1)
    if misaligned.any():
        raise InvalidAccess(
            np.flatnonzero(misaligned),
            f"the address is misaligned: it must be a multiple of {nbytes}",
        )


@dataclass(eq=False, slots=True)
class Allocation:
    """`data` is the memory itself as a uint8 array; byte i has the address `base` + i.

    `written` says of each byte whether anything has written it (uint8, 0 or 1); None stands for all of them.
    """

    base: int
    data: NDArray[np.uint8]
    name: str
    freed: bool = False
    written: NDArray[np.uint8] | None = None
    _views: dict[int, NDArray] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return len(self.data)

    @property
    def end(self) -> int:
        return self.base + len(self.data)

    def words(self, nbytes: int) -> NDArray:
        """The memory as unsigned words at the addresses that are multiples of `nbytes`."""
        if nbytes not in self._views:
            skipped = -self.base % nbytes
            whole = max(len(self.data) - skipped, 0) // nbytes * nbytes
            self._views[nbytes] = self.data[skipped : skipped + whole].view(f"u{nbytes}")
        return self._views[nbytes]

    def __str__(self) -> str:
        return f"{self.name} ({self.nbytes} bytes at {self.base:#x})"


class Memory:
    """The global address space of a device. Allocations never overlap."""

    def __init__(self) -> None:
        self._allocations: list[Allocation] = []
        self._bases: list[int] = []
        self._freed: deque[Allocation] = deque(maxlen=256)
        self._changes = threading.RLock()  # Threads of Python may launch at the same time.
        self.launch_numbers = itertools.count(1)  # of the launches that use this memory

    @property
    def allocations(self) -> tuple[Allocation, ...]:
        """All live allocations, by address."""
        return tuple(self._allocations)

    def allocate(self, source: NDArray | int, name: str) -> Allocation:
        """Give memory an address of softgpu's own choosing, with unused guard space before and after it.

        `source` is a C-contiguous array, which is used in place, or a number of bytes, which nothing has written yet.
        """
        is_new = isinstance(source, int)
        data = np.zeros(source, np.uint8) if isinstance(source, int) else source.reshape(-1).view(np.uint8)
        written = np.zeros(len(data), np.uint8) if is_new else None
        with self._changes:
            before = bisect.bisect_left(self._bases, LAST_ADDRESS) - 1
            start = max(self._allocations[before].end + GUARD_BYTES, FIRST_ADDRESS) if before >= 0 else FIRST_ADDRESS
            return self._insert(Allocation(-(-start // ALIGNMENT) * ALIGNMENT, data, name, written=written))

    def adopt(
        self, address: int, nbytes: int, name: str = "", storage: int | None = None, written: bool = True
    ) -> Allocation:
        """Use memory that somebody else gave out at an address. The bytes themselves are host memory at `storage`,
        which is the address itself if it is None. The caller keeps them alive until `free`. With `written` false,
        nothing has written them yet: `host_wrote` says when the host does."""
        storage = address if storage is None else storage
        data = (
            np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(storage)) if nbytes else np.zeros(0, np.uint8)
        )
        # Pages of zeros are taken from the system only when they are used.
        mask = None if written else np.zeros(nbytes, np.uint8)
        return self._insert(Allocation(address, data, name or "an unnamed buffer", written=mask))

    def host_wrote(self, address: int, nbytes: int) -> None:
        """The host has written these bytes: by a copy or a memset."""
        allocation = self.find(address)
        if allocation is not None and allocation.written is not None:
            start = address - allocation.base
            allocation.written[start : start + nbytes] = 1

    def assume_written(self) -> None:
        """Count all that is allocated as written: a kernel has run whose stores nobody followed."""
        for allocation in self._allocations:
            allocation.written = None

    def free(self, address: int) -> None:
        """Remove the allocation that begins at `address`. Raises KeyError where none does."""
        with self._changes:
            position = bisect.bisect_left(self._bases, address)
            if position == len(self._bases) or self._bases[position] != address:
                raise KeyError(f"no allocation begins at {address:#x}")
            allocation = self._allocations.pop(position)
            del self._bases[position]
            allocation.freed = True
            self._freed.append(allocation)

    def find(self, address: int) -> Allocation | None:
        """The live allocation that contains an address."""
        position = bisect.bisect_right(self._bases, address) - 1
        if position >= 0 and address < self._allocations[position].end:
            return self._allocations[position]
        return None

    def freed_at(self, address: int) -> Allocation | None:
        """The allocation that contained an address before it was freed, if it is still remembered."""
        for freed in reversed(self._freed):
            if freed.base <= address < freed.end:
                return freed
        return None

    def nearest(self, address: int) -> Allocation | None:
        """The live allocation nearest to an address."""

        def distance(allocation: Allocation) -> int:
            return max(allocation.base - address, address - allocation.end + 1, 0)

        return min(self._allocations, key=distance, default=None)

    def _insert(self, allocation: Allocation) -> Allocation:
        with self._changes:
            return self._insert_alone(allocation)

    def _insert_alone(self, allocation: Allocation) -> Allocation:
        position = bisect.bisect_right(self._bases, allocation.base)
        neighbours = self._allocations[max(position - 1, 0) : position + 1]
        for other in neighbours:
            if allocation.base < max(other.end, other.base + 1) and other.base < max(
                allocation.end, allocation.base + 1
            ):
                raise ValueError(f"{allocation} overlaps {other}")
        # What was freed there before is no longer what an address near it is told apart by.
        for freed in [one for one in self._freed if one.base < allocation.end and allocation.base < one.end]:
            self._freed.remove(freed)
        self._allocations.insert(position, allocation)
        self._bases.insert(position, allocation.base)
        return allocation

    def locate(self, addresses: NDArray, word_bytes: int, nbytes: int) -> list[Words]:
        """Resolve accesses of `nbytes` each, as words of `word_bytes`. Raises InvalidAccess.

        `addresses` is a non-empty uint64 array.
        """
        check_alignment(addresses, nbytes)
        low, high = int(addresses.min()), int(addresses.max())
        allocation = self.find(low)
        if allocation is not None and high + nbytes <= allocation.end:
            return [self._words(allocation, addresses, word_bytes, _EVERY)]
        return self._locate_scattered(addresses, word_bytes, nbytes)

    def _locate_scattered(self, addresses: NDArray, word_bytes: int, nbytes: int) -> list[Words]:
        bases = np.array(self._bases, np.uint64)
        owner = np.searchsorted(bases, addresses, side="right") - 1
        ends = np.array([allocation.end for allocation in self._allocations], np.uint64)
        # Compared as a distance from the end, because address + nbytes may wrap around.
        inside = owner >= 0
        if inside.any():
            end = ends[owner]
            inside &= (addresses < end) & (end - addresses >= np.uint64(nbytes))
        if not inside.all():
            outside = np.flatnonzero(~inside)
            raise InvalidAccess(outside, self._explain(int(addresses[outside[0]]), nbytes))
        located = []
        for number in np.unique(owner):
            positions = np.flatnonzero(owner == number)
            allocation = self._allocations[number]
            located.append(self._words(allocation, addresses[positions], word_bytes, positions))
        return located

    @staticmethod
    def _words(allocation: Allocation, addresses: NDArray, word_bytes: int, positions: slice | NDArray) -> Words:
        first = allocation.base + -allocation.base % word_bytes
        index = (addresses - np.uint64(first)).view(np.int64) >> (word_bytes.bit_length() - 1)
        return Words(allocation.words(word_bytes), index, positions)

    def _explain(self, address: int, nbytes: int) -> str:
        """Why an address is outside: how far from which allocation."""
        if address == 0:
            return "the address is null"
        freed = self.freed_at(address)
        if freed is not None:
            return f"it is inside {freed}, which was freed"
        nearest = self.nearest(address)
        if nearest is None:
            return "there are no allocations"
        if address < nearest.base:
            return f"it is {_bytes(nearest.base - address)} before {nearest}"
        if address < nearest.end:
            return f"it reaches {_bytes(address + nbytes - nearest.end)} past the end of {nearest}"
        return f"it is {_bytes(address - nearest.end + 1)} after {nearest}"


class ScratchMemory:
    """Shared, local or parameter memory: `owners` copies of `size` bytes each, addressed from 0."""

    def __init__(self, owners: int, size: int, description: str):
        self.size = size
        self.stride = -(-size // 16) * 16
        self.data = np.full(owners * self.stride, POISON, np.uint8)
        self.description = description

    def locate(self, addresses: NDArray, owners: NDArray | int, word_bytes: int, nbytes: int) -> Words:
        """Resolve accesses of `nbytes` each in the copies of their `owners`. Raises InvalidAccess."""
        check_alignment(addresses, nbytes)
        if int(addresses.max()) + nbytes > self.size:
            outside = (addresses >= self.size) | (np.uint64(self.size) - addresses < np.uint64(nbytes))
            positions = np.flatnonzero(outside)
            beyond = int(addresses[positions[0]]) + nbytes - self.size
            raise InvalidAccess(
                positions,
                f"it reaches {_bytes(beyond)} past the end of the {self.size} bytes of {self.description}",
            )
        index = (addresses.astype(np.int64) + owners * self.stride) >> (word_bytes.bit_length() - 1)
        return Words(self.data.view(f"u{word_bytes}"), index, _EVERY)


def _bytes(count: int) -> str:
    return f"{count} byte{'s' if count != 1 else ''}"
