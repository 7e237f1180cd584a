"""Prepares the memory of a launch for the runtime, runs it, and says in softgpu's own words what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from softgpu.checks.cells import CELL_COLUMNS, MARK, Cells, take_buffer
from softgpu.checks.provenance import stored_allocations
from softgpu.checks.shadow import regions_of
from softgpu.errors import (
    BarrierDeadlock,
    Dim3,
    IllegalInstruction,
    InstructionBudgetExceeded,
    KernelError,
    MemoryFault,
    TrapError,
)
from softgpu.events import EVENT, Rows
from softgpu.machine import WARP_SIZE, Chunk, Launch, coordinates
from softgpu.memory import ScratchMemory
from softgpu.native import layout, runtime
from softgpu.native.compiler import Compiled, compile_program
from softgpu.native.faults import memory_fault
from softgpu.native.translator import NotTranslated
from softgpu.program import Branch, Operation, Program
from softgpu.scheduler import source_lines

DEFAULT_BUDGET = 1 << 30
LARGEST_BUDGET = 1 << 58
BLOCKS_PER_CALL = 4096
"""Python sees to signals in between."""
THREADS_IN_FLIGHT = 16384
BYTES_IN_FLIGHT = 1 << 26
BATCH_ROWS = 1 << 14
"""Half a megabyte, so that those who read the rows find them in the processor's cache."""
SPARE_ROWS = 4096
"""For those that the runtime writes between two threads."""

NO_ROWS = Rows(0)

_compiling = Lock()
_translations: WeakKeyDictionary[Program, dict[Rows, Compiled | NotTranslated]] = WeakKeyDictionary()


def translation(program: Program, rows: Rows = NO_ROWS) -> Compiled | NotTranslated:
    """The program as native code that writes these rows of events, or why there is none. Compiled once."""
    with _compiling:
        versions = _translations.setdefault(program, {})
        if rows not in versions:
            try:
                versions[rows] = compile_program(program, rows)
            except NotTranslated as refusal:
                versions[rows] = refusal
        return versions[rows]


@lru_cache(maxsize=64)
def _thread_coordinates(block: Dim3) -> NDArray[np.int32]:
    x, y, z = block
    index = np.arange(x * y * z, dtype=np.int32)
    return np.stack([index % x, index // x % y, index // (x * y)], axis=1).astype(np.int32)


def _address(array: NDArray) -> int:
    return array.__array_interface__["data"][0]


class Blocks(Chunk):
    """A chunk of blocks that runs as native code: nothing of what its threads have can be seen."""

    def __init__(self, launch: Launch, first_block: int, block_count: int):
        self.launch = launch
        self.first_block = first_block
        self.block_count = block_count
        self.size = block_count * launch.threads_per_block
        shared_bytes = launch.program.shared_bytes + launch.shared_bytes
        self.shared = ScratchMemory(0, shared_bytes, "the block's shared memory")
        self.local = ScratchMemory(0, launch.program.local_bytes, "the thread's local memory")


class Execution:
    """Runs a launch, or some of its blocks after others. `listeners` get the rows of softgpu.events.

    The code must have been compiled with events if there are listeners.
    """

    def __init__(
        self,
        launch: Launch,
        compiled: Compiled,
        budget: int | None,
        listeners: Sequence[Callable[[NDArray], None]] = (),
    ):
        self.launch, self.compiled, self.listeners = launch, compiled, listeners
        self.budget = min(budget or DEFAULT_BUDGET, LARGEST_BUDGET)
        threads = launch.threads_per_block
        program = launch.program
        shared_bytes = program.shared_bytes + launch.shared_bytes
        local_stride = -(-program.local_bytes // 16) * 16
        slots = 1
        if compiled.loop_heads:
            # Blocks that spin wait for others, which must run as well.
            block_bytes = threads * (compiled.frame_words * 8 + local_stride) + shared_bytes
            slots = max(1, min(launch.block_count, THREADS_IN_FLIGHT // threads, BYTES_IN_FLIGHT // block_bytes))
        self.frames = np.empty((slots, threads, compiled.frame_words), np.int64)
        rows = compiled.rows_wanted
        copies = 2 if Rows.UNWRITTEN in rows else 1  # the second says which bytes have been written
        self.shared = np.empty((copies, slots, -(-shared_bytes // 16) * 16), np.uint8)
        self.local = np.empty((copies, slots, threads * local_stride), np.uint8)
        self.masks = np.zeros((slots, runtime.MASK_ROWS, -(-threads // WARP_SIZE)), np.int64)
        self.facts = np.zeros((slots, runtime.FACTS), np.int64)
        self.facts[:, runtime.BLOCK] = -1
        self.used = np.zeros((slots, threads), np.int64)
        self.times = np.zeros((slots, runtime.BARRIERS, -(-threads // WARP_SIZE) * WARP_SIZE), np.int64)
        self.progress = np.zeros(runtime.PROGRESS_WORDS, np.int64)
        self.grid = np.array(launch.grid, np.int64)
        self.allocations = launch.memory.allocations
        self.table = np.zeros((len(self.allocations), layout.ALLOCATION_WORDS), np.int64)
        for row, one in zip(self.table, self.allocations, strict=True):
            row[:3] = one.base, one.nbytes, _address(one.data) - one.base
            if Rows.UNWRITTEN in rows and one.written is not None:
                row[layout.WRITTEN] = _address(one.written) - _address(one.data)
        self.caches = np.zeros((max(compiled.sites, 1), layout.CACHE_WORDS), np.int64)
        self.symbols = np.array([launch.symbols[name] for name in compiled.symbols] or [0], np.int64)
        self.coordinates = _thread_coordinates(launch.block)
        self.parameters = launch.parameters
        self.context = context = np.zeros(layout.CONTEXT_WORDS, np.int64)
        context[layout.PARAMETERS] = _address(self.parameters)
        context[layout.SHARED_BYTES] = shared_bytes
        context[layout.LOCAL_STRIDE] = local_stride
        context[layout.THREADS] = _address(self.coordinates)
        context[layout.ALLOCATIONS] = _address(self.table)
        context[layout.ALLOCATION_COUNT] = len(self.table)
        context[layout.CACHES] = _address(self.caches)
        context[layout.SYMBOLS] = _address(self.symbols)
        context[layout.BLOCK_EXTENT : layout.BLOCK_EXTENT + 3] = launch.block
        context[layout.GRID_EXTENT : layout.GRID_EXTENT + 3] = launch.grid
        context[layout.DYNAMIC_BYTES] = launch.shared_bytes
        context[layout.GRID_ID] = launch.number
        context[layout.CONTINUES] = launch.continues_after_faults
        context[layout.FIRST_FAULT] = -1
        context[layout.ROWS] = rows
        if Rows.UNWRITTEN in rows:
            context[layout.SHARED_WRITTEN] = self.shared[0].nbytes
            context[layout.LOCAL_WRITTEN] = self.local[0].nbytes
        if Rows.CONFLICTS in rows:
            launch.cells = self._cells(slots, shared_bytes)
        if listeners:
            self.rows = np.empty(BATCH_ROWS + compiled.rows + SPARE_ROWS, EVENT)
            self.first_row = self.rows.ctypes.data
            context[layout.CURSOR] = self.first_row
            context[layout.CURSOR_LIMIT] = self.first_row + BATCH_ROWS * EVENT.itemsize

    def _cells(self, slots: int, shared_bytes: int) -> Cells:
        """The cells that this launch shares with racecheck."""
        launch, context, shifts = self.launch, self.context, self.compiled.cell_shifts
        stored = stored_allocations(launch)
        regions, count = regions_of(stored, shifts["global"])
        buffer = take_buffer(count)
        shared_cells = -(-shared_bytes // 8) * 8 >> shifts["shared"]
        turns = min(64, (1 << 20) // (4 * CELL_COLUMNS * max(shared_cells, 1)), -(-launch.block_count // slots))
        turns = max(turns, 1)
        shared = np.zeros((slots * turns, shared_cells, CELL_COLUMNS), np.uint32)
        context[layout.ALL_CELLS] = _address(shared)
        context[layout.CELL_BYTES] = shared[0].nbytes
        context[layout.CELL_TURNS] = turns
        began, slots_of_blocks = np.zeros((2, launch.block_count), np.int64)
        cells = Cells(regions, buffer, shared, shifts["shared"], began, slots_of_blocks)
        first_cells = {base: _address(buffer.short) + 16 * first for base, _, first, _ in regions.tolist()}
        for row in self.table:
            base = int(row[0])
            if base in first_cells:
                row[layout.RACE_CELLS] = first_cells[base] - ((base & ~7) << 4 - shifts["global"])
        context[layout.START] = context[layout.CLOCK] = cells.start
        context[layout.BEGAN], context[layout.SLOTS] = _address(began), _address(slots_of_blocks)
        return cells

    def close(self) -> None:
        """The launch has ended."""
        if self.launch.cells is not None:
            self.launch.cells.give_back(int(self.context[layout.CLOCK]))
            self.launch.cells = None

    def run(self, first: int, end: int) -> None:
        """Execute the blocks from `first` to before `end`. Raises KernelError."""
        self.progress[runtime.NEXT] = first
        self.context[layout.CHUNK] = first
        try:
            self._run(end)
        finally:
            self._hand_over()
        if self.launch.fault is None and self.context[layout.FIRST_FAULT] >= 0:
            self.launch.fault = self._first_fault()

    def _hand_over(self) -> None:
        """Give the listeners the rows that have been written."""
        if self.listeners:
            count = (int(self.context[layout.CURSOR]) - self.first_row) // EVENT.itemsize
            self.context[layout.CURSOR] = self.first_row
            for listener in self.listeners if count else ():
                listener(self.rows[:count])
            cells = self.launch.cells
            if cells is not None and self.context[layout.CELLS_MARKED]:
                cells.shared[: self.context[layout.CELLS_USED], :, MARK] = 0
            self.context[layout.CELLS_MARKED] = 0

    def _run(self, end: int) -> None:
        compiled, progress = self.compiled, self.progress
        status = runtime.DONE
        while status == layout.FULL or progress[runtime.NEXT] < end:
            status = runtime.run(
                compiled.address,
                self.context,
                _address(self.frames),
                compiled.frame_words,
                compiled.suspends,
                self.shared,
                self.local,
                self.masks,
                self.facts,
                self.used,
                self.times,
                self.grid,
                self.launch.threads_per_block,
                min(end, int(progress[runtime.NEXT]) + BLOCKS_PER_CALL),
                self.budget,
                progress,
            )
            if status == layout.FULL:
                self._hand_over()
            elif status != runtime.DONE:
                raise self._failure(status)

    # Failing

    def _failure(self, status: int) -> KernelError:
        launch, slot, thread = self.launch, int(self.progress[runtime.SLOT]), int(self.progress[runtime.THREAD])
        if status == runtime.DEADLOCK:
            return self._deadlock(slot)
        if status == runtime.OVER_BUDGET:
            return self._over_budget(slot, thread)
        where = {"thread": coordinates(thread, launch.block), "block": self._block(slot)}
        if status == runtime.BAD_BARRIER:
            operation = self._waits_at(slot, thread)
            number, count = self.frames[slot, thread, layout.EXCHANGE : layout.EXCHANGE + 2].tolist()
            if number >= runtime.BARRIERS - 1:
                return _illegal(operation, f"the barrier is number {number}, but barriers are numbered 0 to 15", where)
            return _illegal(operation, f"the thread count is {count}, but thread counts are multiples of 32", where)
        operation = launch.program.operations[int(self.context[layout.FAULT_PC])]
        address = int(self.context[layout.FAULT_ADDRESS]) & (1 << 64) - 1
        if status == layout.TRAPPED:
            return TrapError(line=operation.instruction.line, **where)
        if status == layout.ILLEGAL:
            assert isinstance(operation.control, Branch)
            labels = len(operation.control.labels)
            return _illegal(operation, f"the index {address} is beyond the {labels} labels of its list", where)
        return memory_fault(launch, operation, address, **where)

    def _first_fault(self) -> MemoryFault:
        """The first of the accesses after which the launch went on."""
        place, address, thread, block = self.context[layout.FIRST_FAULT : layout.FIRST_FAULT + 4].tolist()
        launch = self.launch
        return memory_fault(
            launch,
            launch.program.operations[place],
            address & (1 << 64) - 1,
            coordinates(thread, launch.block),
            coordinates(block, launch.grid),
        )

    def _block(self, slot: int) -> Dim3:
        return coordinates(int(self.facts[slot, runtime.BLOCK]), self.launch.grid)

    def _waits_at(self, slot: int, thread: int) -> Operation:
        return self.launch.program.operations[int(self.frames[slot, thread, layout.WAITS_AT])]

    def _deadlock(self, slot: int) -> BarrierDeadlock:
        """Describe what the block's first thread that waits is waiting for, as the lock-step engine does."""
        threads = self.launch.threads_per_block
        index = np.arange(threads)

        def lanes(row: int) -> NDArray[np.bool_]:
            bits = self.masks[slot, row][:, None] >> np.arange(WARP_SIZE) & 1
            return bits.reshape(-1)[:threads].astype(bool)

        alive, at_warp = lanes(runtime.ALIVE), lanes(runtime.AT_WARP)
        first = int(np.flatnonzero(alive)[0])
        places = self.frames[slot, :, layout.WAITS_AT]
        instructions = [operation.instruction for operation in self.launch.program.operations]
        number = None
        if at_warp[first]:
            kinds, masks = (self.frames[slot, :, layout.EXCHANGE + word] for word in (0, 1))
            of_mask = int(masks[first]) >> index % WARP_SIZE & 1 == 1
            awaited = (index // WARP_SIZE == first // WARP_SIZE) & of_mask
            here = awaited & at_warp & (masks == masks[first]) & (kinds == kinds[first])
            expected = int((awaited & alive).sum())
        else:
            number = next(one for one in range(runtime.BARRIERS) if lanes(runtime.WAITING + one)[first])
            awaited, here = np.ones(threads, bool), lanes(runtime.ARRIVED + number)
            expected = int(self.facts[slot, number]) or int(alive.sum())
        others = np.flatnonzero(awaited & alive & ~here)
        exited = int((awaited & ~alive).sum())
        elsewhere = sorted({instructions[place].line for place in places[others].tolist()})
        facts = [f"the others wait at PTX line {', '.join(map(str, elsewhere))}"] if elsewhere else []
        facts += [f"{exited} have exited"] if exited else []
        mine = instructions[places[first]]
        return BarrierDeadlock(
            barrier=number,
            arrived=int(here.sum()),
            expected=expected,
            block=self._block(slot),
            thread=coordinates(first, self.launch.block),
            warp=None if number is not None else first // WARP_SIZE,
            lines=[mine.line, *elsewhere],
            source=source_lines([mine]),
            elsewhere=" and ".join(facts) or "there are no more to come",
        )

    def _over_budget(self, slot: int, thread: int) -> InstructionBudgetExceeded:
        """Let the thread go on from one turn of its loop to the next, to see which it is in."""
        program, frame = self.launch.program, self.frames[slot, thread]
        heads = set()
        self.context[layout.TURN] = 0
        for _ in range(64):
            head = self.compiled.loop_heads.get(int(frame[layout.RESUME]))
            if head is None:
                break
            heads.add(head)
            status = runtime.step(self.compiled.address, self.context, _address(frame), thread)
            if status != layout.YIELDED:
                break
        ranks = set().union(*(loop_of(program, head) for head in heads)) if heads else {self._rank(slot, thread)}
        blocks = [program.blocks[rank] for rank in ranks]
        operations = [one for block in blocks for one in (*block.operations, block.control) if one is not None]
        instructions = [operation.instruction for operation in operations]
        return InstructionBudgetExceeded(
            kernel=self.launch.kernel,
            budget=self.budget,
            lines=sorted({instruction.line for instruction in instructions}),
            source=source_lines(instructions),
        )

    def _rank(self, slot: int, thread: int) -> int:
        """The basic block in which a thread is suspended."""
        operation = self._waits_at(slot, thread)
        for rank, block in enumerate(self.launch.program.blocks):
            if operation is block.control or any(operation is one for one in block.operations):
                return rank
        raise AssertionError


def _illegal(operation: Operation, reason: str, where: dict[str, Dim3]) -> IllegalInstruction:
    instruction = operation.instruction
    return IllegalInstruction(instruction=instruction.text, line=instruction.line, reason=reason, **where)


def loop_of(program: Program, head: int) -> set[int]:
    """The basic blocks from which a loop's first block is reached again without passing it in between."""
    predecessors: dict[int, list[int]] = {}
    for rank, block in enumerate(program.blocks):
        for to in (block.next, *block.targets):
            predecessors.setdefault(to, []).append(rank)
    found = {head}
    pending = [rank for rank in predecessors.get(head, ()) if rank >= head]
    while pending:
        rank = pending.pop()
        if rank not in found:
            found.add(rank)
            pending += predecessors.get(rank, ())
    return found
