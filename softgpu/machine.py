"""The state of a running kernel: a launch, and the chunk of blocks that is executed at the moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from softgpu.copies import CopyGroups, PendingReports
from softgpu.errors import Dim3, KernelError, MemoryFault
from softgpu.events import KINDS, PLAIN, SPACES, EventFlag, EventKind, EventLog, Rows
from softgpu.memory import (
    LOCAL_WINDOW,
    PARAMETER_WINDOW,
    SHARED_WINDOW,
    WINDOW_SHIFT,
    InvalidAccess,
    Memory,
    ScratchMemory,
    Words,
)
from softgpu.observers import Access, Observer

if TYPE_CHECKING:
    from softgpu.checks.cells import Cells
    from softgpu.program import Program
    from softgpu.ptx import Instruction

WARP_SIZE = 32

Lanes = slice | NDArray[np.intp]
"""Some lanes of a chunk, ascending: a slice where they are contiguous, otherwise their indices."""


def lane_count(lanes: Lanes) -> int:
    return lanes.stop - lanes.start if isinstance(lanes, slice) else len(lanes)


def lane_indices(lanes: Lanes) -> NDArray[np.intp]:
    return np.arange(lanes.start, lanes.stop) if isinstance(lanes, slice) else lanes


def as_lanes(indices: NDArray[np.intp]) -> Lanes:
    """Ascending lane indices as a slice where possible: NumPy is several times faster on slices."""
    if len(indices) and indices[-1] - indices[0] + 1 == len(indices):
        return slice(int(indices[0]), int(indices[-1]) + 1)
    return indices


def narrow(lanes: Lanes, keep: NDArray[np.bool_]) -> Lanes:
    """The lanes for which `keep` (one bool a lane) is true."""
    return lanes if keep.all() else as_lanes(lane_indices(lanes)[keep])


def coordinates(index: int, extent: Dim3) -> Dim3:
    """(x, y, z) of a linear index, x fastest."""
    return index % extent[0], index // extent[0] % extent[1], index // (extent[0] * extent[1])


@dataclass(eq=False)
class Launch:
    """One launch of a kernel. `parameters` is the parameter space as bytes; `symbols` are the addresses of
    the module's global and constant variables; `shared_bytes` is the dynamic shared memory of a block; `number` counts
    the launches that use `memory`, from 1. `fault` is the first access that was not allowed, where the launch went on
    after it; `failure` is what ended the launch, if it did not reach its end. `rows` says which rows of events there
    are; `cells` are those that native code shares with racecheck."""

    program: Program
    grid: Dim3
    block: Dim3
    memory: Memory
    parameters: NDArray[np.uint8]
    symbols: dict[str, int]
    shared_bytes: int
    observers: Sequence[Observer] = ()
    number: int = 0
    fault: MemoryFault | None = None
    failure: KernelError | None = None
    rows: Rows = Rows.ALL
    cells: Cells | None = None
    chunk: Chunk = field(init=False)

    @property
    def kernel(self) -> str:
        return self.program.kernel.name

    @property
    def threads_per_block(self) -> int:
        x, y, z = self.block
        return x * y * z

    @property
    def block_count(self) -> int:
        x, y, z = self.grid
        return x * y * z

    @property
    def continues_after_faults(self) -> bool:
        """Whether an access that is not allowed does nothing, a load giving 0, and is raised at the launch's end."""
        return any(observer.continues_after_faults for observer in self.observers)

    def hooks(self, name: str) -> tuple[Callable[..., None], ...]:
        """The bound hooks of that name which observers really override."""
        return tuple(
            getattr(observer, name)
            for observer in self.observers
            if getattr(type(observer), name) is not getattr(Observer, name)
        )


class Chunk:
    """Some consecutive blocks that run together, one lane a thread, in order of block and thread.

    `values[slot]` is one register as one type, over all lanes; slots of one register share their memory.

    `copies` are those of cp.async, `bulk_copies` those of cp.async.bulk in groups, and `tracked_copies` those of
    cp.async.bulk that an mbarrier keeps track of; `reports` is what mbarriers are told when copies are done.
    """

    def __init__(self, launch: Launch, first_block: int, block_count: int):
        self.launch = launch
        self.first_block = first_block
        self.block_count = block_count
        self.size = block_count * launch.threads_per_block
        program = launch.program
        self.registers = {name: np.zeros(self.size, dtype) for name, dtype in program.registers.items()}
        self.values = [self.registers[name].view(dtype) for name, dtype in program.slots]
        self.shared = ScratchMemory(
            block_count, program.shared_bytes + launch.shared_bytes, "the block's shared memory"
        )
        self.local = ScratchMemory(self.size, program.local_bytes, "the thread's local memory")
        self.parameters = ScratchMemory(1, len(launch.parameters), "the kernel's parameters")
        self.parameters.data[: len(launch.parameters)] = launch.parameters
        self.copies = CopyGroups(self)
        self.bulk_copies = CopyGroups(self)
        self.tracked_copies = CopyGroups(self)
        self.reports = PendingReports()
        self._access_hooks = launch.hooks("access")
        listeners = [partial(listener, launch) for listener in launch.hooks("events")]
        self.events = EventLog(listeners) if listeners else None
        self.clock = 0
        self._special: dict[str, NDArray] = {}

    # Who the lanes are

    @cached_property
    def local_block(self) -> NDArray[np.int64]:
        """Index of the block within the chunk, per lane."""
        return np.repeat(np.arange(self.block_count), self.launch.threads_per_block)

    @cached_property
    def block_index(self) -> NDArray[np.int64]:
        """Linear index of the block within the grid, per lane."""
        return self.local_block + self.first_block

    @cached_property
    def thread_index(self) -> NDArray[np.int32]:
        """Linear index of the thread within the block, per lane."""
        return np.tile(np.arange(self.launch.threads_per_block, dtype=np.int32), self.block_count)

    @cached_property
    def warp(self) -> NDArray[np.int64]:
        """Index of the warp within the chunk, per lane."""
        return self.local_block * self.warps_per_block + self.thread_index // WARP_SIZE

    @property
    def warps_per_block(self) -> int:
        return -(-self.launch.threads_per_block // WARP_SIZE)

    @property
    def warp_count(self) -> int:
        return self.block_count * self.warps_per_block

    @cached_property
    def warp_slot(self) -> NDArray[np.int64]:
        """Where each lane stands if every warp had 32 lanes: 32 * warp + lane in the warp."""
        return self.warp * WARP_SIZE + self.thread_index % WARP_SIZE

    def ballot(self, lanes: Lanes, votes: NDArray[np.bool_] | bool = True) -> NDArray[np.uint32]:
        """Per warp of the chunk, one bit for each of its lanes that is among `lanes` and votes true."""
        cells = np.zeros(self.warp_count * WARP_SIZE, bool)
        cells[self.warp_slot[lanes]] = votes
        return np.packbits(cells, bitorder="little").view(np.uint32)

    def thread_of(self, lane: int) -> Dim3:
        return coordinates(int(self.thread_index[lane]), self.launch.block)

    def block_of(self, lane: int) -> Dim3:
        return coordinates(int(self.block_index[lane]), self.launch.grid)

    def special(self, name: str) -> NDArray:
        """A special register: one element a lane, or a single one where all lanes agree. What has 64 bits is uint64,
        anything else uint32."""
        if name in CLOCKS:
            self.clock += 1  # so that no two readings are equal
        elif name in self._special:
            return self._special[name]
        dtype = np.uint64 if name in WIDE_REGISTERS else np.uint32
        self._special[name] = np.atleast_1d(SPECIAL_REGISTERS[name](self)).astype(dtype)
        return self._special[name]

    def tell(self, kind: EventKind, instruction: Instruction, lanes: Lanes, **columns: NDArray | int) -> None:
        """Report what `lanes` did to those who follow events; the columns are those of softgpu.events.EVENT."""
        if self.events:
            lanes = lane_indices(lanes)
            columns = {name: np.broadcast_to(values, len(lanes)) for name, values in columns.items()}
            self.events.add(kind, instruction.index, lanes, **columns)

    # Memory. Every access of every kind comes through `_parts`, and is reported by `_Part.report`.

    def load(
        self,
        instruction: Instruction,
        space: str,
        lanes: Lanes,
        addresses: NDArray,
        word_bytes: int,
        elements: int,
        flags: EventFlag = PLAIN,
        kind: str = "load",
    ) -> list[NDArray]:
        """Load consecutive elements a lane. Returns, for each element, an array of unsigned words.

        A load of the kind "atomic" is an atomic that leaves the words as they are.
        """
        if space == "param":
            # The same for all lanes, and most often at a constant address: then one word serves all.
            part = _Part(self, instruction, "load", space, lane_indices(lanes), addresses, slice(None), flags)
            (words,) = part.locate(word_bytes, word_bytes * elements)
            return [words.array[words.index + element] for element in range(elements)]
        columns = [np.zeros(lane_count(lanes), f"u{word_bytes}") for _ in range(elements)]
        for part in self._parts(instruction, kind, space, lanes, addresses, word_bytes, elements, flags):
            for words in part.words:
                for element, column in enumerate(columns):
                    column[part.positions_of(words)] = words.array[words.index + element]
            part.report(columns)
        return columns

    def store(
        self,
        instruction: Instruction,
        space: str,
        lanes: Lanes,
        addresses: NDArray,
        columns: list[NDArray],
        flags: EventFlag = PLAIN,
    ) -> None:
        """Store consecutive elements a lane, given as one array of unsigned words for each element.

        With EventFlag.ASYNC the store is only announced: `finish_store` carries it out.
        """
        self._store("store", instruction, space, lanes, addresses, columns, flags)

    def finish_store(
        self, instruction: Instruction, space: str, lanes: Lanes, addresses: NDArray, columns: list[NDArray]
    ) -> None:
        """Carry out a store that was announced."""
        self._store("copy_done", instruction, space, lanes, addresses, columns, PLAIN)

    def _store(
        self,
        kind: str,
        instruction: Instruction,
        space: str,
        lanes: Lanes,
        addresses: NDArray,
        columns: list[NDArray],
        flags: EventFlag,
    ) -> None:
        columns = [np.broadcast_to(column, lane_count(lanes)) for column in columns]
        word_bytes = columns[0].dtype.itemsize
        for part in self._parts(instruction, kind, space, lanes, addresses, word_bytes, len(columns), flags):
            for words in () if flags & EventFlag.ASYNC else part.words:
                for element, column in enumerate(columns):
                    words.array[words.index + element] = column[part.positions_of(words)]
            part.report(columns)

    def atomic(
        self,
        instruction: Instruction,
        space: str,
        lanes: Lanes,
        addresses: NDArray,
        dtype: np.dtype,
        update: Callable[[str], Callable[..., NDArray]],
        operands: Sequence[Sequence[NDArray]],
        flags: EventFlag = EventFlag.STRONG,
    ) -> list[NDArray]:
        """Replace each word by update(its space)(word, *operands of its element), lane after lane. Returns, for each
        element, the words before.
        """
        count, size = lane_count(lanes), len(operands)
        columns = [[np.broadcast_to(operand, count) for operand in element] for element in operands]
        before = [np.zeros(count, dtype) for _ in range(size)]
        after = [np.zeros(count, dtype) for _ in range(size)]
        for part in self._parts(instruction, "atomic", space, lanes, addresses, dtype.itemsize, size, flags):
            compute = update(part.space)
            for words in part.words:
                array = words.array.view(dtype)
                positions = lane_indices(slice(0, count))[part.positions_of(words)]
                for element, column in enumerate(columns):
                    old, new = _update_in_turn(
                        array, words.index + element, compute, [operand[positions] for operand in column]
                    )
                    before[element][positions], after[element][positions] = old, new
            part.report([column.view(f"u{dtype.itemsize}") for column in after])
        return before

    def _parts(
        self,
        instruction: Instruction,
        kind: str,
        space: str,
        lanes: Lanes,
        addresses: NDArray,
        word_bytes: int,
        elements: int,
        flags: EventFlag,
    ) -> Iterator[_Part]:
        """An access in parts that lie in one state space each, located and ready to be carried out.

        Lanes whose access is not allowed are left out: those come last of all. They are reported as INVALID, and
        the first of them raises MemoryFault, unless the launch goes on after faults.
        """
        faults = []
        for part in self._by_space(instruction, kind, space, lanes, addresses, flags):
            invalid = part.locate_valid(word_bytes, elements)
            faults += invalid
            if len(part.lanes):
                yield part
        if faults and kind != "copy_done":  # That a copy is not allowed has been said when it was issued.
            for part, _ in faults:
                part.report([np.zeros(lane_count(lanes), f"u{word_bytes}")] * elements)
            if not self.launch.continues_after_faults:
                raise faults[0][1]
            self.launch.fault = self.launch.fault or faults[0][1]

    def _by_space(
        self,
        instruction: Instruction,
        kind: str,
        space: str,
        lanes: Lanes,
        addresses: NDArray,
        flags: EventFlag,
    ) -> list[_Part]:
        """Split an access by state space, which only generic addresses leave open."""
        addresses = np.broadcast_to(addresses.astype(np.uint64, copy=False), lane_count(lanes))
        if space != "generic":
            return [_Part(self, instruction, kind, space, lane_indices(lanes), addresses, slice(None), flags)]
        window = addresses >> WINDOW_SHIFT
        parts = []
        for number in np.unique(window):
            name, base = _WINDOWS.get(int(number), ("global", 0))
            chosen = window == number
            positions = slice(None) if chosen.all() else np.flatnonzero(chosen)
            offsets = addresses[positions] - np.uint64(base)
            parts.append(
                _Part(self, instruction, kind, name, lane_indices(lanes)[positions], offsets, positions, flags)
            )
        return parts


_WINDOWS = {
    SHARED_WINDOW >> int(WINDOW_SHIFT): ("shared", SHARED_WINDOW),
    LOCAL_WINDOW >> int(WINDOW_SHIFT): ("local", LOCAL_WINDOW),
    PARAMETER_WINDOW >> int(WINDOW_SHIFT): ("param", PARAMETER_WINDOW),
}


@dataclass(slots=True)
class _Part:
    """The share of an access that falls in one state space; `positions` are its rows of the whole access."""

    chunk: Chunk
    instruction: Instruction
    kind: str
    space: str
    lanes: NDArray[np.intp]
    addresses: NDArray
    positions: slice | NDArray
    flags: EventFlag
    nbytes: int = 0
    words: list[Words] = field(default_factory=list)

    def locate(self, word_bytes: int, nbytes: int) -> list[Words]:
        """Where the words of all lanes lie. Raises MemoryFault for the first lane that may not access them."""
        self.nbytes = nbytes
        try:
            return self._locate(word_bytes)
        except InvalidAccess as invalid:
            raise self._fault(invalid) from None

    def locate_valid(self, word_bytes: int, elements: int) -> list[tuple[_Part, MemoryFault]]:
        """Locate the words of the lanes that may access them, and keep only those. Returns the others, with a fault
        that describes the first."""
        self.nbytes = word_bytes * elements
        others = []
        while len(self.lanes):
            try:
                self.words = self._locate(word_bytes)
                break
            except InvalidAccess as invalid:
                fault = self._fault(invalid)
                refused = np.zeros(len(self.lanes), bool)
                refused[invalid.positions] = True
                others.append((self._some(refused, self.flags | EventFlag.INVALID), fault))
                rest = self._some(~refused, self.flags)
                self.lanes, self.addresses, self.positions = rest.lanes, rest.addresses, rest.positions
        return others

    def _some(self, chosen: NDArray[np.bool_], flags: EventFlag) -> _Part:
        positions = np.flatnonzero(chosen) if isinstance(self.positions, slice) else self.positions[chosen]
        return replace(
            self, lanes=self.lanes[chosen], addresses=self.addresses[chosen], positions=positions, flags=flags
        )

    def _locate(self, word_bytes: int) -> list[Words]:
        chunk, nbytes = self.chunk, self.nbytes
        if self.space == "shared":
            owners = chunk.local_block[self.lanes]
            return [chunk.shared.locate(self.addresses, owners, word_bytes, nbytes)]
        if self.space == "param":
            return [chunk.parameters.locate(self.addresses, 0, word_bytes, nbytes)]
        if self.space == "local":
            return [chunk.local.locate(self.addresses, self.lanes, word_bytes, nbytes)]
        return chunk.launch.memory.locate(self.addresses, word_bytes, nbytes)

    def _fault(self, invalid: InvalidAccess) -> MemoryFault:
        lane = int(self.lanes[invalid.positions[0]])
        return MemoryFault(
            access=self.kind,
            size=self.nbytes,
            space=self.space,
            address=int(self.addresses[invalid.positions[0]]),
            thread=self.chunk.thread_of(lane),
            block=self.chunk.block_of(lane),
            line=self.instruction.line,
            reason=invalid.reason,
        )

    def positions_of(self, words: Words) -> slice | NDArray:
        if isinstance(self.positions, slice):
            return words.positions
        return self.positions[words.positions]

    def report(self, columns: list[NDArray]) -> None:
        """Tell the observers. `columns` are the elements of the whole access."""
        hooks, events = self.chunk._access_hooks, self.chunk.events
        if self.space == "param" or not (hooks or events):
            return
        bits = np.stack([column[self.positions].astype(np.uint64) for column in columns], axis=1)
        if events:
            size = self.nbytes // len(columns)
            for element in range(len(columns)):
                events.add(
                    KINDS[self.kind],
                    self.instruction.index,
                    self.lanes,
                    space=SPACES[self.space],
                    nbytes=size,
                    flags=self.flags,
                    address=self.addresses + np.uint64(element * size),
                    value=bits[:, element],
                )
        access = Access(
            instruction=self.instruction,
            space=self.space,
            kind=self.kind,
            chunk=self.chunk,
            lanes=self.lanes,
            address=self.addresses,
            nbytes=self.nbytes,
            bits=bits,
            flags=self.flags,
        )
        for hook in hooks:
            hook(self.chunk.launch, access)


def _update_in_turn(
    array: NDArray, index: NDArray, compute: Callable[..., NDArray], operands: Sequence[NDArray]
) -> tuple[NDArray, NDArray]:
    """Replace the words array[index] by compute(word, *operands), one after the other. Returns each word before and
    after its update.

    Updates of one word take turns: in each round every word is updated at most once. Where few words are updated many
    times, and `compute` can accumulate, the words take turns instead.
    """
    order = np.argsort(index, kind="stable")
    starts = np.flatnonzero(np.diff(index[order], prepend=-1))
    turn = np.arange(len(index)) - np.repeat(starts, np.diff(starts, append=len(index)))
    before, after = np.empty_like(array, shape=len(index)), np.empty_like(array, shape=len(index))
    if turn.max() > len(starts) and hasattr(compute, "accumulate"):
        for who in np.split(order, starts[1:]):
            word = index[who[0]]
            values = np.concatenate((array[word : word + 1], operands[0][who]))
            values = compute.accumulate(values, dtype=values.dtype)
            before[who], after[who] = values[:-1], values[1:]
            array[word] = values[-1]
        return before, after
    by_turn = order[np.argsort(turn, kind="stable")]
    for who in np.split(by_turn, np.cumsum(np.bincount(turn))[:-1]):
        words = index[who]
        before[who] = array[words]
        after[who] = compute(before[who], *(operand[who] for operand in operands))
        array[words] = after[who]
    return before, after


def _axis(extent: Callable[[Chunk], Dim3], index: Callable[[Chunk], NDArray], axis: int) -> Callable[[Chunk], Any]:
    """One coordinate of a linear index within an extent."""

    def value(chunk: Chunk) -> NDArray:
        size = extent(chunk)
        return index(chunk) // int(np.prod(size[:axis], dtype=np.int64)) % size[axis]

    return value


def _special_registers() -> dict[str, Callable[[Chunk], Any]]:
    """PTX ISA section 10."""
    table: dict[str, Callable[[Chunk], Any]] = {
        "laneid": lambda chunk: chunk.thread_index % WARP_SIZE,
        "warpid": lambda chunk: chunk.thread_index // WARP_SIZE,
        "nwarpid": lambda chunk: chunk.warps_per_block,
        "smid": lambda chunk: 0,
        "nsmid": lambda chunk: 1,
        "gridid": lambda chunk: chunk.launch.number,
        "dynamic_smem_size": lambda chunk: chunk.launch.shared_bytes,
        "total_smem_size": lambda chunk: chunk.shared.size,
        "lanemask_eq": lambda chunk: 1 << (chunk.thread_index.astype(np.int64) % WARP_SIZE),
        "lanemask_lt": lambda chunk: (1 << (chunk.thread_index.astype(np.int64) % WARP_SIZE)) - 1,
        "lanemask_le": lambda chunk: (2 << (chunk.thread_index.astype(np.int64) % WARP_SIZE)) - 1,
        "lanemask_gt": lambda chunk: -(2 << (chunk.thread_index.astype(np.int64) % WARP_SIZE)),
        "lanemask_ge": lambda chunk: -(1 << (chunk.thread_index.astype(np.int64) % WARP_SIZE)),
        # Time is counted in instructions issued, but the global timer in nanoseconds.
        "clock": lambda chunk: chunk.clock & 0xFFFFFFFF,
        "clock_hi": lambda chunk: chunk.clock >> 32,
        "clock64": lambda chunk: chunk.clock,
        "globaltimer": lambda chunk: time.time_ns(),
        "globaltimer_lo": lambda chunk: time.time_ns() & 0xFFFFFFFF,
        "globaltimer_hi": lambda chunk: time.time_ns() >> 32,
        # Every block is a cluster of its own.
        "cluster_ctarank": lambda chunk: 0,
        "cluster_nctarank": lambda chunk: 1,
        "is_explicit_cluster": lambda chunk: 0,
        "clusterid.w": lambda chunk: 0,
        "nclusterid.w": lambda chunk: 1,
        "cluster_ctaid.w": lambda chunk: 0,
        "cluster_nctaid.w": lambda chunk: 1,
        "tid.w": lambda chunk: 0,
        "ctaid.w": lambda chunk: 0,
        "ntid.w": lambda chunk: 1,
        "nctaid.w": lambda chunk: 1,
    }
    for axis, letter in enumerate("xyz"):
        table[f"ntid.{letter}"] = partial(lambda axis, chunk: chunk.launch.block[axis], axis)
        table[f"nctaid.{letter}"] = partial(lambda axis, chunk: chunk.launch.grid[axis], axis)
        table[f"tid.{letter}"] = _axis(lambda chunk: chunk.launch.block, lambda chunk: chunk.thread_index, axis)
        table[f"ctaid.{letter}"] = _axis(lambda chunk: chunk.launch.grid, lambda chunk: chunk.block_index, axis)
        table[f"clusterid.{letter}"] = table[f"ctaid.{letter}"]
        table[f"nclusterid.{letter}"] = table[f"nctaid.{letter}"]
        table[f"cluster_ctaid.{letter}"] = lambda chunk: 0
        table[f"cluster_nctaid.{letter}"] = lambda chunk: 1
    return table


CLOCKS = frozenset(("clock", "clock_hi", "clock64", "globaltimer", "globaltimer_lo", "globaltimer_hi"))
"""The special registers that change while a kernel runs."""

WIDE_REGISTERS = frozenset(("clock64", "globaltimer", "gridid"))
"""The special registers of 64 bits."""

SPECIAL_REGISTERS = _special_registers()
"""Special register -> its value in a chunk: one element a lane, or a single number."""
