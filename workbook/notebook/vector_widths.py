"""How `foreach` divides the work on each device: found by running the learner's op with a function that gives back the
width that it was called with."""

from html import escape

import numpy as np

from workbook.check import launches_of_case
from workbook.language import _, ngettext
from workbook.notebook.rendering import CODE
from workbook.puzzles import Puzzle
from workbook.running.execution import Execution

WORK = "return input.load[width](idx) + 1"
PROBE = "return SIMD[output.dtype, width](width)"


def probe(op_text: str) -> str:
    """The text of the op with a function that gives back its width, for every element that it is called for."""
    return op_text.replace(WORK, PROBE)


def are_widths(execution: Execution) -> bool:
    """Whether the op gave back widths: it did not where the learner's code has a function of its own."""
    return execution.outputs is not None and all(
        np.isin(output, 2.0 ** np.arange(10)).all() for output in execution.outputs
    )


def widths_html(puzzle: Puzzle, executions: list[Execution]) -> str:
    """A table: for each device and matrix the vectors, and where launches are recorded the grid and the blocks. Below,
    the width of each element of the first matrix."""
    cell = "padding: 2px 12px; text-align: left; background: none; white-space: nowrap"
    headings = "".join(
        f'<th style="{cell}; white-space: normal">{escape(execution.device)}</th>' for execution in executions
    )
    rows = "".join(
        f'<tr style="background: none"><th style="{cell}">{" × ".join(map(str, sizes.values()))}</th>'
        + "".join(
            f'<td style="{cell}; white-space: normal">{_division(execution, case)}</td>' for execution in executions
        )
        + "</tr>"
        for case, sizes in enumerate(puzzle.cases)
    )
    matrices = "".join(f'<td style="{cell}">{_matrix(execution, 0)}</td>' for execution in executions)
    return (
        f'<table style="margin: 4px 0"><tr style="background: none"><th></th>{headings}</tr>{rows}'
        f'<tr style="background: none"><th></th>{matrices}</tr></table>'
    )


def _division(execution: Execution, case: int) -> str:
    """12 vectors of 4 elements, 2 vectors of one element; grid 1, blocks of 256 threads."""
    assert execution.outputs is not None
    widths, counts = np.unique(execution.outputs[case].astype(int), return_counts=True)
    found = zip(widths.tolist(), counts.tolist(), strict=True)
    vectors = ", ".join(_describe_vectors(count // width, width) for width, count in sorted(found, reverse=True))
    launches = launches_of_case(execution, case)
    if not launches:
        return vectors
    text = _("{vectors}; grid {grid}, blocks of {threads} threads")
    return text.format(vectors=vectors, grid=launches[-1].grid[0], threads=launches[-1].block[0])


def _describe_vectors(number: int, elements: int) -> str:
    """12 vectors of 4 elements."""
    vectors = ngettext("{number} vector", "{number} vectors", number).format(number=number)
    text = ngettext("{vectors} of one element", "{vectors} of {elements} elements", elements)
    return text.format(vectors=vectors, elements=elements)


def _matrix(execution: Execution, case: int) -> str:
    assert execution.outputs is not None
    rows = "\n".join(" ".join(f"{width:2d}" for width in row) for row in execution.outputs[case].astype(int).tolist())
    return f'<pre style="{CODE}; line-height: 1.4; background: none">{rows}</pre>'
