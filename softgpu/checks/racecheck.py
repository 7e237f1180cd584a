"""racecheck: accesses of different threads to the same byte, one of them a write, with no order between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from softgpu.checks.report import Report, Severity, name_global, name_shared, named, place_of, thread_of, times
from softgpu.errors import LaunchError
from softgpu.events import ReleasesMatter, Rows
from softgpu.machine import Chunk, Launch
from softgpu.observers import Observer
from softgpu.trace import Space

if TYPE_CHECKING:
    from softgpu.checks.ordering import Ordering
    from softgpu.checks.races import Races

MAX_THREADS = 2**31 - 2


class Racecheck(Observer):
    """Finds races in shared and global memory, byte by byte and whatever order the threads ran in.

    `reports` has one report for each pair of instructions that race: an ERROR; a WARNING if the threads are always
    of one warp; INFO if they only ever store equal values. Accesses are ordered by barriers of the block, of some of
    its threads (named barriers, mbarriers) or of a warp, and by what is released and acquired through memory with
    fences and flags; `softgpu.checks.ordering` says how. The end of a kernel orders everything.
    """

    wanted_rows = Rows.CONFLICTS

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def launch_begin(self, launch: Launch) -> None:
        if launch.block_count * launch.threads_per_block > MAX_THREADS:
            raise LaunchError(f"racecheck can follow {MAX_THREADS} threads; check a smaller grid")
        self._earlier_reports = len(self.reports)
        self._order: Ordering | None = None
        self._races: Races | None = None
        self._chunk: Chunk | None = None

    def events(self, launch: Launch, events: NDArray) -> None:
        from softgpu.checks import ordering, races

        chunk = launch.chunk
        if self._order is None or self._races is None:
            self._order, self._races = ordering.begin_launch(launch.threads_per_block), races.begin_launch(launch)
        if self._chunk is not chunk:
            blocks, threads = chunk.block_count, launch.threads_per_block
            self._order = ordering.begin_chunk(self._order, chunk.first_block, blocks, threads)
            self._races = races.begin_chunk(self._races, launch)
            self._chunk = chunk
        position = 0
        while position < len(events):
            position, need = races.follow(self._races, self._order, events, position)
            if need == races.NEEDS_ROOM:
                self._order = ordering.with_room(self._order)
                self._races = races.with_room(self._races)
            elif need == races.NEEDS_BYTES:
                self._races = races.with_byte_cells(self._races, int(events[position]["address"]))
            elif need == races.NEEDS_SHARED_BYTES:
                self._races = races.with_shared_byte_cells(self._races)
        if self._races.doubtful and self._races.counters[races.HAZARDS]:
            raise ReleasesMatter

    def launch_end(self, launch: Launch) -> None:
        from softgpu.checks import races

        if self._races is not None and self._races.counters[races.HAZARDS]:
            found = self._races.hazards[self._races.hazards[:, races.KEY] != 0]
            order = np.lexsort((found[:, races.ADDRESS], found[:, races.PC_B], found[:, races.PC_A]))
            self.reports += [self._report(launch, row) for row in found[order]]
        del self._races, self._order, self._chunk

    def launch_reports(self) -> list[Report]:
        """Those of the last launch."""
        return self.reports[self._earlier_reports :]

    def _report(self, launch: Launch, row: NDArray[np.int64]) -> Report:
        from softgpu.checks import races

        severity = Severity(int(row[races.SEVERITY]))
        address, nbytes = int(row[races.ADDRESS]), int(row[races.NBYTES])
        threads = (thread_of(launch, int(row[races.THREAD_A])), thread_of(launch, int(row[races.THREAD_B])))
        places = (place_of(launch, int(row[races.PC_A])), place_of(launch, int(row[races.PC_B])))
        space = Space(int(row[races.HAZARD_SPACE])).name.lower()
        if space == "shared":
            variable, index = name_shared(launch, address, nbytes)
        else:
            variable, index = name_global(launch.memory, address, nbytes)
        kinds = ("Write", "Write" if row[races.BOTH_WRITE] else "Read")
        hazard = _hazard_name(launch, row)
        what = f"Race reported between {kinds[0]} access at {places[0]}"
        lines = [
            f"{severity}: {what}",
            f"    and {kinds[1]} access at {places[1]} [{times(int(row[races.COUNT]), 'hazard')}]",
            f"    {hazard} hazard on {times(nbytes, 'byte')} of __{space}__ memory at {address:#x}"
            + (f", {named(variable, index)}" if variable else ""),
            f"    {kinds[0]} by {threads[0]}",
            f"    {kinds[1]} by {threads[1]}",
        ]
        if threads[0] == threads[1]:
            lines.append("    the write is an asynchronous copy that the thread had not waited for")
        if severity == Severity.INFO:
            lines.append("    the values are equal, so that the order has no effect")
        return Report(
            check="racecheck",
            what=what,
            severity=severity,
            kernel=launch.kernel,
            places=places,
            threads=threads,
            text="\n".join(lines),
            count=int(row[races.COUNT]),
            space=space,
            address=address,
            nbytes=nbytes,
            variable=variable,
            index=index,
            hazard=hazard,
        )


def _hazard_name(launch: Launch, row: NDArray[np.int64]) -> str:
    """RAW, WAR or WAW: of a write and a read, which the program means to come first.

    That is not what came first in this run. The write is meant to be first if the read can be reached from it without
    passing a barrier, be it in the next iteration of a loop, as in a reduction; if neither can be reached from the
    other, the one that stands first in the program.
    """
    from softgpu.checks import races

    write, read = int(row[races.PC_A]), int(row[races.PC_B])
    if row[races.BOTH_WRITE]:
        return "WAW"
    forward, backward = _reaches(launch, write, read), _reaches(launch, read, write)
    write_first = forward or (not backward and write <= read)
    return "RAW" if write_first else "WAR"


def _reaches(launch: Launch, start: int, end: int) -> bool:
    """Whether a path leads from one instruction to another on which there is no barrier of the block."""
    from softgpu.program import Barrier, Branch, Exit, Trap

    program = launch.program
    labels = program.kernel.labels
    pending, seen = [start + 1], set[int]()
    while pending:
        pc = pending.pop()
        if pc in seen or pc >= len(program.operations):
            continue
        seen.add(pc)
        if pc == end:
            return True
        operation = program.operations[pc]
        control = operation.control
        if isinstance(control, Barrier) and operation.guard is None:
            continue
        if isinstance(control, Branch):
            pending += [labels[label] for label in control.labels]
        if not isinstance(control, Branch | Exit | Trap) or operation.guard is not None:
            pending.append(pc + 1)
    return False
