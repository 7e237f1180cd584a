"""One launch as data for the browser: what there is to draw, and every step that the launch did, in order.

A *step* is one instruction that threads of one block executed together: a load, a store, an atomic, a barrier that
opens, or the access that ended the launch. Everything is plain lists, dictionaries, numbers and texts, so that it can
be sent as JSON. The texts are in the language of the process that made them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgpu import AccessMetrics
from softgpu.machine import WARP_SIZE
from softgpu.trace import BarrierTrace, Kind, Space
from workbook.language import _, ngettext
from workbook.pictures.launch_view import (
    LaunchView,
    Origins,
    Provenance,
    Race,
    Thread,
    coordinates,
    element_type,
    intended_regions,
    is_right,
    linear,
    never_ran,
    oddities,
    race_text,
    ranges,
    runs,
    score,
    shared_name,
    source_order,
    split_elements,
    value_of,
)

MAX_BLOCKS = 8
"""How many blocks are drawn unless others are asked for."""
MAX_PLACES = 2500
"""How many threads and shared slots are drawn, of all blocks together. One block is always drawn."""
MAX_ELEMENTS, FEW_ELEMENTS = 4096, 512
"""How many elements of a buffer are drawn at most; and how many even if no drawn block touched them."""
MAX_STEPS, MAX_ACCESSES = 4000, 60_000
"""How much of a launch is shown."""

MEANT_FOR_IT = 4096
"""Bytes around a buffer in which an access was still meant for it: softgpu leaves them free."""

LETTERS = {
    Provenance.OWN: "o",
    Provenance.HALO: "h",
    Provenance.ZERO: "z",
    Provenance.OTHER: "x",
    Provenance.NEVER: "n",
}
"""Provenances in the data: one letter a slot."""

Json = dict[str, Any]


def launch_data(
    view: LaunchView,
    inputs: Mapping[str, ArrayLike] | None = None,
    blocks: Sequence[int] | None = None,
) -> Json:
    """All that is drawn of one launch.

    `inputs` are the values of buffers before the launch, by their names. `blocks` chooses blocks by their linear
    indices; without it the first blocks are drawn, and those in which something went wrong. Raises UnknownBlock.
    """
    drawn = _drawn_blocks(view, blocks)
    view = view.with_shared(drawn)
    accesses = _accesses(view, drawn)
    steps, left_out = _steps(view, accesses, drawn)
    arrays = _windows(view, accesses)
    return {
        "title": view.title,
        "right": is_right(view),
        "score": score(view),
        "remarks": _remarks(view) + _what_is_left_out(view, drawn, arrays, left_out),
        "is_window": len(drawn) < len(view.blocks),
        "block": view.block,
        "idle": _("stored no result before the launch was stopped")
        if view.fault
        else _("idle: a thread that stores no result"),
        "no_barrier": _("barrier not reached") if view.fault else _("no barrier"),
        "blocks": [
            {
                "number": one.number,
                "name": view.block_name(one.index),
                "first": one.first,
                "threads": one.threads,
                "idle": one.idle,
                "barriers": one.barriers,
                "shared": [{"name": array.name, "count": len(array.slots)} for array in one.shared],
            }
            for one in view.blocks
            if one.number in drawn
        ],
        "missing": [{"first": x * view.block[0], "text": never_ran(view, x)} for x in view.missing_blocks[:MAX_BLOCKS]],
        "buffers": [_buffer(view, name, arrays[name], inputs or {}) for name in _in_order(view)],
        "outputs": _outputs(view, arrays[view.output]),
        "wrong": _wrong_outputs(view, arrays[view.output]),
        "steps": steps,
        "races": [_race(view, race) for race in view.races if all(one.block in drawn for one in race.threads)],
    }


def _remarks(view: LaunchView) -> list[str]:
    """What is odd about the launch. What a step of its own tells, the access that ended it, is left to that step."""
    return [line for line in oddities(view) if view.fault_at is None or line != view.fault]


# What is drawn


def _drawn_blocks(view: LaunchView, chosen: Sequence[int] | None) -> list[int]:
    """The blocks to draw: those that are chosen, or the first ones, those in which something went wrong, others that
    wrote something, and one that did not."""
    if chosen is not None:
        view.check_blocks(chosen)
        return sorted(set(chosen))
    ran = [block.number for block in view.blocks]
    busy = [block.number for block in view.blocks if block.writing]
    idle = [block.number for block in view.blocks if not block.writing]
    telling = dict.fromkeys([*ran[:2], *_blocks_gone_wrong(view), *busy, *idle[:1]])
    places = {block.number: block.threads + sum(len(array.slots) for array in block.shared) for block in view.blocks}
    drawn: list[int] = []
    for number in telling:
        if len(drawn) == MAX_BLOCKS or (drawn and sum(map(places.get, [*drawn, number])) > MAX_PLACES):  # type: ignore[arg-type]
            break
        drawn.append(number)
    return sorted(drawn)


def _blocks_gone_wrong(view: LaunchView) -> Iterable[int]:
    if view.fault_at is not None:
        yield linear(view.fault_at.block, view.grid)
    for race in view.races:
        yield from (one.block for one in race.threads)
    for block in view.blocks:
        if any(array.overruns or any(slot.read_unwritten for slot in array.slots) for array in block.shared):
            yield block.number
    for output in view.outputs:
        if not output.ok and output.writers:
            yield output.writers[-1].block


def _windows(view: LaunchView, accesses: Sequence[_Access]) -> dict[str, range]:
    """The elements to draw of each buffer: all of few, otherwise those from the first to the last that the drawn blocks
    touched, as far as there is room."""
    touched: dict[str, list[int]] = defaultdict(list)
    for access in accesses:
        if access.space == Space.GLOBAL and access.name is not None:
            touched[access.name] += [int(access.index.min()), int(access.index.max())]
    windows = {}
    for name, buffer in view.buffers.items():
        first, last = min(touched[name], default=0), max(touched[name], default=0)
        row = view.shape[-1] if name == view.output and len(view.shape) == 2 else 1
        start, stop = first // row * row, min(-(-(last + 1) // row) * row, buffer.count)
        whole = buffer.count <= FEW_ELEMENTS
        windows[name] = range(buffer.count) if whole else range(start, min(stop, start + MAX_ELEMENTS))
    return windows


def _what_is_left_out(view: LaunchView, drawn: Sequence[int], arrays: Mapping[str, range], left_out: int) -> list[str]:
    lines = []
    if len(drawn) < len(view.blocks):
        text = _("{drawn} of {count} blocks that ran are drawn.")
        lines.append(text.format(drawn=len(drawn), count=len(view.blocks)))
    for name, elements in arrays.items():
        if len(elements) < view.buffers[name].count:
            text = _("{drawn} of {count} elements of {name} are drawn.")
            lines.append(text.format(drawn=len(elements), count=view.buffers[name].count, name=name))
    if left_out:
        text = ngettext("{count} later step is left out.", "{count} later steps are left out.", left_out)
        lines.append(text.format(count=left_out))
    return lines


# Buffers and outputs


def _in_order(view: LaunchView) -> list[str]:
    """The inputs, then the output."""
    return [*(name for name in view.buffers if name != view.output), view.output]


def _buffer(view: LaunchView, name: str, elements: range, inputs: Mapping[str, ArrayLike]) -> Json:
    known = np.ravel(np.asarray(inputs[name])).tolist() if name in inputs else None
    loaded = view.loads[name]
    values = [known[index] if known else loaded[index].value for index in elements]
    shape = view.shape if name == view.output else np.shape(inputs[name]) if name in inputs else (len(loaded),)
    return {
        "name": name,
        "is_output": name == view.output,
        "count": view.buffers[name].count,
        "first": elements.start,
        "row": shape[-1] if len(shape) == 2 else None,
        "values": [None if value is None or name == view.output else _number(value) for value in values],
    }


def _outputs(view: LaunchView, elements: range) -> list[Json]:
    """NumPy's element, whether the launch got it, and of a wrong one why, where that can be said in a sentence."""
    return [
        {
            "got": _number(output.value) if output.writers and not view.fault else None,
            "expected": _number(output.expected),
            "ok": bool(output.ok and output.writers),
            **({} if output.ok and output.writers else {"why": _why_wrong(view, index)}),
        }
        for index, output in zip(elements, view.outputs[elements.start : elements.stop], strict=True)
    ]


def _wrong_outputs(view: LaunchView, elements: range) -> list[Json]:
    """The missing outputs and the wrong ones, in words, and which of the drawn elements they are."""
    missing, wrong = (
        [
            index
            for index, one in enumerate(view.outputs)
            if not (one.ok and one.writers) and bool(one.writers) == written
        ]
        for written in (False, True)
    )
    count = len(missing)
    texts = [ngettext("{count} output is missing:", "{count} outputs are missing:", count).format(count=count)]
    count = len(wrong)
    texts.append(ngettext("{count} output is wrong:", "{count} outputs are wrong:", count).format(count=count))
    groups = zip(texts, (missing, wrong), strict=True)
    return [{"text": text, "indices": [one for one in found if one in elements]} for text, found in groups if found]


def _why_wrong(view: LaunchView, index: int) -> str:
    output, place = view.outputs[index], elements_text(view.output, [index], view.shape)
    if output.writers and view.fault:
        text = _("Block {block}, thread {thread} wrote {element} before the launch was stopped.")
        return text.format(block=output.writers[-1].block, thread=output.writers[-1].thread, element=place)
    if output.writers:
        text = _("Block {block}, thread {thread} wrote {value} to {element}; NumPy says {expected}.")
        values = {"value": _shown(output.value), "expected": _shown(output.expected), "element": place}
        return text.format(block=output.writers[-1].block, thread=output.writers[-1].thread, **values)
    nobody = _("No thread wrote {element}.").format(element=place)
    if view.fault:
        return nobody + " " + _("The launch was stopped before.")
    owner = _owner(view, index)
    if index // view.block[0] in view.missing_blocks:
        return f"{nobody} {_sentence(never_ran(view, index // view.block[0]))}"
    if owner is None:
        return nobody
    text = _("Thread {thread} of block {block}, whose number it has, ran but wrote nothing there.")
    return f"{nobody} {text.format(block=owner.block, thread=owner.thread)}"


def _owner(view: LaunchView, index: int) -> Thread | None:
    """The thread that has an output's number, if it ran."""
    if len(view.shape) != 1:
        return None
    block, thread = divmod(index, view.block[0])
    return Thread(block, thread) if block < view.grid[0] else None


# Steps


@dataclass(frozen=True, slots=True)
class _Access:
    """What one instruction of one block did to one array, one element a row: `slot` is its position in the array."""

    step: int
    block: int
    rows: NDArray
    name: str | None
    count: int
    index: NDArray[np.int64]
    dtype: np.dtype
    space: int

    @property
    def kind(self) -> int:
        return int(self.rows["kind"][0])

    @property
    def outside(self) -> NDArray[np.bool_]:
        return (self.index < 0) | (self.index >= self.count)


def _accesses(view: LaunchView, drawn: Sequence[int]) -> list[_Access]:
    """The accesses of the drawn blocks to global and shared memory, in their order."""
    everything = view.trace.accesses
    rows = everything[np.isin(everything["block"], drawn)]
    found = [*_global_accesses(view, rows[rows["space"] == Space.GLOBAL]), *_shared_accesses(view, rows, everything)]
    return sorted(found, key=lambda access: (access.step, access.block))


def _global_accesses(view: LaunchView, rows: NDArray) -> Iterable[_Access]:
    left = np.ones(len(rows), bool)
    for name, buffer in view.buffers.items():
        index = _positions(rows, buffer.address, buffer.dtype.itemsize)
        inside = (index >= 0) & (index < buffer.count)
        left &= ~inside
        yield from _grouped(rows[inside], name, buffer.address, buffer.count, buffer.dtype)
    dtype = view.buffers[view.output].dtype
    yield from _grouped(rows[left], None, 0, 1 << 62, dtype)


def _shared_accesses(view: LaunchView, rows: NDArray, everything: NDArray) -> Iterable[_Access]:
    regions = source_order(view.trace.shared_variables)
    rows = rows[rows["space"] == Space.SHARED]
    intended = intended_regions(rows, regions)
    everything = everything[everything["space"] == Space.SHARED]
    for number, region in enumerate(regions):
        inside = everything[everything["address"] - np.uint64(region.address) < np.uint64(region.nbytes)]
        dtype = element_type(inside, view.buffers[view.output].dtype)
        name, count = shared_name(region, view.shared_names), region.nbytes // dtype.itemsize
        yield from _grouped(rows[intended == number], name, region.address, count, dtype)


def _positions(rows: NDArray, address: int, itemsize: int) -> NDArray[np.int64]:
    # Addresses are unsigned; their difference may be negative.
    return (rows["address"] - np.uint64(address)).astype(np.int64) // itemsize


def _grouped(rows: NDArray, name: str | None, address: int, count: int, dtype: np.dtype) -> Iterable[_Access]:
    """The accesses to one array: those of one instruction, one block and one step together."""
    if not len(rows):
        return
    keys = rows[["step", "block", "pc", "kind"]]
    order = np.argsort(keys, order=("step", "block", "pc", "kind"), kind="stable")
    rows, keys = rows[order], keys[order]
    for group in np.split(rows, np.flatnonzero(keys[1:] != keys[:-1]) + 1):
        group = split_elements(group, dtype.itemsize)
        index = _positions(group, address, dtype.itemsize)
        first = group[0]
        yield _Access(int(first["step"]), int(first["block"]), group, name, count, index, dtype, int(first["space"]))


def _steps(view: LaunchView, accesses: Sequence[_Access], drawn: Sequence[int]) -> tuple[list[Json], int]:
    """The steps in their order, and how many are left out because there are too many."""
    origins = Origins(view.grid, view.block, view.buffers, view.buffers[view.output].count)
    written: dict[tuple[int, str | None], set[int]] = defaultdict(set)
    pcs = {instruction.line: instruction.index for instruction in view.trace.instructions}
    barriers = [event for event in view.trace.barriers if event.block in drawn]
    events: list[_Access | BarrierTrace] = [*accesses, *barriers]
    pending = sorted(events, key=lambda event: (event.step, event.block))
    steps: list[Json] = []
    total = 0
    for number, event in enumerate(pending):
        if isinstance(event, _Access):
            total += len(event.rows)
            if len(steps) == MAX_STEPS or total > MAX_ACCESSES:
                return steps, len(pending) - number
            steps.append(_access_step(view, event, origins, written[event.block, event.name]))
        else:
            threads = event.threads.tolist()
            name = _block_name(view, event.block)
            text = ngettext(
                "{block}: {count} thread has arrived at the barrier, which opens.",
                "{block}: all {count} threads have arrived at the barrier, which opens.",
                len(threads),
            )
            steps.append(
                {
                    "moment": event.step,
                    "block": event.block,
                    "kind": "barrier",
                    "pc": pcs[event.line],
                    "line": event.line,
                    "ptx": view.trace.instructions[pcs[event.line]].text,
                    "threads": threads,
                    "text": text.format(block=_sentence(name)[:-1], count=len(threads)),
                }
            )
    if view.fault_at is not None and linear(view.fault_at.block, view.grid) in drawn:
        steps.append(_fault_step(view, steps[-1]["moment"] + 1 if steps else 0))
    return steps, 0


def _access_step(view: LaunchView, access: _Access, origins: Origins, written: set[int]) -> Json:
    """One access as data. `written` are the slots of a shared array that have been written; it grows."""
    rows, kind = access.rows, Kind(access.kind)
    shared = access.space == Space.SHARED
    values = [value_of(bits, access.dtype) for bits in rows["bits"]]
    indices = access.index.tolist()
    step: Json = {
        "moment": access.step,
        "block": access.block,
        "kind": kind.name.lower(),
        "space": "shared" if shared else "global",
        "array": access.name,
        "pc": int(rows["pc"][0]),
        "line": int(rows["line"][0]),
        "ptx": view.trace.instructions[int(rows["pc"][0])].text,
        "threads": rows["thread"].tolist(),
        "indices": indices if access.name is not None else [f"{address:#x}" for address in rows["address"].tolist()],
        "values": [_number(value) for value in values],
        "cost": _cost(access),
    }
    sentences = [_access_text(view, access)]
    if kind != Kind.LOAD and shared:
        found = [origins.of(row, value) for row, value in zip(rows, values, strict=True)]
        step["provenance"] = "".join(LETTERS[provenance] for provenance, _source in found)
        step["sources"] = [[source.buffer, source.index] if source else None for _provenance, source in found]
    if shared and kind != Kind.STORE:
        unwritten = sorted({index for index in indices if index not in written and 0 <= index < access.count})
        if unwritten:
            step["unwritten"] = unwritten
            text = _("No thread had written {elements} before.")
            sentences.append(text.format(elements=elements_text(access.name or "", unwritten)))
    if kind != Kind.LOAD:
        written.update(indices)
    if access.name is not None and access.outside.any():
        text = _("{array} ends at [{last}].")
        sentences.append(text.format(array=access.name, last=access.count - 1))
    step["text"] = " ".join(sentences)
    return step


def _access_text(view: LaunchView, access: _Access) -> str:
    threads = np.unique(access.rows["thread"]).tolist()
    name = access.name
    if name is None:
        elements = _("unknown memory")
    else:
        elements = elements_text(name, access.index.tolist(), view.shape if name == view.output else ())
    if access.kind == Kind.LOAD:
        text = ngettext(
            "{block}: thread {threads} reads {elements}.", "{block}: threads {threads} read {elements}.", len(threads)
        )
    elif access.kind == Kind.STORE:
        text = ngettext(
            "{block}: thread {threads} writes {elements}.", "{block}: threads {threads} write {elements}.", len(threads)
        )
    else:
        text = ngettext(
            "{block}: thread {threads} changes {elements} atomically.",
            "{block}: threads {threads} change {elements} atomically.",
            len(threads),
        )
    block = _sentence(_block_name(view, access.block))[:-1]
    return text.format(block=block, threads=_few_ranges(threads), elements=elements)


def _fault_step(view: LaunchView, moment: int) -> Json:
    """The access that ended the launch: drawn where it would have been."""
    fault = view.fault_at
    assert fault is not None
    trace = view.trace
    place = next((one for one in trace.instructions if one.line == fault.line), None)
    thread = linear(fault.thread, view.block)
    block = linear(fault.block, view.grid)
    name, index = _fault_place(view)
    values = {
        "block": _sentence(_block_name(view, block))[:-1],
        "thread": thread,
        "element": f"{name}[{index}]" if name else f"{fault.address:#x}",
    }
    if fault.access == "load":
        text = _("{block}: thread {thread} tries to read {element}. The launch was stopped here.")
    else:
        text = _("{block}: thread {thread} tries to write {element}. The launch was stopped here.")
    sentences = [text.format(**values)]
    if name:
        count = _count(view, name)
        sentences.append(_("{array} ends at [{last}].").format(array=name, last=count - 1))
    return {
        "moment": moment,
        "block": block,
        "kind": "fault",
        "is_store": fault.access != "load",
        "space": fault.space,
        "array": name,
        "pc": place.index if place else None,
        "line": fault.line,
        "ptx": place.text if place else "",
        "threads": [thread],
        "indices": [index if name else f"{fault.address:#x}"],
        "text": " ".join(sentences),
    }


def _fault_place(view: LaunchView) -> tuple[str | None, int]:
    """The array that the access was meant for, and the element of it."""
    fault = view.fault_at
    assert fault is not None
    if fault.space == "shared":
        regions = source_order(view.trace.shared_variables)
        before = [region for region in regions if region.address <= fault.address]
        rows = view.trace.accesses
        rows = rows[(rows["space"] == Space.SHARED) & (rows["line"] == fault.line)]
        if before:
            # What the other threads did there tells the array that was meant; without them, the nearest.
            nearest = max(before, key=lambda region: region.address)
            region = regions[intended_regions(rows, regions)[0]] if len(rows) else nearest
            itemsize = view.buffers[view.output].dtype.itemsize
            return shared_name(region, view.shared_names), (fault.address - region.address) // itemsize
    for name, buffer in view.buffers.items():
        offset = fault.address - buffer.address
        nbytes = buffer.count * buffer.dtype.itemsize
        if fault.space == "global" and -MEANT_FOR_IT <= offset < nbytes + MEANT_FOR_IT:
            return name, offset // buffer.dtype.itemsize
    return None, 0


def _count(view: LaunchView, name: str) -> int:
    if name in view.buffers:
        return view.buffers[name].count
    itemsize = view.buffers[view.output].dtype.itemsize
    sizes = {shared_name(region, view.shared_names): region.nbytes for region in view.trace.shared_variables}
    return sizes[name] // itemsize


def _cost(access: _Access) -> str:
    """The sectors or the bank conflicts, counted as in softgpu.metrics."""
    rows = access.rows
    space, kind = Space(access.space).name.lower(), Kind(access.kind).name.lower()
    metrics = AccessMetrics(int(rows["pc"][0]), int(rows["line"][0]), "", None, space, kind)
    thread = rows["thread"].astype(np.int64)
    metrics.count(thread // WARP_SIZE, thread % WARP_SIZE, rows["address"], rows["nbytes"])
    return _sectors_text(metrics) if access.space == Space.GLOBAL else _conflicts_text(metrics)


def _sectors_text(metrics: AccessMetrics) -> str:
    text = ngettext("{count} sector of 32 bytes", "{count} sectors of 32 bytes", metrics.sectors)
    found = text.format(count=metrics.sectors)
    if metrics.excess_sectors:
        return _("{found}; side by side it would be {least}").format(found=found, least=metrics.ideal_sectors)
    return found


def _conflicts_text(metrics: AccessMetrics) -> str:
    if not metrics.bank_conflicts:
        return _("no bank conflict")
    text = ngettext(
        "{count} bank conflict: {passes} passes instead of {least}",
        "{count} bank conflicts: {passes} passes instead of {least}",
        metrics.bank_conflicts,
    )
    return text.format(count=metrics.bank_conflicts, passes=metrics.wavefronts, least=metrics.ideal_wavefronts)


# Races


def _race(view: LaunchView, race: Race) -> Json:
    return {
        "threads": race.threads,
        "array": race.element.buffer if race.element else None,
        "index": race.element.index if race.element else None,
        "text": race_text(view, race),
    }


# Words and numbers

MAX_RUNS = 4


def elements_text(name: str, indices: Iterable[int], shape: Sequence[int] = ()) -> str:
    """tile[0–14], output[2, 3], or "14 elements of output" where they are scattered."""
    found = sorted(set(indices))
    if len(shape) == 2:
        row, column = divmod(found[0], shape[1])
        if found[-1] // shape[1] == row and len(runs(found)) == 1:
            last = found[-1] % shape[1]
            return f"{name}[{row}, {column}]" if last == column else f"{name}[{row}, {column}–{last}]"
    if len(shape) < 2 and len(runs(found)) <= MAX_RUNS:
        return f"{name}[{ranges(found)}]"
    text = ngettext("{count} element of {name}", "{count} elements of {name}", len(found))
    return text.format(count=len(found), name=name)


def _few_ranges(numbers: Sequence[int]) -> str:
    """0–3, 7, …"""
    found = runs(numbers)
    text = ranges(number for low, high in found[:MAX_RUNS] for number in range(low, high + 1))
    return text if len(found) <= MAX_RUNS else f"{text}, …"


def _block_name(view: LaunchView, number: int) -> str:
    return view.block_name(coordinates(number, view.grid))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _number(value: float) -> float | str:
    """A number with the digits of a float32; JSON has no NaN and no infinity."""
    return float(f"{value:.7g}") if math.isfinite(value) else _shown(value)


def _shown(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.6g}"
