"""The source beside the drawing: the kernel, and the line of each of its instructions."""

from __future__ import annotations

import re

from softgpu import LaunchTrace
from workbook.highlighting import highlighted
from workbook.language import _
from workbook.puzzles import Puzzle, find_puzzle
from workbook.region import BEGIN
from workbook.running.lines import OP, Source, find_lines, sources_of
from workbook.stepper.data import Json


def source_data(puzzle: Puzzle, op_text: str, trace: LaunchTrace, is_final: bool) -> Json:
    """The source for the front end: its lines as HTML, and the line of each instruction by its index, if they are known
    by now. `is_final` says that no more will be known."""
    found = find_lines(trace, op_text)
    if found is None:
        source = _main_source(puzzle, op_text)
        note = (
            _(
                "Which line a step belongs to is not known: compiled again, this kernel has other instructions, "
                "or it could not be compiled again."
            )
            if is_final
            else _("The line of each step is being looked up: about ten seconds, once for each kernel.")
        )
        lines: dict[int, int] = {}
    else:
        (source, lines), note = found, ""
    first = _first_line(source, trace)
    return {
        "file": source.name,
        "lines": highlighted(source.text).rstrip("\n").split("\n"),
        "first": first,
        "pcs": lines,
        "note": note,
    }


def _first_line(source: Source, trace: LaunchTrace) -> int:
    """Where the kernel begins, whose name in the PTX holds that of its function; else where the learner's code does."""
    lines = source.text.splitlines()
    functions = {number: re.match(r" *def (\w+)", line) for number, line in enumerate(lines, 1)}
    kernel = next((number for number, found in functions.items() if found and found[1] in trace.kernel), None)
    return kernel or next((number for number, line in enumerate(lines, 1) if line.strip() == BEGIN), 1)


def _main_source(puzzle: Puzzle, op_text: str) -> Source:
    module = puzzle.kernel_module or (find_puzzle("p17").kernel_module if puzzle.file != OP else None)
    wanted = f"kernels/{module}.mojo" if module else OP
    return next(source for source in sources_of(op_text) if source.name == wanted)
