"""The list of puzzles, as puzzles.toml has it."""

import importlib.util
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from workbook import rooms
from workbook.language import _

if TYPE_CHECKING:  # commands that only read the list are not to wait for NumPy
    import numpy as np
    from max.driver import Device
    from max.graph import Graph

Arrays: TypeAlias = "tuple[np.ndarray, ...]"
"""The inputs of one call of the op, in the order of its arguments."""


@dataclass(frozen=True)
class Mistake:
    """A launch in solutions/pNN/wrong/, and what the learner must be told about it."""

    file: str
    caught_by: str
    """"lint", "compiler", "driver" or "check"."""
    must_say: tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """A launch in solutions/pNN/right/: another way to be right, with the remark that it gets, if any."""

    file: str
    remark: str


@dataclass(frozen=True)
class SizeRange:
    """What a size may be in the what-if explorer, and what it is at first."""

    least: int
    most: int
    start: int


@dataclass(frozen=True)
class WhatIf:
    """What the what-if explorer knows of a kernel. The expressions are those of Python, of the sizes, `threads` (in a
    block) and `TPB`; workbook/what_if/plan.py evaluates them."""

    puzzle: str
    """Whose solution is launched: another one's, where a puzzle uses its op."""
    sizes: dict[str, SizeRange]
    threads: SizeRange
    """Threads in a block; one size only where `foreach` chooses them."""
    blocks: str
    """How many blocks the data needs."""
    shapes: dict[str, str]
    """Of every tensor."""
    output_before: float
    """What the op leaves in the output before the launch."""
    expected: str
    """What NumPy says, of the sizes and the inputs."""
    plan: str
    """What each thread does."""


@dataclass(frozen=True)
class Puzzle:
    id: str
    title: str
    notebook: str
    fills: str
    """What the learner fills in: "launch", a call of `enqueue_function`, or "foreach", a call of `foreach`. It decides
    how the attempt is linted, run and explained."""
    to_fill_in: str
    """The same for the learner: "the call of `ctx.enqueue_function`"."""
    file: str
    """The file in problems/ID/ that holds the marked region."""
    kernel_module: str | None
    """The module in kernels/ that the puzzle launches from; None where MAX brings the kernel."""
    arguments: tuple[str, ...]
    """The op's tensors, in the kernel's order: the output, then the inputs in the order of a case."""
    placeholder: str
    """What the region of the problem holds when it is handed out: a comment."""
    threads_per_block: int | None
    """The block size that the kernel is written for; None where it suits any."""
    shared: dict[str, str]
    """The kernel's shared arrays in the order of its source, and their sizes as expressions of a case's sizes."""
    cases: tuple[dict[str, int], ...]
    """The sizes that an attempt is checked with, as keyword arguments of `make_case`."""
    tolerance: float
    """Largest accepted relative error."""
    also_on_cpu: bool
    """Whether an attempt is checked on the CPU too, since what the learner fills in runs there as well."""
    hints: tuple[str, ...]
    explanation: str
    wrong: tuple[Mistake, ...]
    right: tuple[Variant, ...]
    what_if: WhatIf | None

    @property
    def runs_on_cpu(self) -> bool:
        """Whether what the learner fills in is used on the CPU too, where no kernel is launched."""
        return self.also_on_cpu or self.fills == "torch"

    @property
    def shared_names(self) -> tuple[str, ...]:
        return tuple(self.shared)

    def shared_slots(self, name: str, sizes: Mapping[str, int]) -> int | None:
        """How many slots a shared array must have for a case; None for an array that puzzles.toml does not name."""
        if name not in self.shared:
            return None
        return eval(self.shared[name], {"__builtins__": {}}, {"TPB": self.threads_per_block, **sizes})

    @property
    def problem_file(self) -> Path:
        return rooms.PROBLEMS / self.id / self.file

    @property
    def solution_file(self) -> Path:
        return rooms.SOLUTIONS / self.id / self.file

    @property
    def problem_name(self) -> str:
        """The learner's file, as seen from the checkout."""
        return str(self.problem_file.relative_to(rooms.ROOT))

    @property
    def python_file(self) -> Path:
        return rooms.PROBLEMS / self.id / f"{self.id}.py"

    @property
    def kernel_file(self) -> Path | None:
        return rooms.KERNELS / f"{self.kernel_module}.mojo" if self.kernel_module else None


class PythonSide(Protocol):
    """What problems/pNN/pNN.py offers to the workbook."""

    def make_case(self, random: "np.random.Generator", **sizes: int) -> Arrays: ...

    def expected_result(self, *arrays: "np.ndarray") -> "np.ndarray": ...

    def build_graph(self, cases: Sequence[Arrays], device: "Device", extensions: list[Path]) -> "Graph": ...

    def main(self, device: "Device", extensions: list[Path]) -> None: ...


class DamagedPuzzles(ValueError):
    """The list of puzzles cannot be read; the message says why."""


class UnknownPuzzle(ValueError):
    """No puzzle of that name; the message lists those there are."""


@cache
def all_puzzles() -> dict[str, Puzzle]:
    """The puzzles by id, in the order of the workbook. Raises DamagedPuzzles."""
    try:
        tables = tomllib.loads(rooms.PUZZLES_FILE.read_text())
        what_ifs = {id: table["what_if"] for id, table in tables.items() if "what_if" in table}
        return {id: _puzzle(id, table, _what_if(id, what_ifs)) for id, table in tables.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = _("{key} is missing").format(key=f"`{error.args[0]}`") if isinstance(error, KeyError) else error
        text = _("{file} cannot be read: {reason}. `git restore {file}` brings it back as it was.")
        raise DamagedPuzzles(text.format(file=rooms.PUZZLES_FILE.name, reason=reason)) from error


def find_puzzle(id: str) -> Puzzle:
    puzzles = all_puzzles()
    if id not in puzzles:
        text = _("There is no puzzle {id!r}. The puzzles are: {puzzles}.").format(id=id, puzzles=", ".join(puzzles))
        near = get_close_matches(id.lower(), puzzles, n=1)
        if near:
            text += " " + _("Did you mean {id}?").format(id=near[0])
        raise UnknownPuzzle(text)
    return puzzles[id]


def python_side(puzzle: Puzzle) -> PythonSide:
    """The puzzle's Python file as a module, read anew: the learner may have changed it. Imports MAX."""
    spec = importlib.util.spec_from_file_location(puzzle.id, puzzle.python_file)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _what_if(id: str, tables: Mapping[str, dict[str, Any]]) -> WhatIf | None:
    if id not in tables:
        return None
    owner = tables[id].get("puzzle", id)
    table = tables[owner]
    return WhatIf(
        puzzle=owner,
        sizes={name: SizeRange(*numbers) for name, numbers in table["sizes"].items()},
        threads=SizeRange(*table["threads"]),
        blocks=table["blocks"],
        shapes=table["shapes"],
        output_before=table["output_before"],
        expected=table["expected"],
        plan=table["plan"],
    )


def _puzzle(id: str, table: dict[str, Any], what_if: WhatIf | None) -> Puzzle:
    return Puzzle(
        id=id,
        title=table["title"],
        notebook=table["notebook"],
        fills=table["fills"],
        to_fill_in=table["to_fill_in"],
        file=table.get("file", "op.mojo"),
        kernel_module=table.get("kernel_module"),
        arguments=tuple(table["arguments"]),
        placeholder=table["placeholder"],
        threads_per_block=table.get("threads_per_block"),
        shared=table.get("shared", {}),
        cases=tuple(table["cases"]),
        tolerance=table["tolerance"],
        also_on_cpu=table.get("also_on_cpu", False),
        hints=tuple(table["hints"]),
        explanation=table["explanation"],
        wrong=tuple(Mistake(each["file"], each["caught_by"], tuple(each["must_say"])) for each in table["wrong"]),
        right=tuple(Variant(each["file"], each.get("remark", "")) for each in table["right"]),
        what_if=what_if,
    )
