"""Finds in the stream of events the accesses that memory does not allow, or that leave their shared variable."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from softgpu.checks.compiled import compiled
from softgpu.events import EventFlag, EventKind
from softgpu.trace import Space

_ATOMIC, _INVALID, _SHARED = int(EventKind.ATOMIC), int(EventFlag.INVALID), int(Space.SHARED)


@compiled
def find(events: NDArray, bounds: NDArray[np.int64], compares: bool, found: NDArray[np.int64]) -> int:
    """Write the positions of such events to `found`. Returns how many there are.

    `bounds` has for each instruction where its variable begins and ends; an end of -1 stands for none. Unless it
    `compares` with them, only what is INVALID is found.
    """
    count = 0
    for position in range(len(events)):
        event = events[position]
        if event.kind > _ATOMIC:
            continue
        outside = event.flags & _INVALID != 0
        if compares and event.space == _SHARED and bounds[event.pc, 1] >= 0:
            address = np.int64(event.address)
            outside |= address < bounds[event.pc, 0] or address + event.nbytes > bounds[event.pc, 1]
        if outside:
            found[count] = position
            count += 1
    return count
