"""Barriers in shared memory (PTX ISA 9.7.13, mbarrier).

An mbarrier is 64 bits whose meaning is the machine's own affair. Here they are, from the lowest bit: the arrivals still
missing in this phase (20 bits), the arrivals that every phase expects (20), the bytes of asynchronous copies still
missing (21, signed), the parity of the phase (1), and a mark (2) that tells an mbarrier from memory that is none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from softgpu.errors import MbarrierError
from softgpu.events import EventFlag
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.memory import space_of
from softgpu.instructions.table import TYPES, Modifiers, instruction
from softgpu.machine import Chunk, Lanes, lane_count, lane_indices, narrow
from softgpu.memory import WINDOW_SHIFT
from softgpu.program import Execute, Read
from softgpu.ptx import Address, Immediate, Instruction, Operand, Sink, Symbol

_COUNT = (1 << 20) - 1
_TRANSACTION_BYTES = (1 << 21) - 1
_MARK = 1
_STATE = TYPES["u64"]
"""What an arrival returns, and what is awaited."""

SPACE = "space=shared|shared::cta?"
_CLUSTER_SPACE = "space=shared|shared::cta|shared::cluster?"
_RELEASE = f"order=release|relaxed scope=cta|cluster {_CLUSTER_SPACE}"
_ACQUIRE = f"order=acquire|relaxed scope=cta|cluster {SPACE}"


def _pack(pending: NDArray, expected: NDArray, transactions: NDArray, phase: NDArray) -> NDArray[np.uint64]:
    fields = pending | expected << 20 | (transactions & _TRANSACTION_BYTES) << 40 | phase << 61 | _MARK << 62
    return fields.astype(np.uint64)


def _pending(state: NDArray[np.uint64]) -> NDArray[np.int64]:
    return state.view(np.int64) & _COUNT


def _expected(state: NDArray[np.uint64]) -> NDArray[np.int64]:
    return state.view(np.int64) >> 20 & _COUNT


def _transactions(state: NDArray[np.uint64]) -> NDArray[np.int64]:
    return state.view(np.int64) << 3 >> 43


def _phase(state: NDArray[np.uint64]) -> NDArray[np.int64]:
    return state.view(np.int64) >> 61 & 1


def _is_mbarrier(state: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return state >> np.uint64(62) == _MARK


def _updated(state: NDArray, arrivals: NDArray, dropped: NDArray, transactions: NDArray) -> NDArray[np.uint64]:
    """After so many arrivals, so many of them for good, and with so many more bytes to come.

    The phase is complete when no arrivals and no bytes are missing; then the next one begins.
    """
    pending, expected = _pending(state) - arrivals, _expected(state) - dropped
    transactions = _transactions(state) + transactions
    complete = (pending == 0) & (transactions == 0)
    return _pack(np.where(complete, expected, pending), expected, transactions, _phase(state) ^ complete)


def update_mbarrier(
    chunk: Chunk,
    instruction: Instruction,
    space: str,
    lanes: Lanes,
    addresses: NDArray[np.uint64],
    *,
    arrivals: NDArray | int = 0,
    dropped: NDArray | int = 0,
    transactions: NDArray | int = 0,
    flags: EventFlag = EventFlag.STRONG,
) -> NDArray[np.uint64]:
    """Update the mbarrier of each lane, one lane after the other. Returns the mbarriers as they were before.

    Raises MbarrierError where there is none, or where more arrive than its phase expects.
    """
    changes = [
        np.broadcast_to(np.asarray(change, np.int64), lane_count(lanes)) for change in (arrivals, dropped, transactions)
    ]
    (before,) = chunk.atomic(
        instruction, space, lanes, addresses, np.dtype(np.uint64), lambda space: _updated, [changes], flags
    )
    check_mbarrier(chunk, instruction, lanes, addresses, before)
    excess = np.flatnonzero((_pending(before) < changes[0]) | (_expected(before) < changes[1]))
    if len(excess):
        raise _misuse(
            chunk, instruction, lanes, addresses, int(excess[0]), "more threads arrive than its phase expects"
        )
    return before


def check_mbarrier(
    chunk: Chunk, instruction: Instruction, lanes: Lanes, addresses: NDArray, state: NDArray[np.uint64]
) -> None:
    """Raises MbarrierError for the first lane whose `state` is that of no mbarrier."""
    wrong = np.flatnonzero(~_is_mbarrier(state))
    if len(wrong):
        raise _misuse(chunk, instruction, lanes, addresses, int(wrong[0]), "no mbarrier.init was executed for it")


def _misuse(
    chunk: Chunk, instruction: Instruction, lanes: Lanes, addresses: NDArray, position: int, reason: str
) -> MbarrierError:
    lane = int(lane_indices(lanes)[position])
    return MbarrierError(
        address=int(_offset(np.broadcast_to(addresses, lane_count(lanes)))[position]),
        thread=chunk.thread_of(lane),
        block=chunk.block_of(lane),
        line=instruction.line,
        reason=reason,
    )


def _offset(addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The offset in shared memory of an address there, be it generic or not."""
    return (addresses & (np.uint64(1) << WINDOW_SHIFT) - np.uint64(1)).astype(np.int64)


def place_of(chunk: Chunk, lanes: Lanes, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
    """A number for each mbarrier of the chunk: where it lies in the shared memory of all its blocks."""
    return chunk.local_block[lanes] * chunk.shared.stride + _offset(addresses)


def mbarrier_address(decoder: Decoder, place: Operand, m: Modifiers) -> Read:
    """The address of an mbarrier, which is in shared memory even where the address is generic."""
    if isinstance(place, Address) and isinstance(place.base, Symbol):
        decoder.in_space(place.base, "shared")
    return decoder.address(place, space_of(m))


# Instructions


@instruction(f"mbarrier init {SPACE} b64", since=80)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    place, count = decoder.operands(2)
    decoder.check_constant(count, 1, _COUNT)
    address, read = mbarrier_address(decoder, place, m), decoder.read(count, TYPES["u32"])
    space, instruction = space_of(m), decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        counts, addresses = read(chunk, lanes).astype(np.int64), address(chunk, lanes)
        wrong = np.flatnonzero((counts < 1) | (counts > _COUNT))
        if len(wrong):
            reason = f"an mbarrier expects from 1 to {_COUNT} arrivals, not {counts[wrong[0]]}"
            raise _misuse(chunk, instruction, lanes, addresses, int(wrong[0]), reason)
        zero = np.zeros_like(counts)
        chunk.store(instruction, space, lanes, addresses, [_pack(counts, counts, zero, zero)])

    return execute


@instruction(f"mbarrier inval {SPACE} b64", since=80)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    (place,) = decoder.operands(1)
    address, space, instruction = mbarrier_address(decoder, place, m), space_of(m), decoder.instruction
    nothing = np.zeros(1, np.uint64)
    return lambda chunk, lanes: chunk.store(instruction, space, lanes, address(chunk, lanes), [nothing])


@instruction(f"mbarrier action=arrive|arrive_drop {_CLUSTER_SPACE} b64", since=80)
@instruction(f"mbarrier action=arrive|arrive_drop {_RELEASE} b64", since=80)
@instruction(f"mbarrier action=arrive|arrive_drop expect_tx {_CLUSTER_SPACE} b64", since=90)
@instruction(f"mbarrier action=arrive|arrive_drop expect_tx {_RELEASE} b64", since=90)
@instruction(f"mbarrier action=arrive|arrive_drop noComplete {SPACE} b64", since=80)
@instruction(f"mbarrier action=arrive|arrive_drop noComplete order=release cta {SPACE} b64", since=80)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    counted = m["expect_tx"] or m["noComplete"]
    destination, place, *number = decoder.operands(*((3,) if counted else (2, 3)))
    if m["space"] == "shared::cluster" and not isinstance(destination, Sink):
        raise decoder.invalid("with .shared::cluster the state cannot be had: the destination must be _")
    write = decoder.write(destination, _STATE, may_be_dropped=True)
    address = mbarrier_address(decoder, place, m)
    if number and not counted and decoder.program.module.architecture < 90:
        raise decoder.unsupported("a count without .noComplete needs the target sm_90 or later")
    for count in () if m["expect_tx"] else number:
        decoder.check_constant(count, 1, _COUNT)
    read = decoder.read(number[0] if number else Immediate(1), TYPES["u32"])
    space, instruction = space_of(m), decoder.instruction
    flags = EventFlag.STRONG if m["order"] == "relaxed" else EventFlag.STRONG | EventFlag.RELEASE

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        numbers, addresses = read(chunk, lanes).astype(np.int64), address(chunk, lanes)
        arrivals = np.ones_like(numbers) if m["expect_tx"] else numbers
        before = update_mbarrier(
            chunk,
            instruction,
            space,
            lanes,
            addresses,
            arrivals=arrivals,
            dropped=arrivals if m["action"] == "arrive_drop" else 0,
            transactions=numbers if m["expect_tx"] else 0,
            flags=flags,
        )
        if m["noComplete"]:
            completing = np.flatnonzero((_pending(before) == arrivals) & (_transactions(before) == 0))
            if len(completing):
                reason = "this arrival completes the phase, which .noComplete promises that it does not"
                raise _misuse(chunk, instruction, lanes, addresses, int(completing[0]), reason)
        write(chunk, lanes, before)

    return execute


@instruction(f"mbarrier action=expect_tx|complete_tx {_CLUSTER_SPACE} b64", since=90)
@instruction(f"mbarrier action=expect_tx|complete_tx order=relaxed scope=cta|cluster {_CLUSTER_SPACE} b64", since=90)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    place, number = decoder.operands(2)
    address, read, space = mbarrier_address(decoder, place, m), decoder.read(number, TYPES["u32"]), space_of(m)
    sign, instruction = -1 if m["action"] == "complete_tx" else 1, decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        numbers = sign * read(chunk, lanes).astype(np.int64)
        update_mbarrier(chunk, instruction, space, lanes, address(chunk, lanes), transactions=numbers)

    return execute


@instruction(f"mbarrier action=test_wait parity? {SPACE} b64", since=80)
@instruction(f"mbarrier action=test_wait parity? {_ACQUIRE} b64", since=80)
@instruction(f"mbarrier action=try_wait parity? {SPACE} b64", since=90)
@instruction(f"mbarrier action=try_wait parity? {_ACQUIRE} b64", since=90)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """`try_wait` may suspend the thread for a while; here it never does."""
    destination, place, awaited, *limit = decoder.operands(*((3, 4) if m["action"] == "try_wait" else (3,)))
    for operand in limit:
        decoder.read(operand, TYPES["u32"])
    if m["parity"]:
        decoder.check_constant(awaited, 0, 1)
    write, address = decoder.write(destination, TYPES["pred"]), mbarrier_address(decoder, place, m)
    read = decoder.read(awaited, TYPES["u32"] if m["parity"] else _STATE)
    space, instruction = space_of(m), decoder.instruction
    flags = EventFlag.STRONG if m["order"] == "relaxed" else EventFlag.STRONG | EventFlag.ACQUIRE

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        addresses = np.broadcast_to(address(chunk, lanes), lane_count(lanes))
        chunk.reports.settle(place_of(chunk, lanes, addresses))
        (state,) = chunk.load(instruction, space, lanes, addresses, 8, 1, EventFlag.STRONG)
        check_mbarrier(chunk, instruction, lanes, addresses, state)
        phase = read(chunk, lanes) & np.uint32(1) if m["parity"] else _phase(read(chunk, lanes))
        complete = _phase(state) != phase
        if complete.any():
            passed = narrow(lanes, complete)
            chunk.load(instruction, space, passed, addresses[complete], 8, 1, flags, kind="atomic")
        write(chunk, lanes, complete)

    return execute


@instruction("mbarrier pending_count b64", since=80)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, state = decoder.operands(2)
    write, read = decoder.write(destination, TYPES["u32"]), decoder.read(state, _STATE)
    return lambda chunk, lanes: write(chunk, lanes, _pending(read(chunk, lanes)))
