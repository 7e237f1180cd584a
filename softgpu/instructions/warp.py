"""What the lanes of a warp do together (PTX ISA 9.7.9.6 and 9.7.13)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from softgpu.events import EventKind
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import TYPES, Modifiers, Type, instruction
from softgpu.machine import WARP_SIZE, Chunk, Lanes, lane_count, lane_indices
from softgpu.program import Execute
from softgpu.ptx import Operand, Pair, Sink


def _for_warp(decoder: Decoder, membermask: Operand) -> None:
    """The instruction waits until all lanes of the mask have arrived at it."""
    if decoder.instruction.guard is not None:
        raise decoder.unsupported("a warp-level instruction under a predicate")
    mask = decoder.read(membermask, TYPES["u32"])
    decoder.operation.membermask = mask


@instruction("bar warp sync")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    (membermask,) = decoder.operands(1)
    _for_warp(decoder, membermask)
    return lambda chunk, lanes: None


@instruction("shfl sync mode=up|down|bfly|idx b32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, value, offset, limits, membermask = decoder.operands(5)
    pair = destination if isinstance(destination, Pair) else Pair(destination, Sink())
    _for_warp(decoder, membermask)
    word = TYPES["u32"]
    reads = [decoder.read(operand, word) for operand in (value, offset, limits)]
    write_value = decoder.write(pair.first, word)
    write_inside = decoder.write(pair.second, TYPES["pred"])
    mode, instruction = m["mode"], decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        values, offsets, limit = (
            np.broadcast_to(read(chunk, lanes), lane_count(lanes)).astype(np.int64) for read in reads
        )
        indices = lane_indices(lanes)
        lane = chunk.warp_slot[indices] % WARP_SIZE
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
        of_warp = np.zeros(chunk.warp_count * WARP_SIZE, np.uint32)
        takes_part = np.zeros(chunk.warp_count * WARP_SIZE, bool)
        slots = chunk.warp_slot[indices]
        of_warp[slots] = values
        takes_part[slots] = True
        source_slots = slots - lane + source
        absent = ~takes_part[source_slots]
        if absent.any():
            chunk.tell(EventKind.ABSENT_SOURCE, instruction, indices[absent], detail=source[absent])
        write_value(chunk, lanes, np.where(takes_part[source_slots], of_warp[source_slots], values))
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
    _for_warp(decoder, membermask)
    read, read_mask = decoder.read(predicate, TYPES["pred"]), decoder.read(membermask, TYPES["u32"])
    write = decoder.write(destination, kind)

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        warp, mask = chunk.warp[lanes], read_mask(chunk, lanes)
        votes = chunk.ballot(lanes, read(chunk, lanes))[warp] & mask
        members = chunk.ballot(lanes)[warp] & mask
        write(chunk, lanes, decide(votes, members))

    return execute


@instruction("activemask b32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    (destination,) = decoder.operands(1)
    write = decoder.write(destination, TYPES["b32"])
    return lambda chunk, lanes: write(chunk, lanes, chunk.ballot(lanes)[chunk.warp[lanes]])
