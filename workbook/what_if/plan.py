"""What a kernel does with each thread, carried out by NumPy for all threads at once: a prediction of its launches.

A *plan* is the kernel in a few lines of Python, as puzzles.toml has them. It knows the names `block` (block_idx.x),
`thread` (thread_idx.x), `blocks` and `threads` (the launch), the sizes, `TPB`, the tensors, the shared arrays, and the
functions `ceildiv` and `barrier`. Its statements are those of a kernel: assignment, `if`, `for … in range(…)`, and
`assert` for what the kernel refuses when it is compiled. What it does is written down like the trace of a real launch,
so that everything that draws and explains launches works on predictions too.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from softgpu.trace import ACCESS, BarrierTrace, Kind, LaunchTrace, Origin, Region, Space
from workbook.language import _
from workbook.pictures.launch_view import Buffer, LaunchView, coordinates, launch_view
from workbook.puzzles import Puzzle
from workbook.running.execution import Fault

ELEMENT = np.dtype(np.float32)
"""What all tensors and shared arrays hold."""
FIRST_ADDRESS, ADDRESSES_APART = 1 << 20, 1 << 20
"""Where the tensors lie: so far apart that an access outside of one is in no other."""


@dataclass(frozen=True)
class Choice:
    """What a learner has chosen: the sizes of the case, and the launch."""

    sizes: tuple[tuple[str, int], ...]
    blocks: int
    threads: int

    @property
    def case(self) -> dict[str, int]:
        return dict(self.sizes)

    @property
    def names(self) -> dict[str, int]:
        return {**self.case, "blocks": self.blocks, "threads": self.threads}


@dataclass(frozen=True)
class Prediction:
    """What a launch will do. Where the kernel is not compiled for the sizes there is no `view`, and `refused` is the
    message. Where the launch is stopped, `stopped_at` is the element that does not exist: "tile[22]"."""

    view: LaunchView | None
    refused: str = ""
    stopped_at: str = ""


def needed_blocks(puzzle: Puzzle, sizes: Mapping[str, int], threads: int) -> int:
    """How many blocks the data needs: what `foreach` launches, or what the learner's launch should say."""
    return int(evaluate(_what_if(puzzle).blocks, {**sizes, "threads": threads}))


def example_inputs(puzzle: Puzzle, choice: Choice) -> dict[str, NDArray]:
    """Inputs whose values tell the element: 1, 2, 3 …"""
    shapes = {name: evaluate(shape, choice.names) for name, shape in _what_if(puzzle).shapes.items()}
    return {
        name: np.arange(1, np.prod(shapes[name]) + 1, dtype=ELEMENT).reshape(shapes[name])
        for name in puzzle.arguments[1:]
    }


def expected_output(puzzle: Puzzle, choice: Choice, inputs: Mapping[str, NDArray]) -> NDArray:
    """What NumPy says."""
    return np.asarray(evaluate(_what_if(puzzle).expected, {**choice.names, **inputs}), ELEMENT)


def predict(puzzle: Puzzle, choice: Choice, inputs: Mapping[str, NDArray] | None = None) -> Prediction:
    """What the launch will do, with the inputs of a run or with examples."""
    inputs = example_inputs(puzzle, choice) if inputs is None else inputs
    run = _Run(puzzle, choice, inputs)
    try:
        run.carry_out()
    except _Refused as refused:
        return Prediction(None, refused=str(refused))
    output = puzzle.arguments[0]
    expected = expected_output(puzzle, choice, inputs)
    got = np.full_like(expected, np.nan) if run.fault else run.tensors[output].reshape(expected.shape)
    view = launch_view(
        run.trace(),
        run.buffers,
        expected,
        got,
        shared_names=puzzle.shared_names,
        thread_per_element=puzzle.fills != "foreach",
        output=output,
        case=", ".join(f"{name} {size}" for name, size in choice.sizes),
        fault=_("The launch is stopped.") if run.fault else "",
        fault_at=run.fault,
        rtol=puzzle.tolerance,
        atol=puzzle.tolerance,
    )
    return Prediction(view, stopped_at=run.stopped_at)


def evaluate(expression: str, names: Mapping[str, Any]) -> Any:
    """An expression of puzzles.toml, such as the number of blocks that sizes need."""
    return eval(expression, {"__builtins__": {}, "np": np, "ceildiv": _ceildiv, "max": max}, dict(names))


def _what_if(puzzle: Puzzle) -> Any:
    assert puzzle.what_if is not None
    return puzzle.what_if


def _ceildiv(number: int, divisor: int) -> int:
    return -(-number // divisor)


class Value(NamedTuple):
    """What an expression gives for each thread, and where it came from, as in ACCESS: a tensor, a constant of the plan,
    or neither. (What is loaded from shared memory counts as neither: nothing asks for more.)"""

    data: NDArray
    origin: NDArray[np.uint8]
    address: NDArray[np.uint64]


class _Refused(Exception):
    """The kernel is not compiled; the message is that of its `assert`."""


class _Stopped(Exception):
    """An access outside of what there is has ended the launch."""


@dataclass(frozen=True)
class _Instruction:
    """Stands for an instruction of a compiled kernel."""

    index: int
    line: int
    text: str


class _Run:
    """One launch. All threads of all blocks carry out each statement together; a mask says which take part."""

    def __init__(self, puzzle: Puzzle, choice: Choice, inputs: Mapping[str, NDArray]):
        self.choice = choice
        self.statements = ast.parse(_what_if(puzzle).plan).body
        self.constants = choice.names | ({"TPB": puzzle.threads_per_block} if puzzle.threads_per_block else {})
        self.count = choice.blocks * choice.threads
        self.block, self.thread = np.divmod(np.arange(self.count), choice.threads)
        self.names: dict[str, Value] = {"block": self._plain(self.block), "thread": self._plain(self.thread)}

        output = puzzle.arguments[0]
        shape = evaluate(_what_if(puzzle).shapes[output], choice.names)
        before = np.full(shape, _what_if(puzzle).output_before, ELEMENT)
        arrays = {output: before, **inputs}
        self.tensors = {name: np.array(array, ELEMENT).reshape(-1) for name, array in arrays.items()}
        self.buffers = {
            name: Buffer(FIRST_ADDRESS + number * ADDRESSES_APART, tensor.size, ELEMENT)
            for number, (name, tensor) in enumerate(self.tensors.items())
        }

        # The shared arrays of a block lie one behind the other.
        self.shared: dict[str, range] = {}
        end = 0
        for name in puzzle.shared_names:
            slots = puzzle.shared_slots(name, choice.case) or 0
            self.shared[name] = range(end, end + slots)
            end += slots
        self.memory = np.full((choice.blocks, end), 0xFFFFFFFF, np.uint32).view(ELEMENT)  # as nobody has written it

        self.instructions: list[_Instruction] = []
        self.rows: list[NDArray] = []
        self.barriers: list[BarrierTrace] = []
        self.fault: Fault | None = None
        self.stopped_at = ""

    def carry_out(self) -> None:
        with suppress(_Stopped):
            self._body(self.statements, np.ones(self.count, bool))

    def trace(self) -> LaunchTrace:
        choice = self.choice
        itemsize = ELEMENT.itemsize
        return LaunchTrace(
            kernel="",
            grid=(choice.blocks, 1, 1),
            block=(choice.threads, 1, 1),
            instructions=cast(Any, tuple(self.instructions)),
            buffers=(),
            shared_variables=tuple(
                Region(name, slots.start * itemsize, len(slots) * itemsize) for name, slots in self.shared.items()
            ),
            parameters=(),
            accesses=np.concatenate(self.rows) if self.rows else np.empty(0, ACCESS),
            barriers=self.barriers,
            threads_ran=dict.fromkeys(range(choice.blocks), choice.threads),
        )

    # Statements

    def _body(self, statements: list[ast.stmt], mask: NDArray[np.bool_]) -> None:
        for statement in statements:
            self._statement(statement, mask)

    def _statement(self, statement: ast.stmt, mask: NDArray[np.bool_]) -> None:
        match statement:
            case ast.Assert(test=test, msg=ast.Constant(value=str(message))):
                if not self._value(test, mask).data.all():
                    raise _Refused(message)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found = self._value(value, mask)
                self.names[name] = _where(mask, found, self.names.get(name, found))
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                changed = self._value(ast.BinOp(ast.Name(name), op, value), mask)
                self.names[name] = _where(mask, changed, self.names[name])
            case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=array), slice=index)], value=value):
                found = self._value(value, mask)
                self._store(statement, array, self._value(index, mask).data, found, mask)
            case ast.If(test=test, body=body, orelse=orelse):
                condition = self._value(test, mask).data.astype(bool)
                self._body(body, mask & condition)
                self._body(orelse, mask & ~condition)
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"), args=[stop]), body=body):
                for number in range(int(self._value(stop, mask).data[0])):
                    self.names[name] = self._plain(np.full(self.count, number))
                    self._body(body, mask)
            case ast.Expr(value=ast.Call(func=ast.Name(id="barrier"))):
                self._barrier(statement)
            case _:
                raise SyntaxError(f"a plan has no statement like `{ast.unparse(statement)}`")

    def _barrier(self, statement: ast.stmt) -> None:
        line = self._instruction(statement).line
        threads = np.arange(self.choice.threads, dtype=np.int32)
        self.barriers += [BarrierTrace(line, line, block, 0, threads) for block in range(self.choice.blocks)]

    # Expressions

    def _value(self, node: ast.expr, mask: NDArray[np.bool_]) -> Value:
        match node:
            case ast.Constant(value=int(number) | float(number)):
                return self._constant(number)
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.Name(id=name):
                return self._constant(self.constants[name])
            case ast.BinOp(left=left, op=op, right=right):
                one, other = self._value(left, mask).data, self._value(right, mask).data
                return self._plain(OPERATORS[type(op)](one, other))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                one, other = self._value(left, mask).data, self._value(right, mask).data
                return self._plain(OPERATORS[type(op)](one, other))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                condition = self._value(test, mask).data.astype(bool)
                chosen = self._value(body, mask & condition)
                return _where(condition, chosen, self._value(orelse, mask & ~condition))
            case ast.Subscript(value=ast.Name(id=array), slice=index):
                return self._load(node, array, self._value(index, mask).data, mask)
            case ast.Call(func=ast.Name(id="ceildiv"), args=[number, divisor]):
                return self._plain(-(-self._value(number, mask).data // self._value(divisor, mask).data))
        raise SyntaxError(f"a plan has no expression like `{ast.unparse(node)}`")

    def _plain(self, data: NDArray) -> Value:
        return Value(data, np.full(self.count, Origin.COMPUTED, np.uint8), np.zeros(self.count, np.uint64))

    def _constant(self, value: float) -> Value:
        return self._plain(np.full(self.count, value))._replace(origin=np.full(self.count, Origin.CONSTANT, np.uint8))

    # Memory

    def _load(self, node: ast.expr, array: str, index: NDArray, mask: NDArray[np.bool_]) -> Value:
        lanes, outside = self._lanes(array, index, mask)
        value = self._plain(np.zeros(self.count))
        if array in self.tensors:
            value.data[lanes] = self.tensors[array][index[lanes]]
            value.origin[lanes] = Origin.LOADED
            value.address[lanes] = self._address(array, index[lanes])
        else:
            value.data[lanes] = self.memory[self.block[lanes], self.shared[array].start + index[lanes]]
        self._record(node, Kind.LOAD, array, index, value, lanes, outside)
        return value

    def _store(self, node: ast.stmt, array: str, index: NDArray, value: Value, mask: NDArray[np.bool_]) -> None:
        lanes, outside = self._lanes(array, index, mask)
        if array in self.tensors:
            self.tensors[array][index[lanes]] = value.data[lanes]
        else:
            self.memory[self.block[lanes], self.shared[array].start + index[lanes]] = value.data[lanes]
        self._record(node, Kind.STORE, array, index, value, lanes, outside)

    def _lanes(self, array: str, index: NDArray, mask: NDArray[np.bool_]) -> tuple[NDArray, NDArray]:
        """The threads that take part: those whose element exists, and the others. A thread that leaves its shared array
        may still be in another one."""
        if array in self.tensors:
            exists = (index >= 0) & (index < self.tensors[array].size)
        else:
            place = self.shared[array].start + index
            exists = (place >= 0) & (place < self.memory.shape[1])
        return np.flatnonzero(mask & exists), np.flatnonzero(mask & ~exists)

    def _address(self, array: str, index: NDArray) -> NDArray[np.uint64]:
        start = self.buffers[array].address if array in self.tensors else self.shared[array].start * ELEMENT.itemsize
        return (start + index * ELEMENT.itemsize).astype(np.uint64)

    def _record(
        self,
        node: ast.AST,
        kind: Kind,
        array: str,
        index: NDArray,
        value: Value,
        lanes: NDArray,
        outside: NDArray,
    ) -> None:
        instruction = self._instruction(node)
        space = Space.GLOBAL if array in self.tensors else Space.SHARED
        rows = np.zeros(len(lanes), ACCESS)
        rows["step"] = rows["line"] = instruction.line
        rows["pc"] = instruction.index
        rows["space"], rows["kind"] = space, kind
        rows["block"], rows["thread"] = self.block[lanes], self.thread[lanes]
        rows["address"] = self._address(array, index[lanes])
        rows["nbytes"] = ELEMENT.itemsize
        rows["bits"] = value.data[lanes].astype(ELEMENT).view(np.uint32)
        rows["origin"], rows["origin_address"] = value.origin[lanes], value.address[lanes]
        self.rows.append(rows)
        if len(outside):
            first = outside[:1]
            grid, block = (self.choice.blocks, 1, 1), (self.choice.threads, 1, 1)
            self.fault = Fault(
                access=kind.name.lower(),
                space=space.name.lower(),
                address=int(self._address(array, index[first])[0]),
                block=coordinates(int(self.block[first[0]]), grid),
                thread=coordinates(int(self.thread[first[0]]), block),
                line=instruction.line,
            )
            self.stopped_at = f"{array}[{index[first[0]]}]"
            raise _Stopped

    def _instruction(self, node: ast.AST) -> _Instruction:
        number = len(self.instructions)
        self.instructions.append(_Instruction(number, number + 1, ast.unparse(node)))
        return self.instructions[-1]


def _where(condition: NDArray[np.bool_], one: Value, other: Value) -> Value:
    return Value(
        np.where(condition, one.data, other.data),
        np.where(condition, one.origin, other.origin),
        np.where(condition, one.address, other.address),
    )


OPERATORS: dict[type, Callable[[NDArray, NDArray], NDArray]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.remainder,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
}
