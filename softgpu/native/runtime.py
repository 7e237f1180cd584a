"""Runs the threads of blocks by a compiled kernel: turns, barriers, and what the lanes of a warp do together.

Blocks run one after the other, each to its end where that is possible. A thread runs until it must wait. Threads that
use up their turn may wait for others by spinning, so everyone else gets a turn before they go on, also in other blocks.
"""

from __future__ import annotations

from numba import int64, njit

from softgpu.native import layout
from softgpu.native.helpers import call_thread, load64, store64

WARP_SIZE = 32
BARRIERS = 16

# Rows of the masks of a block: 32 lanes a warp.
READY = 0
ALIVE = 1
AT_WARP = 2
ARRIVED = 3  # one row a barrier: arrived since it last opened
WAITING = ARRIVED + BARRIERS  # one row a barrier: those of them who wait
MASK_ROWS = WAITING + BARRIERS

# Columns of the facts of a block: the thread counts asked for at its barriers, and
TOUCHED = BARRIERS  # bits of the barriers at which somebody has arrived
BLOCK = BARRIERS + 1  # linear index in the grid, -1 for none
LEVEL = BARRIERS + 2  # how long turns have become
FACTS = BARRIERS + 3

# Where run() says how far it came, and with what.
NEXT = 0
SLOT = 1
THREAD = 2
PROGRESS_WORDS = 3

# What run() returns besides what a thread returns.
DONE = 0
DEADLOCK = 16
OVER_BUDGET = 17
BAD_BARRIER = 18
_STUCK = 19

FIRST_TURN = 4096
TURN_GROWTH = 32


@njit(inline="always", cache=True)
def _frame_word(frame: int, word: int) -> int:
    return load64(frame + 8 * word)


@njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
def _begin(context, frames, frame_words, suspends, shared, local, masks, facts, used, grid, threads, slot, block):
    """Set up a slot for a block."""
    warps = masks.shape[2]
    masks[slot] = 0
    for warp in range(warps):
        lanes = min(WARP_SIZE, threads - warp * WARP_SIZE)
        masks[slot, READY, warp] = masks[slot, ALIVE, warp] = (1 << lanes) - 1
    facts[slot] = 0
    facts[slot, BLOCK] = block
    used[slot] = 0
    shared[slot] = 0xFF
    local[slot] = 0xFF
    if suspends:
        for thread in range(threads):
            store64(frames + 8 * frame_words * (slot * threads + thread), 0)


@njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
def _open(masks, facts, slot, barrier):
    """Open a barrier if everyone has arrived who must.

    Arrival is by warp: a warp has arrived when all its threads that have not exited have.
    """
    complete, missing, some = 0, False, False
    for warp in range(masks.shape[2]):
        arrived = masks[slot, ARRIVED + barrier, warp]
        absent = masks[slot, ALIVE, warp] & ~arrived
        some = some or arrived != 0
        missing = missing or absent != 0
        complete += arrived != 0 and absent == 0
    count = facts[slot, barrier]
    if not some or (missing if count == 0 else complete * WARP_SIZE < count):
        return False
    for warp in range(masks.shape[2]):
        masks[slot, READY, warp] |= masks[slot, WAITING + barrier, warp]
        masks[slot, WAITING + barrier, warp] = 0
        masks[slot, ARRIVED + barrier, warp] = 0
    facts[slot, barrier] = 0
    facts[slot, TOUCHED] &= ~(1 << barrier)
    return True


@njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
def _meet(frames, frame_bytes, masks, slot, warp):
    """Let the lanes of a warp go on that wait for each other and are complete."""
    rest, released = masks[slot, AT_WARP, warp], 0
    while rest:
        here, place, complete = 0, -1, True
        for lane in range(WARP_SIZE):
            if rest >> lane & 1:
                at = _frame_word(frames + lane * frame_bytes, layout.WAITS_AT)
                if place < 0:
                    place = at
                if at == place:
                    here |= 1 << lane
        for lane in range(WARP_SIZE):
            if here >> lane & 1:
                members = _frame_word(frames + lane * frame_bytes, layout.EXCHANGE + 1)
                complete = complete and members & masks[slot, ALIVE, warp] & ~here == 0
        rest &= ~here
        if complete:
            _exchange(frames, frame_bytes, here)
            released |= here
    masks[slot, AT_WARP, warp] &= ~released
    masks[slot, READY, warp] |= released
    return released != 0


@njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
def _exchange(frames, frame_bytes, here):
    """Carry out a warp-level instruction for the lanes that are here."""
    first = 0
    while not here >> first & 1:
        first += 1
    kind = _frame_word(frames + first * frame_bytes, layout.EXCHANGE)
    if kind == layout.WARP_SYNC:
        return
    if layout.SHUFFLE_UP <= kind <= layout.SHUFFLE_INDEX:
        _shuffle(frames, frame_bytes, here, kind)
    elif layout.VOTE_ALL <= kind <= layout.VOTE_BALLOT:
        _vote(frames, frame_bytes, here, kind)


@njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
def _shuffle(frames, frame_bytes, here, kind):
    for lane in range(WARP_SIZE):
        if here >> lane & 1:
            frame = frames + lane * frame_bytes + 8 * layout.EXCHANGE
            offset, limits = _frame_word(frame, 3) & 31, _frame_word(frame, 4)
            segment, clamp = limits >> 8 & 31, limits & 31
            highest = (lane & segment) | (clamp & ~segment)
            if kind == layout.SHUFFLE_UP:
                source = lane - offset
            elif kind == layout.SHUFFLE_DOWN:
                source = lane + offset
            elif kind == layout.SHUFFLE_BUTTERFLY:
                source = lane ^ offset
            else:
                source = (lane & segment) | (offset & ~segment)
            inside = source >= highest if kind == layout.SHUFFLE_UP else source <= highest
            # Reading from a lane that takes no part is undefined; here it gives the reader's own value.
            if not inside or not here >> source & 1:
                source = lane
            store64(frame + 8, _frame_word(frames + source * frame_bytes, layout.EXCHANGE + 2))
            # The offset has been read, and only by this lane.
            store64(frame + 24, int64(inside))
    for lane in range(WARP_SIZE):
        if here >> lane & 1:
            frame = frames + lane * frame_bytes + 8 * layout.EXCHANGE
            store64(frame + 16, _frame_word(frame, 3))


@njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
def _vote(frames, frame_bytes, here, kind):
    votes = 0
    for lane in range(WARP_SIZE):
        if here >> lane & 1:
            votes |= _frame_word(frames + lane * frame_bytes, layout.EXCHANGE + 2) << lane
    for lane in range(WARP_SIZE):
        if here >> lane & 1:
            frame = frames + lane * frame_bytes + 8 * layout.EXCHANGE
            mask = _frame_word(frame, 1)
            ballot, members = votes & mask, here & mask
            if kind == layout.VOTE_ALL:
                ballot = int64(ballot == members)
            elif kind == layout.VOTE_ANY:
                ballot = int64(ballot != 0)
            elif kind == layout.VOTE_UNIFORM:
                ballot = int64(ballot == members or ballot == 0)
            store64(frame + 8, ballot)


@njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
def _run_block(function, context, frames, frame_bytes, masks, facts, used, threads, budget, slot, progress):
    """Run a block until it ends, or none of its threads can go on, or all that can have used up their turn."""
    context_address = context.ctypes.data
    progress[SLOT] = slot
    base = frames + slot * threads * frame_bytes
    first_turn = min(FIRST_TURN * TURN_GROWTH ** facts[slot, LEVEL], max(budget // 2, 1), budget)
    context[layout.TURN] = first_turn
    moved, opened = False, True
    while opened:
        opened = False
        for warp in range(masks.shape[2]):
            spinning = 0
            arrivals = facts[slot, TOUCHED]
            warp_frames = base + warp * WARP_SIZE * frame_bytes
            while True:
                if masks[slot, AT_WARP, warp]:
                    _meet(warp_frames, frame_bytes, masks, slot, warp)
                lanes = masks[slot, READY, warp] & ~spinning
                if lanes == 0:
                    break
                for lane in range(WARP_SIZE):
                    if not lanes >> lane & 1:
                        continue
                    thread = warp * WARP_SIZE + lane
                    frame = warp_frames + lane * frame_bytes
                    before = context[layout.EXECUTED]
                    status = call_thread(function, context_address, frame, thread)
                    bit = 1 << lane
                    if status == layout.EXITED:
                        masks[slot, READY, warp] &= ~bit
                        masks[slot, ALIVE, warp] &= ~bit
                        arrivals |= facts[slot, TOUCHED]
                        moved = True
                        continue
                    used[slot, thread] += context[layout.EXECUTED] - before
                    progress[THREAD] = thread
                    if status >= layout.FAULTED:
                        return int64(status)
                    if used[slot, thread] > budget:
                        return OVER_BUDGET
                    if status == layout.AT_WARP:
                        masks[slot, READY, warp] &= ~bit
                        masks[slot, AT_WARP, warp] |= bit
                        moved = True
                    elif status == layout.AT_BARRIER:
                        barrier, count = _frame_word(frame, layout.EXCHANGE), _frame_word(frame, layout.EXCHANGE + 1)
                        if barrier >= BARRIERS or count % WARP_SIZE:
                            return BAD_BARRIER
                        masks[slot, ARRIVED + barrier, warp] |= bit
                        facts[slot, barrier] = max(facts[slot, barrier], count)
                        facts[slot, TOUCHED] |= 1 << barrier
                        arrivals |= 1 << barrier
                        if _frame_word(frame, layout.EXCHANGE + 2):
                            masks[slot, READY, warp] &= ~bit
                            masks[slot, WAITING + barrier, warp] |= bit
                        moved = True
                    else:
                        spinning |= bit
            for barrier in range(BARRIERS):
                if arrivals >> barrier & 1 and _open(masks, facts, slot, barrier):
                    opened = True
    alive, ready = 0, 0
    for warp in range(masks.shape[2]):
        alive |= masks[slot, ALIVE, warp]
        ready |= masks[slot, READY, warp]
    if not alive:
        return DONE
    if not ready:
        return DEADLOCK
    facts[slot, LEVEL] = 0 if moved else facts[slot, LEVEL] + 1
    return _STUCK


@njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
def step(function, context, frame, thread):
    """Run one thread until it returns."""
    return call_thread(function, context.ctypes.data, frame, thread)


@njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
def run(
    function, context, frames, frame_words, suspends, shared, local, masks, facts, used, grid, threads, end, budget,
    progress,
):  # fmt: skip
    """Run the blocks from progress[NEXT] to `end`, as many at a time as there are slots. Returns DONE, or what stops
    the launch, with the slot and the thread in `progress`."""
    slots = masks.shape[0]
    frame_bytes = 8 * frame_words
    while True:
        busy = False
        for slot in range(slots):
            while True:
                if facts[slot, BLOCK] < 0:
                    if progress[NEXT] >= end:
                        break
                    _begin(
                        context, frames, frame_words, suspends, shared, local, masks, facts, used, grid, threads, slot,
                        progress[NEXT],
                    )  # fmt: skip
                    progress[NEXT] += 1
                block = facts[slot, BLOCK]
                context[layout.BLOCK] = block % grid[0]
                context[layout.BLOCK + 1] = block // grid[0] % grid[1]
                context[layout.BLOCK + 2] = block // (grid[0] * grid[1])
                context[layout.SHARED] = shared[slot].ctypes.data
                context[layout.LOCAL] = local[slot].ctypes.data
                status = _run_block(
                    function, context, frames, frame_bytes, masks, facts, used, threads, budget, slot, progress
                )
                if status == DONE:
                    facts[slot, BLOCK] = -1
                    continue
                if status != _STUCK:
                    return status
                busy = True
                break
        if not busy and progress[NEXT] >= end:
            return DONE
