"""Runs an op of Mojo from PyTorch, in the worker; all that touches `max.experimental.torch` is here.

Two things are changed in MAX's own bridge. Each call of an op is looked at before it is made, since the op trusts what
it is told and would write wherever a wrong size leads it. And where PyTorch has no CUDA, the op runs on the GPU all the
same, or on softgpu, with its tensors moved there and back; what the learner writes is not touched by that.
"""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import max.experimental.torch.torch as max_torch
import numpy as np
import torch
from max.experimental.torch import CustomOpLibrary
from max.graph import DeviceRef, TensorType, TensorValue, ops

from softgpu import LaunchTrace
from workbook.language import _
from workbook.puzzles import Arrays, Puzzle, find_puzzle, python_side
from workbook.pytorch.calls import (
    ARGUMENTS,
    ARRAYS_ARE_NO_TENSORS,
    GIVES_NOTHING_BACK,
    NO_MEMORY,
    NO_PARAMETERS,
    NOTHING_CALLED,
    ONE_DICTIONARY,
    OP,
    WrongCall,
    wrong_order,
    wrong_parameters,
    wrong_sizes,
    wrong_values,
)
from workbook.region import BEGIN
from workbook.running.devices import describe_device
from workbook.running.execution import BufferPlace, Clock, Execution, Failure, Outcome, full_text
from workbook.running.executor import Executor, NotCompiled, precompiled, python_failure
from workbook.running.mojo_compiler import Diagnostic

GRAPH_PUZZLE = "p17"
"""Whose op it is, and whose graph the result is compared with."""


@dataclass(frozen=True)
class OpCall:
    """A call of an op: its name in the library, its parameters, and the tensors by the names of its arguments."""

    op: str
    parameters: dict[str, Any]
    tensors: dict[str, torch.Tensor]


class Bridge:
    """PyTorch's side of a process. There is one, as it changes MAX's bridge for the whole process."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.tensor_device = "cuda" if kind == "gpu" and torch.cuda.is_available() else "cpu"
        self.calls: list[OpCall] = []
        self.examine: Callable[[OpCall], None] | None = None
        self._library: tuple[str, list[Path], CustomOpLibrary] | None = None
        self._follow_calls()
        if kind != "cpu" and self.tensor_device == "cpu":
            max_torch.CustomOp.op = _op_on_the_gpu

    @property
    def where(self) -> str:
        """Where tensors and kernel are, for the program's "device:"."""
        if self.kind == "cpu" or self.tensor_device == "cuda":
            return self.tensor_device
        return f"cpu tensors, kernel on {'softgpu' if self.kind == 'softgpu' else 'the GPU'}"

    def library(self, module: Any, text: str, packages: list[Path]) -> CustomOpLibrary:
        """The library as p20.py opens it. It and the ops it has compiled are kept while that code is as it was."""
        code = text.partition(BEGIN)[0]
        if self._library is None or self._library[:2] != (code, packages):
            self._library = code, packages, module.open_library(packages)
        return self._library[2]

    @contextmanager
    def examining(self, examine: Callable[[OpCall], None]) -> Iterator[list[OpCall]]:
        """Calls `examine` before each call of an op, which is not made if it raises. Gives the list of the calls."""
        self.examine = examine
        try:
            with self.following() as calls:
                yield calls
        finally:
            self.examine = None

    @contextmanager
    def following(self) -> Iterator[list[OpCall]]:
        """Gives the list of the calls that are made."""
        self.calls = []
        yield self.calls

    def _follow_calls(self) -> None:
        define = max_torch.MaxOp.custom_op_def

        def custom_op_def(op: max_torch.MaxOp) -> Any:
            definition = define(op)
            run = definition._init_fn
            names = list(op.torch_signature.parameters)
            parameters = dict(getattr(op.fn, "parameters", None) or {})

            def followed(*tensors: torch.Tensor) -> None:
                call = OpCall(op.fn.name, parameters, dict(zip(names, tensors, strict=True)))
                if self.examine is not None:
                    self.examine(call)
                self.calls.append(call)
                run(*tensors)

            definition.register_kernel(["cpu", "cuda"])(followed)
            return definition

        get = max_torch.CustomOp.__getitem__

        def with_parameters(op: max_torch.CustomOp, parameters: Any) -> max_torch.CustomOp:
            # PyTorch knows an op by the text of its parameters: tensor(15) would take the place of 15 for good.
            if self.examine is not None:
                _examine_parameters(parameters)
            return get(op, parameters)

        max_torch.MaxOp.custom_op_def = custom_op_def
        max_torch.CustomOp.__getitem__ = with_parameters


def _op_on_the_gpu(
    op: max_torch.CustomOp, *inputs: TensorValue, result_types: Sequence[TensorType]
) -> list[TensorValue]:
    """Takes the place of `CustomOp.op`: the same op, on the GPU, for tensors that are on the CPU."""
    gpu = DeviceRef.GPU()
    outputs = ops.custom(
        op.name,
        gpu,
        [value.to(gpu) for value in inputs],
        out_types=[TensorType(out.dtype, out.shape, gpu) for out in result_types],
        parameters=op.parameters,
    )
    return [output.tensor.to(DeviceRef.CPU()) for output in outputs]


_bridge: Bridge | None = None


def open_bridge(kind: str) -> Bridge:
    global _bridge
    if _bridge is None:
        _bridge = Bridge(kind)
    return _bridge


def packages() -> list[Path]:
    """The kernels, and the op of the graph puzzle's solution: the same files that its graph is given. Raises
    NotCompiled."""
    return precompiled(find_puzzle(GRAPH_PUZZLE), find_puzzle(GRAPH_PUZZLE).solution_file.read_text())


def load_program(puzzle: Puzzle, text: str) -> Any:
    """p20.py with this text, as the module `p20`. It imports p17.py, which is read anew."""
    sys.modules[GRAPH_PUZZLE] = cast(ModuleType, python_side(find_puzzle(GRAPH_PUZZLE)))
    module = ModuleType(puzzle.id)
    module.__file__ = str(puzzle.problem_file)
    linecache.cache[module.__file__] = (len(text), None, text.splitlines(keepends=True), module.__file__)
    exec(compile(text, module.__file__, "exec"), module.__dict__)
    sys.modules[puzzle.id] = module
    return module


def run(executor: Executor, puzzle: Puzzle, text: str, seed: int, progress: Callable[[str], None]) -> Execution:
    """Run all cases with the learner's text, one call after the other."""
    clock = Clock()
    progress("open")
    bridge = open_bridge(executor.kind)
    torch._dynamo.reset()  # what an earlier attempt compiled
    execution = Execution(
        device=describe_device(executor.kind), cases=(), expected=(), recorded=executor.launcher is not None
    )
    random = np.random.default_rng(seed)
    try:
        mojo = packages()
        graph_side = python_side(find_puzzle(GRAPH_PUZZLE))
        cases = tuple(graph_side.make_case(random, **sizes) for sizes in puzzle.cases)
        expected = tuple(graph_side.expected_result(*case) for case in cases)
    except NotCompiled as error:
        return replace(execution, failure=error.failure)
    except Exception as error:  # whatever the learner made of the graph's Python side
        return replace(execution, failure=python_failure(find_puzzle(GRAPH_PUZZLE), error))
    execution = replace(execution, cases=cases, expected=expected)
    if executor.launcher is not None:
        executor.launcher.errors.clear()
    outputs: list[np.ndarray] = []
    inputs_after: list[Arrays] = []
    places: list[dict[str, BufferPlace]] = []
    launches: list[tuple[LaunchTrace, ...]] = []
    outcomes: list[Outcome] = []
    failure = None
    try:
        module = load_program(puzzle, text)
        library = bridge.library(module, text, mojo)
        clock.lap("open")
        progress("call")
        for case, sizes in zip(cases, puzzle.cases, strict=True):
            executor.clear_record()
            tensors = tuple(torch.tensor(array, device=bridge.tensor_device) for array in case)
            try:
                result, calls = call_attempt(bridge, module.conv1d_pytorch, library, tensors, sizes)
            finally:
                launches.append(tuple(executor.trace.launches))
                outcomes += executor.outcomes.launches
                places.append({})
            outputs.append(result.detach().cpu().numpy())
            inputs_after.append(tuple(tensor.detach().cpu().numpy() for tensor in tensors))
            if launches[-1]:
                places[-1] = _places(launches[-1][-1], calls[-1])
        clock.lap("call")
    except Exception as error:
        failure = executor.launch_failure() or _failure(puzzle, text, error, _of_case(puzzle, len(places)))
    done = failure is None
    for _case in cases[len(places) :]:
        places.append({})
        launches.append(())
    return replace(
        execution,
        outputs=tuple(outputs) if done else None,
        inputs_after=tuple(inputs_after) if done else None,
        places=tuple(places),
        launches=tuple(launch for of_case in launches for launch in of_case),
        outcomes=tuple(outcomes),
        launches_by_case=tuple(launches),
        failure=failure,
        seconds=clock.seconds,
    )


def run_main(executor: Executor, puzzle: Puzzle, text: str) -> None:
    """What `workbook run` does. Raises NotCompiled; and WrongCall, with a sentence for whatever the learner's code
    raised."""
    bridge = open_bridge(executor.kind)
    try:
        module = load_program(puzzle, text)
        attempt = module.conv1d_pytorch

        def examined(library: CustomOpLibrary, *tensors: torch.Tensor) -> torch.Tensor:
            sizes = {name: len(tensor) for name, tensor in zip(puzzle.cases[0], tensors, strict=True)}
            return call_attempt(bridge, attempt, library, tensors, sizes)[0]

        module.conv1d_pytorch = examined
        module.main(executor.device, packages(), bridge.tensor_device, bridge.where)
    except (AssertionError, NotCompiled):
        raise
    except Exception as error:
        if executor.launch_failure():
            raise
        failure = _failure(puzzle, text, error)
        raise WrongCall("\n".join((failure.diagnostics[0].message, *failure.diagnostics[0].notes))) from error


def call_attempt(
    bridge: Bridge,
    attempt: Callable[..., Any],
    library: CustomOpLibrary,
    tensors: tuple[torch.Tensor, ...],
    sizes: dict[str, int],
) -> tuple[torch.Tensor, list[OpCall]]:
    """Call the learner's function. Raises WrongCall where its call of the op, or what it gives back, cannot be right;
    and whatever it raises itself."""
    given = dict(zip(ARGUMENTS[1:], tensors, strict=True))
    with bridge.examining(lambda call: _examine_call(call, given, sizes)) as calls:
        result = attempt(library, *tensors)
    problem = _wrong_result(result, calls, given["input"])
    if problem:
        raise WrongCall(problem)
    return result, calls


def _examine_parameters(parameters: Any) -> None:
    """Raises WrongCall with what is wrong with an op's parameters, whatever its tensors are."""
    problem = (
        wrong_parameters(parameters) or wrong_values(parameters)
        if isinstance(parameters, Mapping)
        else _(ONE_DICTIONARY).format()
    )
    if problem:
        raise WrongCall(problem)


def _examine_call(call: OpCall, given: dict[str, torch.Tensor], sizes: dict[str, int]) -> None:
    """Raises WrongCall with the first thing that is wrong with a call, from the most to the least fundamental."""
    if call.op != OP:
        return
    problem = (
        (None if call.parameters else _(NO_PARAMETERS))
        or wrong_order(_roles(call, given))
        or wrong_sizes(call.parameters, sizes)
        or _wrong_tensors(call, given)
    )
    if problem:
        raise WrongCall(problem)


def _roles(call: OpCall, given: dict[str, torch.Tensor]) -> list[str]:
    """What each tensor is. One that is not the learner's own is the output, if that is not where it should be."""
    found = {name: _role(tensor, given) for name, tensor in call.tensors.items()}
    return [role or ("output" if found["output"] else name) for name, role in found.items()]


def _role(tensor: torch.Tensor, given: dict[str, torch.Tensor]) -> str | None:
    """Which of the learner's tensors this is: the very one, or a part of its memory."""
    for name, own in given.items():
        if tensor.device == own.device and tensor.untyped_storage().data_ptr() == own.untyped_storage().data_ptr():
            return name
    return None


def _wrong_tensors(call: OpCall, given: dict[str, torch.Tensor]) -> str | None:
    for name, tensor in call.tensors.items():
        if tensor.requires_grad:
            text = _(
                "The tensor `{name}` requires a gradient, and the op does not know its own: MAX cannot take such a "
                "tensor. Pass `{name}.detach()`; the notebook says below how the op gets a gradient."
            )
            return text.format(name=name)
        if not tensor.is_contiguous():
            text = _("The tensor `{name}` has gaps between its elements; the op takes contiguous ones.")
            return text.format(name=name)
    output, input = call.tensors["output"], call.tensors["input"]
    for name, tensor in call.tensors.items():
        if tensor.device != input.device:
            text = _(
                "The tensors are on different devices: `input` on {device}, `{name}` on {other}. The kernel would be "
                "handed an address of memory that it cannot reach."
            )
            return text.format(name=name, device=f"`{input.device}`", other=f"`{tensor.device}`")
        if tensor.dtype != input.dtype:
            text = _("`{name}` is of {other}, but `input` of {dtype}: the op takes tensors of one dtype.")
            return text.format(name=name, dtype=f"`{input.dtype}`", other=f"`{tensor.dtype}`")
    if output.shape != input.shape:
        text = _(
            "The output has the shape {shape}, but the result has one element for each of the input: {needed}. "
            "The kernel would write past its end, or leave a part of it as it is."
        )
        return text.format(shape=tuple(output.shape), needed=tuple(input.shape))
    for name in ARGUMENTS[1:]:
        if call.tensors[name].shape != given[name].shape:
            text = _("`{name}` is passed with the shape {shape}; `{tensor}` has {needed}.")
            values = {"name": name, "tensor": f"{name}_tensor", "needed": tuple(given[name].shape)}
            return text.format(shape=tuple(call.tensors[name].shape), **values)
        if not torch.equal(call.tensors[name].to(given[name].dtype), given[name]):
            text = _("`{name}` is passed with other numbers than `{tensor}` has.")
            return text.format(name=name, tensor=f"{name}_tensor")
    return None


def _wrong_result(result: Any, calls: list[OpCall], input: torch.Tensor) -> str | None:
    """What is wrong with what the learner's function gives back; its numbers are not looked at."""
    if isinstance(result, torch.Tensor) and result.device.type == "meta":
        return _(NO_MEMORY)
    if not any(call.op == OP for call in calls):
        return _(NOTHING_CALLED)
    if result is None:
        return _(GIVES_NOTHING_BACK)
    if not isinstance(result, torch.Tensor):
        text = _("`conv1d_pytorch` gives back a `{type}`, not a tensor of PyTorch.")
        return text.format(type=type(result).__name__)
    for what, found, needed in (
        (_("dtype"), result.dtype, input.dtype),
        (_("shape"), tuple(result.shape), tuple(input.shape)),
        (_("device"), result.device, input.device),
    ):
        if found != needed:
            text = _("What `conv1d_pytorch` gives back has another {what} than its input: {found}, not {needed}.")
            return text.format(what=what, found=found, needed=needed)
    return None


def _places(launch: LaunchTrace, call: OpCall) -> dict[str, BufferPlace]:
    """Where the tensors were on the device: a kernel is handed them first, in the order of the op's arguments."""
    addresses = [int.from_bytes(parameter[:8], "little") for parameter in launch.parameters]
    return {
        name: BufferPlace(address, tensor.numel() * tensor.element_size())
        for (name, tensor), address in zip(call.tensors.items(), addresses, strict=False)
    }


def _failure(puzzle: Puzzle, text: str, error: Exception, notes: tuple[str, ...] = ()) -> Failure:
    """Why the learner's code did not come to its end, at which line of the file, and what else is to be said."""
    frames = traceback.extract_tb(error.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(puzzle.problem_file)), None)
    lines = text.splitlines()
    source = lines[line - 1] if line and line <= len(lines) else ""
    message = str(error) if isinstance(error, WrongCall) else _explain(error)
    raw = "" if isinstance(error, WrongCall) else "".join(traceback.format_exception(error))
    return Failure("program", raw, (Diagnostic(message, puzzle.file, line or 0, 1, source, notes),))


def _of_case(puzzle: Puzzle, number: int) -> tuple[str, ...]:
    """Which case it was, counted from 1; of the first one it need not be said."""
    if number < 2:
        return ()
    case = ", ".join(f"{name} {size}" for name, size in puzzle.cases[number - 1].items())
    return (_("This was with {case}.").format(case=case),)


def _explain(error: Exception) -> str:
    """The point of an error that PyTorch or MAX raised."""
    said = full_text(error)
    wrong_call: BaseException | None = error
    while wrong_call is not None:  # torch.compile wraps what was raised in a call
        if isinstance(wrong_call, WrongCall):
            return str(wrong_call)
        wrong_call = wrong_call.__cause__ or wrong_call.__context__
    for phrases, meaning in MEANINGS:
        if any(phrase in said for phrase in phrases):
            return meaning()
    return _("Python stopped here: {error}: {message}").format(
        error=type(error).__name__, message=str(error).strip().partition("\n")[0]
    )


MEANINGS: tuple[tuple[tuple[str, ...], Callable[[], str]], ...] = (
    (("is missing value for argument",), lambda: wrong_order(["input", "kernel"]) or ""),
    (("Expected a value of type 'Tensor' for argument",), lambda: _(ARRAYS_ARE_NO_TENSORS)),
    (
        ("argument(s) but received",),
        lambda: _("The call passes too many tensors: the op takes three, (output, input, kernel)."),
    ),
)
"""What PyTorch and MAX say, and what it means."""
