"""What happened before what: the happens-before order of a launch, as far as its barriers, fences and flags make one.

The order of the stream of events is one possible order of execution. A clock, `now`, counts the synchronisations in
it, and an access is stamped with the clock. Then everything that synchronisation orders is a statement of one form:
this thread knows what that thread did up to some time. Three tables hold the statements that nearly all kernels need:

- `barrier_time[block]`: every thread of the block knows all that the block did before its last full barrier;
- `warp_time[warp]`: every thread of the warp knows all that the warp did before its last complete warp barrier;
- a thread knows itself.

What else there is (barriers for some of the threads, warp barriers for some lanes, mbarriers, and release and acquire
through memory) makes nodes of a graph. A node says what one warp knew and had done at some time, and points at up to
two nodes of which it knows. `known[lane]`, or for lanes without one `block_known[block]`, is the node a thread knows.

PTX ISA chapter 8 is the model. Where it is stricter than what programs rely on, the programs are followed: threads
that have exited are ordered before a barrier; a barrier completes an acquire as a fence would. And
where threads fence and then meet at a barrier, each of them releases what all their fences do: one sets the flag.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgpu.checks.compiled import compiled, inlined
from softgpu.program import Program

WARP_SIZE = 32
CLUSTER_BARRIER = 16
BARRIERS = 17

# Columns of a node.
TIME, WARP, LANES, WARP_TIME, BARRIER_TIME, FIRST, SECOND = range(7)
NODE_COLUMNS = 7

# Columns of `pending` and `released`: what is visible in the thread's own block, and in all of them.
IN_BLOCK, EVERYWHERE = 0, 1

NOW, NODES, OBJECTS, QUERY = range(4)
COUNTERS = 4


class Ordering(NamedTuple):
    """The order of a launch so far; lanes, warps and blocks are those of the chunk that runs."""

    threads_per_block: int
    warps_per_block: int
    first_block: int
    counters: NDArray[np.int64]
    nodes: NDArray[np.int64]
    marks: NDArray[np.int64]
    stack: NDArray[np.int64]
    barrier_time: NDArray[np.int64]
    warp_time: NDArray[np.int64]
    exited: NDArray[np.uint32]
    """Per warp, the lanes that have exited."""
    existing: NDArray[np.uint32]
    """Per warp of a block, the lanes that it has."""
    known: NDArray[np.int64]
    block_known: NDArray[np.int64]
    block_acquired: NDArray[np.bool_]
    """Whether lanes of the block have known or pending nodes of their own."""
    pending: NDArray[np.int64]
    """What a lane has observed, but not yet acquired by a fence."""
    released: NDArray[np.int64]
    """What a lane's last fence releases by the stores that follow it."""
    block_released: NDArray[np.int64]
    """What the fences of all threads of the block before its last full barrier release."""
    block_fenced: NDArray[np.bool_]
    """Whether lanes of the block have executed fences since."""
    arrived: NDArray[np.uint32]
    waiting: NDArray[np.uint32]
    """Per block, barrier and warp: the lanes that have arrived since the barrier last opened."""
    threads_asked: NDArray[np.int64]
    """Per block and barrier: the thread count that they name, 0 for all threads."""
    arrival_known: NDArray[np.int64]
    """Per block and barrier: what those knew who arrived without waiting."""
    object_keys: NDArray[np.uint64]
    object_nodes: NDArray[np.int64]
    """Hash table: location in memory -> what is known to those who acquire it."""


@lru_cache(maxsize=256)
def has_releases(program: Program) -> bool:
    """Whether fences or accesses of a program release what its threads did before."""
    return any(
        operation.instruction.opcode in ("fence", "membar")
        or not {"release", "acq_rel"}.isdisjoint(operation.instruction.modifiers)
        for operation in program.operations
    )


def begin_launch(threads_per_block: int) -> Ordering:
    """The order of a launch before its first chunk."""
    nothing = np.zeros(0, np.int64)
    counters = np.zeros(COUNTERS, np.int64)
    counters[NOW], counters[NODES] = 1, 1  # node 0 is none
    nodes = 16 * threads_per_block + 128
    return Ordering(
        threads_per_block=0,
        warps_per_block=0,
        first_block=0,
        counters=counters,
        nodes=np.empty((nodes, NODE_COLUMNS), np.int64),
        marks=np.zeros(nodes, np.int64),
        stack=np.empty(2 * nodes + 2, np.int64),
        barrier_time=nothing,
        warp_time=nothing,
        exited=nothing.astype(np.uint32),
        existing=nothing.astype(np.uint32),
        known=nothing,
        block_known=nothing,
        block_acquired=nothing.astype(bool),
        pending=np.zeros((0, 2), np.int64),
        released=np.zeros((0, 2), np.int64),
        block_released=nothing,
        block_fenced=nothing.astype(bool),
        arrived=np.zeros((0, BARRIERS, 0), np.uint32),
        waiting=np.zeros((0, BARRIERS, 0), np.uint32),
        threads_asked=np.zeros((0, BARRIERS), np.int64),
        arrival_known=np.zeros((0, BARRIERS), np.int64),
        object_keys=np.zeros(1024, np.uint64),
        object_nodes=np.zeros(1024, np.int64),
    )


def begin_chunk(order: Ordering, first_block: int, blocks: int, threads_per_block: int) -> Ordering:
    """The order at the beginning of a chunk, whose threads know nothing of what others did."""
    warps = -(-threads_per_block // WARP_SIZE)
    order.counters[NOW] += 1
    lanes = np.arange(warps * WARP_SIZE).reshape(warps, WARP_SIZE) < threads_per_block
    return order._replace(
        threads_per_block=threads_per_block,
        warps_per_block=warps,
        first_block=first_block,
        barrier_time=np.full(blocks, order.counters[NOW]),
        warp_time=np.full(blocks * warps, order.counters[NOW]),
        exited=np.zeros(blocks * warps, np.uint32),
        existing=np.packbits(lanes, axis=1, bitorder="little").view(np.uint32).ravel(),
        known=np.zeros(blocks * threads_per_block, np.int64),
        block_known=np.zeros(blocks, np.int64),
        block_acquired=np.zeros(blocks, bool),
        pending=np.zeros((blocks * threads_per_block, 2), np.int64),
        released=np.zeros((blocks * threads_per_block, 2), np.int64),
        block_released=np.zeros(blocks, np.int64),
        block_fenced=np.zeros(blocks, bool),
        arrived=np.zeros((blocks, BARRIERS, warps), np.uint32),
        waiting=np.zeros((blocks, BARRIERS, warps), np.uint32),
        threads_asked=np.zeros((blocks, BARRIERS), np.int64),
        arrival_known=np.zeros((blocks, BARRIERS), np.int64),
    )


def with_room(order: Ordering) -> Ordering:
    """The same order, with room for what one more event can add."""
    if not lacks_room(order):
        return order
    nodes = np.empty((2 * len(order.nodes) + 16 * order.threads_per_block, NODE_COLUMNS), np.int64)
    nodes[: len(order.nodes)] = order.nodes
    marks = np.zeros(len(nodes), np.int64)
    objects = np.flatnonzero(order.object_keys)
    grown = order._replace(
        nodes=nodes,
        marks=marks,
        stack=np.empty(2 * len(nodes) + 2, np.int64),
        object_keys=np.zeros(2 * len(order.object_keys), np.uint64),
        object_nodes=np.zeros(2 * len(order.object_keys), np.int64),
    )
    grown.counters[OBJECTS] = 0
    grown.counters[QUERY] = 0
    for position in objects:
        slot = _object_slot(grown, order.object_keys[position], True)
        grown.object_nodes[slot] = order.object_nodes[position]
    return grown


@inlined
def lacks_room(order: Ordering) -> bool:
    """Whether one more event could find no room."""
    counters = order.counters
    nodes_left = len(order.nodes) - counters[NODES]
    return nodes_left < 8 * order.threads_per_block + 64 or 2 * (counters[OBJECTS] + 4) > len(order.object_keys)


# The graph


@compiled
def _node(order, warp, lanes, first, second):
    """What `lanes` of a warp have done and know now, and beside it two other nodes. A warp of -1 is none."""
    number = order.counters[NODES]
    order.counters[NODES] += 1
    row = order.nodes[number]
    row[TIME] = order.counters[NOW]
    row[FIRST], row[SECOND] = first, second
    row[LANES] = lanes
    if warp < 0:
        row[WARP] = -1
    else:
        row[WARP] = warp + order.first_block * order.warps_per_block
        row[WARP_TIME] = order.warp_time[warp]
        row[BARRIER_TIME] = order.barrier_time[warp // order.warps_per_block]
    return number


@compiled
def _join(order, first, second):
    """A node that knows both."""
    if second == 0 or first == second:
        return first
    if first == 0:
        return second
    if order.nodes[first, FIRST] == second or order.nodes[first, SECOND] == second:
        return first
    return _node(order, -1, 0, first, second)


@compiled
def _known_by(order, lane, block):
    node = order.known[lane]
    return node if node else order.block_known[block]


@compiled
def _learn(order, lane, block, node):
    """From now on the lane knows this node as well."""
    order.known[lane] = _join(order, _known_by(order, lane, block), node)
    order.block_acquired[block] = True


@compiled
def is_ordered(order, lane, block, thread, time):
    """Whether `lane` of `block` (both in the chunk) knows what another thread of the launch did at `time`."""
    per_block = order.threads_per_block
    first = (order.first_block + block) * per_block
    mine = thread - first
    if 0 <= mine < per_block:
        if time < order.barrier_time[block]:
            return True
        warp = mine // WARP_SIZE
        if (
            warp == (lane - block * per_block) // WARP_SIZE
            and time < order.warp_time[block * order.warps_per_block + warp]
        ):
            return True
    root = _known_by(order, lane, block)
    if root == 0:
        return False
    return _knows(order, root, thread // per_block, thread % per_block, time)


@compiled
def _knows(order, root, block, index, time):
    """Whether a node knows what the thread `index` of a block of the grid did at `time`."""
    nodes, marks, stack = order.nodes, order.marks, order.stack
    order.counters[QUERY] += 1
    query = order.counters[QUERY]
    warp = block * order.warps_per_block + index // WARP_SIZE
    bit = np.int64(1) << (index % WARP_SIZE)
    depth = 1
    stack[0] = root
    while depth:
        depth -= 1
        number = stack[depth]
        row = nodes[number]
        # What a node points at is older than itself.
        if row[TIME] < time or marks[number] == query:
            continue
        marks[number] = query
        if row[WARP] >= 0:
            if row[WARP] == warp and (row[LANES] & bit or time < row[WARP_TIME]):
                return True
            if row[WARP] // order.warps_per_block == block and time < row[BARRIER_TIME]:
                return True
        for other in (row[FIRST], row[SECOND]):
            if other:
                stack[depth] = other
                depth += 1
    return False


# Barriers


@compiled
def _complete_acquires(order, lane, block):
    for scope in (IN_BLOCK, EVERYWHERE):
        if order.pending[lane, scope]:
            _learn(order, lane, block, order.pending[lane, scope])
            order.pending[lane, scope] = 0


@compiled
def _known_by_lanes(order, warp, lanes, block):
    """A node that knows what all these lanes of a warp know."""
    node = 0
    first = block * order.threads_per_block + warp % order.warps_per_block * WARP_SIZE
    for number in range(WARP_SIZE):
        if lanes >> np.uint32(number) & np.uint32(1):
            _complete_acquires(order, first + number, block)
            node = _join(order, node, _known_by(order, first + number, block))
    return node


@compiled
def _released_by_lanes(order, warp, lanes, block, scope):
    """A node of all that the fences of these lanes of a warp release."""
    node = 0
    first = block * order.threads_per_block + warp % order.warps_per_block * WARP_SIZE
    for number in range(WARP_SIZE):
        if lanes >> np.uint32(number) & np.uint32(1):
            node = _join(order, node, order.released[first + number, scope])
    return node


@compiled
def _let_lanes_release(order, warp, lanes, block, scope, node):
    first = block * order.threads_per_block + warp % order.warps_per_block * WARP_SIZE
    for number in range(WARP_SIZE):
        if lanes >> np.uint32(number) & np.uint32(1):
            order.released[first + number, scope] = node


@compiled
def _let_lanes_know(order, warp, lanes, block, node):
    first = block * order.threads_per_block + warp % order.warps_per_block * WARP_SIZE
    for number in range(WARP_SIZE):
        if lanes >> np.uint32(number) & np.uint32(1):
            order.known[first + number] = node
    order.block_acquired[block] = True


@compiled
def meet(order, warp, lanes):
    """Lanes of a warp of the chunk pass a warp barrier."""
    block = warp // order.warps_per_block
    if order.block_fenced[block]:
        for scope in (IN_BLOCK, EVERYWHERE):
            _let_lanes_release(order, warp, lanes, block, scope, _released_by_lanes(order, warp, lanes, block, scope))
    if lanes == order.existing[warp % order.warps_per_block]:
        if order.block_acquired[block]:
            _let_lanes_know(order, warp, lanes, block, _known_by_lanes(order, warp, lanes, block))
        order.counters[NOW] += 1
        order.warp_time[warp] = order.counters[NOW]
    else:
        others = _known_by_lanes(order, warp, lanes, block)
        node = _node(order, warp, lanes, others, 0)
        _let_lanes_know(order, warp, lanes, block, node)
        order.counters[NOW] += 1


@inlined
def arrive(order, lane, block, barrier, waits, threads, lanes):
    """`lanes` of the warp of a lane, or if that is 0 the lane, arrive at a barrier. Who waits is ordered when it opens,
    another now."""
    index = lane - block * order.threads_per_block
    bits = lanes if lanes else np.uint32(1) << np.uint32(index % WARP_SIZE)
    order.arrived[block, barrier, index // WARP_SIZE] |= bits
    order.threads_asked[block, barrier] = threads
    if waits:
        order.waiting[block, barrier, index // WARP_SIZE] |= bits
    else:
        warp = block * order.warps_per_block + index // WARP_SIZE
        known = order.arrival_known[block, barrier]
        for number in range(WARP_SIZE):
            if bits >> np.uint32(number) & np.uint32(1):
                known = _join(order, _known_by(order, lane - index % WARP_SIZE + number, block), known)
        order.arrival_known[block, barrier] = _node(order, warp, np.int64(bits), known, 0)
        order.counters[NOW] += 1


@compiled
def open_barrier(order, block, barrier):
    """A barrier opens for those who have arrived."""
    first = block * order.warps_per_block
    if barrier == CLUSTER_BARRIER:
        # Its waits are no events: whoever has arrived is taken to have waited. A cluster is one block here.
        for warp in range(order.warps_per_block):
            order.waiting[block, barrier, warp] = order.arrived[block, barrier, warp]
    is_full = True
    for warp in range(order.warps_per_block):
        waiting = order.waiting[block, barrier, warp]
        is_full &= barrier != CLUSTER_BARRIER
        exited = order.exited[first + warp] if order.threads_asked[block, barrier] == 0 else np.uint32(0)
        is_full &= waiting | exited == order.existing[warp]
        is_full &= waiting == order.arrived[block, barrier, warp]
    if is_full:
        pass_barrier(order, block)
    else:
        if order.block_fenced[block]:
            _share_releases(order, block, order.waiting[block, barrier])
        node = order.arrival_known[block, barrier]
        for warp in range(order.warps_per_block):
            lanes = order.waiting[block, barrier, warp]
            if lanes:
                node = _join(order, node, _known_by_lanes(order, first + warp, lanes, block))
                if barrier != CLUSTER_BARRIER:
                    node = _node(order, first + warp, np.int64(lanes), node, 0)
        for warp in range(order.warps_per_block):
            if order.waiting[block, barrier, warp]:
                _let_lanes_know(order, first + warp, order.waiting[block, barrier, warp], block, node)
        order.counters[NOW] += 1
    order.arrived[block, barrier] = 0
    order.waiting[block, barrier] = 0
    order.arrival_known[block, barrier] = 0


@compiled
def _share_releases(order, block, waiting):
    """Threads of some warps of a block have met: each releases what the fences of all of them do."""
    first = block * order.warps_per_block
    for scope in (IN_BLOCK, EVERYWHERE):
        node = 0
        for warp in range(order.warps_per_block):
            node = _join(order, node, _released_by_lanes(order, first + warp, waiting[warp], block, scope))
        for warp in range(order.warps_per_block):
            _let_lanes_release(order, first + warp, waiting[warp], block, scope, node)


@compiled
def pass_barrier(order, block):
    """All threads of a block pass a barrier, or have exited before."""
    if order.block_fenced[block]:
        _gather_releases(order, block)
    if order.block_acquired[block]:
        _share_knowledge(order, block)
    order.counters[NOW] += 1
    order.barrier_time[block] = order.counters[NOW]


@compiled
def _gather_releases(order, block):
    for lane in range(block * order.threads_per_block, (block + 1) * order.threads_per_block):
        order.block_released[block] = _join(order, order.block_released[block], order.released[lane, EVERYWHERE])
        order.released[lane] = 0
    order.block_fenced[block] = False


@compiled
def _share_knowledge(order, block):
    node = order.block_known[block]
    for lane in range(block * order.threads_per_block, (block + 1) * order.threads_per_block):
        _complete_acquires(order, lane, block)
        if order.known[lane]:
            node = _join(order, node, order.known[lane])
            order.known[lane] = 0
    order.block_known[block] = node
    order.block_acquired[block] = False


@inlined
def leave(order, lane, block, lanes):
    """`lanes` of the warp of a lane, or if that is 0 the lane, exit."""
    index = lane - block * order.threads_per_block
    warp = block * order.warps_per_block + index // WARP_SIZE
    order.exited[warp] |= lanes if lanes else np.uint32(1) << np.uint32(index % WARP_SIZE)


# Release and acquire


@compiled
def _done_by(order, lane, block):
    """A node that knows all that the lane has done and knows now."""
    index = lane - block * order.threads_per_block
    warp = block * order.warps_per_block + index // WARP_SIZE
    node = _node(order, warp, np.int64(1) << (index % WARP_SIZE), _known_by(order, lane, block), 0)
    order.counters[NOW] += 1
    return node


@compiled
def fence(order, lane, block, acquires, releases, within_block):
    """A thread executes a fence."""
    if acquires:
        if within_block:
            _learn(order, lane, block, order.pending[lane, IN_BLOCK])
            order.pending[lane, IN_BLOCK] = 0
        else:
            _complete_acquires(order, lane, block)
    if releases:
        order.released[lane, IN_BLOCK] = _done_by(order, lane, block)
        order.block_fenced[block] = True
        if not within_block:
            order.released[lane, EVERYWHERE] = order.released[lane, IN_BLOCK]


@compiled
def synchronise(order, lane, block, location, reads, writes, acquires, releases, within_block):
    """A strong access: a load observes what was released at `location`, a store publishes what was released before.

    `location` tells apart all bytes of memory, those of different blocks' shared memory too. A store that does not
    read begins anew what the location publishes; a read-modify-write adds to it.
    """
    released = order.released[lane]
    if order.counters[OBJECTS] == 0 and not releases and released[IN_BLOCK] == 0 and order.block_released[block] == 0:
        return
    whose = np.uint64(order.first_block + block + 1)
    near, far = location ^ whose * np.uint64(0x9E3779B97F4A7C15), location
    if reads:
        in_block, everywhere = _object(order, near), _object(order, far)
        if within_block:
            everywhere = 0
        if acquires:
            if in_block or everywhere:
                _learn(order, lane, block, in_block)
                _learn(order, lane, block, everywhere)
        elif in_block or everywhere:
            order.pending[lane, IN_BLOCK] = _join(order, order.pending[lane, IN_BLOCK], in_block)
            order.pending[lane, EVERYWHERE] = _join(order, order.pending[lane, EVERYWHERE], everywhere)
            order.block_acquired[block] = True
    if writes:
        released[EVERYWHERE] = _join(order, released[EVERYWHERE], order.block_released[block])
        in_block, everywhere = released[IN_BLOCK], released[EVERYWHERE]
        if releases:
            in_block = _done_by(order, lane, block)
            everywhere = in_block
        _publish(order, near, in_block, reads)
        _publish(order, far, 0 if within_block else everywhere, reads)


@compiled
def _publish(order, key, node, adds):
    slot = _object_slot(order, key, node != 0)
    if slot >= 0:
        order.object_nodes[slot] = _join(order, order.object_nodes[slot], node) if adds else node


@compiled
def _object(order, key):
    slot = _object_slot(order, key, False)
    return order.object_nodes[slot] if slot >= 0 else 0


@compiled
def _object_slot(order, key, insert):
    """Where a key is in the hash table, or -1."""
    keys = order.object_keys
    if key == 0:
        key = np.uint64(1)
    mask = np.uint64(len(keys) - 1)
    slot = (key * np.uint64(0xD6E8FEB86659FD93) >> np.uint64(40)) & mask
    while keys[slot] != 0:
        if keys[slot] == key:
            return np.int64(slot)
        slot = (slot + np.uint64(1)) & mask
    if not insert:
        return -1
    keys[slot] = key
    order.counters[OBJECTS] += 1
    return np.int64(slot)
