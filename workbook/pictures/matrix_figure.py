"""The static picture of a launch that fills a matrix: which thread handled which elements.

The matrix is drawn as it is, a cell an element. The colour of a cell is that of the block, and its number that of the
thread that wrote it; a frame holds what one thread wrote together, its run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import groupby

from matplotlib.figure import Figure

from workbook.language import _, ngettext, width, wrap
from workbook.pictures.launch_view import LaunchView, Output, Thread, is_right, oddities, score
from workbook.pictures.sheet import INK, LEFT, MUTED, RIGHT_INK, WRONG, Look, Sheet, short

# Tints of the Okabe-Ito palette; blocks take turns.
BLOCKS = (
    Look("", "#a9d5f5", "#0072b2"),
    Look("", "#fbc15e", "#b86e00"),
    Look("", "#a8dcc8", "#0b6e4f"),
    Look("", "#e7b5d2", "#a8447c"),
)
NOBODY = Look("never", "#ffffff", "#6b7280", "////")
OTHER_BLOCK = Look("", "#ffffff", "#d1d5db")

MAX_COLUMNS, MAX_ROWS = 32, 24
SMALL = 0.32
"""The side of an element of a matrix that is too large for numbers, in columns."""
MAX_NAMED_BLOCKS = 8


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring elements that one thread wrote, or that none did. A run may go on in the next row."""

    number: int
    writer: Thread | None
    first: int
    count: int


def matrix_figure(view: LaunchView, block: int | None = None) -> Figure:
    """The picture of a launch that fills a matrix; with `block`, its linear index, that block's elements stand out.

    A matrix that is too large for numbers is drawn small.
    """
    rows, columns = view.shape
    small = rows > MAX_ROWS or columns > MAX_COLUMNS
    side = SMALL if small else 1
    drawn_rows, drawn_columns = min(rows, int(MAX_ROWS / side)), min(columns, int(MAX_COLUMNS / side))
    sheet = Sheet(range(max(round(drawn_columns * side), 20)))  # the heading needs some width too
    _draw_heading(sheet, view)
    step = 10 if small else 1
    for column in range(0, drawn_columns, step):
        sheet.text((column + 0.5) * side, sheet.y, str(column), 6, MUTED)
    sheet.y += 0.3
    top = sheet.y
    for row in range(0, drawn_rows, step):
        sheet.label(str(row), top + (row + 0.5) * side, size=6)
    for run in thread_runs(view):
        for index in range(run.first, run.first + run.count):
            row, column = divmod(index, columns)
            if row < drawn_rows and column < drawn_columns:
                _draw_element(sheet, view.outputs[index], (column * side, top + row * side), side, run, block)
        if not small and run.writer and block in (None, run.writer.block):
            _draw_frame(sheet, run, top, columns)
    sheet.text(-LEFT + 0.4, top + drawn_rows * side / 2, view.output, 9, MUTED, ha="left", weight="bold")
    sheet.y = top + drawn_rows * side + 0.3
    if (drawn_rows, drawn_columns) != (rows, columns):
        text = _("{rows} of {all_rows} rows and {columns} of {all_columns} columns are drawn.")
        shown = text.format(rows=drawn_rows, all_rows=rows, columns=drawn_columns, all_columns=columns)
        sheet.text(-LEFT + 0.4, sheet.y + 0.3, shown, 8.5, MUTED, ha="left")
        sheet.y += 0.7
    return sheet.finish()


def thread_runs(view: LaunchView) -> list[Run]:
    """What each thread wrote together, in the order of the elements; also what nobody wrote."""
    found: list[Run] = []
    for writers, group in groupby(enumerate(view.outputs), key=lambda each: each[1].writers[-1:]):
        indices = [index for index, _output in group]
        found.append(Run(len(found), writers[0] if writers else None, indices[0], len(indices)))
    return found


def _draw_heading(sheet: Sheet, view: LaunchView) -> None:
    left = -LEFT + 0.4
    sheet.text(left, 0.75, view.title, 12, ha="left", weight="bold")
    right = is_right(view)
    sheet.text(left, 1.6, f"{'✓' if right else '✗'} {score(view)}", 9.5, RIGHT_INK if right else WRONG.edge, ha="left")
    sheet.y = 2.1
    for line in (part for text in [*oddities(view), shares(view)] for part in wrap(text, int(sheet.width * 5.5))):
        sheet.text(left, sheet.y + 0.2, line, 8.5, ha="left")
        sheet.y += 0.6
    sheet.y += 0.3
    x = left
    for one in view.blocks[:MAX_NAMED_BLOCKS]:
        name = view.block_name(one.index)
        if x + width(name) * 0.172 > sheet.width:
            break
        sheet.box(x, sheet.y, 0.75, 0.55, _look_of(one.number), kind="legend")
        sheet.text(x + 0.95, sheet.y + 0.29, name, 8, MUTED, ha="left")
        x += 0.95 + width(name) * 0.172 + 0.8
    sheet.y += 1.3


def shares(view: LaunchView) -> str:
    """12 runs of 4 elements, 2 runs of one element. 12 of 256 threads had something to write."""
    counts = Counter(run.count for run in thread_runs(view) if run.writer)
    parts = [_describe_runs(times, elements) for elements, times in sorted(counts.items(), reverse=True)]
    threads = sum(one.threads for one in view.blocks)
    busy = sum(len(one.writing) for one in view.blocks)
    text = _("{parts}. {busy} of {threads} threads had something to write.")
    return text.format(parts=", ".join(parts), busy=busy, threads=threads)


def _describe_runs(number: int, elements: int) -> str:
    """12 runs of 4 elements."""
    runs = ngettext("{number} run", "{number} runs", number).format(number=number)
    text = ngettext("{runs} of one element", "{runs} of {elements} elements", elements)
    return text.format(runs=runs, elements=elements)


def _draw_element(
    sheet: Sheet, output: Output, place: tuple[float, float], side: float, run: Run, block: int | None
) -> None:
    if run.writer is None:
        look = NOBODY
    elif block not in (None, run.writer.block):
        look = OTHER_BLOCK
    else:
        look = _look_of(run.writer.block)
    right = output.ok and bool(output.writers)
    x, y = place
    if side < 1:  # no room for a frame: every other run is drawn paler
        alpha = 1 if run.number % 2 else 0.55
        sheet.box(x, y, side, side, replace(look, edge="none"), 0, kind="element", alpha=alpha)
        if not right:
            sheet.text(x + side / 2, y + side / 2, "✗", 4, WRONG.edge)
        return
    sheet.box(x, y, 1, 1, replace(look, edge="#ffffff"), 0.6, kind="element" if right else "wrong")
    if run.writer:
        sheet.text(x + 0.5, y + 0.34, f"t{run.writer.thread}", 7, INK if look is not OTHER_BLOCK else MUTED)
        sheet.text(x + 0.5, y + 0.74, short(output.value), 5.5, MUTED)
    if not right:
        sheet.text(x + 0.5, y + 0.5, "✗", 12, WRONG.edge)


def _draw_frame(sheet: Sheet, run: Run, top: float, columns: int) -> None:
    """The frame of a run. One that goes on in the next row is open where it is cut."""
    assert run.writer is not None
    edge = _look_of(run.writer.block).edge
    last = run.first + run.count - 1
    for row in range(run.first // columns, last // columns + 1):
        begin, end = max(run.first - row * columns, 0), min(last - row * columns, columns - 1) + 1
        comes_from_above, goes_on = run.first < row * columns, last >= (row + 1) * columns
        left, right = begin + (0 if comes_from_above else 0.06), end - (0 if goes_on else 0.06)
        upper, lower = top + row + 0.06, top + row + 0.94
        sheet.line(left, right, upper, color=edge)
        sheet.line(left, right, lower, color=edge)
        if not comes_from_above:
            sheet.upright(left, upper, lower, color=edge)
        if not goes_on:
            sheet.upright(right, upper, lower, color=edge)


def _look_of(block: int) -> Look:
    return BLOCKS[block % len(BLOCKS)]
