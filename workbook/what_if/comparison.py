"""What there is to say of a prediction, and of a prediction beside what really happened."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

from workbook.language import _, listed, ngettext
from workbook.pictures.launch_view import LaunchView, Overrun, Provenance, SharedArray, Slot, Thread, ranges
from workbook.puzzles import Puzzle
from workbook.running.execution import Fault
from workbook.stepper.data import elements_text
from workbook.verdict import CaseResult
from workbook.what_if.plan import Choice, Prediction
from workbook.what_if.run import RunOfChoice

# In numbers


def counts(puzzle: Puzzle, view: LaunchView) -> dict[str, str]:
    """The launch in numbers: for what is counted, how many there are."""
    arrays = [array for block in view.blocks for array in block.shared]
    found = {
        _("threads started"): sum(block.threads for block in view.blocks),
        _("threads that store no result"): sum(len(block.idle) for block in view.blocks),
    }
    rows = {name: str(count) for name, count in found.items()}
    for name in puzzle.shared_names:
        ours = [array for array in arrays if array.name == name]
        slots = {kind: sum(array.count(kind) for array in ours) for kind in Provenance}
        text = _("slots of {array}, in all blocks").format(array=f"`{name}`")
        rows[text] = ", ".join(f"{_(kind)} {count}" for kind, count in slots.items() if count)
    if puzzle.shared_names:
        twice = sum(len(slot.writers) > 1 for array in arrays for slot in array.slots)
        rows[_("slots written more than once")] = str(twice)
    found = {
        _("outputs that no thread writes"): sum(not output.writers for output in view.outputs),
        _("outputs written more than once"): sum(len(output.writers) > 1 for output in view.outputs),
        _("outputs that are right"): sum(output.ok and bool(output.writers) for output in view.outputs),
    }
    return rows | {name: str(count) for name, count in found.items()}


# In a sentence


def is_right(prediction: Prediction) -> bool:
    view = prediction.view
    return view is not None and not view.fault and all(output.ok and output.writers for output in view.outputs)


def in_a_sentence(puzzle: Puzzle, choice: Choice, prediction: Prediction) -> str:
    """What is wrong with a choice, or wasteful; or that it is right."""
    if prediction.view is None:
        text = _("Mojo will not compile the kernel for these sizes: {reason}.")
        return text.format(reason=prediction.refused)
    for found in (_stopped(puzzle, choice, prediction), *(say(puzzle, choice, prediction.view) for say in SENTENCES)):
        if found:
            return found
    return _("This is right: every output is written, by one thread.")


def _stopped(puzzle: Puzzle, choice: Choice, prediction: Prediction) -> str:
    view = prediction.view
    assert view is not None
    if view.fault_at is None:
        return ""
    if view.fault_at.access == "load":
        text = _(
            "Thread {thread} of block {block} will read {element}, which lies outside of all memory that it may use: "
            "the launch will be stopped."
        )
    else:
        text = _(
            "Thread {thread} of block {block} will write {element}, which lies outside of all memory that it may use: "
            "the launch will be stopped."
        )
    place = {"thread": view.fault_at.thread[0], "block": view.fault_at.block[0], "element": prediction.stopped_at}
    return f"{text.format(**place)} {_laid_out_for(puzzle, choice)}".strip()


def _uncovered(puzzle: Puzzle, choice: Choice, view: LaunchView) -> str:
    uncovered = sum(not output.writers for output in view.outputs)
    if not uncovered:
        return ""
    text = ngettext(
        "There are {outputs} outputs, but {blocks} × {threads} is only {started}: {uncovered} output is never written.",
        "There are {outputs} outputs, but {blocks} × {threads} is only {started}: "
        "{uncovered} outputs are never written.",
        uncovered,
    )
    values = {"blocks": choice.blocks, "threads": choice.threads, "started": choice.blocks * choice.threads}
    return text.format(outputs=len(view.outputs), uncovered=uncovered, **values)


def _never_written(puzzle: Puzzle, choice: Choice, view: LaunchView) -> str:
    for number, array in _arrays(view):
        slots = [position for position, slot in enumerate(array.slots) if slot.read_unwritten]
        if slots:
            readers = sorted({thread for position in slots for thread in array.slots[position].readers})
            text = ngettext(
                "No thread writes {slots} in block {block}, but thread {readers} will read there.",
                "No thread writes {slots} in block {block}, but threads {readers} will read there.",
                len(readers),
            )
            found = text.format(slots=f"{array.name}[{ranges(slots)}]", block=number, readers=ranges(readers))
            return f"{found} {_laid_out_for(puzzle, choice)}".strip()
    return ""


def _outside(puzzle: Puzzle, choice: Choice, view: LaunchView) -> str:
    for number, array in _arrays(view):
        if array.overruns:
            first = array.overruns[0]
            if first.is_store:
                text = _("Thread {thread} of block {block} will write {element}, but {array} ends at [{last}].")
            else:
                text = _("Thread {thread} of block {block} will read {element}, but {array} ends at [{last}].")
            values = {"element": f"{array.name}[{first.slot}]", "array": array.name, "last": len(array.slots) - 1}
            return f"{text.format(thread=first.thread, block=number, **values)} {_laid_out_for(puzzle, choice)}".strip()
    return ""


def _wrong(puzzle: Puzzle, choice: Choice, view: LaunchView) -> str:
    wrong = sum(not output.ok for output in view.outputs)
    if not wrong:
        return ""
    text = ngettext("{count} output will be wrong.", "{count} outputs will be wrong.", wrong)
    return f"{text.format(count=wrong)} {_laid_out_for(puzzle, choice)}".strip()


def _idle_blocks(puzzle: Puzzle, choice: Choice, view: LaunchView) -> str:
    idle = sum(not block.writing for block in view.blocks)
    if not idle:
        return ""
    text = ngettext(
        "The result will be right, but {count} block has nothing to do.",
        "The result will be right, but {count} blocks have nothing to do.",
        idle,
    )
    return text.format(count=idle)


def _laid_out_for(puzzle: Puzzle, choice: Choice) -> str:
    if not puzzle.shared_names or choice.threads == puzzle.threads_per_block:
        return ""
    text = _("The kernel's {array} is laid out for blocks of TPB = {threads} threads.")
    return text.format(array=f"`{puzzle.shared_names[0]}`", threads=puzzle.threads_per_block)


SENTENCES: tuple[Callable[[Puzzle, Choice, LaunchView], str], ...] = (
    _uncovered,
    _never_written,
    _outside,
    _wrong,
    _idle_blocks,
)
"""From the most to the least fundamental."""


# Beside what really happened


def differences(prediction: Prediction, result: RunOfChoice, tolerance: float) -> list[str]:
    """Where a run was not as predicted, a sentence for each kind; empty where it was."""
    if not result.compiled or prediction.view is None:
        return list(_not_compiled(prediction, result))
    case = result.case
    if case is None or case.view is None:
        return list(_outputs_alone(prediction.view, case, tolerance))
    if prediction.view.fault_at or case.view.fault:
        return list(_stopped_elsewhere(prediction, case))
    kinds = (_launches, _threads, _slots, _overruns, _writers, _values)
    return [_first(found) for found in (list(kind(prediction.view, case.view, tolerance)) for kind in kinds) if found]


def agreement(result: RunOfChoice) -> str:
    """What is said where a run was as predicted."""
    verdict = result.verdict
    if not result.compiled:
        return _("As predicted, it was not compiled. {reason}").format(reason=verdict.headline)
    if verdict.stage == "driver":
        return _("As predicted, at the same access: {reason}").format(reason=verdict.headline)
    if result.case is None or result.case.view is None:
        return _("The outputs are as predicted. This device records nothing else.")
    return _("What happened is what was predicted: every thread, every slot and every output.")


def _not_compiled(prediction: Prediction, result: RunOfChoice) -> Iterator[str]:
    if result.compiled:
        yield _("It was predicted that Mojo would not compile it, but it did.")
    elif prediction.view is not None:
        yield _("It was not compiled, which was not predicted.")
    elif prediction.refused not in result.verdict.raw:
        yield _("It was not compiled, as predicted, but for another reason.")


def _outputs_alone(predicted: LaunchView, case: CaseResult | None, tolerance: float) -> Iterator[str]:
    """A device that records nothing gives its outputs only."""
    if case is None or case.output is None:
        yield _("Nothing was launched, so there is nothing to compare.")
        return
    text = _("{element} is {found}; predicted was {predicted}.")
    for index, (value, output) in enumerate(zip(case.output.flat, predicted.outputs, strict=True)):
        if not _equal(float(value), output.value, tolerance):
            element = elements_text(predicted.output, [index], predicted.shape)
            yield text.format(element=element, found=_number(float(value)), predicted=_number(output.value))
            return


def _stopped_elsewhere(prediction: Prediction, case: CaseResult) -> Iterator[str]:
    predicted, real = prediction.view, case.view
    assert predicted is not None and real is not None
    if not real.fault:
        yield _("It was predicted that the launch would be stopped, but it came to its end.")
    elif predicted.fault_at is None:
        yield _("The launch was stopped, which was not predicted: {reason}").format(reason=real.fault)
    elif real.fault_at is None or _place(predicted, predicted.fault_at) != _place(real, real.fault_at):
        yield _("The launch was stopped, as predicted, but elsewhere: {reason}").format(reason=real.fault)


def _place(view: LaunchView, fault: Fault) -> tuple[object, ...]:
    """Who wanted to go where: a place in shared memory by its distance from the beginning, another from the nearest
    buffer."""
    start, name = 0, ""
    if fault.space == "global":
        start, name = min(
            ((buffer.address, name) for name, buffer in view.buffers.items()),
            key=lambda one: abs(fault.address - one[0]),
        )
    return fault.access, fault.space, fault.block, fault.thread, name, fault.address - start


def _launches(predicted: LaunchView, real: LaunchView, tolerance: float) -> Iterator[str]:
    if (predicted.grid, predicted.block) != (real.grid, real.block):
        text = _("The launch was {found}; predicted was {predicted}.")
        yield text.format(found=real.title, predicted=predicted.title)


def _threads(predicted: LaunchView, real: LaunchView, tolerance: float) -> Iterator[str]:
    text = _("In block {block}, threads {found} stored a result; predicted were {predicted}.")
    nobody = _("none")
    for one, other in zip(predicted.blocks, real.blocks, strict=False):
        if (one.threads, one.writing) != (other.threads, other.writing):
            found, expected = (ranges(block.writing) or nobody for block in (other, one))
            yield text.format(block=one.number, found=found, predicted=expected)


def _slots(predicted: LaunchView, real: LaunchView, tolerance: float) -> Iterator[str]:
    text = _("{slot} of block {block}: {found}; predicted was: {predicted}.")
    for number, name, position, mine, other in _pairs_of_slots(predicted, real):
        if _told(mine) != _told(other) or not _equal(_value(mine), _value(other), tolerance):
            words = {"found": _slot_in_words(other), "predicted": _slot_in_words(mine)}
            yield text.format(slot=f"{name}[{position}]", block=number, **words)


def _overruns(predicted: LaunchView, real: LaunchView, tolerance: float) -> Iterator[str]:
    text = _("{array} of block {block} was left by {found}; predicted was: by {predicted}.")
    for (number, mine), (_number_too, other) in zip(_arrays(predicted), _arrays(real), strict=False):
        if sorted(mine.overruns, key=_order) != sorted(other.overruns, key=_order):
            words = {"found": _left_by(other), "predicted": _left_by(mine)}
            yield text.format(array=mine.name, block=number, **words)


def _writers(predicted: LaunchView, real: LaunchView, tolerance: float) -> Iterator[str]:
    text = _("{element} was written by {found}; predicted was: by {predicted}.")
    for index, (mine, other) in enumerate(zip(predicted.outputs, real.outputs, strict=True)):
        if mine.writers != other.writers:
            words = {"found": _written_by(other.writers), "predicted": _written_by(mine.writers)}
            yield text.format(element=elements_text(real.output, [index], real.shape), **words)


def _values(predicted: LaunchView, real: LaunchView, tolerance: float) -> Iterator[str]:
    text = _("{element} is {found}; predicted was {predicted}.")
    for index, (mine, other) in enumerate(zip(predicted.outputs, real.outputs, strict=True)):
        if mine.writers == other.writers and mine.writers and not _equal(mine.value, other.value, tolerance):
            words = {"found": _number(other.value), "predicted": _number(mine.value)}
            yield text.format(element=elements_text(real.output, [index], real.shape), **words)


def _arrays(view: LaunchView) -> Iterator[tuple[int, SharedArray]]:
    return ((block.number, array) for block in view.blocks for array in block.shared)


def _pairs_of_slots(
    predicted: LaunchView, real: LaunchView
) -> Iterator[tuple[int, str, int, Slot | None, Slot | None]]:
    for (number, mine), (_number_too, other) in zip(_arrays(predicted), _arrays(real), strict=False):
        for position, pair in enumerate(zip_longest(mine.slots, other.slots)):
            yield number, mine.name, position, *pair


def _told(slot: Slot | None) -> tuple[object, ...] | None:
    """What is compared of a slot, beside its value."""
    if slot is None:
        return None
    return slot.provenance, slot.source, slot.writers, slot.readers, slot.read_unwritten


def _value(slot: Slot | None) -> float:
    return math.nan if slot is None or slot.value is None else slot.value


def _equal(one: float, other: float, tolerance: float) -> bool:
    return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance) or (math.isnan(one) and math.isnan(other))


def _slot_in_words(slot: Slot | None) -> str:
    if slot is None:
        return _("it does not exist")
    words = [_(slot.provenance)]
    if slot.source:
        words.append(_("from {element}").format(element=f"{slot.source.buffer}[{slot.source.index}]"))
    if slot.writers:
        words.append(_("written by thread {thread}").format(thread=", ".join(map(str, slot.writers))))
    words.append(_("read by threads {threads}").format(threads=ranges(slot.readers) or "–"))
    return ", ".join(words)


def _left_by(array: SharedArray) -> str:
    threads = sorted({overrun.thread for overrun in array.overruns})
    return _("threads {threads}").format(threads=ranges(threads)) if threads else _("no thread")


def _order(overrun: Overrun) -> tuple[int, int, bool]:
    return overrun.thread, overrun.slot, overrun.is_store


def _written_by(writers: Sequence[Thread]) -> str:
    text = _("thread {thread} of block {block}")
    return listed(text.format(thread=one.thread, block=one.block) for one in writers) if writers else _("no thread")


def _first(sentences: Sequence[str]) -> str:
    more = len(sentences) - 1
    if not more:
        return sentences[0]
    text = ngettext("{text} (and {count} more like this)", "{text} (and {count} more like this)", more)
    return text.format(text=sentences[0], count=more)


def _number(value: float) -> str:
    return f"{value:.6g}"
