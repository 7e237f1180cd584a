"""The errors of softgpu. Each message is one sentence: what happened, where, and what to do about it.

The same facts are attributes, so that a caller can build a message of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

Dim3 = tuple[int, int, int]
"""Three extents or coordinates, in the order x, y, z."""


class SoftGPUError(Exception):
    """Base class of everything softgpu raises on purpose."""


def _shortened(text: str) -> str:
    """Names and numbers in a PTX text can be of any length."""
    return text if len(text) <= 240 else f"{text[:239]}…"


class PTXSyntaxError(SoftGPUError):
    """The text is not PTX. `line` is the 1-based line in the PTX text."""

    def __init__(self, message: str, line: int):
        super().__init__(f"PTX line {line}: {_shortened(message)}")
        self.line = line


class UnsupportedPTX(SoftGPUError):
    """The text is PTX that softgpu does not execute. `instruction` is its text, `line` its PTX line."""

    def __init__(self, instruction: str, line: int, reason: str = ""):
        detail = f" ({_shortened(reason)})" if reason else ""
        super().__init__(
            f"PTX line {line}: softgpu does not support `{_shortened(instruction)}`{detail}, "
            "and refuses the kernel rather than guess what it does"
        )
        self.instruction = instruction
        self.line = line
        self.reason = reason


class LaunchError(SoftGPUError):
    """A launch that no GPU would accept: a bad grid, block, argument or kernel name."""


class KernelError(SoftGPUError):
    """Base class of the errors that a running kernel causes."""


class MemoryFault(KernelError):
    """A thread accessed memory that it may not access.

    `access` is "load", "store" or "atomic"; `size` is in bytes; `space` is "global", "shared", "local",
    "const" or "param"; `thread` and `block` are (x, y, z); `line` is the PTX line.
    """

    def __init__(
        self,
        *,
        access: str,
        size: int,
        space: str,
        address: int,
        thread: Dim3,
        block: Dim3,
        line: int,
        reason: str,
    ):
        super().__init__(
            f"Invalid {space} {access} of {size} byte{'s' if size != 1 else ''} at address {address:#x} "
            f"by thread {thread} of block {block} (PTX line {line}): {reason}"
        )
        self.access = access
        self.size = size
        self.space = space
        self.address = address
        self.thread = thread
        self.block = block
        self.line = line
        self.reason = reason


class BarrierDeadlock(KernelError):
    """A barrier that can never open.

    `barrier` is the barrier's number, or None where lanes of a warp wait for each other; `arrived` of
    `expected` threads of `block` (x, y, z) are there, `thread` the first; `lines` are the PTX lines at which threads
    wait, its own first, and `elsewhere` says what the missing threads do.
    """

    def __init__(
        self,
        *,
        barrier: int | None,
        arrived: int,
        expected: int,
        block: Dim3,
        thread: Dim3,
        lines: Sequence[int],
        elsewhere: str,
        warp: int | None = None,
        source: str = "",
    ):
        name = "a warp-level synchronisation" if barrier is None else f"barrier {barrier}"
        threads = "threads" if warp is None else f"threads of warp {warp}"
        super().__init__(
            f"Deadlock at {name} (PTX line {lines[0]}){source}: only {arrived} of {expected} {threads} of block "
            f"{block} arrived, {elsewhere}, so it can never open"
        )
        self.barrier = barrier
        self.arrived = arrived
        self.expected = expected
        self.block = block
        self.thread = thread
        self.lines = tuple(lines)
        self.elsewhere = elsewhere


class IncompleteWarp(KernelError):
    """An instruction that all threads of a warp execute together was executed by `threads` of them only, `thread` of
    `block` (both x, y, z) the first; `line` is the PTX line."""

    def __init__(self, *, threads: int, thread: Dim3, block: Dim3, line: int):
        super().__init__(
            f"The instruction at PTX line {line} needs all 32 threads of a warp, but only {threads} threads of the "
            f"warp of thread {thread} of block {block} executed it: the others do not exist or have exited"
        )
        self.threads = threads
        self.thread = thread
        self.block = block
        self.line = line


class MbarrierError(KernelError):
    """An mbarrier that is used as none may be. `address` is its offset in the shared memory of its block; `thread` and
    `block` are (x, y, z); `line` is the PTX line."""

    def __init__(self, *, address: int, thread: Dim3, block: Dim3, line: int, reason: str):
        super().__init__(
            f"Invalid use of the mbarrier at shared address {address:#x} by thread {thread} of block {block} "
            f"(PTX line {line}): {reason}"
        )
        self.address = address
        self.thread = thread
        self.block = block
        self.line = line
        self.reason = reason


class InstructionBudgetExceeded(KernelError):
    """A kernel that did not end: `budget` instructions were issued, the last of them on these PTX `lines`."""

    def __init__(self, *, kernel: str, budget: int, lines: Sequence[int], source: str = ""):
        span = f"line {lines[0]}" if lines[0] == lines[-1] else f"lines {lines[0]} to {lines[-1]}"
        super().__init__(
            f"Kernel {kernel} was stopped after {budget} instructions while looping at PTX {span}{source}: "
            "check the loop's end condition, or raise the instruction budget"
        )
        self.kernel = kernel
        self.budget = budget
        self.lines = tuple(lines)


class TrapError(KernelError):
    """A thread executed `trap`, which is what a failed assertion or abort() compiles to."""

    def __init__(self, *, thread: Dim3, block: Dim3, line: int):
        super().__init__(
            f"Thread {thread} of block {block} executed `trap` (PTX line {line}): "
            "an assertion in the kernel failed or it called abort()"
        )
        self.thread = thread
        self.block = block
        self.line = line


class AssertionFailed(TrapError):
    """An assertion of the kernel's own failed: `message`, in `source` (file and line) of its source."""

    def __init__(self, *, message: str, source: str, thread: Dim3, block: Dim3, line: int):
        KernelError.__init__(
            self, f"{source}: assertion failed in thread {thread} of block {block} (PTX line {line}): {message}"
        )
        self.message = message
        self.source = source
        self.thread = thread
        self.block = block
        self.line = line


class IllegalInstruction(KernelError):
    """A thread executed an instruction with a value for which its result is undefined, as `reason` says."""

    def __init__(self, *, instruction: str, thread: Dim3, block: Dim3, line: int, reason: str):
        super().__init__(f"Thread {thread} of block {block} cannot execute `{instruction}` (PTX line {line}): {reason}")
        self.instruction = instruction
        self.thread = thread
        self.block = block
        self.line = line
        self.reason = reason
