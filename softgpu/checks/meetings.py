"""Follows who arrives at which barrier, and finds in the stream of events what synccheck reports."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgpu.checks.compiled import compiled, inlined
from softgpu.events import EventFlag, EventKind
from softgpu.machine import WARP_SIZE, Launch

BARRIERS = 17  # with that of the cluster
REPORTED = -1

# What is found, and the columns that say it.
EXITED_BEFORE_BARRIER, SPLIT_WARP, NOT_IN_OWN_MASK, MEMBER_HAD_EXITED, SHUFFLE_FROM_ABSENT = range(5)
KIND, PC, OTHER, COUNT, THREAD, FIRST, SECOND = range(7)
FOUND = 0
MOST_FOUND = 1024

_ARRIVE, _OPEN, _EXIT = int(EventKind.ARRIVE), int(EventKind.OPEN), int(EventKind.EXIT)
_NOT_IN_MASK, _MEMBER_EXITED = int(EventKind.NOT_IN_MASK), int(EventKind.MEMBER_EXITED)
_ABSENT_SOURCE, _FENCE = int(EventKind.ABSENT_SOURCE), int(EventKind.FENCE)
_ALIGNED = int(EventFlag.ALIGNED)


class Meetings(NamedTuple):
    """Who has arrived and who has exited, by blocks and warps of the chunk."""

    threads_per_block: int
    warps_per_block: int
    first_block: int
    counters: NDArray[np.int64]
    found: NDArray[np.int64]
    arrived: NDArray[np.uint32]
    """Per block, barrier and warp: the lanes that have arrived since the barrier last opened."""
    arrived_at: NDArray[np.int32]
    """Where the last of them did; REPORTED where they did so at several places."""
    threads_asked: NDArray[np.int64]
    """Per block and barrier: the thread count that they name, 0 for all threads."""
    exited: NDArray[np.uint32]
    exited_at: NDArray[np.int32]
    """Per lane: where it exited."""


def begin_launch(launch: Launch) -> Meetings:
    """Nothing found yet."""
    return Meetings(
        threads_per_block=launch.threads_per_block,
        warps_per_block=-(-launch.threads_per_block // WARP_SIZE),
        first_block=0,
        counters=np.zeros(1, np.int64),
        found=np.zeros((MOST_FOUND, 7), np.int64),
        arrived=np.zeros((0, BARRIERS, 0), np.uint32),
        arrived_at=np.zeros((0, BARRIERS, 0), np.int32),
        threads_asked=np.zeros((0, BARRIERS), np.int64),
        exited=np.zeros((0, 0), np.uint32),
        exited_at=np.zeros(0, np.int32),
    )


def begin_chunk(meetings: Meetings, launch: Launch) -> Meetings:
    """Nobody has arrived or exited."""
    blocks, warps = launch.chunk.block_count, meetings.warps_per_block
    return meetings._replace(
        first_block=launch.chunk.first_block,
        arrived=np.zeros((blocks, BARRIERS, warps), np.uint32),
        arrived_at=np.zeros((blocks, BARRIERS, warps), np.int32),
        threads_asked=np.zeros((blocks, BARRIERS), np.int64),
        exited=np.zeros((blocks, warps), np.uint32),
        exited_at=np.zeros(blocks * launch.threads_per_block, np.int32),
    )


@compiled
def follow(meetings: Meetings, events: NDArray) -> None:
    """Take in a batch of events."""
    for position in range(len(events)):
        kind = events[position].kind
        if kind <= _FENCE:
            continue
        event = events[position]
        lane = np.int64(event.lane)
        block = lane // meetings.threads_per_block
        index = lane - block * meetings.threads_per_block
        thread = meetings.first_block * meetings.threads_per_block + lane
        if kind == _EXIT:
            lanes = _lanes(event, index)
            meetings.exited[block, index // WARP_SIZE] |= lanes
            for other in range(index % WARP_SIZE, WARP_SIZE):
                if lanes >> np.uint32(other) & np.uint32(1):
                    meetings.exited_at[lane - index % WARP_SIZE + other] = event.pc
        elif kind == _ARRIVE:
            _arrive(meetings, event, block, index, thread)
        elif kind == _OPEN:
            _open(meetings, event, block)
        elif kind == _NOT_IN_MASK:
            _find(meetings, NOT_IN_OWN_MASK, event.pc, 0, thread, np.int64(event.value), 0)
        elif kind == _MEMBER_EXITED:
            _find(meetings, MEMBER_HAD_EXITED, event.pc, 0, thread, np.int64(event.value), 0)
        elif kind == _ABSENT_SOURCE:
            _find(meetings, SHUFFLE_FROM_ABSENT, event.pc, 0, thread, np.int64(event.detail), 0)


@inlined
def _lanes(event, index):
    """The lanes of a warp that a row speaks of, which is of the thread `index` of its block."""
    lanes = np.uint32(event.value >> np.uint64(32))
    return lanes if lanes else np.uint32(1) << np.uint32(index % WARP_SIZE)


@inlined
def _arrive(meetings, event, block, index, thread):
    warp = index // WARP_SIZE
    arrived = meetings.arrived[block, event.detail]
    arrived_at = meetings.arrived_at[block, event.detail]
    before = arrived_at[warp] if arrived[warp] else event.pc
    if before != event.pc and before != REPORTED and event.flags & _ALIGNED:
        low, high = min(before, event.pc), max(before, event.pc)
        if before == low:
            thread += warp * WARP_SIZE + _lowest(arrived[warp]) - index
        _find(meetings, SPLIT_WARP, low, high, thread, 0, 0)
        arrived_at[warp] = REPORTED
    elif before != REPORTED:
        arrived_at[warp] = event.pc
    arrived[warp] |= _lanes(event, index)
    meetings.threads_asked[block, event.detail] = np.int64(event.value & np.uint64(0xFFFFFFFF))


@compiled
def _open(meetings, event, block):
    """A barrier of all threads misses those that have exited; one of some threads, those of its own warps."""
    arrived = meetings.arrived[block, event.detail]
    if event.value > 0:
        everyone = meetings.threads_asked[block, event.detail] == 0
        executed, missing, first_missing = 0, 0, -1
        for warp in range(meetings.warps_per_block):
            executed += _bits(arrived[warp])
            gone = meetings.exited[block, warp] & ~arrived[warp]
            if gone and (everyone or arrived[warp]):
                missing += _bits(gone)
                if first_missing < 0:
                    first_missing = warp * WARP_SIZE + _lowest(gone)
        if missing:
            lane = block * meetings.threads_per_block + first_missing
            thread = meetings.first_block * meetings.threads_per_block + lane
            total = executed + missing
            _find(meetings, EXITED_BEFORE_BARRIER, event.pc, meetings.exited_at[lane], thread, executed, total)
    arrived[:] = 0


@compiled
def _find(meetings, kind, pc, other, thread, first, second):
    """Count something found; the first thread of the launch is shown."""
    found = meetings.found
    for number in range(meetings.counters[FOUND]):
        row = found[number]
        if row[KIND] == kind and row[PC] == pc and row[OTHER] == other:
            row[COUNT] += 1
            if thread < row[THREAD]:
                row[THREAD], row[FIRST], row[SECOND] = thread, first, second
            return
    if meetings.counters[FOUND] < len(found):
        row = found[meetings.counters[FOUND]]
        row[KIND], row[PC], row[OTHER], row[COUNT] = kind, pc, other, 1
        row[THREAD], row[FIRST], row[SECOND] = thread, first, second
        meetings.counters[FOUND] += 1


@compiled
def _bits(mask):
    count = 0
    while mask:
        mask &= mask - np.uint32(1)
        count += 1
    return count


@compiled
def _lowest(mask):
    for number in range(WARP_SIZE):
        if mask >> np.uint32(number) & np.uint32(1):
            return number
    return -1
