"""Runs the threads of a chunk in lock-step.

Every lane has a position: the basic block it executes next. The lanes at the earliest position run together,
whatever warp they belong to, until they diverge, wait, or reach a position where others wait for them. The
blocks are ordered so that loops are contiguous: so lanes that diverged meet again as early as possible.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from softgpu.errors import (
    BarrierDeadlock,
    IllegalInstruction,
    InstructionBudgetExceeded,
    KernelError,
    TrapError,
)
from softgpu.events import EventFlag, EventKind
from softgpu.machine import WARP_SIZE, Chunk, Lanes, Launch, as_lanes, lane_count, lane_indices, narrow
from softgpu.observers import BarrierEvent
from softgpu.program import BARRIERS, CLUSTER_BARRIER, Barrier, BasicBlock, Branch, Exit, Operation, Program, Reduction
from softgpu.ptx import Instruction

DEFAULT_BUDGET = 4_000_000
"""Instructions issued for one chunk: some twenty seconds, and a hundred times what teaching kernels need."""

CHUNK_THREADS = 16384
CHUNK_BYTES = 1 << 26
SHUFFLED_CHUNK_THREADS = 2048

# Positions of lanes that cannot run: above that of every basic block.
WAITING_FOR_WARP = 1 << 28
WAITING_AT_BARRIER = WAITING_FOR_WARP + 1
EXITED = WAITING_FOR_WARP + 2

LONGEST_TURN = 1024
SHORTEST_TURN = 4
"""Basic blocks after which other lanes get a turn: a lane spinning on a flag must not starve its setter. Turns are
long at first, so that lanes in loops of different lengths meet again, and become shorter while lanes compete."""


def run(launch: Launch, budget: int = DEFAULT_BUDGET, shuffle_seed: int | None = None) -> None:
    """Execute a launch to its end, blocks and warps in an order that depends on `shuffle_seed`. Raises KernelError."""
    _call(launch, "launch_begin")
    try:
        with np.errstate(all="ignore"):
            blocks = blocks_per_chunk(launch, CHUNK_THREADS if shuffle_seed is None else SHUFFLED_CHUNK_THREADS)
            firsts = np.arange(0, launch.block_count, blocks)
            random = np.random.default_rng(shuffle_seed or 0)
            for first in firsts.tolist() if shuffle_seed is None else random.permutation(firsts).tolist():
                scheduler = _Scheduler if shuffle_seed is None else _ShuffledScheduler
                run_chunk(launch, first, min(blocks, launch.block_count - first), budget, random, scheduler)
        if launch.fault is not None:
            raise launch.fault
    except KernelError as error:
        launch.failure = error
        raise
    finally:
        _call(launch, "launch_end")


def run_chunk(
    launch: Launch,
    first_block: int,
    block_count: int,
    budget: int,
    random: np.random.Generator,
    scheduler: type[_Scheduler] | None = None,
) -> None:
    """Execute some consecutive blocks to their end. Raises KernelError."""
    launch.chunk = Chunk(launch, first_block, block_count)
    _call(launch, "chunk_begin")
    try:
        (scheduler or _Scheduler)(launch, budget, random).run()
        launch.chunk.bulk_copies.finish_all()
    finally:
        if launch.chunk.events:
            launch.chunk.events.flush()
    _call(launch, "chunk_end")


def _call(launch: Launch, name: str) -> None:
    for hook in launch.hooks(name):
        hook(launch)


def blocks_per_chunk(launch: Launch, threads: int = CHUNK_THREADS) -> int:
    """As many blocks as fit a number of threads and of bytes that keep NumPy fast and memory bounded."""
    shared_bytes = launch.program.shared_bytes + launch.shared_bytes
    block_bytes = launch.threads_per_block * _thread_bytes(launch.program) + shared_bytes
    return max(1, min(threads // launch.threads_per_block, CHUNK_BYTES // max(block_bytes, 1)))


@lru_cache(maxsize=256)
def _thread_bytes(program: Program) -> int:
    """Of the registers and the local memory."""
    return program.local_bytes + sum(np.dtype(dtype).itemsize for dtype in program.registers.values())


@dataclass(slots=True)
class _Arrivals:
    """Who has arrived at one barrier since it last opened, last of all by `instruction`.

    `times` is how often each lane has, `votes` the predicates of those that a reduction collects, and `count`, for each
    block, the thread count asked for, or 0 for all threads.
    """

    instruction: Instruction
    times: NDArray[np.int32]
    votes: NDArray[np.bool_]
    count: NDArray[np.int64]


def is_aligned(instruction: Instruction) -> bool:
    """Whether all threads of a warp must execute this barrier together (PTX ISA 9.7.13.1)."""
    return instruction.opcode == "bar" or "aligned" in instruction.modifiers


class _Scheduler:
    def __init__(self, launch: Launch, budget: int, random: np.random.Generator):
        self.launch = launch
        self.random = random
        self.chunk: Chunk = launch.chunk
        self.blocks = launch.program.blocks
        self.budget = budget
        self.issued = 0
        self.turn = LONGEST_TURN
        self.turn_ends = LONGEST_TURN
        self.blocks_run = 0
        self.recent: deque[int] = deque(maxlen=64)
        self.position = np.zeros(self.chunk.size, np.int32)
        # Of waiting lanes: the position after the wait, or of the instruction that waits for a warp; the index of the
        # waiting instruction; the barrier, or else what lanes of a warp do together, and their member mask.
        self.resume = np.zeros(self.chunk.size, np.int32)
        self.waiting_at = np.zeros(self.chunk.size, np.int32)
        self.waiting_barrier = np.zeros(self.chunk.size, np.int8)
        self.meeting = np.zeros(self.chunk.size, np.int32)
        self.meetings: dict[tuple[str, ...], int] = {}
        self.member_mask = np.zeros(self.chunk.size, np.uint32)
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
        """Whether lanes at an instruction that waits for a warp may not all execute it at once."""
        if not self.blocks[rank].assembles_warp:
            return False
        operation = self.blocks[rank].operations[0]
        if lane_count(lanes) < self.chunk.size or operation.guard is not None:
            return True
        assert operation.membermask is not None
        mask = operation.membermask(self.chunk, lanes)
        return bool((mask != mask[0]).any())

    # Choosing

    def _next_group(self) -> tuple[int, Lanes, int] | None:
        """The lanes to run next: their position, the lanes, and the next position at which others wait."""
        while True:
            if not (self.position < WAITING_FOR_WARP).any():
                if (self.position == EXITED).all():
                    return None
                raise self._deadlock()
            rank, lanes, frontier = self._choose()
            if not self._must_assemble(rank, lanes):
                return rank, lanes, frontier
            assembled = self._assemble(rank, lanes)
            if assembled is not None:
                return rank, assembled, 0

    def _choose(self) -> tuple[int, Lanes, int]:
        position = self.position
        rank = int(position.min())
        if self.blocks_run >= self.turn_ends:
            rank = self._rotate()
        lanes = as_lanes(np.flatnonzero(position == rank))
        ahead = position[position > rank]
        return rank, lanes, int(ahead.min()) if ahead.size else EXITED

    def _rotate(self) -> int:
        """Let the groups take turns: shorter ones while there are several, because one may be spinning."""
        ready = np.unique(self.position[self.position < WAITING_FOR_WARP])
        self.turn = LONGEST_TURN if len(ready) == 1 else max(self.turn // 2, SHORTEST_TURN)
        self.turn_ends = self.blocks_run + self.turn
        return int(ready[self.random.integers(len(ready))])

    # Meeting lanes of a warp

    def _assemble(self, rank: int, lanes: Lanes) -> Lanes | None:
        """Lanes arrive at an instruction that waits for lanes of their warp. Returns those that can execute it now."""
        block, indices = self.blocks[rank], lane_indices(lanes)
        operation = block.operations[0]
        assert operation.membermask is not None
        if operation.guard is not None:
            takes_part = np.broadcast_to(operation.guard(self.chunk, indices), len(indices))
            self.position[indices[~takes_part]] = block.next
            indices = indices[takes_part]
        self.position[indices] = WAITING_FOR_WARP
        self.resume[indices] = rank
        self.waiting_at[indices] = operation.instruction.index
        self.member_mask[indices] = operation.membermask(self.chunk, indices)
        instruction = operation.instruction
        # An instruction that no other may stand for is `.aligned`.
        kind = (instruction.opcode, *instruction.modifiers) if operation.exchange else (str(instruction.index),)
        meeting = self.meetings.setdefault(kind, len(self.meetings))
        self.meeting[indices] = meeting
        complete = self._complete(meeting)
        if (self.resume[complete] == rank).all():
            self.position[complete] = rank
            return as_lanes(complete) if len(complete) else None
        self._exchange(operation, complete)
        return None

    def _exchange(self, operation: Operation, lanes: NDArray[np.intp]) -> None:
        """Lanes meet that wait at several instructions."""
        if self.chunk.events:
            self._tell_meeting(operation, lanes, self.member_mask[lanes])
        places = {place: self.resume[lanes] == place for place in np.unique(self.resume[lanes]).tolist()}
        contributions: list[NDArray] = []
        for place, here in places.items():
            exchange = self.blocks[place].operations[0].exchange
            assert exchange is not None
            values = exchange.contribute(self.chunk, lanes[here])
            contributions = contributions or [np.empty(len(lanes), value.dtype) for value in values]
            for contribution, value in zip(contributions, values, strict=True):
                contribution[here] = value
        results = exchange.compute(self.chunk, lanes, *contributions)
        for place, here in places.items():
            following = self._run_block(place, as_lanes(lanes[here]), [result[here] for result in results])
            assert following is not None
            self.position[lanes[here]] = following

    def _complete(self, meeting: int) -> NDArray[np.intp]:
        """The lanes that wait for a meeting and for nobody any more.

        All lanes of their member mask that have not exited wait for it with the same mask. A lane that its own mask
        does not name waits for nobody.
        """
        chunk = self.chunk
        waiting = np.flatnonzero((self.position == WAITING_FOR_WARP) & (self.meeting == meeting))
        warp, mask = chunk.warp[waiting], self.member_mask[waiting]
        alive = chunk.ballot(np.flatnonzero(self.position != EXITED))[warp]
        here = np.zeros(len(waiting), np.uint32)
        for value in np.unique(mask):
            equal = mask == value
            here[equal] = chunk.ballot(waiting[equal])[warp[equal]]
        own = np.uint32(1) << (chunk.thread_index[waiting] % WARP_SIZE).astype(np.uint32)
        return waiting[(mask & alive & ~here == 0) | (mask & own == 0)]

    # Running

    def _run_block(self, rank: int, lanes: Lanes, results: Sequence[NDArray] | None = None) -> int | None:
        """Execute a basic block. Returns the next position if all lanes share it, else sets theirs.

        `results` are those of its first instruction, if that was a meeting with lanes elsewhere.
        """
        block = self.blocks[rank]
        chunk, launch, hooks = self.chunk, self.launch, self.instruction_hooks
        self.recent.append(rank)
        self.blocks_run += 1
        self._spend(len(block.operations) + 1, lanes)
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
            if operation.exchange is not None and results is not None:
                operation.exchange.answer(chunk, active, results)
                continue
            if operation.membermask is not None and chunk.events:
                self._tell_meeting(operation, active, operation.membermask(chunk, active))
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

    def _spend(self, count: int, lanes: Lanes) -> None:
        """Account for instructions that `lanes` are about to execute."""
        self.chunk.clock += count
        self.issued += count
        if self.issued > self.budget:
            raise self._over_budget()

    def _tell_meeting(self, operation: Operation, lanes: Lanes, mask: NDArray) -> None:
        """Report which lanes of each warp meet, and whether they are those that their member masks name."""
        chunk, instruction, indices = self.chunk, operation.instruction, lane_indices(lanes)
        mask = np.broadcast_to(mask, len(indices)).astype(np.uint32)
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
        who = lane_indices(active)
        numbers = np.broadcast_to(barrier.number(chunk, active), len(who))
        counts = np.broadcast_to(barrier.count(chunk, active), len(who))
        self._check_barrier(instruction, who, numbers, counts)
        votes: NDArray | bool = barrier.reduction.predicate(chunk, active) if barrier.reduction else False
        self.position[lanes] = after
        if counts.any() and self._overfills(who, numbers, counts):
            # Warps arrive one after the other, so that a barrier for fewer threads opens more than once.
            warps = chunk.thread_index[who] // WARP_SIZE
            turns = [np.flatnonzero(warps == warp) for warp in np.unique(warps)]
            for turn in turns:
                some = np.broadcast_to(votes, len(who))[turn]
                self._arrive_together(operation, barrier, after, who[turn], numbers[turn], counts[turn], some)
            return None
        return self._arrive_together(operation, barrier, after, who, numbers, counts, votes)

    def _arrive_together(
        self,
        operation: Operation,
        barrier: Barrier,
        after: int,
        who: NDArray[np.intp],
        numbers: NDArray,
        counts: NDArray,
        votes: NDArray | bool,
    ) -> int | None:
        chunk, instruction, active = self.chunk, operation.instruction, as_lanes(who)
        if barrier.arrives:
            flags = (EventFlag.WAITS if barrier.waits else 0) | (EventFlag.ALIGNED if is_aligned(instruction) else 0)
            chunk.tell(EventKind.ARRIVE, instruction, active, detail=numbers, value=counts, flags=flags)
            if len(who) == chunk.size and barrier.waits and not self.arrivals and self._all_alike(numbers, counts):
                everyone = np.ones(chunk.size, bool)
                self._report(instruction, int(numbers[0]), everyone, np.arange(chunk.block_count))
                self._reduce(barrier.reduction, everyone, np.broadcast_to(votes, chunk.size), who)
                return after
        if barrier.waits:
            waiting = who if barrier.arrives else who[self._still_closed(CLUSTER_BARRIER)[who]]
            self.position[waiting] = WAITING_AT_BARRIER
            self.resume[waiting] = after
            self.waiting_at[who] = instruction.index
            self.waiting_barrier[who] = numbers
        for number in np.unique(numbers).tolist() if barrier.arrives else ():
            arrivals, here = self._arrivals(number, instruction), numbers == number
            arrivals.times[who[here]] += 1
            arrivals.votes[who[here]] = np.broadcast_to(votes, len(who))[here]
            np.maximum.at(arrivals.count, chunk.local_block[who[here]], counts[here])
            self._open(number)
        return None

    def _overfills(self, who: NDArray[np.intp], numbers: NDArray, counts: NDArray) -> bool:
        """Whether more threads of a block arrive at a barrier than it is for."""
        for number in np.unique(numbers).tolist():
            here = numbers == number
            arrived = self._still_closed(number)
            arrived[who[here]] = True
            per_block = np.bincount(self.chunk.local_block[arrived], minlength=self.chunk.block_count)
            if (per_block[self.chunk.local_block[who[here]]] > counts[here]).any():
                return True
        return False

    def _check_barrier(self, instruction: Instruction, who: NDArray, numbers: NDArray, counts: NDArray) -> None:
        wrong_number = (numbers >= BARRIERS) & ("cluster" not in instruction.modifiers)
        wrong_count = counts % WARP_SIZE != 0
        for wrong, values, reason in (
            (wrong_number, numbers, f"the barrier is number {{}}, but barriers are numbered 0 to {BARRIERS - 1}"),
            (wrong_count, counts, f"the thread count is {{}}, but thread counts are multiples of {WARP_SIZE}"),
        ):
            if wrong.any():
                position = int(np.flatnonzero(wrong)[0])
                raise self._illegal(instruction, int(who[position]), reason.format(values[position]))

    @staticmethod
    def _all_alike(numbers: NDArray, counts: NDArray) -> bool:
        """Whether all lanes arrive at the same barrier of all threads."""
        return not counts.any() and bool((numbers == numbers[0]).all())

    def _arrivals(self, number: int, instruction: Instruction) -> _Arrivals:
        if number not in self.arrivals:
            size, blocks = self.chunk.size, self.chunk.block_count
            self.arrivals[number] = _Arrivals(
                instruction, np.zeros(size, np.int32), np.zeros(size, bool), np.zeros(blocks, np.int64)
            )
        self.arrivals[number].instruction = instruction
        return self.arrivals[number]

    def _still_closed(self, number: int) -> NDArray[np.bool_]:
        """The lanes that have arrived at a barrier that has not opened since."""
        return self.arrivals[number].times > 0 if number in self.arrivals else np.zeros(self.chunk.size, bool)

    def _open(self, number: int) -> None:
        """Open a barrier in the blocks in which everyone has arrived who must.

        Arrival is by warp: a warp has arrived as often as all its threads have that have not exited.
        """
        chunk, arrivals = self.chunk, self.arrivals[number]
        shape = (chunk.block_count, self.launch.threads_per_block)
        arrived = arrivals.times > 0
        awaited = ((self.position != EXITED) | arrived).reshape(shape)
        times = np.where(awaited, arrivals.times.reshape(shape), np.iinfo(np.int32).max)
        of_warps = np.minimum.reduceat(times, np.arange(0, shape[1], WARP_SIZE), axis=1)
        of_warps[of_warps == np.iinfo(np.int32).max] = 0
        some = arrived.reshape(shape).any(axis=1)
        everyone = (times > 0).all(axis=1)
        enough = of_warps.sum(axis=1) * WARP_SIZE >= arrivals.count
        opened = some & np.where(arrivals.count > 0, enough, everyone)
        if not opened.any():
            return
        of_opened = np.repeat(opened, shape[1])
        self._report(arrivals.instruction, number, arrived, np.flatnonzero(opened))
        released = of_opened & (self.position == WAITING_AT_BARRIER) & (self.waiting_barrier == number)
        self.position[released] = self.resume[released]
        for index in np.unique(self.waiting_at[released]).tolist():
            control = self.launch.program.operations[index].control
            assert isinstance(control, Barrier)
            who = np.flatnonzero(released & (self.waiting_at == index))
            self._reduce(control.reduction, arrived, arrivals.votes, who)
        arrivals.times[of_opened] = 0
        arrivals.count[opened] = 0
        if not arrivals.times.any():
            del self.arrivals[number]

    def _reduce(self, reduction: Reduction | None, arrived: NDArray, votes: NDArray, who: NDArray[np.intp]) -> None:
        """Give the lanes `who` the result of the reduction over all of their block that have arrived."""
        if reduction is None:
            return
        shape = (self.chunk.block_count, -1)
        true, all_of_them = (votes & arrived).reshape(shape).sum(axis=1), arrived.reshape(shape).sum(axis=1)
        results = {"popc": true.astype(np.uint32), "and": true == all_of_them, "or": true > 0}[reduction.operation]
        reduction.write(self.chunk, as_lanes(who), results[self.chunk.local_block[who]])

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
        """Describe what the first thread that waits is waiting for, at a barrier or for lanes of its warp."""
        chunk = self.chunk
        lane = int(np.flatnonzero(self.position != EXITED)[0])
        state, alive = self.position, self.position != EXITED
        if state[lane] == WAITING_AT_BARRIER:
            number = int(self.waiting_barrier[lane])
            awaited = chunk.local_block == chunk.local_block[lane]
            here = self._still_closed(number) & awaited
            expected = int(self.arrivals[number].count[chunk.local_block[lane]]) or int((awaited & alive).sum())
        else:
            number = None
            of_mask = self.member_mask[lane] >> (chunk.thread_index % WARP_SIZE).astype(np.uint32) & 1 == 1
            awaited = (chunk.warp == chunk.warp[lane]) & of_mask
            here = awaited & (state == WAITING_FOR_WARP) & (self.member_mask == self.member_mask[lane])
            here &= self.meeting == self.meeting[lane]
            expected = int((awaited & alive).sum())
        others = np.flatnonzero(awaited & alive & ~here)
        exited = int((awaited & ~alive).sum())
        instructions = self.launch.program.kernel.instructions
        mine = instructions[self.waiting_at[lane]]
        elsewhere = sorted({instructions[index].line for index in self.waiting_at[others].tolist()})
        facts = [f"the others wait at PTX line {', '.join(map(str, elsewhere))}"] if elsewhere else []
        facts += [f"{exited} have exited"] if exited else []
        return BarrierDeadlock(
            barrier=number,
            arrived=int(here.sum()),
            expected=expected,
            block=chunk.block_of(lane),
            thread=chunk.thread_of(lane),
            warp=None if number is not None else int(chunk.thread_index[lane]) // WARP_SIZE,
            lines=[mine.line, *elsewhere],
            source=source_lines([mine]),
            elsewhere=" and ".join(facts) or "there are no more to come",
        )

    def _over_budget(self) -> InstructionBudgetExceeded:
        blocks = [self.blocks[rank] for rank in set(self.recent)]
        operations = [one for block in blocks for one in (*block.operations, block.control) if one is not None]
        instructions = [operation.instruction for operation in operations]
        return InstructionBudgetExceeded(
            kernel=self.launch.kernel,
            budget=self.budget,
            lines=sorted({instruction.line for instruction in instructions}),
            source=source_lines(instructions),
        )


def source_lines(instructions: Sequence[Instruction]) -> str:
    """The lines of the source that instructions came from: " (kernel.mojo:7 to 9)", or nothing if that is unknown."""
    lines: dict[str, set[int]] = {}
    for instruction in instructions:
        if instruction.location is not None:
            lines.setdefault(instruction.location.file, set()).add(instruction.location.line)
    places = [
        f"{file}:{min(of_file)}" + (f" to {max(of_file)}" if len(of_file) > 1 else "")
        for file, of_file in sorted(lines.items())
    ]
    return f" ({', '.join(places)})" if places else ""


class _ShuffledScheduler(_Scheduler):
    """Some warps at random run for a random while. The budget is what one warp may issue."""

    def __init__(self, launch: Launch, budget: int, random: np.random.Generator):
        super().__init__(launch, budget, random)
        self.issued_by_warp = np.zeros(self.chunk.warp_count, np.int64)

    def _choose(self) -> tuple[int, Lanes, int]:
        random, warp = self.random, self.chunk.warp
        ready = np.flatnonzero(self.position < WAITING_FOR_WARP)
        warps = np.unique(warp[ready])
        runs = np.zeros(self.chunk.warp_count, bool)
        runs[warps] = random.random(len(warps)) < random.random()
        runs[random.choice(warps)] = True
        ready = ready[runs[warp[ready]]]
        position = self.position[ready]
        # Most often the lanes behind, as in a real warp, so that lanes meet again; but none may starve the others.
        rank = int(position.min() if random.random() < 0.75 else random.choice(np.unique(position)))
        ahead = position[position > rank]
        self.turn_ends = self.blocks_run + int(random.integers(1, 9))
        return rank, as_lanes(ready[position == rank]), int(ahead.min()) if ahead.size else EXITED

    def _spend(self, count: int, lanes: Lanes) -> None:
        self.chunk.clock += count
        warps = self.chunk.warp[lanes]
        self.issued_by_warp[warps] += count
        if self.issued_by_warp[warps].max() > self.budget:
            raise self._over_budget()
