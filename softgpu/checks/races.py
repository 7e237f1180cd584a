"""Finds races in the stream of events: who accessed each byte last, and whether that is ordered before this access.

Memory is remembered in cells of four bytes, or of one byte in a region where narrower accesses occur. A cell keeps the
last write and two reads: of all reads that a later write could conflict with, two that are as far apart as possible
(in different blocks, else different warps, else different threads), so that a write races with one of them if it races
with any; only a write that synchronises with both, but not with a third, is missed. Every write is compared with the
write before it and with the reads since. As in FastTrack (Flanagan and Freund, 2009), a race is found whichever of its
accesses comes first in the stream.

Most cells of global memory are only ever accessed by one thread. These have a short form of four words, until a second
thread comes. Shared memory always has whole cells, and forgets them at a full barrier.

Native code enters most accesses in the cells itself (`softgpu.native.filters`); then only the others are in the stream.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgpu.checks import ordering
from softgpu.checks.cells import (
    APART,
    CELL_COLUMNS,
    IS_LOUD,
    LONG,
    LOUD,
    MARKED,
    NO_WARP,
    ONE_BLOCK,
    ONE_THREAD,
    ONE_WARP,
    OWNER,
    OWNER_SITE,
    OWNER_TIME,
    OWNER_VALUE,
    QUIET_WARP,
    READ_SITE,
    READ_SITE_2,
    READ_TIME,
    READ_TIME_2,
    READER,
    READER_2,
    SHORT_COLUMNS,
    SITE,
    SITE_ASYNC,
    SITE_ATOMIC,
    SITE_NARROW,
    SITE_SHIFT,
    SITE_STRONG,
    SITE_WRITES,
    TIME,
    TWO_BLOCKS,
    VALUE,
    WRITE_SITE,
    WRITE_TIME,
    WRITER,
)
from softgpu.checks.compiled import compiled, inlined
from softgpu.checks.ordering import Ordering, is_ordered
from softgpu.checks.shadow import cells_in, find_region, regions_of
from softgpu.events import EventFlag, EventKind, Rows
from softgpu.machine import Launch
from softgpu.trace import Space

# Columns of a hazard; its key is all that tells causes apart.
KEY, COUNT, ADDRESS, BLOCK, THREAD_A, THREAD_B, PC_A, PC_B, SEVERITY, HAZARD_SPACE, BOTH_WRITE, LAST, NBYTES = range(13)
HAZARD_COLUMNS = 13
INFO, WARNING, ERROR = 1, 2, 3

POOL, HAZARDS, DROPPED, ROW = range(4)
COUNTERS = 4

DONE, NEEDS_ROOM, NEEDS_BYTES, NEEDS_SHARED_BYTES = 0, 1, 2, 3

_LOAD, _STORE, _ATOMIC, _COPY_DONE = (
    int(kind) for kind in (EventKind.LOAD, EventKind.STORE, EventKind.ATOMIC, EventKind.COPY_DONE)
)
_FENCE, _ARRIVE, _OPEN = int(EventKind.FENCE), int(EventKind.ARRIVE), int(EventKind.OPEN)
_WARP, _EXIT, _BARRIER = int(EventKind.WARP), int(EventKind.EXIT), int(EventKind.BARRIER)
_STRONG, _ACQUIRE, _RELEASE = int(EventFlag.STRONG), int(EventFlag.ACQUIRE), int(EventFlag.RELEASE)
_ASYNC, _INVALID = int(EventFlag.ASYNC), int(EventFlag.INVALID)
_WAITS, _MEMORY = int(EventFlag.WAITS), int(EventFlag.MEMORY)
_GLOBAL, _SHARED = int(Space.GLOBAL), int(Space.SHARED)


class Races(NamedTuple):
    """What is remembered of memory, and the hazards found so far."""

    counters: NDArray[np.int64]
    regions: NDArray[np.uint64]
    short: NDArray[np.uint32]
    pool: NDArray[np.uint32]
    shared: NDArray[np.uint32]
    """Cells of shared memory, block after block."""
    shared_cells: int
    """How many a block has."""
    shared_shift: int
    """log2 of a shared cell's bytes."""
    slots: NDArray[np.int64]
    """Per block of the chunk, whose cells in `shared` it has."""
    began: NDArray[np.int64]
    """Per block of the chunk: shared cells remember nothing older."""
    entered: bool
    """Whether native code has entered other accesses in the cells: then the cells of all rows are marked, and the rows
    say when they happened."""
    has_releases: bool
    """Whether there are rows of what releases and acquires through memory."""
    doubtful: bool
    """Whether there would be some, so that they might order what a hazard says is not."""
    narrow: NDArray[np.bool_]
    """Per instruction, whether its scope is the block (`.cta`)."""
    hazards: NDArray[np.int64]


def begin_launch(launch: Launch) -> Races:
    """Nothing accessed yet."""
    if launch.cells is None:
        regions, count = regions_of(launch.memory.allocations, 2)
        short = np.zeros((count, SHORT_COLUMNS), np.uint32)
    else:
        regions, short = launch.cells.regions, launch.cells.buffer.short
    instructions = [operation.instruction for operation in launch.program.operations]
    has_releases = launch.cells is None or Rows.RELEASES in launch.rows
    return Races(
        counters=np.zeros(COUNTERS, np.int64),
        regions=regions,
        short=short,
        pool=np.zeros((1 << 8, CELL_COLUMNS), np.uint32),
        shared=np.zeros((0, CELL_COLUMNS), np.uint32),
        shared_cells=0,
        shared_shift=2,
        slots=np.zeros(0, np.int64),
        began=np.zeros(0, np.int64),
        entered=launch.cells is not None,
        has_releases=has_releases,
        doubtful=not has_releases and ordering.has_releases(launch.program),
        narrow=np.array(
            ["cta" in instruction.modifiers or "cluster" in instruction.modifiers for instruction in instructions]
        ),
        hazards=np.zeros((1 << 10, HAZARD_COLUMNS), np.int64),
    )


def begin_chunk(races: Races, launch: Launch) -> Races:
    """The blocks of a chunk have shared memory of their own."""
    first, blocks = launch.chunk.first_block, launch.chunk.block_count
    if launch.cells is not None:
        shared, chunk = launch.cells.shared, slice(first, first + blocks)
        return races._replace(
            shared=shared.reshape(-1, CELL_COLUMNS),
            shared_cells=shared.shape[1],
            shared_shift=launch.cells.shared_shift,
            slots=launch.cells.slots[chunk],
            began=launch.cells.began[chunk],
        )
    cells = -(-launch.chunk.shared.size // 8) * 8 >> races.shared_shift
    return races._replace(
        shared=np.zeros((blocks * cells, CELL_COLUMNS), np.uint32),
        shared_cells=cells,
        slots=np.arange(blocks),
        began=np.zeros(blocks, np.int64),
    )


def with_room(races: Races) -> Races:
    """The same, with room for more whole cells."""
    if races.counters[POOL] + 8 <= len(races.pool):
        return races
    pool = np.zeros((4 * len(races.pool), CELL_COLUMNS), np.uint32)
    pool[: len(races.pool)] = races.pool
    return races._replace(pool=pool)


def with_byte_cells(races: Races, address: int) -> Races:
    """The same, with cells of one byte for the region that contains an address."""
    region = find_region(races.regions, np.uint64(address))
    base, end, first, _ = races.regions[region].tolist()
    words = races.short[first : first + cells_in(base, end, 2)]
    bytes_ = np.repeat(words, 4, axis=0)
    long = words[:, OWNER] == LONG
    # Each byte gets a whole cell of its own.
    begin, count = races.counters[POOL], 4 * int(np.count_nonzero(long))
    copies = np.repeat(races.pool[words[long, OWNER_SITE]], 4, axis=0)
    copies[:, VALUE] = _bytes_of(copies[::4, VALUE])
    pool = np.zeros((2 * (begin + count) + (1 << 12), CELL_COLUMNS), np.uint32)
    pool[:begin], pool[begin : begin + count] = races.pool[:begin], copies
    races.counters[POOL] += count
    bytes_[:, OWNER_VALUE] = _bytes_of(words[:, OWNER_VALUE])
    bytes_[np.repeat(long, 4), OWNER_SITE] = np.arange(begin, begin + count)
    regions = races.regions.copy()
    regions[region, 2], regions[region, 3] = len(races.short), 0
    return races._replace(regions=regions, pool=pool, short=np.concatenate([races.short, bytes_]))


def with_shared_byte_cells(races: Races) -> Races:
    """The same, with cells of one byte for shared memory."""
    shared = np.repeat(races.shared, 4, axis=0)
    shared[:, VALUE] = _bytes_of(races.shared[:, VALUE])
    return races._replace(shared=shared, shared_cells=4 * races.shared_cells, shared_shift=0)


def _bytes_of(words: NDArray[np.uint32]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(words).view(np.uint8)


@compiled
def follow(races: Races, order: Ordering, events: NDArray, start: int) -> tuple[int, int]:
    """Take in events from position `start`. Returns where it stopped, and why: DONE, or what it NEEDS to go on."""
    per_block = order.threads_per_block
    block, block_first, block_end = np.int64(0), np.int64(0), np.int64(0)  # the block of the lane before
    region, region_base, region_end = 0, np.uint64(1), np.uint64(0)
    first_thread = order.first_block * per_block
    for position in range(start, len(events)):
        kind = events[position].kind
        if kind > _BARRIER:
            continue
        lane = np.int64(events[position].lane)
        if not block_first <= lane < block_end:
            block = lane // per_block
            block_first = block * per_block
            block_end = block_first + per_block
        if kind > _COPY_DONE:
            if races.entered:
                order.counters[ordering.NOW] = np.int64(events[position].address)
            if ordering.lacks_room(order):
                return position, NEEDS_ROOM
            _synchronise(order, events[position], lane, block)
            continue

        space, flags = events[position].space, events[position].flags
        if flags & _INVALID or space > _SHARED:
            continue
        if races.counters[POOL] + 8 > len(races.pool):
            return position, NEEDS_ROOM
        if races.entered:
            order.counters[ordering.NOW] = np.int64(np.uint32(events[position].detail))
        races.counters[ROW] += 1
        address, nbytes = events[position].address, np.int64(events[position].nbytes)
        value, pc = events[position].value, events[position].pc
        site = np.int64(pc) << SITE_SHIFT
        if flags & _STRONG or kind == _ATOMIC:
            site |= SITE_STRONG
            if races.narrow[pc]:
                site |= SITE_NARROW
        if kind != _LOAD:
            site |= SITE_WRITES
        if kind == _ATOMIC:
            site |= SITE_ATOMIC
        if flags & _ASYNC:
            site |= SITE_ASYNC
        thread = first_thread + lane

        if space == _GLOBAL:
            if not region_base <= address < region_end:
                region = find_region(races.regions, address)
                if region < 0:
                    continue
                region_base, region_end = races.regions[region, 0], races.regions[region, 1]
            shift = np.int64(races.regions[region, 3])
            if nbytes >> shift == 0:
                return position, NEEDS_BYTES
            offset = np.int64(address - (region_base & ~np.uint64(7)))
            cell = np.int64(races.regions[region, 2]) + (offset >> shift)
            for number in range(nbytes >> shift):
                part = _part(value, number, shift)
                _access_global(races, order, cell + number, lane, block, thread, site, part, kind, address, nbytes)
        else:
            shift = np.int64(races.shared_shift)
            if nbytes >> shift == 0:
                return position, NEEDS_SHARED_BYTES
            cell = races.slots[block] * races.shared_cells + (np.int64(address) >> shift)
            since = max(order.barrier_time[block], races.began[block])
            for number in range(nbytes >> shift):
                part = _part(value, number, shift)
                _access(
                    races, order, races.shared[cell + number], since,
                    lane, block, thread, site, part, kind, _SHARED, address, nbytes,
                )  # fmt: skip

        if site & SITE_STRONG and races.has_releases:
            if ordering.lacks_room(order):
                return _after_strong(races, order, events, position, lane, block), NEEDS_ROOM
            _strong(races, order, events[position], lane, block)
    return len(events), DONE


@compiled
def _after_strong(races, order, events, position, lane, block):
    """There is room for one: it is kept so at every event."""
    _strong(races, order, events[position], lane, block)
    return position + 1


@compiled
def _strong(races, order, event, lane, block):
    location = event.address
    narrow = races.narrow[event.pc]
    if event.space == _SHARED:
        location |= np.uint64(order.first_block + block + 1) << np.uint64(24) | np.uint64(1 << 63)
    ordering.synchronise(
        order,
        lane,
        block,
        location,
        event.kind != _STORE,
        event.kind != _LOAD,
        event.flags & _ACQUIRE != 0,
        event.flags & _RELEASE != 0,
        narrow,
    )


@inlined
def _synchronise(order, event, lane, block):
    kind = event.kind
    if kind == _ARRIVE:
        threads = np.int64(event.value & np.uint64(0xFFFFFFFF))
        lanes = np.uint32(event.value >> np.uint64(32))
        ordering.arrive(order, lane, block, event.detail, event.flags & _WAITS != 0, threads, lanes)
    elif kind == _OPEN:
        ordering.open_barrier(order, block, event.detail)
    elif kind == _BARRIER:
        ordering.pass_barrier(order, block)
    elif kind == _EXIT:
        ordering.leave(order, lane, block, np.uint32(event.value >> np.uint64(32)))
    elif kind == _WARP:
        if event.flags & _MEMORY:
            warp = block * order.warps_per_block + (lane - block * order.threads_per_block) // ordering.WARP_SIZE
            ordering.meet(order, warp, np.uint32(event.value))
    elif kind == _FENCE:
        flags = event.flags
        ordering.fence(order, lane, block, flags & _ACQUIRE != 0, flags & _RELEASE != 0, event.detail == 0)


@inlined
def _part(value, number, shift):
    """The bits of a value that lie in its cell `number`."""
    bits = np.uint64(8 << shift)
    return np.uint32((value >> (np.uint64(number) * bits)) & ((np.uint64(1) << bits) - np.uint64(1)))


# Cells


@inlined
def _access_global(races, order, index, lane, block, thread, site, value, kind, address, nbytes):
    """An access to a cell of global memory, which may be in its short form."""
    cell = races.short[index]
    now = np.uint32(order.counters[ordering.NOW])
    owner = cell[OWNER]
    writes = site & SITE_WRITES
    if not races.entered and not site & SITE_ASYNC and kind != _COPY_DONE:
        if owner == 0:
            cell[OWNER], cell[OWNER_TIME], cell[OWNER_SITE], cell[OWNER_VALUE] = thread + 1, now, site, value
            return
        if owner == thread + 1:
            before = np.int64(cell[OWNER_SITE])
            if not (site ^ before) & (SITE_STRONG | SITE_NARROW | SITE_ATOMIC):
                if writes or not before & SITE_WRITES:
                    cell[OWNER_TIME], cell[OWNER_SITE], cell[OWNER_VALUE] = now, site, value
                    return
                if cell[OWNER_TIME] == now:
                    return  # who conflicts with this read conflicts with the write before it
    if owner != LONG:
        _lengthen(races, cell)
        cell[OWNER_TIME] = now
    long = races.pool[cell[OWNER_SITE]]
    _access(races, order, long, 0, lane, block, thread, site, value, kind, _GLOBAL, address, nbytes)


@compiled
def _lengthen(races, cell):
    """Give a cell its whole form, which says the same."""
    number = races.counters[POOL]
    races.counters[POOL] += 1
    long = races.pool[number]
    long[:] = 0
    owner = cell[OWNER] & np.uint32(MARKED - 1)
    if owner != 0:
        if cell[OWNER_SITE] & SITE_WRITES:
            long[WRITER], long[WRITE_TIME], long[WRITE_SITE] = owner, cell[OWNER_TIME], cell[OWNER_SITE]
            long[VALUE] = cell[OWNER_VALUE]
        else:
            long[READER], long[READ_TIME], long[READ_SITE] = owner, cell[OWNER_TIME], cell[OWNER_SITE]
    cell[OWNER], cell[OWNER_SITE] = LONG, number


@inlined
def _access(races, order, cell, since, lane, block, thread, site, value, kind, space, address, nbytes):
    """An access to a whole cell, in which what is older than `since` is forgotten."""
    now = np.uint32(order.counters[ordering.NOW])
    me = np.uint32(thread + 1)
    cell[QUIET_WARP], cell[LOUD] = NO_WARP, IS_LOUD
    writer, raced = cell[WRITER], False
    before = np.int64(cell[WRITE_SITE])
    if writer != 0 and (cell[WRITE_TIME] >= since or before & SITE_ASYNC):
        if before & SITE_ASYNC:
            if kind == _COPY_DONE and writer == me:
                cell[WRITE_TIME], cell[WRITE_SITE] = now, before & ~SITE_ASYNC
                return
            _hazard(races, order, block, writer, before, me, site, False, space, address, nbytes)
        elif (
            writer != me
            and not _both_strong(order, writer, before, me, site)
            and not is_ordered(order, lane, block, np.int64(writer) - 1, cell[WRITE_TIME])
        ):
            equal = value == cell[VALUE] and not (site | before) & (SITE_ATOMIC | SITE_ASYNC)
            raced = True
            _hazard(races, order, block, writer, before, me, site, equal, space, address, nbytes)
    if site & SITE_WRITES:
        for column in (READER, READER_2):
            reader = cell[column]
            if reader == 0 or cell[column + TIME] < since or reader == me:
                continue
            before = np.int64(cell[column + SITE])
            if not _both_strong(order, reader, before, me, site) and not is_ordered(
                order, lane, block, np.int64(reader) - 1, cell[column + TIME]
            ):
                _hazard(races, order, block, reader, before, me, site, False, space, address, nbytes)
        cell[READER] = cell[READER_2] = cell[READ_TIME] = cell[READ_TIME_2] = 0
        weak_before = (raced or writer == me) and site & SITE_STRONG and not before & SITE_STRONG
        if weak_before and cell[WRITE_TIME] >= max(since, order.barrier_time[block]):
            return  # the earlier write races with the strong accesses of others, and this one does not
        cell[WRITER], cell[WRITE_TIME], cell[WRITE_SITE], cell[VALUE] = me, now, site, value
    else:
        _remember_read(order, cell, since, block, me, now, site)


@inlined
def _remember_read(order, cell, since, block, me, now, site):
    if cell[READER] == me:
        _renew(order, cell, READER, block, now, site)
        return
    if cell[READER_2] == me:
        _renew(order, cell, READER_2, block, now, site)
        return
    if not _still_counts(order, cell, READER, since, block):
        cell[READER], cell[READ_TIME], cell[READ_SITE] = me, now, site
        other = cell[READER_2]
        cell[APART] = _distance(order, block, me, other) if other else ONE_THREAD
        return
    distance = _distance(order, block, me, cell[READER])
    if distance > cell[APART] or not _still_counts(order, cell, READER_2, since, block):
        cell[READER_2], cell[READ_TIME_2], cell[READ_SITE_2] = me, now, site
        cell[APART] = distance


@inlined
def _renew(order, cell, column, block, now, site):
    """The same thread reads again: that is the later read, unless it is strong and the earlier one is not."""
    if (
        site & SITE_STRONG
        and not cell[column + SITE] & SITE_STRONG
        and cell[column + TIME] >= order.barrier_time[block]
    ):
        return
    cell[column + TIME], cell[column + SITE] = now, site


@inlined
def _still_counts(order, cell, column, since, block):
    """Whether a read could still conflict with a write that is ordered after all that this block did before."""
    reader = cell[column]
    if reader == 0 or cell[column + TIME] < since:
        return False
    return not (
        cell[column + TIME] < order.barrier_time[block]
        and 0 <= np.int64(reader) - 1 - (order.first_block + block) * order.threads_per_block < order.threads_per_block
    )


@inlined
def _distance(order, block, me, other):
    """How far apart two threads are, of which `me` is in `block`."""
    first = (order.first_block + block) * order.threads_per_block + 1
    index, others = np.int64(me) - first, np.int64(other) - first
    if not 0 <= others < order.threads_per_block:
        return TWO_BLOCKS
    return ONE_WARP if index // ordering.WARP_SIZE == others // ordering.WARP_SIZE else ONE_BLOCK


@inlined
def _both_strong(order, one, site, other, other_site):
    """Whether neither access can race with the other: both are strong, and their scopes reach one another."""
    if not site & other_site & SITE_STRONG:
        return False
    if not (site | other_site) & SITE_NARROW:
        return True
    return (np.int64(one) - 1) // order.threads_per_block == (np.int64(other) - 1) // order.threads_per_block


# Hazards


@compiled
def _hazard(races, order, block, earlier, earlier_site, later, later_site, equal, space, address, nbytes):
    """Count a race. Of a read and a write the write is A; of two writes the one that stands first in the program."""
    pc_a, pc_b = earlier_site >> SITE_SHIFT, later_site >> SITE_SHIFT
    thread_a, thread_b = np.int64(earlier) - 1, np.int64(later) - 1
    both_write = earlier_site & later_site & SITE_WRITES != 0
    swap = not earlier_site & SITE_WRITES
    if both_write:
        swap = bool(pc_b < pc_a or (pc_a == pc_b and thread_b < thread_a))
    if swap:
        pc_a, pc_b = pc_b, pc_a
        thread_a, thread_b = thread_b, thread_a
    hazards = races.hazards
    key = ((pc_a + 1) << 24 | pc_b) << 2 | np.int64(both_write) << 1 | np.int64(space == _SHARED)
    mask = len(hazards) - 1
    slot = (key * 0x2545F4914F6CDD1D >> 20) & mask
    while hazards[slot, KEY] != 0 and hazards[slot, KEY] != key:
        slot = (slot + 1) & mask
    row = hazards[slot]
    if row[KEY] == 0:
        if 2 * races.counters[HAZARDS] > len(hazards):
            races.counters[DROPPED] += 1
            return
        races.counters[HAZARDS] += 1
        row[KEY], row[PC_A], row[PC_B], row[BOTH_WRITE], row[HAZARD_SPACE] = key, pc_a, pc_b, both_write, space
        row[ADDRESS] = np.int64(0x7FFFFFFFFFFFFFFF)
    severity = ERROR
    if equal and both_write:
        severity = INFO
    elif thread_a != thread_b and _distance(order, block, later, earlier) == ONE_WARP:
        severity = WARNING
    row[SEVERITY] = max(row[SEVERITY], severity)
    # The cells of one access are one hazard.
    if row[LAST] != races.counters[ROW]:
        row[LAST] = races.counters[ROW]
        row[COUNT] += 1
    own_block = order.first_block + block
    place = np.int64(address)
    if (place, own_block, thread_a, thread_b) < (row[ADDRESS], row[BLOCK], row[THREAD_A], row[THREAD_B]):
        row[ADDRESS], row[BLOCK], row[NBYTES] = place, own_block, nbytes
        row[THREAD_A], row[THREAD_B] = thread_a, thread_b
