"""Runs the threads of blocks by a compiled kernel: turns, barriers, and what the lanes of a warp do together.

Blocks run one after the other, each to its end where that is possible. A thread runs until it must wait. Threads that
use up their turn may wait for others by spinning, so everyone else gets a turn before they go on, also in other blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from softgpu.events import EVENT, EventFlag, EventKind, Rows
from softgpu.jit import inlined, jit
from softgpu.native import layout
from softgpu.native.helpers import call_thread, load64, store64

WARP_SIZE = 32
BARRIERS = 17
"""The sixteen of a block, and that of a cluster, which is one block here."""

# Rows of the masks of a block: 32 lanes a warp.
READY = 0
ALIVE = 1
AT_WARP = 2
ARRIVED = 3  # one row a barrier: arrived since it last opened
WAITING = ARRIVED + BARRIERS  # one row a barrier: those who wait for it to open
VOTES = WAITING + BARRIERS  # one row a barrier: those who voted yes as they arrived
TOLD = VOTES + BARRIERS  # those of whose exit there is a row
EXISTING = TOLD + 1
PLACE = TOLD + 2  # no lanes, but where all that have not exited wait, as threads return it; 0 for several places
SPENT_TURN = TOLD + 3  # those who must let others run
MASK_ROWS = SPENT_TURN + 1

# Columns of the facts of a block: the thread counts asked for at its barriers, and
TOUCHED = BARRIERS  # bits of the barriers at which somebody has arrived
BLOCK = BARRIERS + 1  # linear index in the grid, -1 for none
LEVEL = BARRIERS + 2  # rounds since a thread got anywhere
LAST = BARRIERS + 3  # operation of the last arrival at a barrier
EPOCH = BARRIERS + 4  # the clock when a barrier last opened for all of the block
FAVOURED = BARRIERS + 5  # who gets longer turns
CELL_TURN = BARRIERS + 6  # which cells of the slot the block has
FACTS = BARRIERS + 7

# Rows of events.
ROW_BYTES = EVENT.itemsize
ARRIVE, OPEN, WARP = int(EventKind.ARRIVE), int(EventKind.OPEN), int(EventKind.WARP)
BARRIER, EXIT = int(EventKind.BARRIER), int(EventKind.EXIT)
NOT_IN_MASK, MEMBER_EXITED = int(EventKind.NOT_IN_MASK), int(EventKind.MEMBER_EXITED)
ABSENT_SOURCE, MEMORY = int(EventKind.ABSENT_SOURCE), int(EventFlag.MEMORY)
FLAG_WAITS, FLAG_ALIGNED = int(EventFlag.WAITS), int(EventFlag.ALIGNED)
ALL_ROWS, SYNCHRONISATIONS = int(Rows.ALL), int(Rows.ALL | Rows.BARRIERS | Rows.CONFLICTS)

# What a thread does at a barrier.
WAITS, ARRIVES, REDUCES, OF_CLUSTER, IS_ALIGNED = 1, 2, 4, 8, 16

# Where run() says how far it came, and with what.
NEXT = 0
SLOT = 1
THREAD = 2
MOVED = 3  # instructions executed when a thread last got anywhere
PAUSED = 4  # whether to go on where it stopped
PROGRESS_WORDS = 5

# What run() returns besides what a thread returns.
DONE = 0
DEADLOCK = 16
OVER_BUDGET = 17
BAD_BARRIER = 18
_STUCK = 19

TURN = 4096
"""Instructions after which others get a turn: the thread may be waiting for them."""
LONG_TURNS = (TURN, TURN << 5, TURN << 10)
LONG_TURNS_IN_A_ROW = 16
"""While nobody gets anywhere, one thread after the other gets longer turns, so that those who do not wait come to their
end."""
CALL_INSTRUCTIONS = 1 << 26
"""After which run() returns to Python, which sees to signals; less than a tenth of a second."""
PATIENCE = 1 << 34
"""Instructions that all threads may execute, some seconds, in which nobody gets anywhere."""


@inlined
def _frame_word(frame: int, word: int) -> int:
    return load64(frame + 8 * word)


@jit
def _begin(
    context: NDArray,
    frames: int,
    frame_words: int,
    suspends: int,
    shared: NDArray,
    local: NDArray,
    masks: NDArray,
    facts: NDArray,
    used: NDArray,
    times: NDArray,
    threads: int,
    slot: int,
    block: int,
) -> None:
    """Set up a slot for a block."""
    for barrier in range(BARRIERS):
        if facts[slot, TOUCHED] >> barrier & 1:
            times[slot, barrier] = 0
    masks[slot] = 0
    for warp in range(masks.shape[2]):
        lanes = min(WARP_SIZE, threads - warp * WARP_SIZE)
        masks[slot, READY, warp] = masks[slot, ALIVE, warp] = masks[slot, EXISTING, warp] = (1 << lanes) - 1
    # The cells of an earlier block are not used again before the rows that speak of them have been read.
    turn = facts[slot, CELL_TURN] + 1 if context[layout.CELLS_MARKED] else 0
    facts[slot] = 0
    facts[slot, BLOCK] = block
    facts[slot, CELL_TURN] = turn
    used[slot] = 0
    shared[0, slot] = 0xFF
    local[0, slot] = 0xFF
    for written in (shared[1:], local[1:]):
        written[:, slot] = 0
    context[layout.CLOCK] += 1
    facts[slot, EPOCH] = context[layout.CLOCK]
    if context[layout.BEGAN]:
        store64(context[layout.BEGAN] + 8 * block, context[layout.CLOCK])
        number = slot * context[layout.CELL_TURNS] + turn
        store64(context[layout.SLOTS] + 8 * block, number)
        context[layout.CELLS_USED] = max(context[layout.CELLS_USED], number + 1)
    if suspends:
        for thread in range(threads):
            frame = frames + 8 * frame_words * (slot * threads + thread)
            for word in (layout.RESUME, layout.MET_LANES, layout.MET_WARPS):
                store64(frame + 8 * word, 0)


@jit
def _row(context: NDArray, kind: int, flags: int, pc: int, lane: int, detail: int, value: int) -> None:
    """Write a row of softgpu.events, if they are wanted."""
    place = context[layout.CURSOR]
    if context[layout.ROWS] & SYNCHRONISATIONS:
        store64(place, kind | flags << 24 | pc << 32)
        store64(place + 8, lane | detail << 32)
        store64(place + 16, 0 if context[layout.ROWS] & ALL_ROWS else context[layout.CLOCK])
        store64(place + 24, value)
        context[layout.CURSOR] = place + ROW_BYTES
        context[layout.CLOCK] += 1


@jit
def _count(mask: int) -> int:
    """The number of ones."""
    number = 0
    while mask:
        mask &= mask - 1
        number += 1
    return number


@jit
def _may_open(masks: NDArray, facts: NDArray, times: NDArray, slot: int, barrier: int) -> bool:
    """Whether everyone has arrived at a barrier who must.

    Arrival is by warp: a warp has arrived as often as all its threads have that have not exited.
    """
    some, all_of_them = False, True
    for warp in range(masks.shape[2]):
        arrived = masks[slot, ARRIVED + barrier, warp]
        some = some or arrived != 0
        all_of_them = all_of_them and masks[slot, ALIVE, warp] & ~arrived == 0
    count = facts[slot, barrier]
    if count == 0 or not some:
        return some and all_of_them
    arrivals = 0
    for warp in range(masks.shape[2]):
        awaited = masks[slot, ALIVE, warp] | masks[slot, ARRIVED + barrier, warp]
        least = -1
        for lane in range(WARP_SIZE):
            if awaited >> lane & 1:
                often = times[slot, barrier, warp * WARP_SIZE + lane]
                least = often if least < 0 else min(least, often)
        arrivals += max(least, 0)
    return arrivals * WARP_SIZE >= count


@jit
def _open(
    context: NDArray,
    frames: int,
    frame_bytes: int,
    masks: NDArray,
    facts: NDArray,
    times: NDArray,
    threads: int,
    slot: int,
    barrier: int,
    last: int,
) -> None:
    """Open a barrier: those who wait go on, and learn how many have arrived and how many have voted yes.

    `last` is the instruction of the last arrival.
    """
    votes, arrived, exited = 0, 0, threads
    for warp in range(masks.shape[2]):
        votes += _count(masks[slot, VOTES + barrier, warp] & masks[slot, ARRIVED + barrier, warp])
        arrived += _count(masks[slot, ARRIVED + barrier, warp])
        exited -= _count(masks[slot, ALIVE, warp])
    if not context[layout.ROWS] & SYNCHRONISATIONS:
        pass
    elif context[layout.ROWS] & ALL_ROWS:
        _row(context, OPEN, 0, last, context[layout.FIRST_LANE], barrier, exited)
    else:
        _tell_opening(context, frames, frame_bytes, masks, facts, threads, slot, barrier, last, exited)
    for warp in range(masks.shape[2]):
        waiting = masks[slot, WAITING + barrier, warp]
        for lane in range(WARP_SIZE if masks[slot, PLACE, warp] == 0 else 0):
            if waiting >> lane & 1:
                frame = frames + (warp * WARP_SIZE + lane) * frame_bytes
                if _frame_word(frame, layout.EXCHANGE + 2) & REDUCES:
                    store64(frame + 8 * (layout.EXCHANGE + layout.ANSWER), votes)
                    store64(frame + 8 * (layout.EXCHANGE + layout.ANSWER + 1), arrived)
        masks[slot, READY, warp] |= waiting
        for row in (ARRIVED, WAITING, VOTES):
            masks[slot, row + barrier, warp] = 0
    times[slot, barrier] = 0
    facts[slot, barrier] = 0
    facts[slot, TOUCHED] &= ~(1 << barrier)


@jit
def _tell_opening(
    context: NDArray,
    frames: int,
    frame_bytes: int,
    masks: NDArray,
    facts: NDArray,
    threads: int,
    slot: int,
    barrier: int,
    last: int,
    exited: int,
) -> None:
    """Report that a barrier opens, in one row if that says all; else with those who have exited and who wait."""
    is_full, is_regular = barrier != BARRIERS - 1, exited == 0
    for warp in range(masks.shape[2]):
        waiting = masks[slot, WAITING + barrier, warp]
        existing = (1 << min(WARP_SIZE, threads - warp * WARP_SIZE)) - 1
        gone = existing & ~masks[slot, ALIVE, warp] if facts[slot, barrier] == 0 else 0
        is_full = is_full and waiting | gone == existing and waiting == masks[slot, ARRIVED + barrier, warp]
    is_regular = is_regular and is_full
    thread = 0
    while is_regular and thread < threads:
        if masks[slot, PLACE, thread // WARP_SIZE]:
            thread += WARP_SIZE
            continue
        first = frames + thread * frame_bytes
        place = _frame_word(first, layout.WAITS_AT)
        for lane in range(1, min(WARP_SIZE, threads - thread)):
            is_regular = is_regular and _frame_word(first + lane * frame_bytes, layout.WAITS_AT) == place
        thread += WARP_SIZE
    lane = context[layout.FIRST_LANE]
    if is_regular:
        _row(context, BARRIER, 0, last, lane, barrier, 0)
    else:
        for warp in range(masks.shape[2]):
            warp_frames = frames + warp * WARP_SIZE * frame_bytes
            _tell_exits(context, warp_frames, frame_bytes, masks, slot, warp)
            _tell_arrivals(context, warp_frames, frame_bytes, masks[slot, WAITING + barrier, warp], warp, True)
        _row(context, OPEN, 0, last, lane, barrier, exited)
    if is_full:
        facts[slot, EPOCH] = context[layout.EPOCH] = context[layout.CLOCK]
    elif barrier != BARRIERS - 1:
        _remember_warps(context, frames, frame_bytes, masks, slot, barrier)


@jit
def _remember_warps(context: NDArray, frames: int, frame_bytes: int, masks: NDArray, slot: int, barrier: int) -> None:
    """Those who waited for a barrier of some warps know what these did."""
    whole = 0
    for warp in range(masks.shape[2]):
        whole |= (masks[slot, WAITING + barrier, warp] == masks[slot, EXISTING, warp]) << warp
    for warp in range(masks.shape[2]):
        waiting = masks[slot, WAITING + barrier, warp]
        for lane in range(WARP_SIZE if waiting else 0):
            if waiting >> lane & 1:
                frame = frames + (warp * WARP_SIZE + lane) * frame_bytes
                store64(frame + 8 * layout.MET_WARPS, context[layout.CLOCK] | whole << 32)


@jit
def _tell_exits(context: NDArray, frames: int, frame_bytes: int, masks: NDArray, slot: int, warp: int) -> None:
    """Report the lanes of a warp that have exited, if they are not known yet."""
    gone = masks[slot, EXISTING, warp] & ~masks[slot, ALIVE, warp] & ~masks[slot, TOLD, warp]
    masks[slot, TOLD, warp] |= gone
    while gone:
        lane = _lowest(gone)
        place = _frame_word(frames + lane * frame_bytes, layout.WAITS_AT)
        here = 0
        for other in range(lane, WARP_SIZE):
            if gone >> other & 1 and _frame_word(frames + other * frame_bytes, layout.WAITS_AT) == place:
                here |= 1 << other
        gone &= ~here
        _row(context, EXIT, 0, place, _lane(context, warp, lane), 0, here << 32)


@jit
def _tell_arrivals(context: NDArray, frames: int, frame_bytes: int, lanes: int, warp: int, waits: bool) -> None:
    """Report those lanes of a warp that have arrived at the barrier they are at, and whether they wait there."""
    while lanes:
        lane = _lowest(lanes)
        barrier, count, does, place = _arrival(frames + lane * frame_bytes)
        here = 0
        for other in range(lane, WARP_SIZE):
            if lanes >> other & 1 and _arrival(frames + other * frame_bytes) == (barrier, count, does, place):
                here |= 1 << other
        lanes &= ~here
        if does & ARRIVES and (does & WAITS != 0) == waits:
            flags = (FLAG_WAITS if waits else 0) | (FLAG_ALIGNED if does & IS_ALIGNED else 0)
            _row(context, ARRIVE, flags, place, _lane(context, warp, lane), barrier, count | here << 32)


@jit
def _arrival(frame: int) -> tuple[int, int, int, int]:
    """At which barrier a lane is, the thread count it names, what it does there, and its instruction."""
    barrier, count = _frame_word(frame, layout.EXCHANGE), _frame_word(frame, layout.EXCHANGE + 1)
    return barrier, count, _frame_word(frame, layout.EXCHANGE + 2), _frame_word(frame, layout.WAITS_AT)


@jit
def _arrive(
    frames: int,
    frame_bytes: int,
    masks: NDArray,
    facts: NDArray,
    times: NDArray,
    slot: int,
    warp: int,
    lanes: int,
    at: int,
) -> int:
    """Lanes of a warp are at barriers. Returns bits of these; or, if there is no such barrier, -1 less the lane.

    `at` is where they are, if they all are at the same place.
    """
    arrivals = 0
    masks[slot, PLACE, warp] = at if lanes == masks[slot, ALIVE, warp] else 0
    while lanes:
        first = _lowest(lanes)
        frame = frames + first * frame_bytes
        barrier, count = _frame_word(frame, layout.EXCHANGE), _frame_word(frame, layout.EXCHANGE + 1)
        does = _frame_word(frame, layout.EXCHANGE + 2)
        if (barrier >= BARRIERS - 1 and not does & OF_CLUSTER) or count % WARP_SIZE:
            return -1 - first
        often = times[slot, barrier]
        here, votes = lanes if at else 0, 0
        if at and does & ARRIVES:
            for lane in range(WARP_SIZE):
                often[warp * WARP_SIZE + lane] += lanes >> lane & 1
        for lane in range(first, 0 if at else WARP_SIZE):
            if lanes >> lane & 1:
                frame = frames + lane * frame_bytes
                if (
                    _frame_word(frame, layout.EXCHANGE) == barrier
                    and _frame_word(frame, layout.EXCHANGE + 1) == count
                    and _frame_word(frame, layout.EXCHANGE + 2) == does
                ):
                    here |= 1 << lane
                    votes |= _frame_word(frame, layout.EXCHANGE + 3) << lane
                    if does & ARRIVES:
                        often[warp * WARP_SIZE + lane] += 1
        lanes &= ~here
        if does & ARRIVES:
            masks[slot, ARRIVED + barrier, warp] |= here
            masks[slot, VOTES + barrier, warp] = masks[slot, VOTES + barrier, warp] & ~here | votes
            facts[slot, barrier] = max(facts[slot, barrier], count)
            facts[slot, TOUCHED] |= 1 << barrier
            facts[slot, LAST] = _frame_word(frames + first * frame_bytes, layout.WAITS_AT)
        if does & WAITS:
            waiting = here & masks[slot, ARRIVED + barrier, warp]
            masks[slot, READY, warp] &= ~waiting
            masks[slot, WAITING + barrier, warp] |= waiting
        arrivals |= 1 << barrier
    return arrivals


@jit
def _meet(context: NDArray, frames: int, frame_bytes: int, masks: NDArray, slot: int, warp: int) -> None:
    """Let the lanes of a warp go on that wait for each other and are complete.

    Lanes meet that wait with the same member mask at instructions with the same modifiers. All lanes of the mask must
    be there that have not exited. A lane that its own mask does not name waits for nobody.
    """
    rest, released = masks[slot, AT_WARP, warp], 0
    while rest:
        first = _lowest(rest)
        kind, mask = _meeting(frames + first * frame_bytes)
        here = 0
        for lane in range(first, WARP_SIZE):
            if rest >> lane & 1 and _meeting(frames + lane * frame_bytes) == (kind, mask):
                here |= 1 << lane
        alone = not mask >> first & 1
        here = 1 << first if alone else here & mask
        if alone or mask & masks[slot, ALIVE, warp] & ~here == 0:
            if context[layout.ROWS] & SYNCHRONISATIONS:
                _tell_meeting(context, frames, frame_bytes, masks, slot, here, mask, warp)
            _exchange(context, frames, frame_bytes, here, warp)
            released |= here
        rest &= ~here
    masks[slot, AT_WARP, warp] &= ~released
    masks[slot, READY, warp] |= released


@jit
def _lane(context: NDArray, warp: int, lane: int) -> int:
    """Index in the chunk of a lane of a warp."""
    return context[layout.FIRST_LANE] + warp * WARP_SIZE + lane


@jit
def _tell_meeting(
    context: NDArray, frames: int, frame_bytes: int, masks: NDArray, slot: int, here: int, mask: int, warp: int
) -> None:
    """Report which lanes of a warp meet, and whether they are those that their member mask names."""
    first = _lowest(here)
    frame = frames + first * frame_bytes
    place = _frame_word(frame, layout.WAITS_AT)
    if not mask >> first & 1:
        _row(context, NOT_IN_MASK, 0, place, _lane(context, warp, first), 0, mask)
        return
    flags = MEMORY if _frame_word(frame, layout.EXCHANGE) == layout.WARP_SYNC else 0
    in_full = context[layout.ROWS] & ALL_ROWS != 0
    if not in_full:
        _tell_exits(context, frames, frame_bytes, masks, slot, warp)
    if in_full or flags:
        _row(context, WARP, flags, place, _lane(context, warp, 0), 0, here)
    for lane in range(WARP_SIZE if flags else 0):
        if here >> lane & 1:
            store64(frames + lane * frame_bytes + 8 * layout.MET_LANES, context[layout.CLOCK] | here << 32)
    threads = context[layout.BLOCK_EXTENT] * context[layout.BLOCK_EXTENT + 1] * context[layout.BLOCK_EXTENT + 2]
    exited = mask & ~masks[slot, ALIVE, warp] & ((1 << min(WARP_SIZE, threads - warp * WARP_SIZE)) - 1)
    if exited:
        _row(context, MEMBER_EXITED, 0, place, _lane(context, warp, 0), 0, exited)


@jit
def _lowest(mask: int) -> int:
    """The position of the lowest one."""
    return _count((mask & -mask) - 1)


@jit
def _meeting(frame: int) -> tuple[int, int]:
    """What a lane does with others, and its member mask."""
    return _frame_word(frame, layout.EXCHANGE), _frame_word(frame, layout.EXCHANGE + 1)


@jit
def _exchange(context: NDArray, frames: int, frame_bytes: int, members: int, warp: int) -> None:
    """Carry out a warp-level instruction for lanes that meet."""
    kind = _frame_word(frames + _lowest(members) * frame_bytes, layout.EXCHANGE) & layout.KIND
    if kind == layout.WARP_SYNC:
        return
    operands = np.empty((3, WARP_SIZE), np.int64)
    for lane in range(WARP_SIZE):
        if members >> lane & 1:
            for operand in range(3):
                operands[operand, lane] = _frame_word(frames + lane * frame_bytes, layout.EXCHANGE + 2 + operand)
    votes, reduced = 0, 0
    if layout.VOTE_ALL <= kind <= layout.VOTE_BALLOT:
        for lane in range(WARP_SIZE):
            if members >> lane & 1:
                votes |= operands[0, lane] << lane
    elif kind >= layout.REDUCE_ADD:
        reduced = _reduce(kind, operands[0], members)
    for lane in range(WARP_SIZE):
        if not members >> lane & 1:
            continue
        result, predicate = reduced, 0
        if kind <= layout.SHUFFLE_INDEX:
            source, predicate = _source_lane(kind, lane, operands[1, lane], operands[2, lane])
            result = operands[0, source]
            if not members >> source & 1:
                # Reading from a lane that takes no part is undefined; here it gives the reader's own value.
                result = operands[0, lane]
                place = _frame_word(frames + lane * frame_bytes, layout.WAITS_AT)
                _row(context, ABSENT_SOURCE, 0, place, _lane(context, warp, lane), source, 0)
        elif kind == layout.VOTE_ALL:
            result = 1 if votes == members else 0
        elif kind == layout.VOTE_ANY:
            result = 1 if votes != 0 else 0
        elif kind == layout.VOTE_UNIFORM:
            result = 1 if votes == members or votes == 0 else 0
        elif kind == layout.VOTE_BALLOT:
            result = votes
        elif kind <= layout.MATCH_ALL:
            result = 0
            for other in range(WARP_SIZE):
                if members >> other & 1 and operands[0, other] == operands[0, lane]:
                    result |= 1 << other
            predicate = 1 if result == members else 0
            if kind == layout.MATCH_ALL and not predicate:
                result = 0
        elif kind == layout.ELECT:
            result = _lowest(members)
            predicate = 1 if result == lane else 0
        answer = frames + lane * frame_bytes + 8 * (layout.EXCHANGE + layout.ANSWER)
        store64(answer, result)
        store64(answer + 8, predicate)


@jit
def _source_lane(kind: int, lane: int, offset: int, limits: int) -> tuple[int, int]:
    """The lane that a shuffle reads from, and 1 if it is within the segment."""
    segment, clamp, offset = limits >> 8 & 31, limits & 31, offset & 31
    highest = (lane & segment) | (clamp & ~segment)
    if kind == layout.SHUFFLE_UP:
        source = lane - offset
        inside = source >= highest
    else:
        if kind == layout.SHUFFLE_DOWN:
            source = lane + offset
        elif kind == layout.SHUFFLE_BUTTERFLY:
            source = lane ^ offset
        else:
            source = (lane & segment) | (offset & ~segment)
        inside = source <= highest
    return (source, 1) if inside else (lane, 0)


@jit
def _reduce(kind: int, values: NDArray, members: int) -> int:
    """The reduction of words that were extended to 64 bits as their type says."""
    result, first = 0, True
    for lane in range(WARP_SIZE):
        if not members >> lane & 1:
            continue
        value = values[lane]
        if first:
            result, first = value, False
        elif kind == layout.REDUCE_ADD:
            result += value
        elif kind == layout.REDUCE_MIN:
            result = min(result, value)
        elif kind == layout.REDUCE_MAX:
            result = max(result, value)
        elif kind == layout.REDUCE_AND:
            result &= value
        elif kind == layout.REDUCE_OR:
            result |= value
        else:
            result ^= value
    return result


@jit
def _run_lanes(
    function: int,
    context: NDArray,
    frames: int,
    frame_bytes: int,
    used: NDArray,
    first_thread: int,
    lanes: int,
    budget: int,
    turn: int,
    favoured: int,
    long_turn: int,
) -> tuple[int, int, int, int, int, int, int]:
    """Let lanes of a warp run, one after the other, the favoured thread for longer. Returns what stops the launch, or
    else DONE, or FULL; the lane at which it stopped; which lanes have exited, wait for their warp, wait at a barrier,
    and used up their turn; and where those at a barrier are, if that is the same place."""
    context_address = context.ctypes.data
    exited, at_warp, at_barrier, yielded, at = 0, 0, 0, 0, 0
    for lane in range(WARP_SIZE):
        if not lanes >> lane & 1:
            continue
        if context[layout.CURSOR] > context[layout.CURSOR_LIMIT]:
            return layout.FULL, lane, exited, at_warp, at_barrier, yielded, at
        before = context[layout.EXECUTED]
        own_turn = long_turn if first_thread + lane == favoured else turn
        context[layout.TURN] = min(own_turn, budget - used[first_thread + lane])
        answer = call_thread(function, context_address, frames + lane * frame_bytes, first_thread + lane)
        status, place = answer & (1 << layout.STATUS_BITS) - 1, answer >> layout.STATUS_BITS
        if status == layout.EXITED:
            exited |= 1 << lane
            continue
        if status >= layout.FAULTED:
            return status, lane, exited, at_warp, at_barrier, yielded, at
        used[first_thread + lane] += context[layout.EXECUTED] - before
        if status == layout.AT_WARP:
            at_warp |= 1 << lane
        elif status == layout.AT_BARRIER:
            at = place if at_barrier == 0 or at == place else 0
            at_barrier |= 1 << lane
        else:
            yielded |= 1 << lane
        if used[first_thread + lane] > budget:
            return OVER_BUDGET, lane, exited, at_warp, at_barrier, yielded, at
    return DONE, 0, exited, at_warp, at_barrier, yielded, at


@jit
def _next_ready(ready: NDArray, thread: int) -> int:
    """The first thread from this one on that can run, or else the first of all."""
    size = len(ready) * WARP_SIZE
    for number in range(thread, thread + size):
        if ready[number % size // WARP_SIZE] >> number % WARP_SIZE & 1:
            return number % size
    return -1


@jit
def _run_block(
    function: int,
    context: NDArray,
    frames: int,
    frame_bytes: int,
    masks: NDArray,
    facts: NDArray,
    used: NDArray,
    times: NDArray,
    threads: int,
    budget: int,
    slot: int,
    progress: NDArray,
) -> int:
    """Run a block until it ends, or none of its threads can go on, or all that can have used up their turn."""
    progress[SLOT] = slot
    spent = used[slot]
    base = frames + slot * threads * frame_bytes
    longest = max(budget // 2, 1)
    turn, long_turn, favoured = min(TURN, longest), TURN, -1
    if facts[slot, LEVEL] > 0:
        favoured = _next_ready(masks[slot, READY], facts[slot, FAVOURED])
        long_turn = min(LONG_TURNS[min(facts[slot, LEVEL], len(LONG_TURNS) - 1)], longest)
    moved, opened = False, True
    while opened:
        opened = False
        for warp in range(masks.shape[2]):
            arrivals = facts[slot, TOUCHED]
            warp_frames = base + warp * WARP_SIZE * frame_bytes
            while True:
                if masks[slot, AT_WARP, warp]:
                    _meet(context, warp_frames, frame_bytes, masks, slot, warp)
                lanes = masks[slot, READY, warp] & ~masks[slot, SPENT_TURN, warp]
                if lanes == 0:
                    break
                status, lane, exited, at_warp, at_barrier, yielded, place = _run_lanes(
                    function, context, warp_frames, frame_bytes, spent, warp * WARP_SIZE, lanes, budget, turn, favoured,
                    long_turn,
                )  # fmt: skip
                moved = moved or exited | at_warp | at_barrier != 0
                masks[slot, SPENT_TURN, warp] |= yielded
                masks[slot, READY, warp] &= ~(exited | at_warp)
                masks[slot, ALIVE, warp] &= ~exited
                masks[slot, AT_WARP, warp] |= at_warp
                if exited:
                    arrivals |= facts[slot, TOUCHED]
                if at_barrier:
                    at = _arrive(warp_frames, frame_bytes, masks, facts, times, slot, warp, at_barrier, place)
                    if at < 0:
                        status, lane = BAD_BARRIER, -1 - at
                    else:
                        arrivals |= at
                        if context[layout.ROWS] & SYNCHRONISATIONS and not context[layout.ROWS] & ALL_ROWS:
                            # Of those who wait, when the barrier opens.
                            _tell_arrivals(context, warp_frames, frame_bytes, at_barrier, warp, False)
                if status != DONE:
                    progress[THREAD] = warp * WARP_SIZE + lane
                    facts[slot, LEVEL] = 0 if moved else facts[slot, LEVEL]
                    return status
            for barrier in range(BARRIERS):
                if arrivals >> barrier & 1 and _may_open(masks, facts, times, slot, barrier):
                    last = facts[slot, LAST]
                    _open(context, base, frame_bytes, masks, facts, times, threads, slot, barrier, last)
                    opened = True
    alive, ready = 0, 0
    for warp in range(masks.shape[2]):
        alive |= masks[slot, ALIVE, warp]
        ready |= masks[slot, READY, warp]
    if not alive:
        return DONE
    if not ready:
        return DEADLOCK
    masks[slot, SPENT_TURN] = 0
    facts[slot, LEVEL] = 0 if moved else facts[slot, LEVEL] + 1
    if facts[slot, LEVEL] % LONG_TURNS_IN_A_ROW == 0:
        facts[slot, FAVOURED] = favoured + 1
    return _STUCK


@jit
def step(function: int, context: NDArray, frame: int, thread: int) -> int:
    """Run one thread until it returns."""
    return call_thread(function, context.ctypes.data, frame, thread)


@jit
def run(
    function: int,
    context: NDArray,
    frames: int,
    frame_words: int,
    suspends: int,
    shared: NDArray,
    local: NDArray,
    masks: NDArray,
    facts: NDArray,
    used: NDArray,
    times: NDArray,
    grid: NDArray,
    threads: int,
    end: int,
    budget: int,
    progress: NDArray,
) -> int:
    """Run the blocks from progress[NEXT] to `end`, as many at a time as there are slots. Returns DONE, or what stops
    the launch, with the slot and the thread in `progress`; or FULL, to be called again, where the rows of events must
    be consumed or CALL_INSTRUCTIONS have been executed."""
    frame_bytes = 8 * frame_words
    pause = context[layout.EXECUTED] + CALL_INSTRUCTIONS
    first = progress[SLOT] if progress[PAUSED] else 0
    busy = first > 0
    progress[PAUSED] = 0
    while True:
        for slot in range(first, masks.shape[0]):
            while True:
                if facts[slot, BLOCK] < 0:
                    if progress[NEXT] >= end:
                        break
                    if context[layout.CELLS_MARKED] and facts[slot, CELL_TURN] + 1 >= context[layout.CELL_TURNS]:
                        return layout.FULL
                    _begin(
                        context, frames, frame_words, suspends, shared, local, masks, facts, used, times, threads, slot,
                        progress[NEXT],
                    )  # fmt: skip
                    progress[NEXT] += 1
                block = facts[slot, BLOCK]
                context[layout.BLOCK] = block % grid[0]
                context[layout.BLOCK + 1] = block // grid[0] % grid[1]
                context[layout.BLOCK + 2] = block // (grid[0] * grid[1])
                context[layout.FIRST_LANE] = (block - context[layout.CHUNK]) * threads
                context[layout.FIRST_THREAD] = block * threads + 1
                context[layout.EPOCH] = facts[slot, EPOCH]
                cells = slot * context[layout.CELL_TURNS] + facts[slot, CELL_TURN]
                context[layout.CELLS] = context[layout.ALL_CELLS] + cells * context[layout.CELL_BYTES]
                context[layout.SHARED] = shared[0, slot].ctypes.data
                context[layout.LOCAL] = local[0, slot].ctypes.data
                status = _run_block(
                    function, context, frames, frame_bytes, masks, facts, used, times, threads, budget, slot, progress
                )
                executed = context[layout.EXECUTED]
                if status == DONE or facts[slot, LEVEL] == 0:
                    progress[MOVED] = executed
                if status == DONE:
                    facts[slot, BLOCK] = -1
                    continue
                if status != _STUCK:
                    progress[PAUSED] = status == layout.FULL
                    return status
                if executed - progress[MOVED] > max(8 * budget, PATIENCE):
                    progress[THREAD] = _next_ready(masks[slot, READY], 0)
                    return OVER_BUDGET
                busy = True
                if executed > pause:
                    progress[SLOT], progress[PAUSED] = slot + 1, 1
                    return layout.FULL
                break
        if not busy and progress[NEXT] >= end:
            return DONE
        first, busy = 0, False
