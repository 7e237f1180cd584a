"""The static picture of a launch, block by block, drawn from its LaunchView.

Everything stands in the column of an element: `input[i]`, the tile slot that holds it, the thread whose own number it
is, and `output[i]`. So a halo is seen for what it is, since its slots stand under elements that belong to the next
block. Time runs downwards: threads write the tile, the barrier opens, threads read the tile and write the output.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from workbook.language import N_, _, width, wrap
from workbook.pictures.launch_view import (
    BlockView,
    LaunchView,
    Output,
    Provenance,
    SharedArray,
    Slot,
    is_right,
    never_ran,
    oddities,
    ranges,
    runs,
    score,
)
from workbook.pictures.matrix_figure import matrix_figure
from workbook.pictures.sheet import INK, LEFT, MUTED, RIGHT_INK, WRONG, Look, Sheet, short

# Tints of the Okabe-Ito palette, which colour-blind people can tell apart.
LOOKS = {
    Provenance.OWN: Look(N_("own"), "#a9d5f5", "#0072b2"),
    Provenance.HALO: Look(N_("halo"), "#fbc15e", "#b86e00"),
    Provenance.ZERO: Look(N_("zero"), "#e4e6e9", "#6b7280"),
    Provenance.OTHER: Look(N_("other"), "#e7b5d2", "#a8447c"),
    Provenance.NEVER: Look(N_("never"), "#ffffff", "#6b7280", "////"),
}
THREAD = Look("thread", "#ffffff", "#4b5563")
IDLE = Look("idle thread", "#f3f4f6", "#a3a9b3", "\\\\\\\\")
RIGHT = Look("output", "#ffffff", "#4b5563")
UNTOUCHED = Look("", "#ffffff", "#d1d5db")

MAX_COLUMNS = 48
MAX_BLOCKS, DRAWN_MISSING = 4, 2
EDGE = 5  # columns shown on each side of a block's edges where not all can be


def figure(view: LaunchView, block: int | None = None) -> Figure:
    """The picture of a launch, or of one of its blocks, by its linear index. Raises UnknownBlock."""
    if block is not None:
        view.check_blocks([block])
    if len(view.shape) == 2:
        return matrix_figure(view, block)
    whole = block is None
    blocks = _drawn_blocks(view) if whole else [one for one in view.blocks if one.number == block]
    missing = view.missing_blocks[:DRAWN_MISSING] if whole else ()
    sheet = Sheet(_columns(view, blocks, whole))
    _draw_heading(sheet, view, blocks)
    top = sheet.y
    _draw_loaded_buffers(sheet, view, blocks)
    for one in blocks:
        _draw_block(sheet, view, one)
    for x in missing:
        _draw_missing_block(sheet, view, x)
    _draw_outputs(sheet, view, range(len(view.outputs)) if whole else _own_outputs(view, block))
    _draw_block_edges(sheet, view, blocks, top)
    if whole:
        _draw_what_is_left_out(sheet, view, blocks, missing)
    return sheet.finish()


# What is drawn


def _drawn_blocks(view: LaunchView) -> Sequence[BlockView]:
    fitting = [one for one in view.blocks if _end(one) <= MAX_COLUMNS]
    return (fitting if len(fitting) >= 2 else view.blocks[:2])[:MAX_BLOCKS]


def _own_outputs(view: LaunchView, block: int | None) -> range:
    """The outputs that have the own numbers of a block's threads."""
    first = next((one.first for one in view.blocks if one.number == block), 0)
    return range(first, min(first + view.block[0], len(view.outputs)))


def _end(block: BlockView) -> int:
    """The column after the last that a block needs."""
    tile = block.shared[0] if block.shared else None
    slots = [len(tile.slots), *(overrun.slot + 1 for overrun in tile.overruns)] if tile else []
    return block.first + max([block.threads, *slots])


def _columns(view: LaunchView, blocks: Sequence[BlockView], whole: bool) -> list[int]:
    """The columns to draw: all if they fit, otherwise those around the edges of the blocks and their tiles, and around
    the first wrong output."""
    start = 0 if whole else min((block.first for block in blocks), default=0)
    ends = [_end(block) for block in blocks]
    end = max([*ends, len(view.outputs)] if whole else ends, default=len(view.outputs))
    if end - start <= MAX_COLUMNS:
        return list(range(start, end))
    edges = {edge for block in blocks for edge in (block.first, block.first + view.block[0], _end(block))}
    edges |= {start, next((index for index, output in enumerate(view.outputs) if not _is_right(output)), start)}
    near = {column for edge in edges for column in range(edge - EDGE, edge + EDGE)}
    return sorted(column for column in near if start <= column < end)[:MAX_COLUMNS]


# Its parts, from top to bottom


def _draw_heading(sheet: Sheet, view: LaunchView, blocks: Sequence[BlockView]) -> None:
    left = -LEFT + 0.4
    sheet.text(left, 0.75, view.title, 12, ha="left", weight="bold")
    all_right = is_right(view)
    sheet.text(
        left, 1.6, f"{'✓' if all_right else '✗'} {score(view)}", 9.5, RIGHT_INK if all_right else WRONG.edge, ha="left"
    )
    sheet.y = 2.1
    for line in (part for oddity in oddities(view) for part in wrap(oddity, int(sheet.width * 5.5))):
        sheet.text(left, sheet.y + 0.2, line, 8.5, ha="left")
        sheet.y += 0.6
    sheet.y += 0.3
    x = left
    for look, text in _legend(view, blocks):
        sheet.box(x, sheet.y, 0.75, 0.55, look, kind="legend")
        sheet.text(x + 0.95, sheet.y + 0.29, text, 8, MUTED, ha="left")
        x += 0.95 + width(text) * 0.172 + 0.8
    sheet.y += 1.1


def _legend(view: LaunchView, blocks: Sequence[BlockView]) -> list[tuple[Look, str]]:
    found = {slot.provenance for block in blocks for array in block.shared for slot in array.slots}
    entries = [(LOOKS[provenance], _(provenance.value)) for provenance in Provenance if provenance in found]
    if any(block.idle for block in blocks):
        why = (
            _("stored no result before the launch was stopped")
            if view.fault
            else _("idle: a thread that stores no result")
        )
        entries.append((IDLE, why))
    if not all(_is_right(output) for output in view.outputs):
        entries.append((WRONG, _("wrong or missing output")))
    return entries


def _draw_loaded_buffers(sheet: Sheet, view: LaunchView, blocks: Sequence[BlockView]) -> None:
    names = _loaded_buffers(view, blocks)
    if not names:
        return
    _draw_owners(sheet, view, blocks)
    _draw_indices(sheet, range(len(view.loads[names[0]])))
    for name in names:
        for index, element in enumerate(view.loads[name]):
            sheet.cell(index, sheet.y, 0.8, RIGHT if element.readers else UNTOUCHED, kind=f"{name} element")
            if element.value is not None:
                sheet.in_column(index, sheet.y + 0.4, short(element.value), 7.5)
        sheet.label(name, sheet.y + 0.4, size=9, weight="bold", colour=WRONG.edge if name == view.output else MUTED)
        sheet.mark_gaps(range(len(view.loads[name])), sheet.y + 0.4)
        sheet.y += 1.0
    sheet.y += 0.15


def _loaded_buffers(view: LaunchView, blocks: Sequence[BlockView]) -> list[str]:
    """The buffer from which the first shared array was filled. In a kernel without shared arrays, all inputs, and the
    output too where it was read."""
    if not any(block.shared for block in blocks):
        return [
            name
            for name, elements in view.loads.items()
            if name != view.output or any(element.readers for element in elements)
        ]
    sources = Counter(
        slot.source.buffer for block in blocks for array in block.shared[:1] for slot in array.slots if slot.source
    )
    if sources:
        return [sources.most_common(1)[0][0]]
    return [name for name in view.loads if name != view.output][:1]


def _draw_owners(sheet: Sheet, view: LaunchView, blocks: Sequence[BlockView]) -> None:
    """Above the elements, the block whose threads have their numbers."""
    names: dict[int, list[str]] = defaultdict(list)
    for block in blocks:
        names[block.first].append(view.block_name(block.index))
    for first, sharing in names.items():
        span = sheet.span(range(first, first + view.block[0]))
        if span and span[1] - span[0] >= 3 * len(sharing):
            sheet.text((span[0] + span[1]) / 2, sheet.y + 0.15, ", ".join(sharing), 7, MUTED)
    sheet.y += 0.4


def _draw_indices(sheet: Sheet, indices: Iterable[int]) -> None:
    for index in indices:
        sheet.in_column(index, sheet.y + 0.2, str(index), 6, MUTED)
    sheet.y += 0.45


def _draw_block(sheet: Sheet, view: LaunchView, block: BlockView) -> None:
    top = sheet.y
    sheet.text(-LEFT + 0.5, top + 0.45, view.block_name(block.index), 10, ha="left", weight="bold")
    sheet.y += 0.8
    tile, *small_arrays = block.shared or (None,)
    # The tile comes last, next to the barrier and its readers.
    for array in small_arrays:
        _draw_small_array(sheet, block, array)
    if tile:
        _draw_loads(sheet, block, tile)
        _draw_writers(sheet, block, tile)
        _draw_slots(sheet, block, tile)
        _draw_barrier(sheet, view, block)
        _draw_readers(sheet, block, tile)
    _draw_threads(sheet, view, block)
    sheet.panel(top, sheet.y)
    sheet.y += 0.45


def _draw_loads(sheet: Sheet, block: BlockView, array: SharedArray) -> None:
    """Bars under the elements that the block loaded."""
    for provenance, name in ((Provenance.OWN, _("own loads")), (Provenance.HALO, _("halo loads"))):
        indices = [slot.source.index for slot in array.slots if slot.provenance is provenance and slot.source]
        for low, high in runs(sorted(set(indices))):
            span = sheet.span(range(low, high + 1))
            if span:
                look = LOOKS[provenance]
                sheet.box(span[0] + 0.06, sheet.y, span[1] - span[0] - 0.12, 0.4, look, kind=f"loads {look.word}")
                text = name if span[1] - span[0] >= 3 else _(look.word)
                sheet.text((span[0] + span[1]) / 2, sheet.y + 0.2, text, 6)
    sheet.label(_("loads"), sheet.y + 0.2)
    sheet.y += 0.75


def _draw_writers(sheet: Sheet, block: BlockView, array: SharedArray) -> None:
    for number, slot in enumerate(array.slots):
        twice = len(slot.writers) > 1
        sheet.in_column(
            block.first + number,
            sheet.y + 0.15,
            ", ".join(map(str, slot.writers[-3:])),
            6.5,
            WRONG.edge if twice else INK,
        )
    _draw_overrunning(sheet, block, array, is_store=True)
    sheet.label(_("written by thread"), sheet.y + 0.15)
    sheet.y += 0.4


def _draw_slots(sheet: Sheet, block: BlockView, array: SharedArray) -> None:
    for number, slot in enumerate(array.slots):
        _draw_slot(sheet, block.first + number, slot, array.name)
    for number in sorted({overrun.slot for overrun in array.overruns if overrun.slot >= 0}):
        column = block.first + number
        if column in sheet.x:
            outside = Look("outside", "none", WRONG.edge)
            sheet.box(sheet.x[column] + 0.03, sheet.y, 0.94, 1.05, outside, 1.4, "outside", dashed=True)
            sheet.in_column(column, sheet.y + 0.52, _("outside"), 6.5, WRONG.edge)
    sheet.label(array.name, sheet.y + 0.52, size=9, weight="bold")
    sheet.mark_gaps(range(block.first, block.first + len(array.slots)), sheet.y + 0.52)
    sheet.y += 1.05
    for number in range(len(array.slots)):
        sheet.in_column(block.first + number, sheet.y + 0.22, f"[{number}]", 5.5, MUTED)
    sheet.y += 0.5


def _draw_slot(sheet: Sheet, column: int, slot: Slot, kind: str) -> None:
    look = LOOKS[slot.provenance]
    sheet.cell(column, sheet.y, 1.05, look, kind=f"{kind} {look.word}")
    value = "" if slot.value is None else short(slot.value)
    # A hatched cell needs a clear ground under its text.
    ground = {"boxstyle": "square,pad=0.12", "facecolor": "white", "edgecolor": "none"} if look.hatch else None
    sheet.in_column(column, sheet.y + 0.38, value, 7.5)
    sheet.in_column(column, sheet.y + 0.8 if value else sheet.y + 0.52, _(look.word), 6, bbox=ground)


def _draw_small_array(sheet: Sheet, block: BlockView, array: SharedArray) -> None:
    """A further array: its slots in one row, and beside them in words who wrote and read them."""
    columns = range(block.first, block.first + len(array.slots))
    for column, slot in zip(columns, array.slots, strict=True):
        _draw_slot(sheet, column, slot, array.name)
    writers = ranges(sorted({writer for slot in array.slots for writer in slot.writers})) or _("no thread")
    readers = ranges(sorted({reader for slot in array.slots for reader in slot.readers})) or _("no thread")
    text = _("written by {writers}, read by {readers}").format(writers=writers, readers=readers)
    span = sheet.span(columns)
    if span:
        fits_right = span[1] + 0.3 + width(text) * 0.15 < sheet.width
        x, side = (span[1] + 0.3, "left") if fits_right else (span[0] - 0.3, "right")
        sheet.text(x, sheet.y + 0.52, text, 6.5, MUTED, ha=side)
    sheet.label(array.name, sheet.y + 0.52, size=9, weight="bold")
    sheet.y += 1.4


def _draw_barrier(sheet: Sheet, view: LaunchView, block: BlockView) -> None:
    """Nothing is drawn that did not happen: without a barrier there is no line."""
    if block.barriers:
        start, end = sheet.span(range(block.first, _end(block))) or (0, sheet.width)
        sheet.line(start, end, sheet.y + 0.15, color=INK, linewidth=1.2, gid="barrier")
        sheet.label(_("barrier"), sheet.y + 0.15, style="italic")
    else:
        sheet.label(_("barrier not reached") if view.fault else _("no barrier"), sheet.y + 0.15, style="italic")
    sheet.y += 0.5


def _draw_readers(sheet: Sheet, block: BlockView, array: SharedArray) -> None:
    for number, slot in enumerate(array.slots):
        colour = WRONG.edge if slot.read_unwritten else INK
        sheet.in_column(block.first + number, sheet.y + 0.15, ranges(slot.readers), 6.5, colour)
    _draw_overrunning(sheet, block, array, is_store=False)
    sheet.label(_("read by threads"), sheet.y + 0.15)
    sheet.y += 0.6


def _draw_overrunning(sheet: Sheet, block: BlockView, array: SharedArray, is_store: bool) -> None:
    """The threads that wrote, or read, slots that the array does not have."""
    threads: dict[int, set[int]] = defaultdict(set)
    for overrun in array.overruns:
        if overrun.slot >= 0 and overrun.is_store == is_store:
            threads[overrun.slot].add(overrun.thread)
    for number, of_slot in threads.items():
        sheet.in_column(block.first + number, sheet.y + 0.15, ranges(sorted(of_slot)), 6.5, WRONG.edge)


def _draw_threads(sheet: Sheet, view: LaunchView, block: BlockView) -> None:
    """The threads, each in the column of its own number: the idle ones hatched."""
    writing = set(block.writing)
    for thread in range(min(block.threads, view.block[0])):
        look = THREAD if thread in writing else IDLE
        column = block.first + thread
        sheet.cell(column, sheet.y, 0.55, look)
        ground = {"boxstyle": "square,pad=0.1", "facecolor": IDLE.fill, "edgecolor": "none"} if look.hatch else None
        sheet.in_column(column, sheet.y + 0.275, f"t{thread}", 6.5, INK if look is THREAD else MUTED, bbox=ground)
    sheet.label(_("threads"), sheet.y + 0.275)
    sheet.y += 0.75


def _draw_missing_block(sheet: Sheet, view: LaunchView, x: int) -> None:
    threads = view.block[0]
    outputs = range(x * threads, min((x + 1) * threads, len(view.outputs)))
    span = sheet.span(outputs)
    if span:
        look = Look("", "none", WRONG.edge)
        sheet.box(span[0] + 0.03, sheet.y, span[1] - span[0] - 0.06, 0.9, look, 1.2, "missing block", dashed=True)
        text = never_ran(view, x)
        needed = width(text) * 0.21
        if needed < span[1] - span[0]:
            x_text, side = (span[0] + span[1]) / 2, "center"
        elif span[1] + 0.3 + needed < sheet.width:
            x_text, side = span[1] + 0.3, "left"
        else:
            x_text, side = span[0] - 0.3, "right"
        sheet.text(x_text, sheet.y + 0.45, text, 9, WRONG.edge, ha=side)
        sheet.y += 1.25


def _draw_outputs(sheet: Sheet, view: LaunchView, indices: range) -> None:
    mark_y, got_y, numpy_y = sheet.y + 0.2, sheet.y + 0.45, sheet.y + 1.4
    for index in indices:
        output = view.outputs[index]
        right = _is_right(output)
        sheet.cell(index, got_y, 0.85, RIGHT if right else WRONG, 0.8 if right else 1.6, "output" if right else "wrong")
        got = short(output.value) if output.writers else "—"
        sheet.in_column(index, got_y + 0.42, got, 7.5)
        sheet.in_column(index, numpy_y + 0.3, short(output.expected), 7.5, MUTED)
        if not right:
            sheet.in_column(index, mark_y, "✗", 8, WRONG.edge)
        elif len(output.writers) > 1:
            sheet.in_column(index, mark_y, f"{len(output.writers)}×", 6.5, MUTED)
    sheet.label(view.output, got_y + 0.42, size=9, weight="bold")
    sheet.label(_("NumPy"), numpy_y + 0.3, size=9)
    sheet.mark_gaps(indices, got_y + 0.42)
    sheet.y = numpy_y + 0.65
    _draw_indices(sheet, indices)


def _draw_block_edges(sheet: Sheet, view: LaunchView, blocks: Sequence[BlockView], top: float) -> None:
    """Dotted lines between the elements of one block and those of the next."""
    for first in {block.first for block in blocks} | {block.first + view.block[0] for block in blocks}:
        if first in sheet.x and first - 1 in sheet.x:
            sheet.rule(sheet.x[first], top, sheet.y)


def _draw_what_is_left_out(sheet: Sheet, view: LaunchView, blocks: Sequence[BlockView], missing: Sequence[int]) -> None:
    elements = sum(index in sheet.x for index in range(len(view.outputs)))
    parts = (
        (len(blocks), len(view.blocks), _("{drawn} of {count} blocks that ran are drawn.")),
        (len(missing), len(view.missing_blocks), _("{drawn} of {count} blocks that never ran are drawn.")),
        (elements, len(view.outputs), _("{drawn} of {count} elements are drawn.")),
    )
    for drawn, count, text in parts:
        if drawn < count:
            shown = text.format(drawn=drawn, count=count)
            sheet.text(-LEFT + 0.4, sheet.y + 0.4, shown, 8.5, MUTED, ha="left")
            sheet.y += 0.6


def _is_right(output: Output) -> bool:
    """A value that happens to be there is no result."""
    return output.ok and bool(output.writers)
