"""Prepares the memory of a launch for the runtime, runs it, and says in softgpu's own words what went wrong."""

from __future__ import annotations

from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from softgpu.errors import BarrierDeadlock, Dim3, InstructionBudgetExceeded, KernelError, TrapError, UnsupportedPTX
from softgpu.machine import WARP_SIZE, Launch, coordinates
from softgpu.native import layout, runtime
from softgpu.native.compiler import Compiled, compile_program
from softgpu.native.translator import NotTranslated
from softgpu.program import Operation, Program

BLOCKS_PER_CALL = 4096
"""Python sees to signals in between."""
THREADS_IN_FLIGHT = 16384
BYTES_IN_FLIGHT = 1 << 26

_translations: WeakKeyDictionary[Program, dict[bool, Compiled | NotTranslated]] = WeakKeyDictionary()


def translation(program: Program, events: bool = False) -> Compiled | NotTranslated:
    """The program as native code, or why there is none. Compiled once."""
    versions = _translations.setdefault(program, {})
    if events not in versions:
        try:
            versions[events] = compile_program(program, events)
        except NotTranslated as refusal:
            versions[events] = refusal
    return versions[events]


def run(launch: Launch, compiled: Compiled, budget: int) -> None:
    """Execute all blocks of a launch. Raises KernelError."""
    _Execution(launch, compiled, budget, 0, launch.block_count).run()


@lru_cache(maxsize=64)
def _thread_coordinates(block: Dim3) -> NDArray[np.int32]:
    x, y, z = block
    index = np.arange(x * y * z, dtype=np.int32)
    return np.stack([index % x, index // x % y, index // (x * y)], axis=1).astype(np.int32)


def _address(array: NDArray) -> int:
    return array.__array_interface__["data"][0]


class _Execution:
    """Consecutive blocks of a launch, `first` to before `end`."""

    def __init__(self, launch: Launch, compiled: Compiled, budget: int, first: int, end: int):
        self.launch, self.compiled, self.budget = launch, compiled, budget
        self.end = end
        threads = launch.threads_per_block
        program = launch.program
        shared_bytes = program.shared_bytes + launch.shared_bytes
        local_stride = -(-program.local_bytes // 16) * 16
        slots = 1
        if compiled.loop_heads:
            # Blocks that spin wait for others, which must run as well.
            block_bytes = threads * (compiled.frame_words * 8 + local_stride) + shared_bytes
            slots = max(1, min(end - first, THREADS_IN_FLIGHT // threads, BYTES_IN_FLIGHT // block_bytes))
        self.frames = np.empty((slots, threads, compiled.frame_words), np.int64)
        self.shared = np.empty((slots, -(-shared_bytes // 16) * 16), np.uint8)
        self.local = np.empty((slots, threads * local_stride), np.uint8)
        self.masks = np.zeros((slots, runtime.MASK_ROWS, -(-threads // WARP_SIZE)), np.int64)
        self.facts = np.zeros((slots, runtime.FACTS), np.int64)
        self.facts[:, runtime.BLOCK] = -1
        self.used = np.zeros((slots, threads), np.int64)
        self.progress = np.zeros(runtime.PROGRESS_WORDS, np.int64)
        self.progress[runtime.NEXT] = first
        self.grid = np.array(launch.grid, np.int64)
        self.allocations = launch.memory.allocations
        self.table = np.array(
            [(one.base, one.nbytes, _address(one.data) - one.base) for one in self.allocations], np.int64
        ).reshape(-1, 3)
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

    def run(self) -> None:
        compiled, progress = self.compiled, self.progress
        while progress[runtime.NEXT] < self.end:
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
                self.grid,
                self.launch.threads_per_block,
                min(self.end, int(progress[runtime.NEXT]) + BLOCKS_PER_CALL),
                self.budget,
                progress,
            )
            if status != runtime.DONE:
                raise self._failure(status)

    # Failing

    def _failure(self, status: int) -> KernelError | UnsupportedPTX:
        launch, slot, thread = self.launch, int(self.progress[runtime.SLOT]), int(self.progress[runtime.THREAD])
        if status == runtime.DEADLOCK:
            return self._deadlock(slot)
        if status == runtime.OVER_BUDGET:
            return self._over_budget(slot, thread)
        if status == runtime.BAD_BARRIER:
            operation = self._waits_at(slot, thread)
            number = self.frames[slot, thread, layout.EXCHANGE]
            reason = (
                "barriers are numbered 0 to 15" if number >= runtime.BARRIERS else "thread counts are multiples of 32"
            )
            return UnsupportedPTX(operation.instruction.text, operation.instruction.line, reason)
        where = coordinates(thread, launch.block), self._block(slot)
        operation = launch.program.operations[int(self.context[layout.FAULT_PC])]
        if status == layout.TRAPPED:
            return TrapError(thread=where[0], block=where[1], line=operation.instruction.line)
        return self._fault(operation, *where)

    def _block(self, slot: int) -> Dim3:
        return coordinates(int(self.facts[slot, runtime.BLOCK]), self.launch.grid)

    def _waits_at(self, slot: int, thread: int) -> Operation:
        return self.launch.program.operations[int(self.frames[slot, thread, layout.WAITS_AT])]

    def _fault(self, operation: Operation, thread: Dim3, block: Dim3) -> KernelError:
        from softgpu.native.faults import memory_fault

        address = int(self.context[layout.FAULT_ADDRESS]) & (1 << 64) - 1
        return memory_fault(self.launch, operation, address, thread, block)

    def _deadlock(self, slot: int) -> BarrierDeadlock:
        """Describe why none of the block's threads can go on, as the lock-step engine does."""
        threads = self.launch.threads_per_block

        def lanes(row: int) -> NDArray[np.bool_]:
            bits = self.masks[slot, row][:, None] >> np.arange(WARP_SIZE) & 1
            return bits.reshape(-1)[:threads].astype(bool)

        alive, at_warp = lanes(runtime.ALIVE), lanes(runtime.AT_WARP)
        operations = [self._waits_at(slot, thread) if alive[thread] else None for thread in range(threads)]
        lines = np.array([one.instruction.line if one else 0 for one in operations])
        first = int(np.flatnonzero(alive)[0])
        number = None
        if at_warp[first]:
            here = at_warp & np.array([one is operations[first] for one in operations])
            expected = int(alive.sum())
        else:
            waiting = [number for number in range(runtime.BARRIERS) if lanes(runtime.WAITING + number)[first]]
            number = waiting[0]
            here = lanes(runtime.ARRIVED + number)
            expected = int(self.facts[slot, number]) or int(alive.sum())
        elsewhere = sorted(set(lines[alive & ~here].tolist()))
        exited = int((~alive).sum())
        facts = [f"the others wait at PTX line {', '.join(map(str, elsewhere))}"] if elsewhere else []
        facts += [f"{exited} have exited"] if exited else []
        return BarrierDeadlock(
            barrier=number,
            arrived=int(here.sum()),
            expected=expected,
            block=self._block(slot),
            lines=[int(lines[first]), *elsewhere],
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
        lines = set()
        for rank in ranks:
            block = program.blocks[rank]
            lines |= {operation.instruction.line for operation in block.operations}
            lines |= {block.control.instruction.line} if block.control else set()
        return InstructionBudgetExceeded(kernel=self.launch.kernel, budget=self.budget, lines=sorted(lines))

    def _rank(self, slot: int, thread: int) -> int:
        """The basic block in which a thread is suspended."""
        operation = self._waits_at(slot, thread)
        for rank, block in enumerate(self.launch.program.blocks):
            if operation is block.control or any(operation is one for one in block.operations):
                return rank
        raise AssertionError


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
