"""initcheck: reads of memory that nothing has written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from softgpu.checks.racecheck import Racecheck
from softgpu.checks.report import Place, Report, Severity, name_global, name_shared, named, place_of, thread_of, times
from softgpu.events import EventKind, Rows
from softgpu.machine import Chunk, Launch
from softgpu.observers import Observer
from softgpu.trace import Space

if TYPE_CHECKING:
    from softgpu.checks.writes import Written


class Initcheck(Observer):
    """Finds reads of shared, local and global memory that nothing has written, byte by byte.

    Shared and local memory start unwritten in every block and thread. Global memory starts unwritten where it was
    allocated by its size alone; arrays given to Module.launch, module variables, and what the host copied or set count
    as written. What a kernel wrote stays written for later launches. That is only known of launches that initcheck
    follows: after a launch without it, all that was allocated by then counts as written.

    `reports` has one report an instruction. A read that came before the write in this run, because nothing orders the
    two, is racecheck's to tell if a Racecheck stands before this check among the observers.
    """

    follows_writes = True
    wanted_rows = Rows.UNWRITTEN

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def launch_begin(self, launch: Launch) -> None:
        self._written: Written | None = None
        self._chunk: Chunk | None = None

    def events(self, launch: Launch, events: NDArray) -> None:
        if Rows.ALL not in launch.rows and not (events["kind"] == EventKind.UNWRITTEN).any():
            return

        from softgpu.checks import writes

        if self._written is None:
            self._written = writes.begin_launch(launch)
        if self._chunk is not launch.chunk:
            self._chunk, self._written = launch.chunk, writes.begin_chunk(self._written, launch)
        if Rows.ALL in launch.rows:
            writes.follow(self._written, events)
        else:
            writes.collect(self._written, events)

    def launch_end(self, launch: Launch) -> None:
        if self._written is not None:
            from softgpu.checks import writes

            writes.end_launch(self._written, launch)
            found = self._written.found
            reports = [self._report(launch, pc, found[pc]) for pc in np.flatnonzero(found[:, writes.COUNT]).tolist()]
            raced = _read_too_early(launch)
            self.reports += [report for report in reports if (report.places[0], report.variable) not in raced]
        for allocation in launch.memory.allocations:
            if allocation.written is not None and allocation.written.all():
                allocation.written = None
        del self._written, self._chunk

    def _report(self, launch: Launch, pc: int, row: NDArray[np.int64]) -> Report:
        from softgpu.checks import writes

        address, nbytes, count = (int(row[column]) for column in (writes.ADDRESS, writes.NBYTES, writes.COUNT))
        place, thread = place_of(launch, pc), thread_of(launch, int(row[writes.THREAD]))
        space = Space(int(row[writes.SPACE])).name.lower()
        variable, index = "", None
        if space == "shared":
            variable, index = name_shared(launch, address, nbytes)
        elif space == "global":
            variable, index = name_global(launch.memory, address, nbytes)
        what = f"Uninitialized __{space}__ memory read of size {times(nbytes, 'byte')}"
        where = f", {named(variable, index)}" if variable else ""
        missing = "had not been written" + (f", or not all of its {nbytes} bytes" if nbytes > 1 else "")
        lines = [what, f"    at {place}", f"    by {thread}", f"    Address {address:#x}{where} {missing}"]
        if count > 1:
            lines.append(f"    [{count} accesses by this instruction]")
        return Report(
            check="initcheck",
            what=what,
            severity=Severity.ERROR,
            kernel=launch.kernel,
            places=(place,),
            threads=(thread,),
            text="\n".join(lines),
            count=count,
            space=space,
            address=address,
            nbytes=nbytes,
            variable=variable,
            index=index,
        )


def _read_too_early(launch: Launch) -> set[tuple[Place, str]]:
    """Reads of a variable that racecheck has told to race with a write which should come first."""
    races = [race for check in launch.observers if isinstance(check, Racecheck) for race in check.launch_reports()]
    return {(place, race.variable) for race in races if race.hazard != "WAR" for place in race.places}
