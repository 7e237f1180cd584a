"""A record of what every thread did: its memory accesses, and where the values it stored came from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from softgpu.errors import Dim3
from softgpu.events import EventFlag
from softgpu.machine import Chunk, Lanes, Launch, lane_count
from softgpu.observers import Access, BarrierEvent, Observer
from softgpu.ptx import Immediate, Instruction, Operand, Register, Vector


class Space(IntEnum):
    """State space of an access."""

    GLOBAL = 0
    SHARED = 1
    LOCAL = 2
    CONST = 3


class Kind(IntEnum):
    """What an access did."""

    LOAD = 0
    STORE = 1
    ATOMIC = 2


class Origin(IntEnum):
    """Where a value came from: loaded from global memory, a constant of the program, or computed."""

    COMPUTED = 0
    LOADED = 1
    CONSTANT = 2


ACCESS = np.dtype(
    [
        ("step", np.int64),
        ("pc", np.int32),
        ("line", np.int32),
        ("space", np.uint8),
        ("kind", np.uint8),
        ("block", np.int64),
        ("thread", np.int32),
        ("address", np.uint64),
        ("nbytes", np.int32),
        ("bits", np.uint64),
        ("origin", np.uint8),
        ("origin_address", np.uint64),
    ]
)
"""One access of one thread; a vector access has one row an element.

- `step`: rows of one step were executed together; steps ascend in order of execution
- `pc`: index of the instruction in LaunchTrace.instructions; `line`: its line in the PTX text
- `space`, `kind`, `origin`: Space, Kind, Origin
- `block`: linear index in the grid; `thread`: linear index in the block; x fastest
- `address`: for shared and local memory the byte offset in the memory of the block or thread
- `nbytes`, `bits`: size and raw value of the element; for an atomic the value it left
- `origin`, `origin_address`: of the value loaded or stored; the address is 0 unless the origin is LOADED
"""


@dataclass(frozen=True, slots=True)
class BarrierTrace:
    """A barrier that opened. `threads` are the linear indices of the threads that arrived."""

    step: int
    line: int
    block: int
    barrier: int
    threads: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Region:
    """A named part of a memory: `nbytes` bytes from `address` (an offset, for shared memory)."""

    name: str
    address: int
    nbytes: int


@dataclass(slots=True)
class LaunchTrace:
    """One launch. `threads_ran` gives for each traced block how many of its threads were run.

    `buffers` are the allocations there were, `shared_variables` the named parts of a block's shared memory
    (dynamic shared memory last). `parameters` are the raw bytes of each kernel parameter.
    """

    kernel: str
    grid: Dim3
    block: Dim3
    instructions: tuple[Instruction, ...]
    buffers: tuple[Region, ...]
    shared_variables: tuple[Region, ...]
    parameters: tuple[bytes, ...]
    accesses: NDArray = field(default_factory=lambda: np.empty(0, ACCESS))
    barriers: list[BarrierTrace] = field(default_factory=list)
    threads_ran: dict[int, int] = field(default_factory=dict)


class Trace(Observer):
    """Records launches in `launches`. `blocks` limits it to some linear block indices.

    The origin of a value follows the program's real dataflow. A load from global memory makes its
    destination LOADED, from that address. An immediate makes it CONSTANT. `mov` and `selp` pass on the origin
    of the value they copy, and so do shared and local memory, byte by byte: what is loaded there has the
    origin of what was stored there. Every other result is COMPUTED.
    """

    def __init__(self, blocks: Collection[int] | None = None):
        self.launches: list[LaunchTrace] = []
        self._blocks = None if blocks is None else np.array(sorted(blocks), np.int64)

    def follows(self, launch: Launch, first_block: int, block_count: int) -> bool:
        return self._blocks is None or bool(
            ((self._blocks >= first_block) & (self._blocks < first_block + block_count)).any()
        )

    def launch_begin(self, launch: Launch) -> None:
        program = launch.program
        offsets = program.parameter_offsets
        self._current = LaunchTrace(
            kernel=launch.kernel,
            grid=launch.grid,
            block=launch.block,
            instructions=tuple(program.kernel.instructions),
            buffers=tuple(Region(one.name, one.base, one.nbytes) for one in launch.memory.allocations),
            shared_variables=_shared_variables(launch),
            parameters=tuple(
                launch.parameters[offsets[one.name] : offsets[one.name] + one.nbytes].tobytes()
                for one in program.kernel.parameters
            ),
        )
        self._rows: list[NDArray] = []
        self._step = 0

    def chunk_begin(self, launch: Launch) -> None:
        chunk = launch.chunk
        self._registers = _RegisterOrigins(chunk)
        self._scratch = {
            "shared": _ByteOrigins(len(chunk.shared.data)),
            "local": _ByteOrigins(len(chunk.local.data)),
        }
        # Of asynchronous copies: what the current one has loaded, and what will have arrived in shared memory.
        self._copied: list[Access] = []
        self._in_flight = _ByteOrigins(len(chunk.shared.data))
        for block in range(chunk.first_block, chunk.first_block + chunk.block_count):
            if self._blocks is None or block in self._blocks:
                self._current.threads_ran[block] = launch.threads_per_block

    def instruction(self, launch: Launch, instruction: Instruction, lanes: Lanes) -> None:
        self._step += 1
        operation = launch.program.operations[instruction.index]
        origins = self._registers
        operands = instruction.operands
        if not operation.destinations:
            return
        if instruction.opcode == "mov" and not any(isinstance(operand, Vector) for operand in operands):
            result = origins.of(operands[1], lanes)
        elif instruction.opcode == "selp":
            predicate = operands[3]
            chosen = (
                launch.chunk.registers[predicate.name][lanes] ^ predicate.negated
                if isinstance(predicate, Register)
                else np.full(lane_count(lanes), True)
            )
            result = origins.of(operands[1], lanes).where(chosen, origins.of(operands[2], lanes))
        else:
            result = _Origins.computed(lane_count(lanes))
        for register in operation.destinations:
            origins.set(register, lanes, result)

    def access(self, launch: Launch, access: Access) -> None:
        if access.flags & EventFlag.INVALID:
            return
        if access.kind == "copy_done":
            if access.space == "shared":
                self._scratch["shared"].take(self._in_flight, _cells(access, access.address), access.nbytes)
            return
        if access.kind == "load" and access.instruction.opcode == "cp":
            self._copied.append(access)
        elements = _value_operands(access)
        size = access.nbytes // len(elements)
        for number, element in enumerate(elements):
            address = access.address + np.uint64(number * size)
            if access.kind == "load":
                origins = self._loaded(access, address, size)
                if isinstance(element, Register):
                    self._registers.set(element, access.lanes, origins)
            elif access.flags & EventFlag.ASYNC:
                origins = self._sent(access, address, number * size, size)
            else:
                origins = self._stored(access, element, address, size)
            self._record(access, number, address, size, origins)
        if access.flags & EventFlag.ASYNC:
            self._copied = []

    def _loaded(self, access: Access, address: NDArray, size: int) -> _Origins:
        if access.space in self._scratch:
            return self._scratch[access.space].load(_cells(access, address), size)
        if access.space == "global":
            return _Origins(np.full(len(address), Origin.LOADED, np.uint8), address)
        return _Origins.computed(len(address))

    def _stored(self, access: Access, element: Operand | None, address: NDArray, size: int) -> _Origins:
        if element is None:
            origins = _Origins.computed(len(address))
        else:
            origins = self._registers.of(element, access.lanes)
        if access.space in self._scratch:
            self._scratch[access.space].store(_cells(access, address), size, origins)
        return origins

    def _sent(self, access: Access, address: NDArray, offset: int, size: int) -> _Origins:
        """Origins of what an asynchronous copy stores: what its loads have read, and then zeros."""
        source, nbytes = np.zeros(len(address), np.uint64), np.zeros(len(address), np.int64)
        for load in self._copied:
            aligned = len(load.lanes) == len(access.lanes)
            rows = np.arange(len(address)) if aligned else np.searchsorted(access.lanes, load.lanes)
            source[rows] = np.where(nbytes[rows] == 0, load.address, source[rows])
            nbytes[rows] += load.nbytes
        loaded = _Origins(np.full(len(address), Origin.LOADED, np.uint8), source + np.uint64(offset))
        origins = _Origins.computed(len(address))
        if not self._copied or self._copied[0].space == "global":
            zeros = _Origins(np.full(len(address), Origin.CONSTANT, np.uint8), np.zeros(len(address), np.uint64))
            rest = zeros.where(nbytes <= offset, origins)
            origins = loaded.where(nbytes >= offset + size, rest)
        if access.space == "shared":
            self._in_flight.store(_cells(access, address), size, origins)
        return origins

    def _record(self, access: Access, number: int, address: NDArray, size: int, origins: _Origins) -> None:
        rows = np.empty(len(access.lanes), ACCESS)
        rows["step"] = self._step
        rows["pc"] = access.instruction.index
        rows["line"] = access.instruction.line
        rows["space"] = Space[access.space.upper()]
        rows["kind"] = Kind[access.kind.upper()]
        rows["block"] = access.block
        rows["thread"] = access.thread
        rows["address"] = address
        rows["nbytes"] = size
        rows["bits"] = access.bits[:, number]
        rows["origin"] = origins.kind
        rows["origin_address"] = origins.address
        if self._blocks is not None:
            rows = rows[np.isin(rows["block"], self._blocks)]
        self._rows.append(rows)

    def barrier(self, launch: Launch, event: BarrierEvent) -> None:
        if self._blocks is None or event.block in self._blocks:
            self._current.barriers.append(
                BarrierTrace(self._step, event.instruction.line, event.block, event.barrier, event.threads)
            )

    def launch_end(self, launch: Launch) -> None:
        if self._rows:
            self._current.accesses = np.concatenate(self._rows)
        self.launches.append(self._current)


def _shared_variables(launch: Launch) -> tuple[Region, ...]:
    program = launch.program
    regions = []
    for name, offset in program.shared_offsets.items():
        variable = program.variable(name)
        size = variable.nbytes if variable and variable.count else launch.shared_bytes
        regions.append(Region(name, offset, size))
    return tuple(regions)


def _value_operands(access: Access) -> tuple[Operand | None, ...]:
    """The operands that are loaded or stored, one an element; only `ld` and `st` have such operands."""
    if access.instruction.opcode not in ("ld", "ldu", "st"):
        return (None,) * access.bits.shape[1]
    operand = access.instruction.operands[0 if access.kind == "load" else 1]
    return operand.elements if isinstance(operand, Vector) else (operand,)


def _cells(access: Access, address: NDArray) -> NDArray:
    """Where the bytes at `address` of each lane's own shared or local memory are in that of the chunk."""
    chunk = access.chunk
    if access.space == "shared":
        return chunk.local_block[access.lanes] * chunk.shared.stride + address.astype(np.int64)
    return access.lanes * chunk.local.stride + address.astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Origins:
    """The origins of one value a lane: `kind` (Origin, uint8) and `address` (uint64)."""

    kind: NDArray[np.uint8]
    address: NDArray[np.uint64]

    @staticmethod
    def computed(count: int) -> _Origins:
        return _Origins(np.full(count, Origin.COMPUTED, np.uint8), np.zeros(count, np.uint64))

    def where(self, condition: NDArray[np.bool_], other: _Origins) -> _Origins:
        return _Origins(np.where(condition, self.kind, other.kind), np.where(condition, self.address, other.address))


class _RegisterOrigins:
    """The origin of what every register of every lane of a chunk holds."""

    def __init__(self, chunk: Chunk):
        self._size = chunk.size
        self._registers: dict[str, _Origins] = {}

    def of(self, operand: Operand, lanes: Lanes) -> _Origins:
        if isinstance(operand, Register) and operand.name in self._registers:
            origins = self._registers[operand.name]
            return _Origins(origins.kind[lanes], origins.address[lanes])
        kind = Origin.CONSTANT if isinstance(operand, Immediate) else Origin.COMPUTED
        count = lane_count(lanes)
        return _Origins(np.full(count, kind, np.uint8), np.zeros(count, np.uint64))

    def set(self, register: Register, lanes: Lanes, origins: _Origins) -> None:
        if register.name not in self._registers:
            self._registers[register.name] = _Origins.computed(self._size)
        mine = self._registers[register.name]
        mine.kind[lanes] = origins.kind
        mine.address[lanes] = origins.address


class _ByteOrigins:
    """The origin of every byte of the scratch memory of a chunk."""

    def __init__(self, size: int):
        self._bytes = _Origins.computed(size)

    def store(self, cells: NDArray, size: int, origins: _Origins) -> None:
        is_loaded = origins.kind == Origin.LOADED
        for byte in range(size):
            self._bytes.kind[cells + byte] = origins.kind
            self._bytes.address[cells + byte] = origins.address + np.where(is_loaded, byte, 0).astype(np.uint64)

    def take(self, other: _ByteOrigins, cells: NDArray, size: int) -> None:
        """Take over the origins of some bytes."""
        for byte in range(size):
            self._bytes.kind[cells + byte] = other._bytes.kind[cells + byte]
            self._bytes.address[cells + byte] = other._bytes.address[cells + byte]

    def load(self, cells: NDArray, size: int) -> _Origins:
        """A value has an origin if all its bytes have it, in their order."""
        kind, address = self._bytes.kind[cells], self._bytes.address[cells]
        whole = np.ones(len(cells), bool)
        for byte in range(1, size):
            offset = np.where(kind == Origin.LOADED, byte, 0).astype(np.uint64)
            whole &= self._bytes.kind[cells + byte] == kind
            whole &= self._bytes.address[cells + byte] == address + offset
        return _Origins(kind, address).where(whole, _Origins.computed(len(cells)))
