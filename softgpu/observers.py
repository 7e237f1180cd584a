"""What the executor reports while a kernel runs.

The executor knows nothing of checks or pictures; it calls these hooks. A hook that no observer of a launch
overrides costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from softgpu.events import PLAIN, EventFlag, Rows

if TYPE_CHECKING:
    from softgpu.machine import Chunk, Lanes, Launch
    from softgpu.ptx import Instruction


@dataclass(frozen=True, slots=True)
class Access:
    """One memory instruction, executed by the active lanes of a chunk, in one state space.

    `kind` is "load", "store", "atomic" or "copy_done"; `space` is "global", "shared", "local" or "const", also
    where the instruction used generic addresses. Row i of every array belongs to one lane:

    - `lanes`: index of the lane in its chunk (intp)
    - `block`: linear block index in the grid, x fastest (int64)
    - `thread`: linear thread index in the block, x fastest (int32)
    - `address`: uint64; for shared and local memory the byte offset in that of the block or thread
    - `bits`: uint64, shape (lanes, elements): what was loaded or stored, for an atomic the new value

    `nbytes` is the size of the whole access, and `nbytes // bits.shape[1]` that of an element. `flags` say what kind of
    access it was beyond that: an asynchronous copy reports a load and a store that is ASYNC when it is issued, and
    "copy_done" when the bytes have arrived; what is INVALID did not happen, and its bits are 0.
    """

    instruction: Instruction
    space: str
    kind: str
    chunk: Chunk
    lanes: NDArray[np.intp]
    address: NDArray[np.uint64]
    nbytes: int
    bits: NDArray[np.uint64]
    flags: EventFlag = PLAIN

    @property
    def block(self) -> NDArray[np.int64]:
        return self.chunk.block_index[self.lanes]

    @property
    def thread(self) -> NDArray[np.int32]:
        return self.chunk.thread_index[self.lanes]


@dataclass(frozen=True, slots=True)
class BarrierEvent:
    """A barrier of one block that has just opened, released by the last arrivals at `instruction`.

    `threads` are the linear indices of the threads that arrived; `exited` counts those that had ended before.
    """

    instruction: Instruction
    barrier: int
    block: int
    threads: NDArray[np.int32]
    exited: int


class Observer:
    """Override the hooks you need. They must change nothing they are given.

    Large launches run in chunks of blocks, one after the other: between `chunk_begin` and `chunk_end`,
    `launch.chunk` is the chunk that runs, and all hooks speak of it.

    An observer with `continues_after_faults` lets a launch go on after an access that is not allowed. One that
    `follows_writes` keeps `Allocation.written`; after a launch without one, all memory counts as written.
    `wanted_rows` says which rows of events it needs; `launch.rows` says which there are.
    """

    continues_after_faults = False
    follows_writes = False
    wanted_rows = Rows.ALL

    def follows(self, launch: Launch, first_block: int, block_count: int) -> bool:
        """Whether to tell this observer of a chunk of blocks. Chunks that nobody follows run faster."""
        return True

    def launch_begin(self, launch: Launch) -> None:
        """Before the first instruction."""

    def chunk_begin(self, launch: Launch) -> None:
        """Before the first instruction of a chunk of blocks."""

    def issue(self, launch: Launch, instruction: Instruction, lanes: Lanes) -> None:
        """When an instruction is issued for `lanes`; lanes whose guard is false are among them."""

    def instruction(self, launch: Launch, instruction: Instruction, lanes: Lanes) -> None:
        """Before `lanes` execute an instruction; lanes whose guard is false are not among them."""

    def access(self, launch: Launch, access: Access) -> None:
        """After a memory access, before a load writes its registers. Not called for kernel parameters."""

    def barrier(self, launch: Launch, event: BarrierEvent) -> None:
        """When a barrier opens, once a block."""

    def events(self, launch: Launch, events: NDArray) -> None:
        """Rows of `softgpu.events.EVENT`, in batches and in order; the array is only valid during the call."""

    def chunk_end(self, launch: Launch) -> None:
        """After the last thread of a chunk has exited."""

    def launch_end(self, launch: Launch) -> None:
        """After the last instruction, also when the kernel failed."""
