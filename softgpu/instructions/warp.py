"""What the lanes of a warp do together (PTX ISA 9.7.9.6 and 9.7.13).

Lanes that name each other in equal member masks work together. A lane that its own mask does not name is on its own:
what it gets is undefined, and here it is what a warp of that one lane would give.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from softgpu.events import EventKind
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import TYPES, Modifiers, Type, instruction
from softgpu.machine import WARP_SIZE, Chunk, Lanes, lane_count, lane_indices
from softgpu.program import Execute, Read
from softgpu.ptx import Operand, Pair, Sink


def _for_warp(decoder: Decoder, membermask: Operand, anywhere: bool = False) -> Read:
    """The instruction waits until all lanes of the mask have arrived at it, or at any of its kind."""
    mask = decoder.read(membermask, TYPES["u32"])
    decoder.operation.membermask = mask
    decoder.operation.meets_anywhere = anywhere
    return mask


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
    _for_warp(decoder, membermask, anywhere=True)
    return lambda chunk, lanes: None


@instruction("shfl sync mode=up|down|bfly|idx b32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, value, offset, limits, membermask = decoder.operands(5)
    pair = destination if isinstance(destination, Pair) else Pair(destination, Sink())
    read_mask = _for_warp(decoder, membermask)
    word = TYPES["u32"]
    reads = [decoder.read(operand, word) for operand in (value, offset, limits)]
    write_value = decoder.write(pair.first, word)
    write_inside = decoder.write(pair.second, TYPES["pred"])
    mode, instruction = m["mode"], decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        values, offsets, limit = (
            np.broadcast_to(read(chunk, lanes), lane_count(lanes)).astype(np.int64) for read in reads
        )
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
        absent = (partners(chunk, lanes, read_mask(chunk, lanes)).astype(np.int64) >> source) & 1 == 0
        if absent.any():
            chunk.tell(EventKind.ABSENT_SOURCE, instruction, lane_indices(lanes)[absent], detail=source[absent])
        of_warp = np.zeros(chunk.warp_count * WARP_SIZE, np.uint32)
        slots = chunk.warp_slot[lanes]
        of_warp[slots] = values
        write_value(chunk, lanes, np.where(absent, values.astype(np.uint32), of_warp[slots - lane + source]))
        write_inside(chunk, lanes, inside)

    return execute


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
    read_mask, read = _for_warp(decoder, membermask), decoder.read(predicate, TYPES["pred"])
    write = decoder.write(destination, kind)

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        members = partners(chunk, lanes, read_mask(chunk, lanes))
        votes = chunk.ballot(lanes, read(chunk, lanes))[chunk.warp[lanes]] & members
        write(chunk, lanes, decide(votes, members))

    return execute


@instruction("match mode=any|all sync type=b32|b64", since=70)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """`any`: which lanes have the same value. `all`: all lanes, if all have the same value, otherwise none."""
    destination, value, membermask = decoder.operands(3)
    matches_all = m["mode"] == "all"
    if isinstance(destination, Pair) and not matches_all:
        raise decoder.invalid("only match.all has a predicate as its second destination")
    pair = destination if isinstance(destination, Pair) else Pair(destination, Sink())
    read_mask, read = _for_warp(decoder, membermask), decoder.read(value, m.type)
    write_mask, write_matched = decoder.write(pair.first, TYPES["b32"]), decoder.write(pair.second, TYPES["pred"])

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        members = partners(chunk, lanes, read_mask(chunk, lanes))
        values = np.broadcast_to(read(chunk, lanes), lane_count(lanes)).astype(np.uint64)
        rows = np.stack([_groups(chunk, lanes, members).astype(np.uint64), values], axis=1)
        alike = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
        same = np.zeros(lane_count(lanes), np.uint32)
        np.bitwise_or.at(same, alike, np.uint32(1) << _lane(chunk, lanes).astype(np.uint32))
        same = same[alike]
        matched = same == members
        write_mask(chunk, lanes, np.where(matched, same, np.uint32(0)) if matches_all else same)
        write_matched(chunk, lanes, matched)

    return execute


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
    read_mask, read = _for_warp(decoder, membermask), decoder.read(value, m.type)
    write, reduce = decoder.write(destination, m.type), _REDUCTIONS[str(m["operation"])]

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        groups = _groups(chunk, lanes, partners(chunk, lanes, read_mask(chunk, lanes)))
        values = np.broadcast_to(read(chunk, lanes), lane_count(lanes))
        order = np.argsort(groups, kind="stable")
        starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
        write(chunk, lanes, reduce.reduceat(values[order], starts, dtype=values.dtype)[groups])

    return execute


@instruction("elect sync", since=90)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """The lowest of the lanes is elected, as NVIDIA's GPUs do."""
    destination, membermask = decoder.operands(2)
    if not isinstance(destination, Pair):
        raise decoder.invalid("the destination must be a register and a predicate: d|p")
    read_mask = _for_warp(decoder, membermask)
    write_leader = decoder.write(destination.first, TYPES["b32"])
    write_elected = decoder.write(destination.second, TYPES["pred"])

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        members = partners(chunk, lanes, read_mask(chunk, lanes)).astype(np.int64)
        lowest = members & -members
        leader = np.log2(lowest).astype(np.uint32)
        write_leader(chunk, lanes, leader)
        write_elected(chunk, lanes, leader == _lane(chunk, lanes))

    return execute


@instruction("activemask b32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    (destination,) = decoder.operands(1)
    write = decoder.write(destination, TYPES["b32"])
    return lambda chunk, lanes: write(chunk, lanes, chunk.ballot(lanes)[chunk.warp[lanes]])
