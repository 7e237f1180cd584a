"""How well a launch uses memory and lanes: for each instruction the sectors, bank conflicts and divergence.

The definitions follow Nsight Compute. What it counts in hardware is computed here from the addresses, so it depends
on the program and its launch alone: caches, register spills and the machine code a real assembler would make are not
modelled.

A *request* is one memory instruction of one warp, for those of its lanes that are active and not predicated off. Its
cost depends on the state space:

- **global**: the distinct *sectors*, aligned 32 bytes, that it touches. Ideal is what as many bytes would fill if they
  lay side by side: 4, 8 and 16 sectors for 32 lanes of 4, 8 and 16 bytes. Lanes that read the same bytes need fewer.
- **local**: sectors too. Word w of lane l lies at 128 w + 4 l, as hardware interleaves local memory, so lanes that use
  the same offset use neighbouring words; an access of less than a word still costs its word.
- **shared**: *wavefronts*, one after the other, each of which reads or writes at most one word of each of the 32 banks;
  word w of 4 bytes is in bank w mod 32. Lanes that use the same word share it, stores included: one of them wins.
  Accesses of 8 and 16 bytes go by half and quarter warp, so 32 lanes need at least 2 and 4 wavefronts. The wavefronts
  above the least are bank conflicts. Atomics on the same word take turns: each is a wavefront.
- **const**: wavefronts, one for each distinct address; ideal is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softgpu.errors import Dim3
from softgpu.events import EventFlag
from softgpu.machine import WARP_SIZE, Lanes, Launch, lane_count
from softgpu.observers import Access, BarrierEvent, Observer
from softgpu.program import Branch
from softgpu.ptx import Instruction, SourceLocation
from softgpu.trace import Kind, LaunchTrace, Space

SECTOR_BYTES = 32
WORD_BYTES = 4
BANKS = 32
WAVEFRONT_BYTES = BANKS * WORD_BYTES
MAX_LANE_BYTES = 16
"""Of an access in which the lanes of a warp take part together; what is larger is a bulk copy."""


@dataclass(slots=True)
class AccessMetrics:
    """What one instruction did in one state space; one with generic addresses may use several.

    - `pc`, `line`, `text`, `location`: the instruction: its index in the kernel, PTX line, text, source line if known
    - `space`: "global", "shared", "local" or "const"; `kind`: "load", "store" or "atomic"; `nbytes`: bytes a lane, the
      most where that varies
    - `requests`: warps that executed it, each time; `lanes`: their active lanes
    - `sectors`, `ideal_sectors`: summed over the requests (global, local). `excess_sectors` sums what each request
      had above its ideal; a request below it, because its lanes share bytes, counts 0
    - `wavefronts`, `ideal_wavefronts`: summed over the requests (shared, const)
    - `requested_bytes`: what the lanes asked for, each for itself; `needed_bytes`: the distinct bytes of each
      request, summed
    """

    pc: int
    line: int
    text: str
    location: SourceLocation | None
    space: str
    kind: str
    nbytes: int = 0
    requests: int = 0
    lanes: int = 0
    sectors: int = 0
    ideal_sectors: int = 0
    excess_sectors: int = 0
    wavefronts: int = 0
    ideal_wavefronts: int = 0
    requested_bytes: int = 0
    needed_bytes: int = 0

    @property
    def bytes_moved(self) -> int:
        """Whole sectors, or whole wavefronts of 128 bytes for shared memory."""
        if self.space == "const":
            return self.needed_bytes
        return self.sectors * SECTOR_BYTES + self.wavefronts * WAVEFRONT_BYTES

    @property
    def bank_conflicts(self) -> int:
        """Wavefronts above the least there can be; for const memory, passes above one."""
        return self.wavefronts - self.ideal_wavefronts

    @property
    def sectors_per_request(self) -> float:
        return _ratio(self.sectors, self.requests)

    @property
    def ideal_sectors_per_request(self) -> float:
        return _ratio(self.ideal_sectors, self.requests)

    @property
    def wavefronts_per_request(self) -> float:
        return _ratio(self.wavefronts, self.requests)

    @property
    def ideal_wavefronts_per_request(self) -> float:
        return _ratio(self.ideal_wavefronts, self.requests)

    def count(self, request: NDArray, lane: NDArray, address: NDArray[np.uint64], nbytes: NDArray) -> None:
        """Add accesses: row i is of lane `lane[i]` (0 to 31), in the request numbered `request[i]`.

        Rows of one lane in one request are the elements of one access, side by side in memory. Addresses are
        multiples of the size of the access, or of 16 if it is larger; for shared and local memory they are offsets.
        """
        place = request.astype(np.int64) * WARP_SIZE + lane
        if (np.diff(place) <= 0).any():
            order = np.lexsort((address, place))
            place, address, nbytes = place[order], address[order], nbytes[order]
            access = _runs(place)
            starts = np.flatnonzero(np.diff(access, prepend=-1))
            place, address, nbytes = place[starts], address[starts], np.bincount(access, nbytes).astype(np.int64)
        request, lane = place // WARP_SIZE, place % WARP_SIZE
        self.requests += int(_runs(request)[-1]) + 1
        self.lanes += len(place)
        # The lanes differ in size only where an asynchronous copy is cut short.
        for size in np.unique(nbytes).tolist():
            chosen = nbytes == size
            self._count(_runs(request[chosen]), lane[chosen], address[chosen], size)

    def _count(self, row: NDArray[np.int64], lane: NDArray, address: NDArray, nbytes: int) -> None:
        """Add one access of `nbytes` a lane; `row` numbers the requests from 0."""
        lanes = np.bincount(row)
        self.nbytes = max(self.nbytes, nbytes)
        self.requested_bytes += len(row) * nbytes
        if nbytes > MAX_LANE_BYTES:
            self._count_bulk(address.astype(np.int64), nbytes)
            return
        if self.space == "local":
            self.needed_bytes += len(row) * nbytes
        else:
            distinct = _distinct(_cells(row, lane, address, WARP_SIZE))
            self.needed_bytes += int(distinct.sum()) * nbytes
        if self.space == "const":
            self.wavefronts += int(distinct.sum())
            self.ideal_wavefronts += len(lanes)
        elif self.space == "shared":
            self._count_wavefronts(row, lane, address, nbytes)
        else:
            self._count_sectors(row, lanes, lane, address, nbytes)

    def _count_bulk(self, address: NDArray[np.int64], nbytes: int) -> None:
        """Bulk copies: each is one lane's, of consecutive bytes."""
        unit = WAVEFRONT_BYTES if self.space == "shared" else SECTOR_BYTES
        units = int(((address + nbytes - 1) // unit - address // unit + 1).sum())
        ideal = len(address) * -(-nbytes // unit)
        self.needed_bytes += len(address) * nbytes
        if self.space == "shared":
            self.wavefronts += units
            self.ideal_wavefronts += ideal
        else:
            self.sectors += units
            self.ideal_sectors += ideal
            self.excess_sectors += units - ideal

    def _count_sectors(self, row: NDArray, lanes: NDArray, lane: NDArray, address: NDArray, nbytes: int) -> None:
        if self.space == "local":
            words, column = _words(lane, address, nbytes)
            sector = (words * WARP_SIZE + lane[:, None]) * WORD_BYTES // SECTOR_BYTES
            pieces = words.shape[1]
            cells = _cells(np.repeat(row, pieces), column.ravel(), sector.ravel(), WARP_SIZE * pieces)
            nbytes = max(nbytes, WORD_BYTES)
        else:
            cells = _cells(row, lane, address // np.uint64(SECTOR_BYTES), WARP_SIZE)
        sectors = _distinct(cells)
        ideal = -(-lanes * nbytes // SECTOR_BYTES)
        self.sectors += int(sectors.sum())
        self.ideal_sectors += int(ideal.sum())
        self.excess_sectors += int(np.maximum(sectors - ideal, 0).sum())

    def _count_wavefronts(self, row: NDArray, lane: NDArray, address: NDArray, nbytes: int) -> None:
        words, column = _words(lane, address, nbytes)
        pieces = words.shape[1]
        lanes_at_once = WARP_SIZE // pieces
        part = _runs(row * pieces + lane // lanes_at_once)
        parts = int(part[-1]) + 1
        rows = np.repeat(part, pieces)
        if self.kind == "atomic":
            words = words.ravel()
        else:
            cells = np.sort(_cells(rows, column.ravel() % BANKS, words.ravel(), BANKS), axis=1)
            first = np.ones(cells.shape, bool)
            np.not_equal(cells[:, 1:], cells[:, :-1], out=first[:, 1:])
            rows, words = np.nonzero(first)[0], cells[first]
        of_bank = np.bincount(rows * BANKS + words % BANKS, minlength=parts * BANKS)
        self.wavefronts += int(of_bank.reshape(parts, BANKS).max(axis=1).sum())
        self.ideal_wavefronts += parts


def _runs(numbers: NDArray) -> NDArray[np.int64]:
    """Number the runs of equal elements from 0."""
    starts = np.ones(len(numbers), np.int64)
    starts[0] = 0
    starts[1:] = numbers[1:] != numbers[:-1]
    return np.cumsum(starts)


def _words(lane: NDArray, address: NDArray, nbytes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The words of 4 bytes that each access touches, and a column for each if the lanes stood side by side."""
    # An asynchronous copy may end within a word, and 3 words go as 4.
    pieces = np.arange(1 << (-(-nbytes // WORD_BYTES) - 1).bit_length())
    words = (address // np.uint64(WORD_BYTES)).astype(np.int64)[:, None] + pieces
    return words, lane[:, None] * len(pieces) + pieces


def _cells(row: NDArray, column: NDArray, values: NDArray, columns: int) -> NDArray:
    """The values as a table. Empty cells repeat a value of their row, so no row has a value that is not its own."""
    rows = int(row[-1]) + 1
    if len(values) == rows * columns:
        return values.reshape(rows, columns)
    cells = np.empty((rows, columns), values.dtype)
    cells[:] = values[np.flatnonzero(np.diff(row, prepend=-1)), None]
    cells[row, column] = values
    return cells


def _distinct(cells: NDArray) -> NDArray[np.int64]:
    """How many distinct values each row has."""
    cells = np.sort(cells, axis=1)
    return 1 + np.count_nonzero(cells[:, 1:] != cells[:, :-1], axis=1)


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else 0.0


@dataclass(slots=True)
class InstructionMetrics:
    """How often one instruction was issued, and for how many lanes.

    - `pc`, `line`, `text`, `location`: as in AccessMetrics
    - `issued`: warp instructions; a warp whose lanes have diverged issues one for each part that executes it
    - `active_lanes`: lanes for which it was issued; `executed_lanes`: those not predicated off
    - `is_branch`: whether it is a branch that depends on a condition; `divergent`: how many of those issued sent lanes
      of a warp to different places
    - `barriers`: of a barrier, how often it opened here, counted once a block
    """

    pc: int
    line: int
    text: str
    location: SourceLocation | None
    is_branch: bool
    issued: int = 0
    active_lanes: int = 0
    executed_lanes: int = 0
    divergent: int = 0
    barriers: int = 0

    @property
    def lanes_per_issue(self) -> float:
        """Active lanes per issued warp instruction, at most 32. A lane that is predicated off is active."""
        return _ratio(self.active_lanes, self.issued)


@dataclass(slots=True)
class LaunchMetrics:
    """The metrics of one launch. `instructions` and `accesses` are in the order of the program.

    `barriers_per_block` are the fewest and the most barriers that opened in a block, of those blocks that ran to
    their end. Metrics made from a trace have no `instructions`: it records accesses and barriers only.
    """

    kernel: str
    grid: Dim3
    block: Dim3
    instructions: tuple[InstructionMetrics, ...] = ()
    accesses: tuple[AccessMetrics, ...] = ()
    barriers_per_block: tuple[int, int] = (0, 0)

    @property
    def warp_instructions(self) -> int:
        return sum(one.issued for one in self.instructions)

    @property
    def thread_instructions(self) -> int:
        """Warp instructions, each counted once for every active lane."""
        return sum(one.active_lanes for one in self.instructions)

    @property
    def executed_thread_instructions(self) -> int:
        """Thread instructions that were not predicated off."""
        return sum(one.executed_lanes for one in self.instructions)

    @property
    def lanes_per_issue(self) -> float:
        return _ratio(self.thread_instructions, self.warp_instructions)

    @property
    def branches(self) -> tuple[InstructionMetrics, ...]:
        """The conditional branches."""
        return tuple(one for one in self.instructions if one.is_branch)

    def total(self, space: str) -> AccessMetrics:
        """The sum over all accesses to one state space; its `nbytes` is 0, for the sizes may differ."""
        total = AccessMetrics(-1, 0, f"all {space} accesses", None, space, "")
        for access in self.accesses:
            if access.space == space:
                for name in _SUMMED:
                    setattr(total, name, getattr(total, name) + getattr(access, name))
        return total

    def table(self, rows: int = 20) -> str:
        """The metrics as text, the worst instructions first, at most so many a section."""
        return "\n".join(_report(self, rows))


_SUMMED = (
    "requests",
    "lanes",
    "sectors",
    "ideal_sectors",
    "excess_sectors",
    "wavefronts",
    "ideal_wavefronts",
    "requested_bytes",
    "needed_bytes",
)


class Metrics(Observer):
    """Counts while a kernel runs, in memory that does not grow with the launch; `launches` has the results."""

    def __init__(self) -> None:
        self.launches: list[LaunchMetrics] = []

    def table(self, rows: int = 20) -> str:
        """The tables of all launches."""
        return "\n\n".join(launch.table(rows) for launch in self.launches)

    def launch_begin(self, launch: Launch) -> None:
        self._instructions: dict[int, InstructionMetrics] = {}
        self._accesses: dict[tuple[int, str, str], AccessMetrics] = {}
        self._step: dict[tuple[int, str, str], list[Access]] = {}
        self._barriers: list[tuple[int, int]] = []

    def chunk_begin(self, launch: Launch) -> None:
        self._lanes: Lanes | None = None
        self._openings = np.zeros(launch.chunk.block_count, np.int64)

    def issue(self, launch: Launch, instruction: Instruction, lanes: Lanes) -> None:
        self._end_step()
        # The instructions of a basic block are issued for the same lanes, one after the other.
        if lanes is not self._lanes:
            self._lanes = lanes
            self._of_warp = _lanes_of_warps(launch, lanes)
            self._warps, self._lane_count = int(np.count_nonzero(self._of_warp)), lane_count(lanes)
        metrics = self._instruction(launch, instruction)
        metrics.issued += self._warps
        metrics.active_lanes += self._lane_count

    def instruction(self, launch: Launch, instruction: Instruction, lanes: Lanes) -> None:
        metrics = self._instruction(launch, instruction)
        metrics.executed_lanes += lane_count(lanes)
        if metrics.is_branch:
            metrics.divergent += self._divergent_warps(launch, instruction, lanes)

    def _divergent_warps(self, launch: Launch, instruction: Instruction, lanes: Lanes) -> int:
        """How many warps part at a branch that `lanes` of those it was issued for take."""
        chunk, branch = launch.chunk, launch.program.operations[instruction.index].control
        taken = _lanes_of_warps(launch, lanes)
        parts = (taken > 0) & (taken < self._of_warp)
        if isinstance(branch, Branch) and branch.index is not None:
            first = np.array([branch.labels.index(label) for label in branch.labels])
            index = np.minimum(branch.index(chunk, lanes), len(first) - 1)
            label = first[np.broadcast_to(index, lane_count(lanes))]
            cells = _cells(_runs(chunk.warp[lanes]), chunk.thread_index[lanes] % WARP_SIZE, label, WARP_SIZE)
            parts[taken > 0] |= _distinct(cells) > 1
        return int(np.count_nonzero(parts))

    def access(self, launch: Launch, access: Access) -> None:
        if access.kind == "copy_done" or access.flags & EventFlag.INVALID:
            return  # An asynchronous copy was counted when it was issued.
        self._step.setdefault((access.instruction.index, access.space, access.kind), []).append(access)

    def _end_step(self) -> None:
        """Count the accesses of the instruction that was executed last: some are reported in parts."""
        for key, parts in self._step.items():
            if key not in self._accesses:
                self._accesses[key] = _access_metrics(parts[0].instruction, parts[0].space, parts[0].kind)
            chunk = parts[0].chunk
            lanes = np.concatenate([part.lanes for part in parts])
            self._accesses[key].count(
                request=chunk.warp[lanes],
                lane=chunk.thread_index[lanes] % WARP_SIZE,
                address=np.concatenate([part.address for part in parts]),
                nbytes=np.repeat([part.nbytes for part in parts], [len(part.lanes) for part in parts]),
            )
        self._step.clear()

    def barrier(self, launch: Launch, event: BarrierEvent) -> None:
        self._instruction(launch, event.instruction).barriers += 1
        self._openings[event.block - launch.chunk.first_block] += 1

    def chunk_end(self, launch: Launch) -> None:
        self._end_step()
        self._barriers.append((int(self._openings.min()), int(self._openings.max())))

    def launch_end(self, launch: Launch) -> None:
        self._end_step()  # where the kernel failed
        self.launches.append(
            LaunchMetrics(
                kernel=launch.kernel,
                grid=launch.grid,
                block=launch.block,
                instructions=tuple(self._instructions[pc] for pc in sorted(self._instructions)),
                accesses=tuple(self._accesses[key] for key in sorted(self._accesses)),
                barriers_per_block=_least_and_most(self._barriers),
            )
        )

    def _instruction(self, launch: Launch, instruction: Instruction) -> InstructionMetrics:
        metrics = self._instructions.get(instruction.index)
        if metrics is None:
            operation = launch.program.operations[instruction.index]
            branch = operation.control if isinstance(operation.control, Branch) else None
            metrics = InstructionMetrics(
                instruction.index,
                instruction.line,
                instruction.text,
                instruction.location,
                is_branch=branch is not None and (operation.guard is not None or branch.index is not None),
            )
            self._instructions[instruction.index] = metrics
        return metrics


def metrics_of_trace(trace: LaunchTrace) -> LaunchMetrics:
    """The access metrics and barriers of a launch that was traced, or of the blocks that were."""
    rows = trace.accesses
    warps_per_block = -(-int(np.prod(trace.block)) // WARP_SIZE)
    accesses = []
    for pc, space, kind in np.unique(rows[["pc", "space", "kind"]]).tolist():
        mine = rows[(rows["pc"] == pc) & (rows["space"] == space) & (rows["kind"] == kind)]
        thread = mine["thread"].astype(np.int64)
        warp = mine["block"] * warps_per_block + thread // WARP_SIZE
        request = _runs(mine["step"]) * (int(warp.max()) + 1) + warp
        access = _access_metrics(trace.instructions[pc], Space(space).name.lower(), Kind(kind).name.lower())
        access.count(request, thread % WARP_SIZE, mine["address"], mine["nbytes"])
        accesses.append(access)
    openings = dict.fromkeys(trace.threads_ran, 0)
    for event in trace.barriers:
        openings[event.block] += 1
    return LaunchMetrics(
        kernel=trace.kernel,
        grid=trace.grid,
        block=trace.block,
        accesses=tuple(sorted(accesses, key=lambda one: (one.pc, one.space, one.kind))),
        barriers_per_block=_least_and_most([(count, count) for count in openings.values()]),
    )


def _access_metrics(instruction: Instruction, space: str, kind: str) -> AccessMetrics:
    return AccessMetrics(instruction.index, instruction.line, instruction.text, instruction.location, space, kind)


def _lanes_of_warps(launch: Launch, lanes: Lanes) -> NDArray[np.int64]:
    """How many of the lanes each warp of the chunk has."""
    return np.bincount(launch.chunk.warp[lanes], minlength=launch.chunk.warp_count)


def _least_and_most(ranges: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return min((low for low, _ in ranges), default=0), max((high for _, high in ranges), default=0)


# The text


def _report(launch: LaunchMetrics, limit: int) -> list[str]:
    blocks, threads = int(np.prod(launch.grid)), int(np.prod(launch.block))
    extent = f"{blocks:,} block{'s' * (blocks != 1)} of {threads:,} thread{'s' * (threads != 1)}"
    lines = [f"{launch.kernel}: {extent} (grid {launch.grid}, block {launch.block})"]
    if launch.instructions:
        lines.append(
            f"  {launch.warp_instructions:,} warp instructions, {launch.thread_instructions:,} thread instructions "
            f"({launch.executed_thread_instructions:,} not predicated off): "
            f"{launch.lanes_per_issue:.1f} of {WARP_SIZE} lanes active"
        )
    least, most = launch.barriers_per_block
    lines.append(f"  barriers per block: {least if least == most else f'{least} to {most}'}")

    sectors = [one for one in launch.accesses if one.space in ("global", "local")]
    lines += _section(
        "Global and local memory",
        sorted(sectors, key=lambda one: -one.excess_sectors),
        limit,
        {
            "space": lambda one: one.space,
            "requests": lambda one: f"{one.requests:,}",
            "lanes/req": lambda one: f"{one.lanes / one.requests:.1f}",
            "sectors/req": lambda one: f"{one.sectors_per_request:.2f}",
            "ideal": lambda one: f"{one.ideal_sectors_per_request:.2f}",
            "excess sectors": lambda one: f"{one.excess_sectors:,}",
            "bytes moved": lambda one: f"{one.bytes_moved:,}",
            "needed": lambda one: f"{one.needed_bytes / one.bytes_moved:.0%}",
        },
    )
    wavefronts = [one for one in launch.accesses if one.space in ("shared", "const")]
    lines += _section(
        "Shared and constant memory",
        sorted(wavefronts, key=lambda one: -one.bank_conflicts),
        limit,
        {
            "space": lambda one: one.space,
            "requests": lambda one: f"{one.requests:,}",
            "lanes/req": lambda one: f"{one.lanes / one.requests:.1f}",
            "wavefronts/req": lambda one: f"{one.wavefronts_per_request:.2f}",
            "ideal": lambda one: f"{one.ideal_wavefronts_per_request:.2f}",
            "conflicts": lambda one: f"{one.bank_conflicts:,}",
        },
    )
    lines += _section(
        "Branches",
        sorted(launch.branches, key=lambda one: -one.divergent),
        limit,
        {
            "issued": lambda one: f"{one.issued:,}",
            "lanes/issue": lambda one: f"{one.lanes_per_issue:.1f}",
            "divergent": lambda one: f"{one.divergent:,}",
            "of issued": lambda one: f"{one.divergent / one.issued:.0%}",
        },
    )
    return lines


def _section(title: str, measured: Sequence, limit: int, columns: dict[str, Callable[..., str]]) -> list[str]:
    """A table with aligned columns; empty without rows."""
    if not measured:
        return []
    shown = measured[:limit]
    cells = [["PTX line", *columns, "instruction"]]
    for one in shown:
        place = f"  // {one.location.file}:{one.location.line}" if one.location else ""
        cells.append([str(one.line), *(column(one) for column in columns.values()), f"{one.text}{place}"])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rest = len(measured) - len(shown)
    return [
        "",
        title,
        *(
            "  " + "  ".join([*(cell.rjust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)), row[-1]])
            for row in cells
        ),
        *([f"  … and {rest} more"] if rest else []),
    ]
