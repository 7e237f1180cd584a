"""The static picture of a launch, block by block, drawn from its LaunchView.

Everything stands in the column of an element: `input[i]`, the tile slot that holds it, the thread whose own number it
is, and `output[i]`. So a halo is seen for what it is, since its slots stand under elements that belong to the next
block. Time runs downwards: threads write the tile, the barrier opens, threads read the tile and write the output.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from workbook.launch_view import (
    BlockView,
    LaunchView,
    Provenance,
    SharedArray,
    Slot,
    thread_ranges,
)


@dataclass(frozen=True, slots=True)
class Look:
    """How a kind of cell is drawn. No two differ in colour alone: each has its word, and some a hatch."""

    word: str
    fill: str
    edge: str
    hatch: str = ""


# Tints of the Okabe-Ito palette, which colour-blind people can tell apart.
LOOKS = {
    Provenance.OWN: Look("own", "#a9d5f5", "#0072b2"),
    Provenance.HALO: Look("halo", "#fbc15e", "#b86e00"),
    Provenance.ZERO: Look("zero", "#e4e6e9", "#6b7280"),
    Provenance.OTHER: Look("other", "#e7b5d2", "#a8447c"),
    Provenance.NEVER: Look("never", "#ffffff", "#6b7280", "////"),
}
THREAD = Look("thread that writes an output", "#ffffff", "#4b5563")
IDLE = Look("idle thread", "#f3f4f6", "#a3a9b3", "\\\\\\\\")
RIGHT = Look("output", "#ffffff", "#4b5563")
WRONG = Look("wrong output", "#ffe3dc", "#c81e1e")
UNTOUCHED = Look("", "#ffffff", "#d1d5db")

INK, MUTED, PANEL = "#111827", "#4b5563", "#f5f6f8"

COLUMN_INCHES = 0.345
LEFT, RIGHT_MARGIN = 3.3, 0.6  # in columns
MAX_COLUMNS = 48
MAX_BLOCKS = 4
EDGE = 5  # columns shown on each side of a block's edges where not all can be


def figure(view: LaunchView, block: int | None = None) -> Figure:
    """The picture of a launch, or of one of its blocks, by its linear index."""
    blocks = _drawn_blocks(view, block)
    missing = _drawn_missing(view, block)
    sheet = _Sheet(_columns(view, blocks, missing))
    _draw_heading(sheet, view)
    _draw_loaded_buffer(sheet, view, blocks)
    for one in blocks:
        _draw_block(sheet, view, one)
    for x in missing:
        _draw_missing_block(sheet, view, x)
    _draw_outputs(sheet, view)
    _draw_notes(sheet, view, blocks, missing, block)
    return sheet.finish()


# What is drawn


def _drawn_blocks(view: LaunchView, block: int | None) -> list[BlockView]:
    if block is not None:
        return [one for one in view.blocks if one.number == block]
    fitting = [one for one in view.blocks if _end(one) <= MAX_COLUMNS]
    return (fitting if len(fitting) >= 2 else list(view.blocks[:2]))[:MAX_BLOCKS]


def _drawn_missing(view: LaunchView, block: int | None) -> Sequence[int]:
    return view.missing_blocks[:2] if block is None else ()


def _end(block: BlockView) -> int:
    """The column after the last that a block needs."""
    tile = block.shared[0] if block.shared else None
    slots = [len(tile.slots), *(overrun.slot + 1 for overrun in tile.overruns)] if tile else []
    return block.first + max([block.threads, *slots])


def _columns(view: LaunchView, blocks: Sequence[BlockView], missing: Sequence[int]) -> list[int]:
    """The columns to draw: all if they fit, otherwise those around the edges of the blocks and their tiles."""
    width = view.block[0]
    start = min([block.first for block in blocks] + [x * width for x in missing], default=0)
    ends = [_end(block) for block in blocks] + [min((x + 1) * width, len(view.outputs)) for x in missing]
    whole = len(blocks) + len(missing) == len(view.blocks) + len(view.missing_blocks)
    end = max([*ends, len(view.outputs)] if whole else ends, default=len(view.outputs))
    if end - start <= MAX_COLUMNS:
        return list(range(start, end))
    edges = {edge for block in blocks for edge in (block.first, block.first + width, _end(block))}
    near = {column for edge in edges for column in range(edge - EDGE, edge + EDGE)}
    return sorted(column for column in near if start <= column < end)[:MAX_COLUMNS]


# The sheet


class _Sheet:
    """A drawing in units of one column, y downwards from the `y` that the next row gets."""

    def __init__(self, columns: Sequence[int]):
        self.columns = columns
        self.x = _positions(columns)
        self.width = max(self.x.values(), default=0) + 1
        self.y = 0.0
        self._figure = Figure(facecolor="white")
        self._axes: Axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()

    def finish(self) -> Figure:
        across, down = LEFT + self.width + RIGHT_MARGIN, self.y + 0.4
        self._figure.set_size_inches(across * COLUMN_INCHES, down * COLUMN_INCHES)
        self._axes.set_xlim(-LEFT, self.width + RIGHT_MARGIN)
        self._axes.set_ylim(down, 0)
        return self._figure

    def text(self, x: float, y: float, text: str, size: float = 7.5, colour: str = INK, **style: object) -> None:
        style = {"ha": "center", "va": "center", **style}
        self._axes.text(x, y, text, fontsize=size, color=colour, **style)

    def label(self, text: str, y: float, **style: object) -> None:
        """The name of a row."""
        self.text(-0.35, y, text, colour=MUTED, ha="right", **style)

    def in_column(self, column: int, y: float, text: str, size: float, colour: str = INK, **style: object) -> None:
        if column in self.x:
            # Long texts are set smaller, so that they stay in their column.
            size = min(size, size * 5.2 / max(len(text), 1))
            self.text(self.x[column] + 0.5, y, text, size, colour, **style)

    def cell(self, column: int, y: float, height: float, look: Look, width: float = 0.8, kind: str = "") -> None:
        if column in self.x:
            self.box(self.x[column] + 0.03, y, 0.94, height, look, width, kind)

    def box(
        self,
        x: float,
        y: float,
        across: float,
        down: float,
        look: Look,
        width: float = 0.8,
        kind: str = "",
        dashed: bool = False,
    ) -> None:
        """A rectangle; `kind` tells what it stands for to whoever looks through the figure's patches."""
        self._axes.add_patch(
            Rectangle(
                (x, y),
                across,
                down,
                facecolor=look.fill,
                edgecolor=look.edge,
                linewidth=width,
                hatch=look.hatch,
                hatch_linewidth=0.5,
                linestyle=(0, (4, 3)) if dashed else "solid",
                gid=kind or look.word,
            )
        )

    def panel(self, top: float, bottom: float) -> None:
        self._axes.add_patch(
            Rectangle((-LEFT + 0.3, top), LEFT + self.width, bottom - top, facecolor=PANEL, edgecolor="none", zorder=0)
        )

    def line(self, start: float, end: float, y: float, **style: object) -> None:
        self._axes.plot([start, end], [y, y], **style)

    def span(self, columns: Iterable[int]) -> tuple[float, float] | None:
        """From where to where those of the columns reach that are drawn."""
        drawn = [self.x[column] for column in columns if column in self.x]
        return (min(drawn), max(drawn) + 1) if drawn else None

    def mark_gaps(self, y: float) -> None:
        """Dots where columns are left out."""
        for column, following in zip(self.columns, self.columns[1:], strict=False):
            if following > column + 1:
                self.text(self.x[column] + 1.5, y, "⋯", 9, MUTED)


def _positions(columns: Sequence[int]) -> dict[int, float]:
    """Where each column stands: side by side, with one column of space where some are left out."""
    positions: dict[int, float] = {}
    x = 0.0
    for number, column in enumerate(columns):
        if number and column > columns[number - 1] + 1:
            x += 1
        positions[column] = x
        x += 1
    return positions


# Its parts, from top to bottom


def _draw_heading(sheet: _Sheet, view: LaunchView) -> None:
    left = -LEFT + 0.4
    sheet.text(left, 0.75, view.title, 12, ha="left", weight="bold")
    right = sum(output.ok and bool(output.writers) for output in view.outputs)
    all_right = right == len(view.outputs)
    sheet.text(
        left,
        1.65,
        f"{'✓' if all_right else '✗'} {right} of {len(view.outputs)} outputs right",
        9.5,
        "#0b6e4f" if all_right else WRONG.edge,
        ha="left",
    )
    x = left
    for look, text in _legend(view):
        sheet.box(x, 2.35, 0.75, 0.55, look, kind="legend")
        sheet.text(x + 0.95, 2.64, text, 8, MUTED, ha="left")
        x += 0.95 + len(text) * 0.172 + 0.8
    sheet.y = 3.5


def _legend(view: LaunchView) -> list[tuple[Look, str]]:
    found = {slot.provenance for block in view.blocks for array in block.shared for slot in array.slots}
    entries = [(LOOKS[provenance], provenance.value) for provenance in Provenance if provenance in found]
    if any(block.idle for block in view.blocks):
        entries.append((IDLE, "idle: a thread that writes no output"))
    if not all(output.ok and output.writers for output in view.outputs):
        entries.append((WRONG, "wrong or missing output"))
    return entries


def _draw_loaded_buffer(sheet: _Sheet, view: LaunchView, blocks: Sequence[BlockView]) -> None:
    name = _loaded_buffer(view, blocks)
    if name is None:
        return
    _draw_indices(sheet, range(len(view.loads[name])))
    for index, element in enumerate(view.loads[name]):
        sheet.cell(index, sheet.y, 0.8, RIGHT if element.readers else UNTOUCHED, kind=f"{name} element")
        if element.value is not None:
            sheet.in_column(index, sheet.y + 0.4, _number(element.value), 7.5)
    sheet.label(name, sheet.y + 0.4, size=9, weight="bold")
    sheet.mark_gaps(sheet.y + 0.4)
    sheet.y += 1.15


def _loaded_buffer(view: LaunchView, blocks: Sequence[BlockView]) -> str | None:
    """The buffer from which the first shared array was filled."""
    sources = Counter(
        slot.source.buffer for block in blocks for array in block.shared[:1] for slot in array.slots if slot.source
    )
    if sources:
        return sources.most_common(1)[0][0]
    return next((name for name in view.loads if name != view.output), None)


def _draw_indices(sheet: _Sheet, indices: Iterable[int]) -> None:
    for index in indices:
        sheet.in_column(index, sheet.y + 0.2, str(index), 6, MUTED)
    sheet.y += 0.45


def _draw_block(sheet: _Sheet, view: LaunchView, block: BlockView) -> None:
    top = sheet.y
    sheet.text(-LEFT + 0.5, top + 0.5, view.block_name(block.index), 9.5, ha="left", weight="bold")
    sheet.y += 0.3
    for number, array in enumerate(block.shared):
        if number == 0:
            _draw_loads(sheet, block, array)
            _draw_writers(sheet, block, array)
            _draw_slots(sheet, block, array)
        else:
            _draw_small_array(sheet, block, array)
    if block.shared:
        _draw_barrier(sheet, block)
        _draw_readers(sheet, block, block.shared[0])
    _draw_threads(sheet, view, block)
    sheet.panel(top, sheet.y)
    sheet.y += 0.45


def _draw_loads(sheet: _Sheet, block: BlockView, array: SharedArray) -> None:
    """Bars under the elements that the block loaded."""
    for provenance in (Provenance.OWN, Provenance.HALO):
        indices = [slot.source.index for slot in array.slots if slot.provenance is provenance and slot.source]
        for low, high in _runs(indices):
            span = sheet.span(range(low, high + 1))
            if span:
                look = LOOKS[provenance]
                sheet.box(span[0] + 0.06, sheet.y, span[1] - span[0] - 0.12, 0.4, look, kind=f"loads {look.word}")
                text = f"{provenance.value}s" if span[1] - span[0] >= 3 else look.word
                sheet.text((span[0] + span[1]) / 2, sheet.y + 0.2, text, 6)
    sheet.label("loads", sheet.y + 0.2)
    sheet.y += 0.75


def _draw_writers(sheet: _Sheet, block: BlockView, array: SharedArray) -> None:
    for number, slot in enumerate(array.slots):
        twice = len(slot.writers) > 1
        sheet.in_column(
            block.first + number,
            sheet.y + 0.15,
            ", ".join(map(str, slot.writers[-3:])),
            6.5,
            WRONG.edge if twice else INK,
        )
    sheet.label("written by thread", sheet.y + 0.15)
    sheet.y += 0.4


def _draw_slots(sheet: _Sheet, block: BlockView, array: SharedArray) -> None:
    for number, slot in enumerate(array.slots):
        _draw_slot(sheet, block.first + number, slot, array.name)
    for number in sorted({overrun.slot for overrun in array.overruns if overrun.slot >= 0}):
        column = block.first + number
        if column in sheet.x:
            outside = Look("outside", "none", WRONG.edge)
            sheet.box(sheet.x[column] + 0.03, sheet.y, 0.94, 1.05, outside, 1.4, "outside", dashed=True)
            sheet.in_column(column, sheet.y + 0.52, "outside", 6.5, WRONG.edge)
    sheet.label(array.name, sheet.y + 0.52, size=9, weight="bold")
    sheet.mark_gaps(sheet.y + 0.52)
    sheet.y += 1.05
    for number in range(len(array.slots)):
        sheet.in_column(block.first + number, sheet.y + 0.22, f"[{number}]", 5.5, MUTED)
    sheet.y += 0.5


def _draw_slot(sheet: _Sheet, column: int, slot: Slot, kind: str) -> None:
    look = LOOKS[slot.provenance]
    sheet.cell(column, sheet.y, 1.05, look, kind=f"{kind} {look.word}")
    value = "" if slot.value is None else _number(slot.value)
    # A hatched cell needs a clear ground under its text.
    ground = {"boxstyle": "square,pad=0.12", "facecolor": "white", "edgecolor": "none"} if look.hatch else None
    sheet.in_column(column, sheet.y + 0.38, value, 7.5)
    sheet.in_column(column, sheet.y + 0.8 if value else sheet.y + 0.52, look.word, 5.5, bbox=ground)


def _draw_small_array(sheet: _Sheet, block: BlockView, array: SharedArray) -> None:
    """A further array: its slots in one row, and beside them in words who wrote and read them."""
    sheet.y += 0.1
    columns = range(block.first, block.first + len(array.slots))
    for column, slot in zip(columns, array.slots, strict=True):
        _draw_slot(sheet, column, slot, array.name)
    writers = thread_ranges(sorted({writer for slot in array.slots for writer in slot.writers}))
    readers = thread_ranges(sorted({reader for slot in array.slots for reader in slot.readers}))
    text = f"written by {writers or 'none'}, read by {readers or 'none'}"
    span = sheet.span(columns)
    if span:
        fits_right = span[1] + 0.3 + len(text) * 0.15 < sheet.width
        x, side = (span[1] + 0.3, "left") if fits_right else (span[0] - 0.3, "right")
        sheet.text(x, sheet.y + 0.52, text, 6.5, MUTED, ha=side)
    sheet.label(array.name, sheet.y + 0.52, size=9, weight="bold")
    sheet.y += 1.35


def _draw_barrier(sheet: _Sheet, block: BlockView) -> None:
    """Nothing is drawn that did not happen: without a barrier there is no line."""
    if block.barriers:
        sheet.line(0, sheet.width, sheet.y + 0.15, color=INK, linewidth=1, gid="barrier")
        sheet.label("barrier", sheet.y + 0.15, style="italic")
    else:
        sheet.label("no barrier", sheet.y + 0.15, style="italic")
    sheet.y += 0.5


def _draw_readers(sheet: _Sheet, block: BlockView, array: SharedArray) -> None:
    for number, slot in enumerate(array.slots):
        colour = WRONG.edge if slot.read_unwritten else INK
        sheet.in_column(block.first + number, sheet.y + 0.15, thread_ranges(slot.readers), 6.5, colour)
    outside = {overrun.slot for overrun in array.overruns}
    for number in outside:
        threads = sorted({overrun.thread for overrun in array.overruns if overrun.slot == number})
        sheet.in_column(block.first + number, sheet.y + 0.15, thread_ranges(threads), 6.5, WRONG.edge)
    sheet.label("read by threads", sheet.y + 0.15)
    sheet.y += 0.6


def _draw_threads(sheet: _Sheet, view: LaunchView, block: BlockView) -> None:
    """The threads, each in the column of its own number: the idle ones hatched."""
    writing = set(block.writing)
    for thread in range(min(block.threads, view.block[0])):
        look = THREAD if thread in writing else IDLE
        column = block.first + thread
        sheet.cell(column, sheet.y, 0.55, look)
        ground = {"boxstyle": "square,pad=0.1", "facecolor": IDLE.fill, "edgecolor": "none"} if look.hatch else None
        sheet.in_column(column, sheet.y + 0.275, f"t{thread}", 6.5, INK if look is THREAD else MUTED, bbox=ground)
    sheet.label("threads", sheet.y + 0.275)
    sheet.y += 0.75


def _draw_missing_block(sheet: _Sheet, view: LaunchView, x: int) -> None:
    width = view.block[0]
    outputs = range(x * width, min((x + 1) * width, len(view.outputs)))
    span = sheet.span(outputs)
    if span:
        look = Look("", "none", WRONG.edge)
        sheet.box(span[0] + 0.03, sheet.y, span[1] - span[0] - 0.06, 0.9, look, 1.2, "missing block", dashed=True)
        missing = f"{view.block_name((x, 0, 0))} never ran"
        sheet.text((span[0] + span[1]) / 2, sheet.y + 0.45, missing, 9, WRONG.edge)
    sheet.y += 1.25


def _draw_outputs(sheet: _Sheet, view: LaunchView) -> None:
    mark_y, got_y, numpy_y = sheet.y + 0.2, sheet.y + 0.45, sheet.y + 1.4
    for index, output in enumerate(view.outputs):
        right = output.ok and bool(output.writers)
        sheet.cell(index, got_y, 0.85, RIGHT if right else WRONG, 0.8 if right else 1.6, "output" if right else "wrong")
        got = _number(output.value) if output.writers else "—"
        sheet.in_column(index, got_y + 0.42, got, 7.5)
        sheet.in_column(index, numpy_y + 0.3, _number(output.expected), 7.5, MUTED)
        if not right:
            sheet.in_column(index, mark_y, "✗", 8, WRONG.edge)
        elif len(output.writers) > 1:
            sheet.in_column(index, mark_y, f"{len(output.writers)}×", 6.5, MUTED)
    sheet.label(view.output, got_y + 0.42, size=9, weight="bold")
    sheet.label("NumPy", numpy_y + 0.3, size=9)
    sheet.mark_gaps(got_y + 0.42)
    sheet.y = numpy_y + 0.65
    _draw_indices(sheet, range(len(view.outputs)))


def _draw_notes(
    sheet: _Sheet, view: LaunchView, blocks: Sequence[BlockView], missing: Sequence[int], block: int | None
) -> None:
    """What the picture leaves out, and what stands outside it."""
    notes = []
    strays = Counter(stray.element.buffer if stray.element else "memory outside every buffer" for stray in view.strays)
    notes += [f"{count} stores went to {target}, not to {view.output}." for target, count in strays.items()]
    twice = sum(len(output.writers) > 1 for output in view.outputs)
    notes += [f"{twice} outputs were written more than once."] if twice else []
    if block is None:
        left_out = len(view.blocks) - len(blocks)
        notes += [f"{left_out} more blocks ran and are not drawn."] if left_out else []
        unseen = len(view.missing_blocks) - len(missing)
        notes += [f"{unseen} more blocks never ran."] if unseen else []
    shown = sum(index in sheet.x for index in range(len(view.outputs)))
    notes += [f"{shown} of {len(view.outputs)} elements are drawn."] if shown < len(view.outputs) else []
    for note in notes:
        sheet.y += 0.35
        sheet.text(-LEFT + 0.4, sheet.y + 0.2, note, 8.5, ha="left")
        sheet.y += 0.35


# Texts


def _number(value: float) -> str:
    """A value in at most six characters where possible."""
    if math.isnan(value):
        return "NaN"
    if abs(value) < 10000 and value == round(value):
        return f"{value:.0f}"
    text = f"{value:.3g}"
    return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-") if "e" in text else text


def _runs(indices: Iterable[int]) -> list[tuple[int, int]]:
    """The first and last of each unbroken run."""
    runs: list[tuple[int, int]] = []
    for index in sorted(set(indices)):
        if runs and index == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs
