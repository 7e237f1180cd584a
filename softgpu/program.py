"""A kernel made ready to run: decoded operations, register slots, memory layout and control flow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from softgpu.errors import PTXSyntaxError, UnsupportedPTX
from softgpu.inlining import inline_calls
from softgpu.machine import Chunk, Lanes, lane_count
from softgpu.memory import WINDOWS
from softgpu.ptx import Instruction, Kernel, PTXModule, Register, Symbol, Variable

if TYPE_CHECKING:
    from softgpu.instructions.table import Modifiers

Read = Callable[[Chunk, Lanes], NDArray]
"""Gives the value of an operand: one element a lane, or a single one for all."""

Write = Callable[[Chunk, Lanes, NDArray], None]
"""Sets an operand, from one element a lane or a single one for all."""

Execute = Callable[[Chunk, Lanes], None]
"""Carries out an instruction for some lanes."""


MAX_LOCAL_BYTES = 512 * 1024
"""CUDA programming guide, "Compute Capabilities"."""


@dataclass(frozen=True, slots=True)
class Branch:
    """To the instruction after one of the `labels`: the first, or that which `index` selects (`brx.idx`)."""

    labels: tuple[str, ...]
    index: Read | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """The thread ends."""


@dataclass(frozen=True, slots=True)
class Trap:
    """The kernel ends with an error."""


BARRIERS = 16
"""How many barriers a block has."""

CLUSTER_BARRIER = BARRIERS
"""The number of `barrier.cluster`, above those of the block's own: a cluster is one block here."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """What a barrier computes from the `predicate` of all threads that arrive: how many are true ("popc", as u32), or
    whether all or any are ("and", "or"). `write` gives it to the threads."""

    operation: str
    predicate: Read
    write: Write


@dataclass(frozen=True, slots=True)
class Barrier:
    """A barrier of the block for `count` threads, 0 for all of them.

    `waits` is false for `.arrive`, and `arrives` for `barrier.cluster.wait`, which waits for the barrier to open at
    which its thread has arrived before.
    """

    number: Read
    count: Read
    arrives: bool = True
    waits: bool = True
    reduction: Reduction | None = None


Control = Branch | Exit | Trap | Barrier


@dataclass(frozen=True, slots=True)
class Exchange:
    """What lanes of a warp do together.

    Each contributes what it `reads`, `compute` makes the results of it, and each lane `writes` its own.
    """

    reads: tuple[Read, ...]
    compute: Callable[..., tuple[NDArray, ...]]
    writes: tuple[Write, ...]

    def contribute(self, chunk: Chunk, lanes: Lanes) -> list[NDArray]:
        return [np.broadcast_to(read(chunk, lanes), lane_count(lanes)) for read in self.reads]

    def answer(self, chunk: Chunk, lanes: Lanes, results: Sequence[NDArray]) -> None:
        for write, result in zip(self.writes, results, strict=True):
            write(chunk, lanes, result)

    def execute(self, chunk: Chunk, lanes: Lanes) -> None:
        self.answer(chunk, lanes, self.compute(chunk, lanes, *self.contribute(chunk, lanes)))


@dataclass(slots=True)
class Operation:
    """A decoded instruction: `execute` for one that computes, `control` for one that steers.

    `modifiers` are those of the instruction, by the names that its form gives them. `membermask` and `exchange` are
    set where the lanes of a warp must first assemble: those with equal masks, at this instruction or at another with
    the same modifiers; without an `exchange` only at this very one. `destinations` are the registers it writes,
    `sources` those it reads.
    """

    instruction: Instruction
    modifiers: Modifiers | None = None
    guard: Read | None = None
    execute: Execute | None = None
    control: Control | None = None
    membermask: Read | None = None
    exchange: Exchange | None = None
    destinations: list[Register] = field(default_factory=list)
    sources: list[Register] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BasicBlock:
    """Operations that are executed one after the other; only the last may be a control operation.

    `next` is the block below and `targets` are those of a branch, one a label, as positions in Program.blocks; -1 for
    none.
    """

    operations: tuple[Operation, ...]
    control: Operation | None
    next: int
    targets: tuple[int, ...]

    @property
    def assembles_warp(self) -> bool:
        return bool(self.operations) and self.operations[0].membermask is not None


class Program:
    """A decoded kernel. `blocks` are in the order in which diverged lanes are given preference: an order
    of the control-flow graph in which every loop is contiguous and comes before what follows it."""

    def __init__(self, module: PTXModule, kernel: Kernel):
        from softgpu.instructions import Decoder

        self.module = module
        self.kernel = kernel = inline_calls(module, kernel)
        self.registers: dict[str, str] = {}
        self.slots: list[tuple[str, str]] = []
        self._slot_numbers: dict[tuple[str, str], int] = {}
        self._lay_out_memory()
        self.operations = [Decoder(self, instruction).decode() for instruction in kernel.instructions]
        self.operations.append(_return_at_end(kernel))
        self.blocks = _basic_blocks(self.operations, kernel.labels)

    def slot(self, register: Register, storage: str, dtype: str) -> int:
        """The index in Chunk.values of a register, stored as `storage`, read or written as `dtype`."""
        key = (register.name, dtype)
        if key not in self._slot_numbers:
            self.registers[register.name] = storage
            self._slot_numbers[key] = len(self.slots)
            self.slots.append(key)
        return self._slot_numbers[key]

    def variable(self, name: str) -> Variable | None:
        return self.kernel.variables.get(name) or self.module.variables.get(name)

    def space_of(self, name: str) -> str | None:
        """The state space that a variable or parameter is placed in; None where there is none of that name."""
        placed = {"param": self.parameter_offsets, "shared": self.shared_offsets, "local": self.local_offsets}
        for space, offsets in placed.items():
            if name in offsets:
                return space
        variable = self.variable(name)
        return variable.space if variable else None

    def accessed_as(self, symbol: Symbol, space: str) -> Symbol | None:
        """What stands for a variable where an instruction accesses a state space, or "generic"; None if it may not."""
        own = self.space_of(symbol.name)
        if space == "generic" and own in ("global", "shared", "local"):
            return Symbol(symbol.name, symbol.offset + WINDOWS.get(own, 0))
        return symbol if own in (space, None) else None

    def _lay_out_memory(self) -> None:
        variables = [*self.module.variables.values(), *self.kernel.variables.values()]
        shared = [variable for variable in variables if variable.space == "shared"]
        self.shared_offsets, end = _lay_out(variable for variable in shared if variable.count)
        # Dynamic shared memory follows the static, and all its names mean its beginning.
        dynamic = [variable for variable in shared if not variable.count]
        alignment = max((variable.alignment for variable in dynamic), default=1)
        self.shared_bytes = _align(end, max(alignment, 16)) if dynamic else end
        self.shared_offsets |= {variable.name: self.shared_bytes for variable in dynamic}
        # What is left of the variables that pass values to functions lies in local memory.
        self.local_offsets, self.local_bytes = _lay_out(v for v in variables if v.space in ("local", "param"))
        if self.local_bytes > MAX_LOCAL_BYTES:
            raise PTXSyntaxError(
                f"kernel {self.kernel.name} has {self.local_bytes} bytes of local memory, but a thread can have only "
                f"{MAX_LOCAL_BYTES}",
                self.kernel.line,
            )
        self.parameter_offsets, self.parameter_bytes = _lay_out(self.kernel.parameters)
        for variable in self.kernel.variables.values():
            if variable.space in ("global", "const"):
                raise UnsupportedPTX(
                    f".{variable.space} {variable.name}",
                    variable.line,
                    f"a .{variable.space} variable inside a kernel",
                )


def _align(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _lay_out(variables: Iterable) -> tuple[dict[str, int], int]:
    """Byte offsets of variables one after the other, and the end of the last."""
    offsets, end = {}, 0
    for variable in variables:
        offsets[variable.name] = _align(end, variable.alignment)
        end = offsets[variable.name] + variable.nbytes
    return offsets, end


# Control flow


def _return_at_end(kernel: Kernel) -> Operation:
    """Running past the last instruction ends a thread as `ret` does; labels may stand there too."""
    line = kernel.instructions[-1].line if kernel.instructions else kernel.line
    return Operation(Instruction(len(kernel.instructions), "ret", (), (), None, line, "ret"), control=Exit())


def _basic_blocks(operations: Sequence[Operation], labels: dict[str, int]) -> list[BasicBlock]:
    """Cut the operations into basic blocks, in the order of `_loop_contiguous_order`."""
    branches = {
        operation.instruction.index: [labels[label] for label in operation.control.labels]
        for operation in operations
        if isinstance(operation.control, Branch)
    }
    starts = {0, *itertools.chain.from_iterable(branches.values())}
    for index, operation in enumerate(operations):
        if operation.control is not None:
            starts.add(index + 1)
        if operation.membermask is not None:
            starts.update((index, index + 1))
    end = len(operations)
    bounds = [*sorted(start for start in starts if start < end), end]
    ranges = dict(itertools.pairwise(bounds))

    def falls_through(stop: int) -> bool:
        last = operations[stop - 1]
        return not (isinstance(last.control, Branch | Exit | Trap) and last.guard is None)

    successors: dict[int, list[int]] = {}
    for start, stop in ranges.items():
        successors[start] = [stop] if falls_through(stop) else []
        successors[start] += branches.get(stop - 1, [])
    order = _loop_contiguous_order(0, successors)
    rank = {start: position for position, start in enumerate(order)}

    blocks = []
    for start in order:
        stop = ranges[start]
        last = operations[stop - 1]
        blocks.append(
            BasicBlock(
                operations=tuple(operations[start : stop if last.control is None else stop - 1]),
                control=last if last.control is not None else None,
                next=rank.get(stop, -1),
                targets=tuple(rank[target] for target in branches.get(stop - 1, ())),
            )
        )
    return blocks


MAX_NESTING = 64
"""Loops nested deeper than this, which only code without structure has, are not taken apart: it would take too long."""


def _loop_contiguous_order(entry: int, successors: dict[int, list[int]]) -> list[int]:
    """A reverse post-order of the reachable nodes in which the nodes of every loop stand together.

    Diverged lanes wait at the later nodes for the lanes at earlier ones, so lanes that left a loop wait for
    those still in it, and meet them again after it. This is the priority that thread frontiers need (Diamos
    et al., "SIMD Re-Convergence at Thread Frontiers", 2011), computed as Bourdoncle's weak topological order.
    """
    order: list[int] = []
    pending = [(1, *component) for component in _components([entry], set(successors), successors)]
    while pending:
        depth, header, members = pending.pop()
        order.append(header)
        inner = members - {header}
        if depth == MAX_NESTING:
            order.extend(sorted(inner))
        elif inner:
            pending.extend((depth + 1, *component) for component in _components(successors[header], inner, successors))
    return order


def _components(roots: list[int], nodes: set[int], successors: dict[int, list[int]]) -> list[tuple[int, set[int]]]:
    """Strongly connected components reachable from `roots` within `nodes`, the topologically first one last.

    Each comes with the node at which it was entered. Tarjan's algorithm, with a stack of its own because
    unrolled kernels have thousands of blocks.
    """
    number: dict[int, int] = {}
    lowest: dict[int, int] = {}
    open_nodes: list[int] = []
    opened: dict[int, int] = {}  # a node's position in open_nodes
    closed: set[int] = set()
    components = []
    for root in roots:
        if root in number or root not in nodes:
            continue
        path = [(root, iter(successors[root]))]
        number[root] = lowest[root] = len(number)
        opened[root] = len(open_nodes)
        open_nodes.append(root)
        while path:
            node, following = path[-1]
            for successor in following:
                if successor not in nodes or successor in closed:
                    continue
                if successor in number:
                    lowest[node] = min(lowest[node], number[successor])
                    continue
                number[successor] = lowest[successor] = len(number)
                opened[successor] = len(open_nodes)
                open_nodes.append(successor)
                path.append((successor, iter(successors[successor])))
                break
            else:
                path.pop()
                if path:
                    parent = path[-1][0]
                    lowest[parent] = min(lowest[parent], lowest[node])
                if lowest[node] == number[node]:
                    members = set(open_nodes[opened[node] :])
                    del open_nodes[opened[node] :]
                    closed |= members
                    components.append((node, members))
    return components
