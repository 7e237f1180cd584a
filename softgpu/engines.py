"""Chooses the engine that runs a launch: native code where it can, else the lock-step engine."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from softgpu import scheduler
from softgpu.errors import InstructionBudgetExceeded, KernelError, LaunchError
from softgpu.events import ReleasesMatter, Rows
from softgpu.machine import Launch
from softgpu.memory import Allocation
from softgpu.observers import Observer

if TYPE_CHECKING:
    from softgpu.native import Compiled

ENGINES = ("lockstep", "native")
"""`lockstep` executes every instruction for many lanes at once with NumPy; it is the reference. `native` translates a
kernel to machine code, and runs one thread after the other."""

default: str | None = None
"""The engine of launches that ask for none; None chooses for each launch."""

_LOCKSTEP_HOOKS = ("issue", "instruction", "access", "barrier")
_CHUNK_HOOKS = ("chunk_begin", "chunk_end", "events")
_CHUNK_THREADS = 1 << 18
_CHUNK_SHARED_BYTES = 1 << 22
"""Of chunks that nobody must see in lock-step: observers may keep many times that."""

EARLY_INSTRUCTIONS = 2048
"""Issued in lock-step before a process loads the native engine, which takes longer than these: half a second."""
_MOST_EARLY_BYTES = 1 << 26
"""Of what is copied, so that a launch can be undone."""

_issued_early = 0


def run(
    launch: Launch,
    budget: int | None,
    engine: str | None = None,
    shuffle_seed: int | None = None,
    undoable: Sequence[Allocation] | None = None,
) -> None:
    """Execute a launch to its end. Raises KernelError, or LaunchError where the engine asked for cannot run it.

    Chunks of blocks that an observer follows who must see them in lock-step run so; the others run as native code.
    `undoable` is all of the memory that the launch may change, if only this process uses it.
    """
    engine = engine or default
    if engine not in (None, *ENGINES):
        raise LaunchError(f"there is no engine '{engine}': it is one of {', '.join(ENGINES)}")
    if engine == "lockstep":
        scheduler.run(launch, budget or scheduler.DEFAULT_BUDGET, shuffle_seed)
        return
    chooses = engine is None and budget is None and shuffle_seed is None
    if chooses and undoable is not None and _run_early(launch, undoable):
        return
    witnesses = [observer for observer in launch.observers if _overrides(observer, _LOCKSTEP_HOOKS)]
    others = [observer for observer in launch.observers if observer not in witnesses]
    chunks = list(_chunks(launch, witnesses, others))
    rows = _rows(others, any(seen for _, _, seen in chunks))
    compiled = _translation(launch, rows, shuffle_seed, any(not seen for _, _, seen in chunks))
    if engine == "native" and (isinstance(compiled, str) or any(seen for _, _, seen in chunks)):
        reason = compiled if isinstance(compiled, str) else "an observer must see it in lock-step"
        raise LaunchError(f"the native engine cannot run kernel {launch.kernel}: {reason}; use the lock-step engine")
    if isinstance(compiled, str):
        scheduler.run(launch, budget or scheduler.DEFAULT_BUDGET, shuffle_seed)
    else:
        _run_native(launch, budget, compiled, chunks, others)


def _run_early(launch: Launch, undoable: Sequence[Allocation]) -> bool:
    """Run a small launch in lock-step while the native engine is not loaded. Returns whether that was done; a launch
    that turns out not to be small is undone. How long it takes does not matter, so that every run does the same."""
    global _issued_early
    if "softgpu.native" in sys.modules or launch.observers or _issued_early >= EARLY_INSTRUCTIONS:
        return False
    if threading.active_count() > 1:
        return False  # what other threads change must not be undone
    chunks = -(-launch.block_count // scheduler.blocks_per_chunk(launch))
    budget = (EARLY_INSTRUCTIONS - _issued_early) // chunks
    operations = launch.program.operations
    prints = any(operation.instruction.opcode == "call" for operation in operations)  # which cannot be undone
    if prints or len(operations) > budget or sum(one.nbytes for one in undoable) > _MOST_EARLY_BYTES:
        return False
    before = [one.data.copy() for one in undoable]
    try:
        scheduler.run(launch, budget)
    except InstructionBudgetExceeded:
        for allocation, data in zip(undoable, before, strict=True):
            allocation.data[:] = data
        launch.failure = None
        _issued_early = EARLY_INSTRUCTIONS
        return False
    _issued_early += chunks * launch.chunk.clock
    return True


def _overrides(observer: Observer, hooks: Sequence[str]) -> bool:
    return any(getattr(type(observer), name) is not getattr(Observer, name) for name in hooks)


def _chunks(
    launch: Launch, witnesses: Sequence[Observer], others: Sequence[Observer]
) -> Iterator[tuple[int, int, bool]]:
    """The chunks of a launch: first block, number of blocks, and whether a witness follows it."""
    total = launch.block_count
    if not witnesses and not any(_overrides(observer, _CHUNK_HOOKS) for observer in others):
        yield 0, total, False
        return
    size = scheduler.blocks_per_chunk(launch)
    if not witnesses:
        shared_bytes = launch.program.shared_bytes + launch.shared_bytes
        size = max(size, min(_CHUNK_THREADS // launch.threads_per_block, _CHUNK_SHARED_BYTES // max(shared_bytes, 1)))
    for first in range(0, total, size):
        count = min(size, total - first)
        yield first, count, any(witness.follows(launch, first, count) for witness in witnesses)


def _rows(others: Sequence[Observer], in_lockstep: bool) -> Rows:
    """The rows of events that native code must write."""
    listeners = [observer for observer in others if _overrides(observer, ["events"])]
    rows = Rows(0)
    for observer in listeners:
        rows |= observer.wanted_rows
    # What native code settles itself, blocks in lock-step would not know of; and there is one set of cells.
    has_own = in_lockstep or sum(Rows.CONFLICTS in observer.wanted_rows for observer in listeners) > 1
    return Rows.ALL if rows and (has_own or Rows.ALL in rows) else rows


def _translation(launch: Launch, rows: Rows, shuffle_seed: int | None, wanted: bool) -> Compiled | str:
    """The native code of a launch, or why there is none."""
    if shuffle_seed is not None:
        return "it does not shuffle the order of blocks and warps"
    if not wanted:
        return "an observer must see it in lock-step"
    try:
        from softgpu import native
    except ImportError as missing:
        return f"{missing.name} is not installed"
    if Rows.CONFLICTS in rows and native.needs_releases(launch):
        rows |= Rows.RELEASES
    compiled = native.translation(launch.program, rows)
    return f"it has no translation of {compiled}" if isinstance(compiled, native.NotTranslated) else compiled


def _run_native(
    launch: Launch,
    budget: int | None,
    compiled: Compiled,
    chunks: Sequence[tuple[int, int, bool]],
    others: Sequence[Observer],
) -> None:
    """Execute a launch, and once more if the rows that were left out turn out to matter."""
    from softgpu import native

    before = native.Before(launch) if native.may_run_again(launch, compiled.rows_wanted) else None
    try:
        _run_chunks(launch, budget, compiled, chunks, others)
    except ReleasesMatter:
        assert before is not None
        before.restore()
        again = native.translation(launch.program, compiled.rows_wanted | Rows.RELEASES)
        assert not isinstance(again, native.NotTranslated)
        _run_chunks(launch, budget, again, chunks, others)


def _run_chunks(
    launch: Launch,
    budget: int | None,
    compiled: Compiled,
    chunks: Sequence[tuple[int, int, bool]],
    others: Sequence[Observer],
) -> None:
    from softgpu import native

    listeners = [partial(observer.events, launch) for observer in others if _overrides(observer, ["events"])]
    launch.rows = compiled.rows_wanted
    execution = native.Execution(launch, compiled, budget, listeners)
    ended = True
    _call(launch.observers, "launch_begin", launch)
    try:
        for first, count, seen in chunks:
            if seen:
                with np.errstate(all="ignore"):
                    scheduler.run_chunk(
                        launch, first, count, budget or scheduler.DEFAULT_BUDGET, np.random.default_rng(0)
                    )
                continue
            launch.chunk = native.Blocks(launch, first, count)
            _call(others, "chunk_begin", launch)
            execution.run(first, first + count)
            _call(others, "chunk_end", launch)
        if launch.fault is not None:
            raise launch.fault
    except ReleasesMatter:
        ended = False
        raise
    except KernelError as error:
        launch.failure = error
        raise
    finally:
        if ended:
            _call(launch.observers, "launch_end", launch)
        execution.close()


def _call(observers: Sequence[Observer], name: str, launch: Launch) -> None:
    for observer in observers:
        getattr(observer, name)(launch)
