"""What the lanes of a warp do together (PTX ISA 9.7.9.6 and 9.7.13).

Lanes that name each other in equal member masks work together. A lane that its own mask does not name is on its own:
what it gets is undefined, and here it is what a warp of that one lane would give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from softgpu.events import EventKind
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import TYPES, Modifiers, Type, instruction
from softgpu.machine import WARP_SIZE, Chunk, Lanes, lane_count, lane_indices
from softgpu.program import Exchange, Execute, Read, Write
from softgpu.ptx import Operand, Pair, Sink


def _together(
    decoder: Decoder,
    membermask: Operand,
    reads: Sequence[Read],
    compute: Callable[..., tuple[NDArray, ...]],
    *writes: Write,
) -> Execute:
    """The instruction waits until all lanes of the mask have arrived at it, or at another with the same modifiers.

    `compute` gets the chunk, the lanes, their masks and what they read, and returns what they write.
    """
    mask = decoder.read(membermask, TYPES["u32"])
    decoder.operation.membermask = mask
    decoder.operation.exchange = Exchange((mask, *reads), compute, writes)
    return decoder.operation.exchange.execute


def _lane(chunk: Chunk, lanes: Lanes) -> NDArray[np.int64]:
    return chunk.warp_slot[lanes] % WARP_SIZE


def partners(chunk: Chunk, lanes: Lanes, mask: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """For each of `lanes`, the lanes of its warp that it works with, itself among them, as a mask."""
    warp = chunk.warp[lanes]
    own = np.uint32(1) << _lane(chunk, lanes).astype(np.uint32)
    mask = np.broadcast_to(mask, lane_count(lanes))
    together = np.zeros(lane_count(lanes), np.uint32)
    for value in mask[:1] if (mask == mask[0]).all() else np.unique(mask):
        equal = mask == value
        together[equal] = (chunk.ballot(lanes, equal)[warp] & value)[equal]
    return np.where(mask & own, together, own)


def _groups(chunk: Chunk, lanes: Lanes, together: NDArray[np.uint32]) -> NDArray[np.intp]:
    """Which lanes work together, as one number for each lane."""
    return np.unique(chunk.warp[lanes] << WARP_SIZE | together, return_inverse=True)[1]


@instruction("bar warp sync")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    (membermask,) = decoder.operands(1)
    return _together(decoder, membermask, (), lambda chunk, lanes, mask: ())


@instruction("shfl sync mode=up|down|bfly|idx b32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, value, offset, limits, membermask = decoder.operands(5)
    pair = destination if isinstance(destination, Pair) else Pair(destination, Sink())
    word = TYPES["b32"]
    reads = [decoder.read(operand, word) for operand in (value, offset, limits)]
    write_value = decoder.write(pair.first, word)
    write_inside = decoder.write(pair.second, TYPES["pred"], may_be_dropped=True)
    mode, instruction = m["mode"], decoder.instruction

    def compute(chunk: Chunk, lanes: Lanes, mask: NDArray, *operands: NDArray) -> tuple[NDArray, NDArray]:
        values, offsets, limit = (operand.astype(np.int64) for operand in operands)
        lane = _lane(chunk, lanes)
        segment, clamp, offsets = limit >> 8 & 31, limit & 31, offsets & 31
        highest = (lane & segment) | (clamp & ~segment)
        lowest = lane & segment
        if mode == "up":
            source = lane - offsets
            inside = source >= highest
        else:
            source = {"down": lane + offsets, "bfly": lane ^ offsets, "idx": lowest | (offsets & ~segment)}[str(mode)]
            inside = source <= highest
        source = np.where(inside, source, lane)
        # Reading from a lane that takes no part is undefined; here it gives the reader's own value.
        absent = (partners(chunk, lanes, mask).astype(np.int64) >> source) & 1 == 0
        if absent.any():
            chunk.tell(EventKind.ABSENT_SOURCE, instruction, lane_indices(lanes)[absent], detail=source[absent])
        of_warp = np.zeros(chunk.warp_count * WARP_SIZE, np.uint32)
        slots = chunk.warp_slot[lanes]
        of_warp[slots] = values
        return np.where(absent, values.astype(np.uint32), of_warp[slots - lane + source]), inside

    return _together(decoder, membermask, reads, compute, write_value, write_inside)


@instruction("vote sync mode=all|any|uni pred")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    def decide(votes: NDArray, members: NDArray) -> NDArray:
        if m["mode"] == "all":
            return votes == members
        if m["mode"] == "any":
            return votes != 0
        return (votes == members) | (votes == 0)

    return _vote(decoder, TYPES["pred"], decide)


@instruction("vote sync ballot b32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    return _vote(decoder, TYPES["b32"], lambda votes, members: votes)


def _vote(decoder: Decoder, kind: Type, decide: Callable[[NDArray, NDArray], NDArray]) -> Execute:
    destination, predicate, membermask = decoder.operands(3)
    read, write = decoder.read(predicate, TYPES["pred"]), decoder.write(destination, kind)

    def compute(chunk: Chunk, lanes: Lanes, mask: NDArray, votes: NDArray) -> tuple[NDArray]:
        members = partners(chunk, lanes, mask)
        return (decide(chunk.ballot(lanes, votes)[chunk.warp[lanes]] & members, members),)

    return _together(decoder, membermask, [read], compute, write)


@instruction("match mode=any|all sync type=b32|b64", since=70)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """`any`: which lanes have the same value. `all`: all lanes, if all have the same value, otherwise none."""
    destination, value, membermask = decoder.operands(3)
    matches_all = m["mode"] == "all"
    if isinstance(destination, Pair) and not matches_all:
        raise decoder.invalid("only match.all has a predicate as its second destination")
    pair = destination if isinstance(destination, Pair) else Pair(destination, Sink())
    read = decoder.read(value, m.type)
    write_mask = decoder.write(pair.first, TYPES["u32"], may_be_dropped=matches_all)
    write_matched = decoder.write(pair.second, TYPES["pred"], may_be_dropped=True)

    def compute(chunk: Chunk, lanes: Lanes, mask: NDArray, values: NDArray) -> tuple[NDArray, NDArray]:
        members = partners(chunk, lanes, mask)
        rows = np.stack([_groups(chunk, lanes, members).astype(np.uint64), values.astype(np.uint64)], axis=1)
        alike = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
        same = np.zeros(lane_count(lanes), np.uint32)
        np.bitwise_or.at(same, alike, np.uint32(1) << _lane(chunk, lanes).astype(np.uint32))
        same = same[alike]
        matched = same == members
        return np.where(matched, same, np.uint32(0)) if matches_all else same, matched

    return _together(decoder, membermask, [read], compute, write_mask, write_matched)


_REDUCTIONS = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


@instruction("redux sync operation=add|min|max type=u32|s32", since=80)
@instruction("redux sync operation=and|or|xor type=b32", since=80)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, value, membermask = decoder.operands(3)
    kind = TYPES["u32"] if m.type.is_untyped else m.type
    read, write = decoder.read(value, kind), decoder.write(destination, kind)
    reduce = _REDUCTIONS[str(m["operation"])]

    def compute(chunk: Chunk, lanes: Lanes, mask: NDArray, values: NDArray) -> tuple[NDArray]:
        groups = _groups(chunk, lanes, partners(chunk, lanes, mask))
        order = np.argsort(groups, kind="stable")
        starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
        return (reduce.reduceat(values[order], starts, dtype=values.dtype)[groups],)

    return _together(decoder, membermask, [read], compute, write)


@instruction("elect sync", since=90)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """The lowest of the lanes is elected, as NVIDIA's GPUs do."""
    destination, membermask = decoder.operands(2)
    if not isinstance(destination, Pair):
        raise decoder.invalid("the destination must be a register and a predicate: d|p")
    write_leader = decoder.write(destination.first, TYPES["b32"], may_be_dropped=True)
    write_elected = decoder.write(destination.second, TYPES["pred"])

    def compute(chunk: Chunk, lanes: Lanes, mask: NDArray) -> tuple[NDArray, NDArray]:
        members = partners(chunk, lanes, mask).astype(np.int64)
        lowest = members & -members
        leader = np.log2(lowest).astype(np.uint32)
        return leader, leader == _lane(chunk, lanes)

    return _together(decoder, membermask, (), compute, write_leader, write_elected)


@instruction("activemask b32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    (destination,) = decoder.operands(1)
    write = decoder.write(destination, TYPES["b32"])
    return lambda chunk, lanes: write(chunk, lanes, chunk.ballot(lanes)[chunk.warp[lanes]])
