"""Asynchronous copies between global and shared memory (PTX ISA 9.7.9.25)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from softgpu.copies import CopyGroups
from softgpu.errors import UnsupportedPTX
from softgpu.events import EventFlag
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.mbarrier import SPACE, mbarrier_address, place_of, update_mbarrier
from softgpu.instructions.memory import space_of
from softgpu.instructions.table import TYPES, Modifiers, instruction
from softgpu.machine import Chunk, Lanes, lane_count, lane_indices
from softgpu.program import Execute
from softgpu.ptx import Immediate, Instruction, Operand, Register

_MAX_BULK_BYTES = (1 << 32) - 16
_HINTS = "L2::cache_hint? prefetch=L2::64B|L2::128B|L2::256B?"


def _constant(decoder: Decoder, operand: Operand) -> int:
    if not isinstance(operand, Immediate) or not isinstance(operand.value, int):
        raise decoder.invalid("expected an integer constant")
    return operand.value


# Copies of 4, 8 or 16 bytes by each thread


@instruction(f"cp async cache=ca|cg space=shared|shared::cta global {_HINTS}", since=80)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    policy = 1 if m["L2::cache_hint"] else 0
    destination, source, size, *rest = decoder.operands(3 + policy, 4 + policy)
    nbytes = _constant(decoder, size)
    if nbytes not in ((16,) if m["cache"] == "cg" else (4, 8, 16)):
        raise decoder.invalid(f"{nbytes} bytes cannot be copied: only 4, 8 or 16 with .ca, and 16 with .cg")
    if policy:
        decoder.read(rest.pop(), TYPES["u64"])
    to_address, from_address = decoder.address(destination, "shared"), decoder.address(source, "global")
    for size in rest:
        decoder.check_constant(size, 0, nbytes)
    ignores = bool(rest) and isinstance(rest[0], Register) and rest[0].type == "pred"
    read = decoder.read(rest[0] if rest else Immediate(nbytes), TYPES["pred" if ignores else "u32"])
    instruction, word = decoder.instruction, f"u{min(nbytes, 8)}"

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        limit = read(chunk, lanes)
        sizes = np.where(limit, 0, nbytes) if ignores else limit.astype(np.int64)
        if (sizes > nbytes).any():
            reason = f"src-size is {sizes.max()}, but only {nbytes} bytes are copied"
            raise UnsupportedPTX(instruction.text, instruction.line, reason)
        sources = np.broadcast_to(from_address(chunk, lanes), lane_count(lanes))
        data = _read(chunk, instruction, lane_indices(lanes), sources, np.broadcast_to(sizes, len(sources)), nbytes)
        columns = [np.ascontiguousarray(column) for column in data.view(word).T]
        chunk.copies.issue(instruction, "shared", lane_indices(lanes), to_address(chunk, lanes), columns)

    return execute


def _read(
    chunk: Chunk, instruction: Instruction, lanes: NDArray[np.intp], sources: NDArray, sizes: NDArray, nbytes: int
) -> NDArray[np.uint8]:
    """The first `sizes` bytes at the sources, followed by zeros: `nbytes` for each lane."""
    data = np.zeros((len(lanes), nbytes), np.uint8)
    # A source must have the alignment of the whole copy, however few of its bytes are read.
    sizes = np.where((sizes > 0) & (sources % np.uint64(nbytes) != 0), nbytes, sizes)
    for piece in (16, 8, 4, 2, 1):
        rows = np.flatnonzero(sizes & piece)
        if len(rows):
            offset = sizes[rows] & -2 * piece
            word = min(piece, 8)
            addresses = sources[rows] + offset.astype(np.uint64)
            words = np.stack(chunk.load(instruction, "global", lanes[rows], addresses, word, piece // word), axis=1)
            data[rows[:, None], offset[:, None] + np.arange(piece)] = words.view(np.uint8)
    return data


@instruction("cp async commit_group", since=80)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    decoder.operands(0)
    return lambda chunk, lanes: chunk.copies.commit(lanes)


@instruction("cp async wait_group", since=80)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    allowed = _constant(decoder, decoder.operands(1)[0])
    return lambda chunk, lanes: chunk.copies.wait(lanes, allowed)


@instruction("cp async wait_all", since=80)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    decoder.operands(0)

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        chunk.copies.commit(lanes)
        chunk.copies.wait(lanes, 0)

    return execute


@instruction(f"cp async mbarrier arrive noinc? {SPACE} b64", since=80)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """The mbarrier sees an arrival of this thread when all its copies so far are done."""
    (place,) = decoder.operands(1)
    address, space, instruction = mbarrier_address(decoder, place, m), space_of(m), decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        indices = lane_indices(lanes)
        addresses = np.broadcast_to(address(chunk, lanes), len(indices))
        arrivals = 0 if m["noinc"] else -1
        update_mbarrier(chunk, instruction, space, indices, addresses, arrivals=arrivals)
        issued = range(chunk.copies.issued)

        def arrive(due: NDArray[np.bool_]) -> None:
            chunk.copies.finish(indices[due], issued)
            flags = EventFlag.STRONG | EventFlag.RELEASE
            update_mbarrier(chunk, instruction, space, indices[due], addresses[due], arrivals=1, flags=flags)

        chunk.reports.add(place_of(chunk, indices, addresses), arrive)

    return execute


# Bulk copies, of any multiple of 16 bytes by one thread


class _BulkCopy:
    """The operands of a bulk copy: from `source` to `destination`, `nbytes` for each lane."""

    def __init__(self, decoder: Decoder, m: Modifiers, destination: Operand, source: Operand, nbytes: Operand):
        self.instruction = decoder.instruction
        self.to_space, self.from_space = (str(m[name]).partition("::")[0] for name in ("to", "from"))
        self.to_address = decoder.address(destination, self.to_space)
        self.from_address = decoder.address(source, self.from_space)
        decoder.check_constant(nbytes, 0, _MAX_BULK_BYTES, multiple=16)
        self.read_size = decoder.read(nbytes, TYPES["u32"])

    def sizes(self, chunk: Chunk, lanes: Lanes) -> NDArray[np.int64]:
        """The number of bytes that each lane copies."""
        sizes = np.broadcast_to(self.read_size(chunk, lanes), lane_count(lanes)).astype(np.int64)
        if (sizes % 16).any():
            reason = f"{sizes[sizes % 16 != 0][0]} bytes are no multiple of 16"
            raise UnsupportedPTX(self.instruction.text, self.instruction.line, reason)
        return sizes

    def issue(self, chunk: Chunk, lanes: Lanes, sizes: NDArray[np.int64], copies: CopyGroups) -> range:
        """Begin the copy, 16 bytes at a time. Returns its number, as a range of one."""
        indices, pieces = lane_indices(lanes), sizes // 16
        who = np.repeat(indices, pieces)
        offsets = 16 * (np.arange(len(who)) - np.repeat(np.cumsum(pieces) - pieces, pieces))

        def addresses(base: NDArray) -> NDArray[np.uint64]:
            return np.repeat(np.broadcast_to(base, len(indices)), pieces) + offsets.astype(np.uint64)

        sources, destinations = (addresses(read(chunk, lanes)) for read in (self.from_address, self.to_address))
        columns = chunk.load(self.instruction, self.from_space, who, sources, 8, 2)
        return copies.issue(self.instruction, self.to_space, who, destinations, columns)


@instruction("cp async bulk to=shared::cluster from=shared::cta mbarrier::complete_tx::bytes", since=90)
@instruction(
    "cp async bulk to=shared::cluster|shared::cta from=global mbarrier::complete_tx::bytes L2::cache_hint?", since=90
)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, source, nbytes, mbarrier, *policy = decoder.operands(5 if m["L2::cache_hint"] else 4)
    for operand in policy:
        decoder.read(operand, TYPES["u64"])
    copy, address = _BulkCopy(decoder, m, destination, source, nbytes), decoder.address(mbarrier, "shared")
    instruction = decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        indices = lane_indices(lanes)
        addresses = np.broadcast_to(address(chunk, lanes), len(indices))
        sizes = copy.sizes(chunk, lanes)
        issued = copy.issue(chunk, lanes, sizes, chunk.tracked_copies)

        def complete(due: NDArray[np.bool_]) -> None:
            chunk.tracked_copies.finish(indices[due], issued)
            flags = EventFlag.STRONG | EventFlag.RELEASE
            update_mbarrier(
                chunk, instruction, "shared", indices[due], addresses[due], transactions=-sizes[due], flags=flags
            )

        chunk.reports.add(place_of(chunk, indices, addresses), complete)

    return execute


@instruction("cp async bulk to=global from=shared::cta bulk_group L2::cache_hint?", since=90)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, source, nbytes, *policy = decoder.operands(4 if m["L2::cache_hint"] else 3)
    for operand in policy:
        decoder.read(operand, TYPES["u64"])
    copy = _BulkCopy(decoder, m, destination, source, nbytes)

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        copy.issue(chunk, lanes, copy.sizes(chunk, lanes), chunk.bulk_copies)

    return execute


@instruction("cp async bulk commit_group", since=90)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    decoder.operands(0)
    return lambda chunk, lanes: chunk.bulk_copies.commit(lanes)


@instruction("cp async bulk wait_group read?", since=90)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """With `.read` only the sources have been read, as they are at once."""
    allowed = _constant(decoder, decoder.operands(1)[0])
    if m["read"]:
        return lambda chunk, lanes: None
    return lambda chunk, lanes: chunk.bulk_copies.wait(lanes, allowed)


@instruction("cp async bulk prefetch L2 global L2::cache_hint?", since=90)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    place, nbytes, *policy = decoder.operands(3 if m["L2::cache_hint"] else 2)
    decoder.address(place, "global")
    decoder.check_constant(nbytes, 0, _MAX_BULK_BYTES, multiple=16)
    for operand, kind in zip([nbytes, *policy], ("u32", "u64"), strict=False):
        decoder.read(operand, TYPES[kind])
    return lambda chunk, lanes: None
