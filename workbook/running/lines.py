"""Which line of Mojo source each instruction of a kernel comes from.

The PTX that MAX compiles has no line information. But `mojo build -g1` of a program that calls the same op gives the
same kernels with it. So the op is compiled a second time, with the sizes of its cases, and the two are compared
instruction by instruction: lines are shown only of a kernel that is the very same.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from mojo.run import subprocess_run_mojo

from softgpu import LaunchTrace, Module
from softgpu.ptx import Instruction, SourceLocation
from workbook import rooms
from workbook.lint.mojo_source import Function, read_function
from workbook.puzzles import Puzzle, find_puzzle
from workbook.verdict import CaseResult

ARCHITECTURE = "sm_80"
"""The GPU that softgpu answers to, and MAX compiles for."""

OP = "op.mojo"


class NoLines(Exception):
    """The op cannot be compiled for its lines; the message is what Mojo said."""


@dataclass(frozen=True)
class Source:
    """A file that the learner can read: its name as seen from the checkout, and its text."""

    name: str
    text: str


def op_text_of(puzzle: Puzzle, text: str) -> str:
    """The op that a puzzle launches: what the learner filled in, or the finished one of puzzle 17, which p20 calls."""
    return text if puzzle.file == OP else find_puzzle("p17").solution_file.read_text()


def find_lines(trace: LaunchTrace, op_text: str) -> tuple[Source, dict[int, int]] | None:
    """The source that most of the instructions come from, and the line of each of them; None if they are not known."""
    try:
        kept = json.loads(_kept_file(trace.kernel, trace.instructions).read_text())
    except FileNotFoundError:
        return None
    sources = {source.name: source for source in sources_of(op_text)}
    source = sources.get(kept["file"])
    if source is None or _hash(source.text) != kept["hash"]:
        return None  # the source has changed since, but not the instructions
    return source, {int(pc): line for pc, line in kept["lines"].items()}


def build_lines(puzzle: Puzzle, op_text: str, cases: Sequence[CaseResult]) -> None:
    """Compile the op with line information, and keep the lines of its kernels. About 10 s. Raises NoLines."""
    program = _program(puzzle, op_text, cases)
    rooms.BUILD.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix="building-", dir=rooms.BUILD))
    try:
        (building / OP).write_text(op_text)
        (building / "calls.mojo").write_text(program)
        command = ["build", "--emit", "asm", "--target-accelerator", ARCHITECTURE, "-g1"]
        command += ["-I", str(rooms.KERNELS.parent), str(building / "calls.mojo"), "-o", str(building / "calls.s")]
        compiled = subprocess_run_mojo(command, capture_output=True, text=True)
        if compiled.returncode != 0:
            raise NoLines(compiled.stderr + compiled.stdout)
        for ptx in building.glob("*.ptx"):
            _keep(ptx.read_text(), building, op_text)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _keep(ptx: str, building: Path, op_text: str) -> None:
    """Write down the lines of each kernel of a PTX text, in the source that it has most instructions of."""
    sources = {source.name: source for source in sources_of(op_text)}
    names = {str(building / OP): OP} | {str(rooms.KERNELS.parent / name): name for name in sources if name != OP}
    for name, kernel in Module(ptx).ptx.kernels.items():
        places = {one.index: _place(one.location, names) for one in kernel.instructions}
        files = [place[0] for place in places.values() if place]
        if files:
            file = max(set(files), key=files.count)
            lines = {pc: place[1] for pc, place in places.items() if place and place[0] == file}
            content = {"file": file, "hash": _hash(sources[file].text), "lines": lines}
            kept = _kept_file(name, kernel.instructions)
            written = building / kept.name
            written.write_text(json.dumps(content))
            written.replace(kept)  # all of it or nothing


def _place(location: SourceLocation | None, names: dict[str, str]) -> tuple[str, int] | None:
    """The innermost place in a file that the learner can read: what is inlined from a library counts for its call."""
    while location is not None:
        if location.file in names:
            return names[location.file], location.line
        location = location.inlined_at
    return None


def _kept_file(kernel: str, instructions: Iterable[Instruction]) -> Path:
    """Where the lines of a kernel are kept: named by the hash of its instructions, whatever it is called."""
    texts = [instruction.text.replace(kernel, "") for instruction in instructions]
    return rooms.BUILD / f"lines-{_hash(repr([version('mojo-compiler'), texts]))}.json"


# The program that calls the op

ALIGNED = """
def aligned[dtype: DType, rank: Int, //, spec: StaticTensorSpec[dtype, rank, _]]() -> type_of(spec):
    return {16, AddressSpace.GENERIC}
"""
"""What MAX knows of its own buffers: each begins at a multiple of 16 bytes. Where rows are whole vectors, `foreach`
then stores each of them at once."""


def _program(puzzle: Puzzle, op_text: str, cases: Sequence[CaseResult]) -> str:
    """A program that calls the op with the parameters of every case. It is compiled and never run, so that one element
    a tensor is enough. Raises NoLines for an op that it cannot call."""
    struct = re.search(r"^struct (\w+)", op_text, re.MULTILINE)
    start = op_text.find("    def execute")
    execute = read_function(textwrap.dedent(op_text[start:]), "execute") if start >= 0 else None
    if struct is None or execute is None:
        raise NoLines("the op has no execute")
    calls = dict.fromkeys(_call(struct[1], execute, case) for case in cases)
    return "\n".join(
        [
            "from extensibility import InputTensor, OutputTensor",
            "from extensibility.managed_tensor_slice import StaticTensorSpec, get_row_major_tensor_spec_static",
            "from max.gpu.host import DeviceContext",
            "from std.memory import AddressSpace",
            "from std.utils import IndexList",
            f"from op import {struct[1]}",
            ALIGNED,
            "def main() raises:",
            "    var ctx = DeviceContext()",
            *calls,
            "",
        ]
    )


def _call(struct: str, execute: Function, case: CaseResult) -> str:
    arrays = [case.expected, *case.inputs.values()]
    parameters = []
    for parameter in execute.parameters:
        if parameter.name == "target":
            parameters.append('target="gpu"')
        elif parameter.name in case.sizes:
            parameters.append(f"{parameter.name}={case.sizes[parameter.name]}")
        elif parameter.type_text == "DType":
            parameters.append(f"{parameter.name}=DType.{case.expected.dtype}")
        else:
            raise NoLines(f"what is {parameter.name}?")
    arguments: list[str] = []
    setup: list[str] = []
    for argument in execute.arguments:
        kind = argument.type_text.partition("[")[0]
        if kind == "DeviceContext":
            arguments.append("ctx")
            continue
        if kind not in ("InputTensor", "OutputTensor") or not arrays:
            raise NoLines(f"what is {argument.name}?")
        array = arrays.pop(0)
        shape = ", ".join(map(str, array.shape))
        spec = f"aligned[get_row_major_tensor_spec_static[DType.{array.dtype}, {array.ndim}, {shape}]()]()"
        setup += [
            f"        var memory_{len(setup)} = ctx.enqueue_create_buffer[DType.{array.dtype}](1)",
            f"        var {argument.name} = {kind}[static_spec={spec}]("
            f"memory_{len(setup)}.unsafe_ptr(), IndexList[{array.ndim}]({shape}))",
        ]
        arguments.append(argument.name)
    call = f"        {struct}.execute[{', '.join(parameters)}]({', '.join(arguments)})"
    return "\n".join(["    if True:", *setup, call])


# Sources


def sources_of(op_text: str) -> list[Source]:
    kernels = [Source(f"kernels/{file.name}", file.read_text()) for file in sorted(rooms.KERNELS.glob("*.mojo"))]
    return [Source(OP, op_text), *kernels]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
