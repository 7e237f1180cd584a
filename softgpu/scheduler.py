"""Runs the threads of a chunk in lock-step.

Every lane has a position: the basic block it executes next. The lanes at the earliest position run together,
whatever warp they belong to, until they diverge, wait, or reach a position where others wait for them. The
blocks are ordered so that loops are contiguous: so lanes that diverged meet again as early as possible.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softgpu.errors import (
    BarrierDeadlock,
    IllegalInstruction,
    InstructionBudgetExceeded,
    KernelError,
    TrapError,
    UnsupportedPTX,
)
from softgpu.events import EventFlag, EventKind
from softgpu.machine import WARP_SIZE, Chunk, Lanes, Launch, as_lanes, lane_count, lane_indices, narrow
from softgpu.observers import BarrierEvent
from softgpu.program import Barrier, BasicBlock, Branch, Exit, Operation
from softgpu.ptx import Instruction

DEFAULT_BUDGET = 4_000_000
"""Instructions issued for one chunk: some twenty seconds, and a hundred times what teaching kernels need."""

CHUNK_THREADS = 16384
CHUNK_BYTES = 1 << 26
BARRIERS = 16

# Positions of lanes that cannot run: above that of every basic block.
WAITING_FOR_WARP = 1 << 28
WAITING_AT_BARRIER = WAITING_FOR_WARP + 1
EXITED = WAITING_FOR_WARP + 2

TURN = 1024
"""Basic blocks after which other lanes get a turn: a lane spinning on a flag must not starve its setter."""


def run(launch: Launch, budget: int = DEFAULT_BUDGET) -> None:
    """Execute a launch to its end. Raises KernelError."""
    _call(launch, "launch_begin")
    try:
        with np.errstate(all="ignore"):
            blocks = _blocks_per_chunk(launch)
            for first in range(0, launch.block_count, blocks):
                launch.chunk = Chunk(launch, first, min(blocks, launch.block_count - first))
                _call(launch, "chunk_begin")
                try:
                    _Scheduler(launch, budget).run()
                    launch.chunk.bulk_copies.finish_all()
                finally:
                    if launch.chunk.events:
                        launch.chunk.events.flush()
                _call(launch, "chunk_end")
        if launch.fault is not None:
            raise launch.fault
    except KernelError as error:
        launch.failure = error
        raise
    finally:
        _call(launch, "launch_end")


def _call(launch: Launch, name: str) -> None:
    for hook in launch.hooks(name):
        hook(launch)


def _blocks_per_chunk(launch: Launch) -> int:
    """As many blocks as fit a number of threads and of bytes that keep NumPy fast and memory bounded."""
    program = launch.program
    thread_bytes = program.local_bytes + sum(np.dtype(dtype).itemsize for dtype in program.registers.values())
    block_bytes = launch.threads_per_block * thread_bytes + program.shared_bytes + launch.shared_bytes
    return max(1, min(CHUNK_THREADS // launch.threads_per_block, CHUNK_BYTES // max(block_bytes, 1)))


@dataclass(slots=True)
class _Arrivals:
    """Who has arrived at one barrier since it last opened, last of all by `instruction`.

    `count` is, for each block, the thread count asked for, or 0 for all threads.
    """

    instruction: Instruction
    arrived: NDArray[np.bool_]
    count: NDArray[np.int64]


def is_aligned(instruction: Instruction) -> bool:
    """Whether all threads of a warp must execute this barrier together (PTX ISA 9.7.13.1)."""
    return instruction.opcode == "bar" or "aligned" in instruction.modifiers


class _Scheduler:
    def __init__(self, launch: Launch, budget: int):
        self.launch = launch
        self.chunk: Chunk = launch.chunk
        self.blocks = launch.program.blocks
        self.budget = budget
        self.issued = 0
        self.turns = 0
        self.turn_ends = TURN
        self.blocks_run = 0
        self.recent: deque[int] = deque(maxlen=64)
        self.position = np.zeros(self.chunk.size, np.int32)
        # Of waiting lanes: the position after the wait, the PTX line of the wait, and the barrier.
        self.resume = np.zeros(self.chunk.size, np.int32)
        self.waiting_line = np.zeros(self.chunk.size, np.int32)
        self.waiting_barrier = np.zeros(self.chunk.size, np.int8)
        self.arrivals: dict[int, _Arrivals] = {}
        self.issue_hooks = launch.hooks("issue")
        self.instruction_hooks = launch.hooks("instruction")
        self.barrier_hooks = launch.hooks("barrier")

    def run(self) -> None:
        group = self._next_group()
        while group is not None:
            rank, lanes, frontier = group
            # The group goes on as one until it diverges or reaches lanes that wait for it.
            while True:
                next_rank = self._run_block(rank, lanes)
                if next_rank is None:
                    break
                if next_rank >= frontier or self.blocks_run >= self.turn_ends or self._must_assemble(next_rank, lanes):
                    self.position[lanes] = next_rank
                    break
                rank = next_rank
            group = self._next_group()

    def _must_assemble(self, rank: int, lanes: Lanes) -> bool:
        return self.blocks[rank].assembles_warp and lane_count(lanes) < self.chunk.size

    # Choosing

    def _next_group(self) -> tuple[int, Lanes, int] | None:
        """The lanes to run next: their position, the lanes, and the next position at which others wait."""
        position = self.position
        while True:
            rank = int(position.min())
            if rank >= WAITING_FOR_WARP:
                if rank == EXITED:
                    return None
                raise self._deadlock()
            if self.blocks_run >= self.turn_ends:
                rank = self._rotate()
            lanes = as_lanes(np.flatnonzero(position == rank))
            if self._must_assemble(rank, lanes):
                assembled = self._assemble(rank)
                if assembled is None:
                    continue
                return rank, assembled, 0
            ahead = position[position > rank]
            return rank, lanes, int(ahead.min()) if ahead.size else EXITED

    def _rotate(self) -> int:
        """Let the groups take turns."""
        self.turn_ends = self.blocks_run + TURN
        self.turns += 1
        ready = np.unique(self.position[self.position < WAITING_FOR_WARP])
        return int(ready[self.turns % len(ready)])

    def _assemble(self, rank: int) -> Lanes | None:
        """Those lanes whose warp is complete: all lanes of the member mask that have not exited are here."""
        here = (self.position == rank) | ((self.position == WAITING_FOR_WARP) & (self.resume == rank))
        indices = np.flatnonzero(here)
        operation = self.blocks[rank].operations[0]
        assert operation.membermask is not None
        mask = operation.membermask(self.chunk, indices)
        absent = self.chunk.ballot(np.flatnonzero((self.position != EXITED) & ~here))
        warp = self.chunk.warp[indices]
        incomplete = np.zeros(self.chunk.warp_count, bool)
        incomplete[warp[(mask & absent[warp]) != 0]] = True
        waits = incomplete[warp]
        self.position[indices] = np.where(waits, WAITING_FOR_WARP, rank)
        self.resume[indices[waits]] = rank
        self.waiting_line[indices[waits]] = operation.instruction.line
        ready = indices[~waits]
        return as_lanes(ready) if len(ready) else None

    # Running

    def _run_block(self, rank: int, lanes: Lanes) -> int | None:
        """Execute a basic block. Returns the next position if all lanes share it, else sets theirs."""
        block = self.blocks[rank]
        chunk, launch, hooks = self.chunk, self.launch, self.instruction_hooks
        self.recent.append(rank)
        self.blocks_run += 1
        self.issued += len(block.operations) + 1
        if self.issued > self.budget:
            raise self._over_budget()
        for operation in block.operations:
            for hook in self.issue_hooks:
                hook(launch, operation.instruction, lanes)
            active = lanes
            if operation.guard is not None:
                active = narrow(lanes, operation.guard(chunk, lanes))
                if lane_count(active) == 0:
                    continue
            for hook in hooks:
                hook(launch, operation.instruction, active)
            if operation.membermask is not None and chunk.events:
                self._tell_meeting(operation, active)
            operation.execute(chunk, active)  # type: ignore[misc]
        if block.control is None:
            return block.next
        return self._steer(block, block.control, lanes)

    def _steer(self, block: BasicBlock, operation: Operation, lanes: Lanes) -> int | None:
        """Carry out the control operation at the end of a basic block."""
        for hook in self.issue_hooks:
            hook(self.launch, operation.instruction, lanes)
        active = lanes
        if operation.guard is not None:
            active = narrow(lanes, operation.guard(self.chunk, lanes))
            if lane_count(active) == 0:
                return block.next
        for hook in self.instruction_hooks:
            hook(self.launch, operation.instruction, active)
        control = operation.control
        if isinstance(control, Branch):
            if len(block.targets) == 1 and lane_count(active) == lane_count(lanes):
                return block.targets[0]
            self.position[lanes] = block.next
            self.position[active] = self._targets(operation, control, block, active)
            return None
        if isinstance(control, Barrier):
            return self._arrive(operation, control, block.next, active, lanes)
        if isinstance(control, Exit):
            self.position[lanes] = block.next
            self.chunk.tell(EventKind.EXIT, operation.instruction, active)
            self._exit(active)
            return None
        lane = int(lane_indices(active)[0])
        raise TrapError(
            thread=self.chunk.thread_of(lane),
            block=self.chunk.block_of(lane),
            line=operation.instruction.line,
        )

    def _tell_meeting(self, operation: Operation, lanes: Lanes) -> None:
        """Report which lanes of each warp meet, and whether they are those that their member masks name."""
        chunk, instruction, indices = self.chunk, operation.instruction, lane_indices(lanes)
        assert operation.membermask is not None
        mask = np.broadcast_to(operation.membermask(chunk, lanes), len(indices)).astype(np.uint32)
        warp, own = chunk.warp[indices], np.uint32(1) << (chunk.thread_index[indices] % WARP_SIZE).astype(np.uint32)
        here, exited = chunk.ballot(lanes), chunk.ballot(np.flatnonzero(self.position == EXITED))
        # Lanes with different masks do not meet, though they may be here together.
        meetings = np.unique(np.stack([warp, mask], axis=1), axis=0)
        warps, masks = meetings[:, 0], meetings[:, 1].astype(np.uint32)
        first = warps // chunk.warps_per_block * self.launch.threads_per_block
        first = first + warps % chunk.warps_per_block * WARP_SIZE
        flags = EventFlag.MEMORY if instruction.modifiers[:2] == ("warp", "sync") else 0
        chunk.tell(EventKind.WARP, instruction, first, value=here[warps] & masks, flags=flags)
        gone = exited[warps] & masks
        chunk.tell(EventKind.MEMBER_EXITED, instruction, first[gone != 0], value=gone[gone != 0])
        absent = (mask & own) == 0
        chunk.tell(EventKind.NOT_IN_MASK, instruction, indices[absent], value=mask[absent])

    def _targets(self, operation: Operation, branch: Branch, block: BasicBlock, lanes: Lanes) -> NDArray | int:
        """Where each lane goes."""
        if branch.index is None:
            return block.targets[0]
        index = np.broadcast_to(branch.index(self.chunk, lanes), lane_count(lanes))
        outside = index >= len(block.targets)
        if outside.any():
            position = int(np.flatnonzero(outside)[0])
            raise self._illegal(
                operation.instruction,
                int(lane_indices(lanes)[position]),
                f"the index {index[position]} is beyond the {len(block.targets)} labels of its list",
            )
        return np.array(block.targets, np.int32)[index]

    def _illegal(self, instruction: Instruction, lane: int, reason: str) -> IllegalInstruction:
        return IllegalInstruction(
            instruction=instruction.text,
            thread=self.chunk.thread_of(lane),
            block=self.chunk.block_of(lane),
            line=instruction.line,
            reason=reason,
        )

    def _exit(self, lanes: Lanes) -> None:
        self.position[lanes] = EXITED
        # Others may have waited only for these.
        waiting = self.position == WAITING_FOR_WARP
        self.position[waiting] = self.resume[waiting]
        for number in tuple(self.arrivals):
            self._open(number)

    # Barriers

    def _arrive(self, operation: Operation, barrier: Barrier, after: int, active: Lanes, lanes: Lanes) -> int | None:
        chunk, instruction = self.chunk, operation.instruction
        numbers, counts = barrier.number(chunk, active), barrier.count(chunk, active)
        if numbers.max() >= BARRIERS:
            raise UnsupportedPTX(instruction.text, instruction.line, "barriers are numbered 0 to 15")
        if (counts % WARP_SIZE).any():
            raise UnsupportedPTX(instruction.text, instruction.line, "thread counts are multiples of 32")
        flags = (EventFlag.WAITS if barrier.waits else 0) | (EventFlag.ALIGNED if is_aligned(instruction) else 0)
        chunk.tell(EventKind.ARRIVE, instruction, active, detail=numbers, value=counts, flags=flags)
        all_at_once = lane_count(active) == chunk.size and barrier.waits and not self.arrivals
        if all_at_once and not counts.any() and (numbers == numbers[0]).all():
            everyone = np.ones(chunk.size, bool)
            self._report(instruction, int(numbers[0]), everyone, np.arange(chunk.block_count))
            return after
        self.position[lanes] = after
        who = lane_indices(active)
        numbers, counts = np.broadcast_to(numbers, len(who)), np.broadcast_to(counts, len(who))
        if barrier.waits:
            self.position[who] = WAITING_AT_BARRIER
            self.resume[who] = after
            self.waiting_line[who] = instruction.line
            self.waiting_barrier[who] = numbers
        for number in np.unique(numbers).tolist():
            if number not in self.arrivals:
                self.arrivals[number] = _Arrivals(
                    instruction, np.zeros(chunk.size, bool), np.zeros(chunk.block_count, np.int64)
                )
            arrivals, here = self.arrivals[number], numbers == number
            arrivals.instruction = instruction
            arrivals.arrived[who[here]] = True
            np.maximum.at(arrivals.count, chunk.local_block[who[here]], counts[here])
            self._open(number)
        return None

    def _open(self, number: int) -> None:
        """Open a barrier in the blocks in which everyone has arrived who must.

        Arrival is by warp: a warp has arrived when all its threads that have not exited have.
        """
        chunk, arrivals = self.chunk, self.arrivals[number]
        shape = (chunk.block_count, self.launch.threads_per_block)
        arrived = arrivals.arrived.reshape(shape)
        missing = ((self.position != EXITED) & ~arrivals.arrived).reshape(shape)
        warps = np.arange(0, shape[1], WARP_SIZE)
        incomplete = np.logical_or.reduceat(missing, warps, axis=1)
        complete = np.logical_or.reduceat(arrived, warps, axis=1) & ~incomplete
        everyone = arrived.any(axis=1) & ~missing.any(axis=1)
        enough = complete.sum(axis=1) * WARP_SIZE >= arrivals.count
        opened = np.where(arrivals.count > 0, enough & arrived.any(axis=1), everyone)
        if not opened.any():
            return
        of_opened = np.repeat(opened, shape[1])
        self._report(arrivals.instruction, number, arrivals.arrived, np.flatnonzero(opened))
        released = of_opened & (self.position == WAITING_AT_BARRIER) & (self.waiting_barrier == number)
        self.position[released] = self.resume[released]
        arrivals.arrived[of_opened] = False
        arrivals.count[opened] = 0
        if not arrivals.arrived.any():
            del self.arrivals[number]

    def _report(self, instruction: Instruction, number: int, arrived: NDArray[np.bool_], opened: NDArray) -> None:
        threads = self.launch.threads_per_block
        if self.chunk.events:
            exited = (self.position == EXITED).reshape(-1, threads).sum(axis=1)[opened]
            self.chunk.tell(EventKind.OPEN, instruction, opened * threads, detail=number, value=exited)
        if not self.barrier_hooks:
            return
        for block in opened.tolist():
            mine = slice(block * threads, (block + 1) * threads)
            event = BarrierEvent(
                instruction=instruction,
                barrier=number,
                block=self.chunk.first_block + block,
                threads=np.flatnonzero(arrived[mine]).astype(np.int32),
                exited=int(np.count_nonzero(self.position[mine] == EXITED)),
            )
            for hook in self.barrier_hooks:
                hook(self.launch, event)

    # Failing

    def _deadlock(self) -> BarrierDeadlock:
        """Describe the first block whose threads all wait."""
        chunk = self.chunk
        lane = int(np.flatnonzero(self.position != EXITED)[0])
        mine = chunk.local_block == chunk.local_block[lane]
        state = self.position[mine]
        alive = state != EXITED
        at_barrier = self.position[lane] == WAITING_AT_BARRIER
        number = int(self.waiting_barrier[lane]) if at_barrier else None
        if number is None:
            here = (state == WAITING_FOR_WARP) & (self.resume[mine] == self.resume[lane])
            expected = int(alive.sum())
        else:
            arrivals = self.arrivals[number]
            here = arrivals.arrived[mine]
            expected = int(arrivals.count[chunk.local_block[lane]]) or int(alive.sum())
        lines = self.waiting_line[mine]
        elsewhere = sorted(set(lines[alive & ~here].tolist()))
        exited = int((~alive).sum())
        facts = [f"the others wait at PTX line {', '.join(map(str, elsewhere))}"] if elsewhere else []
        facts += [f"{exited} have exited"] if exited else []
        return BarrierDeadlock(
            barrier=number,
            arrived=int(here.sum()),
            expected=expected,
            block=chunk.block_of(lane),
            lines=[int(self.waiting_line[lane]), *elsewhere],
            elsewhere=" and ".join(facts) or "there are no more to come",
        )

    def _over_budget(self) -> InstructionBudgetExceeded:
        lines = set()
        for rank in set(self.recent):
            block = self.blocks[rank]
            lines |= {operation.instruction.line for operation in block.operations}
            lines |= {block.control.instruction.line} if block.control else set()
        return InstructionBudgetExceeded(kernel=self.launch.kernel, budget=self.budget, lines=sorted(lines))
