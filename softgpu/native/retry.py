"""Undoes a launch, so that it can run a second time (`softgpu.events.ReleasesMatter`)."""

from __future__ import annotations

from weakref import WeakSet

from softgpu.checks.ordering import has_releases
from softgpu.checks.provenance import stored_allocations
from softgpu.events import Rows
from softgpu.machine import Launch
from softgpu.program import Program

MOST_BYTES = 1 << 28
"""Of what is kept of memory. A launch that may change more is run once, with all rows that might matter."""

_needing: WeakSet[Program] = WeakSet()
"""Those of whose launches one had to run twice."""


def may_run_again(launch: Launch, rows: Rows) -> bool:
    """Whether rows are left out that may turn out to matter."""
    return Rows.CONFLICTS in rows and Rows.RELEASES not in rows and has_releases(launch.program)


def needs_releases(launch: Launch) -> bool:
    """Whether a launch that racecheck follows is to have Rows.RELEASES from the beginning."""
    if not has_releases(launch.program):
        return False
    return launch.program in _needing or sum(one.nbytes for one in stored_allocations(launch)) > MOST_BYTES


class Before:
    """What a launch may change, before it: memory, and the state of its observers."""

    def __init__(self, launch: Launch):
        self._launch = launch
        self._data = [(one, one.data.copy()) for one in stored_allocations(launch)]
        self._written = [(one, one.written.copy()) for one in launch.memory.allocations if one.written is not None]
        self._observers = [(observer, vars(observer).copy()) for observer in launch.observers]

    def restore(self) -> None:
        """Undo the launch; the next of its program are to have Rows.RELEASES."""
        for allocation, data in self._data:
            allocation.data[:] = data
        for allocation, written in self._written:
            allocation.written = written
        for observer, state in self._observers:
            vars(observer).clear()
            vars(observer).update(state)
        self._launch.fault = self._launch.failure = None
        _needing.add(self._launch.program)
