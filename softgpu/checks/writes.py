"""Follows which bytes have been written, and finds reads of others in the stream of events."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgpu.checks.compiled import compiled
from softgpu.checks.shadow import find_region
from softgpu.events import EventFlag, EventKind, Rows
from softgpu.machine import Launch
from softgpu.trace import Space

# Columns of what was found, one row an instruction.
COUNT, ADDRESS, THREAD, NBYTES, SPACE = range(5)

_LOAD, _STORE, _ATOMIC, _COPY_DONE = (
    int(kind) for kind in (EventKind.LOAD, EventKind.STORE, EventKind.ATOMIC, EventKind.COPY_DONE)
)
_UNWRITTEN = int(EventKind.UNWRITTEN)
_ASYNC, _INVALID = int(EventFlag.ASYNC), int(EventFlag.INVALID)
_GLOBAL, _SHARED, _LOCAL = int(Space.GLOBAL), int(Space.SHARED), int(Space.LOCAL)


class Written(NamedTuple):
    """One byte for each byte of memory: whether something has written it."""

    regions: NDArray[np.uint64]
    """The allocations that are not written throughout: base, end, and where they begin in `memory`."""
    memory: NDArray[np.uint8]
    shared: NDArray[np.uint8]
    shared_bytes: int
    local: NDArray[np.uint8]
    local_bytes: int
    threads_per_block: int
    first_block: int
    found: NDArray[np.int64]


def begin_launch(launch: Launch) -> Written:
    """What has been written before a launch."""
    partly = [one for one in launch.memory.allocations if one.written is not None]
    regions = np.zeros((len(partly), 3), np.uint64)
    start = 0
    for row, allocation in zip(regions, partly, strict=True):
        row[:] = allocation.base, allocation.end, start
        start += allocation.nbytes
    is_own = Rows.ALL in launch.rows  # or the engine follows Allocation.written
    masks = [allocation.written for allocation in partly if is_own and allocation.written is not None]
    nothing = np.zeros(0, np.uint8)
    return Written(
        regions=regions,
        memory=np.concatenate([nothing, *masks]),
        shared=nothing,
        shared_bytes=0,
        local=nothing,
        local_bytes=0,
        threads_per_block=launch.threads_per_block,
        first_block=0,
        found=np.zeros((len(launch.program.operations), 5), np.int64),
    )


def begin_chunk(written: Written, launch: Launch) -> Written:
    """The shared and local memory of the blocks and threads of a chunk is new."""
    chunk = launch.chunk
    if Rows.ALL not in launch.rows:
        return written._replace(first_block=chunk.first_block)
    return written._replace(
        shared=np.zeros(chunk.block_count * chunk.shared.size, np.uint8),
        shared_bytes=chunk.shared.size,
        local=np.zeros(chunk.size * chunk.local.size, np.uint8),
        local_bytes=chunk.local.size,
        first_block=chunk.first_block,
    )


def end_launch(written: Written, launch: Launch) -> None:
    """Keep for later launches what this one has written to global memory."""
    for base, end, start in written.regions.tolist() if Rows.ALL in launch.rows else ():
        allocation = launch.memory.find(base)
        if allocation is not None and allocation.written is not None:
            allocation.written = written.memory[start : start + end - base].copy()


@compiled
def collect(written: Written, events: NDArray) -> None:
    """Take in a batch of events in which the engine says what is read unwritten."""
    for position in range(len(events)):
        event = events[position]
        if event.kind == _UNWRITTEN:
            thread = written.first_block * written.threads_per_block + np.int64(event.lane)
            address, nbytes = np.int64(event.address), np.int64(event.nbytes)
            _count(written.found[event.pc], address, thread, nbytes, event.space)


@compiled
def follow(written: Written, events: NDArray) -> None:
    """Take in a batch of events."""
    regions, per_block = written.regions, written.threads_per_block
    region_base, region_end, region_start = np.uint64(1), np.uint64(0), np.int64(0)
    for position in range(len(events)):
        event = events[position]
        kind, space = event.kind, event.space
        if kind > _COPY_DONE or event.flags & _INVALID or (kind == _STORE and event.flags & _ASYNC):
            continue
        lane, nbytes = np.int64(event.lane), np.int64(event.nbytes)
        if space == _GLOBAL:
            if len(regions) == 0:
                continue
            if not region_base <= event.address < region_end:
                region = find_region(regions, event.address)
                if region < 0:
                    continue
                region_base, region_end = regions[region, 0], regions[region, 1]
                region_start = np.int64(regions[region, 2])
            cells, first = written.memory, region_start + np.int64(event.address - region_base)
        elif space == _SHARED:
            cells, first = written.shared, lane // per_block * written.shared_bytes + np.int64(event.address)
        elif space == _LOCAL:
            cells, first = written.local, lane * written.local_bytes + np.int64(event.address)
        else:
            continue
        if kind in (_LOAD, _ATOMIC):
            for byte in range(first, first + nbytes):
                if cells[byte] == 0:
                    thread = written.first_block * per_block + lane
                    _count(written.found[event.pc], np.int64(event.address), thread, nbytes, space)
                    break
        if kind != _LOAD:
            for byte in range(first, first + nbytes):
                cells[byte] = 1


@compiled
def _count(row, address, thread, nbytes, space):
    if row[COUNT] == 0 or (address, thread) < (row[ADDRESS], row[THREAD]):
        row[ADDRESS], row[THREAD], row[NBYTES], row[SPACE] = address, thread, nbytes, space
    row[COUNT] += 1
