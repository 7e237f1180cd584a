"""memcheck: accesses outside every allocation or shared variable, misaligned ones, and those of freed memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from softgpu.checks.provenance import shared_variables
from softgpu.checks.report import Report, Severity, name_shared, named, place_of, thread_of, times
from softgpu.events import EventKind, Rows
from softgpu.machine import Launch
from softgpu.observers import Observer
from softgpu.program import Program
from softgpu.ptx import Immediate
from softgpu.trace import Space

_VERBS = {EventKind.LOAD: "read", EventKind.STORE: "write", EventKind.ATOMIC: "atomic"}


@dataclass(slots=True)
class _Found:
    """Invalid accesses of one instruction that are wrong in the same way, and which of them to show."""

    kind: EventKind
    space: Space
    nbytes: int
    misaligned: bool
    address: int
    thread: int
    count: int = 0


class Memcheck(Observer):
    """Finds invalid accesses of global, shared and local memory. The launch goes on after them, so that all are found:
    an invalid access does nothing, and a load gives 0. At the end of the launch the first raises MemoryFault.

    Besides what the memory itself does not allow, an access whose address is made from one shared variable must stay
    inside it (`softgpu.checks.provenance`); those are reported only. `reports` has one report an instruction.
    """

    continues_after_faults = True
    wanted_rows = Rows.INVALID

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def launch_begin(self, launch: Launch) -> None:
        self._found: dict[tuple[int, EventKind, bool], _Found] = {}
        self._bounds = _bounds(launch.program, launch.shared_bytes)

    def events(self, launch: Launch, events: NDArray) -> None:
        from softgpu.checks import invalid

        positions = np.empty(len(events), np.int64)
        # Where not all rows are written, the engine compares with the bounds.
        count = invalid.find(events, self._bounds, Rows.ALL in launch.rows, positions)
        if count:
            self._collect(launch, events[positions[:count]])

    def _collect(self, launch: Launch, rows: NDArray) -> None:
        for pc, kind in np.unique(rows[["pc", "kind"]]).tolist():
            chosen = rows[(rows["pc"] == pc) & (rows["kind"] == kind)]
            size = _access_size(launch, pc, int(chosen["nbytes"][0]))
            accesses = _whole_accesses(chosen, size)
            misaligned = accesses["address"] % np.uint64(size) != 0
            for wrong in (False, True):
                if (misaligned == wrong).any():
                    self._add(launch, pc, wrong, accesses[misaligned == wrong], size)

    def _add(self, launch: Launch, pc: int, misaligned: bool, rows: NDArray, nbytes: int) -> None:
        threads = rows["lane"].astype(np.int64) + launch.chunk.first_block * launch.threads_per_block
        first = int(np.lexsort((threads, rows["address"]))[0])
        address, thread = int(rows["address"][first]), int(threads[first])
        kind, space = EventKind(int(rows["kind"][first])), Space(int(rows["space"][first]))
        key = (pc, kind, misaligned)
        if key not in self._found:
            self._found[key] = _Found(kind, space, nbytes, misaligned, address, thread)
        found = self._found[key]
        if (address, thread) < (found.address, found.thread):
            found.address, found.thread = address, thread
        found.count += len(rows)

    def launch_end(self, launch: Launch) -> None:
        self.reports += [self._report(launch, pc, found) for (pc, _, _), found in sorted(self._found.items())]

    def _report(self, launch: Launch, pc: int, found: _Found) -> Report:
        place, thread, space = place_of(launch, pc), thread_of(launch, found.thread), found.space.name.lower()
        what = f"Invalid __{space}__ {_VERBS[found.kind]} of size {times(found.nbytes, 'byte')}"
        name, index, reason, where = self._explain(launch, pc, found)
        lines = [what, f"    at {place}", f"    by {thread}", f"    Address {found.address:#x} is {reason}", *where]
        if found.count > 1:
            lines.append(f"    [{found.count} accesses by this instruction]")
        return Report(
            check="memcheck",
            what=what,
            severity=Severity.ERROR,
            kernel=launch.kernel,
            places=(place,),
            threads=(thread,),
            text="\n".join(lines),
            count=found.count,
            space=space,
            address=found.address,
            nbytes=found.nbytes,
            variable=name,
            index=index,
        )

    def _explain(self, launch: Launch, pc: int, found: _Found) -> tuple[str, int | None, str, list[str]]:
        """The name of the memory nearby and the index in it, what is wrong with the address, and where it is."""
        address, memory = found.address, launch.memory
        reason = f"misaligned: it is no multiple of {found.nbytes}" if found.misaligned else "out of bounds"
        start, end, name, what = 0, 0, "", ""
        if found.space == Space.SHARED:
            start, end = self._bounds[pc].tolist()
            name = _variable_between(launch, start, end) if end >= 0 else ""
            if not name:
                start, end, name = 0, launch.chunk.shared.size, "the block's shared memory"
            what = name if " " in name else f"the shared variable {name}"
        elif found.space == Space.LOCAL:
            start, end, name = 0, launch.chunk.local.size, "the thread's local memory"
            what = name
        else:
            if address == 0:
                return "", None, "null", []
            freed = memory.freed_at(address)
            if freed is not None:
                line = f"    and is inside memory that was freed: {freed.name} at {freed.base:#x} of size "
                index = (address - freed.base) // found.nbytes
                return freed.name, index, reason, [line + times(freed.nbytes, "byte")]
            nearest = memory.nearest(address)
            if nearest is None:
                return "", None, reason, ["    and there are no allocations"]
            start, end, name = nearest.base, nearest.end, nearest.name
            what = f"the nearest allocation, {name},"
        lines = [f"    and is {_distance(address, start, end, found.nbytes)} {what} at {start:#x} of size "]
        lines[0] += times(end - start, "byte")
        if found.misaligned:
            return name, None, reason, lines
        index = (address - start) // found.nbytes
        if what != name:
            lines.append(f"    that is {named(name, index)}, counted in elements of {times(found.nbytes, 'byte')}")
        if found.space == Space.SHARED:
            other, place = name_shared(launch, address, found.nbytes)
            if other and other != name:
                lines.append(f"    inside the shared variable {other}, at {other}[{place}]")
        return name, index, reason, lines


def _distance(address: int, start: int, end: int, nbytes: int) -> str:
    if address < start:
        return f"{times(start - address, 'byte')} before"
    if address + nbytes <= end:
        return "inside"
    if address < end:
        return f"{times(address + nbytes - end, 'byte')} past the end of"
    return f"{times(address - end + 1, 'byte')} after"


@lru_cache(maxsize=256)
def _bounds(program: Program, dynamic_bytes: int) -> NDArray[np.int64]:
    """For each instruction, where the shared variable begins and ends that its address is made from; or 0 and -1."""
    bounds = np.tile(np.array([0, -1], np.int64), (len(program.operations), 1))
    for index, name in shared_variables(program).items():
        variable = program.variable(name)
        assert variable is not None
        start = program.shared_offsets[name]
        bounds[index] = start, start + (variable.nbytes if variable.count else dynamic_bytes)
    return bounds


def _variable_between(launch: Launch, start: int, end: int) -> str:
    for name, offset in launch.program.shared_offsets.items():
        variable = launch.program.variable(name)
        if offset == start and variable and end == start + (variable.nbytes or launch.shared_bytes):
            return name
    return ""


def _access_size(launch: Launch, pc: int, element: int) -> int:
    """How many bytes an access has, of which each row has `element`."""
    instruction = launch.program.operations[pc].instruction
    if instruction.opcode == "cp" and "bulk" not in instruction.modifiers:
        copied = instruction.operands[2]
        assert isinstance(copied, Immediate)
        return int(copied.value)
    return element * next((int(word[1:]) for word in instruction.modifiers if word in ("v2", "v4", "v8")), 1)


def _whole_accesses(rows: NDArray, size: int) -> NDArray:
    """One row for each access of `size` bytes, from rows of its elements, which follow each other in each thread."""
    if size == rows["nbytes"][0]:
        return rows
    rows = rows[np.argsort(rows["lane"], kind="stable")]
    goes_on = np.zeros(len(rows), bool)
    goes_on[1:] = rows["lane"][1:] == rows["lane"][:-1]
    goes_on[1:] &= rows["address"][1:] == rows["address"][:-1] + rows["nbytes"][:-1]
    number = np.arange(len(rows))
    in_run = number - np.maximum.accumulate(np.where(goes_on, 0, number))
    starts = np.flatnonzero(in_run % (size // int(rows["nbytes"][0])) == 0)
    accesses = rows[starts]
    # Of an access that only leaves its variable there may be rows just of the elements outside: it begins before them.
    in_part = np.diff(starts, append=len(rows)) * rows["nbytes"][0] < size
    accesses["address"][in_part] -= accesses["address"][in_part] % np.uint64(size)
    return accesses
