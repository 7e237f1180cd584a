"""Asynchronous copies that have been issued and whose data has not arrived yet.

A copy reads its source when it is issued, and writes its destination as late as it may: when its thread waits for it,
or when somebody tests the mbarrier that it reports to. A program that does not wait gets the old data, every time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from softgpu.events import EventFlag

if TYPE_CHECKING:
    from softgpu.machine import Chunk
    from softgpu.ptx import Instruction


@dataclass(slots=True)
class _Copy:
    """A store that is to come. Row i of every array belongs to lane `lanes[i]`; `group` is the group of its thread
    that it belongs to, and `number` counts the copies of the chunk."""

    instruction: Instruction
    space: str
    lanes: NDArray[np.intp]
    addresses: NDArray[np.uint64]
    columns: list[NDArray]
    group: NDArray[np.int64]
    number: int


class CopyGroups:
    """The pending copies of one kind in a chunk, in the groups that each thread commits."""

    def __init__(self, chunk: Chunk):
        self._chunk = chunk
        self._pending: list[_Copy] = []
        self._committed = np.zeros(chunk.size, np.int64)
        self.issued = 0

    def issue(
        self,
        instruction: Instruction,
        space: str,
        lanes: NDArray[np.intp],
        addresses: NDArray[np.uint64],
        columns: list[NDArray],
    ) -> range:
        """Announce a store of consecutive elements a lane, one array of unsigned words for each element. Returns its
        number, as a range of one."""
        self._chunk.store(instruction, space, lanes, addresses, columns, EventFlag.ASYNC)
        addresses = np.broadcast_to(addresses, len(lanes))
        group = self._committed[lanes]
        self._pending.append(_Copy(instruction, space, lanes, addresses, columns, group, self.issued))
        self.issued += 1
        return range(self.issued - 1, self.issued)

    def commit(self, lanes: slice | NDArray[np.intp]) -> None:
        """The copies issued since the last commit become a group."""
        self._committed[lanes] += 1

    def wait(self, lanes: slice | NDArray[np.intp], allowed: int) -> None:
        """Carry out all groups of these lanes but for the last `allowed` ones."""
        if self._pending:
            done = np.zeros(self._chunk.size, np.int64)
            done[lanes] = self._committed[lanes] - allowed
            self._finish(lambda copy: copy.group < done[copy.lanes])

    def finish(self, lanes: NDArray[np.intp], numbers: range) -> None:
        """Carry out those of the chunk's copies that have these numbers, for these lanes."""
        chosen = np.zeros(self._chunk.size, bool)
        chosen[lanes] = True
        self._finish(lambda copy: chosen[copy.lanes] & (copy.number in numbers))

    def finish_all(self) -> None:
        """Carry out all copies: those that nobody waits for arrive in the end as well."""
        self._finish(lambda copy: np.ones(len(copy.lanes), bool))

    def _finish(self, which: Callable[[_Copy], NDArray[np.bool_]]) -> None:
        remaining = []
        for copy in self._pending:
            chosen = which(copy)
            if chosen.any():
                columns = [column[chosen] for column in copy.columns]
                addresses = copy.addresses[chosen]
                self._chunk.finish_store(copy.instruction, copy.space, copy.lanes[chosen], addresses, columns)
            if not chosen.all():
                copy.lanes, copy.addresses = copy.lanes[~chosen], copy.addresses[~chosen]
                copy.group = copy.group[~chosen]
                copy.columns = [column[~chosen] for column in copy.columns]
                remaining.append(copy)
        self._pending = remaining


@dataclass(slots=True)
class _Report:
    """What happens before the mbarriers at `places` are next tested; `carry_out` is told which of them those are."""

    places: NDArray[np.int64]
    carry_out: Callable[[NDArray[np.bool_]], None]


class PendingReports:
    """What asynchronous copies will report to mbarriers when they are done."""

    def __init__(self) -> None:
        self._reports: list[_Report] = []

    def add(self, places: NDArray[np.int64], carry_out: Callable[[NDArray[np.bool_]], None]) -> None:
        self._reports.append(_Report(places, carry_out))

    def settle(self, places: NDArray[np.int64]) -> None:
        """Somebody looks at the mbarriers at these places: whatever reports to them is done by now."""
        reports, self._reports = self._reports, []
        for report in reports:
            due = np.isin(report.places, places)
            if due.any():
                report.carry_out(due)
            if not due.all():
                self._reports.append(_remaining(report, ~due))


def _remaining(report: _Report, rest: NDArray[np.bool_]) -> _Report:
    """The part of a report that is still to come."""

    def carry_out(due: NDArray[np.bool_]) -> None:
        of_all = np.zeros(len(rest), bool)
        of_all[rest] = due
        report.carry_out(of_all)

    return _Report(report.places[rest], carry_out)
