"""Why an attempt that ran is wrong, or wasteful though right: told from what its launches really did."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from softgpu.trace import Kind, Space
from workbook.language import N_, _, listed, ngettext
from workbook.pictures.launch_view import LaunchView, Overrun, Provenance, SharedArray, Slot, value_of
from workbook.puzzles import Puzzle
from workbook.running.execution import Failure, Fault
from workbook.verdict import CaseResult


@dataclass(frozen=True)
class Wrong:
    """A wrong output, with all that is known about it."""

    puzzle: Puzzle
    case: CaseResult
    view: LaunchView
    index: int

    @property
    def owner(self) -> tuple[int, int]:
        """The block and thread whose output this is: index = block_dim.x · block_idx.x + thread_idx.x."""
        return divmod(self.index, self.view.block[0])

    @property
    def read(self) -> Iterator[tuple[SharedArray, int, Slot]]:
        """The shared slots that the owner read."""
        number, thread = self.owner
        for block in self.view.blocks:
            if block.number == number:
                for array in block.shared:
                    for position, slot in enumerate(array.slots):
                        if thread in slot.readers:
                            yield array, position, slot

    @property
    def overruns(self) -> Iterator[tuple[SharedArray, Overrun]]:
        """Where the owner went past the end of a shared array."""
        number, thread = self.owner
        for block in self.view.blocks:
            if block.number == number:
                for array in block.shared:
                    yield from ((array, overrun) for overrun in array.overruns if overrun.thread == thread)


def explain_wrong_output(puzzle: Puzzle, case: CaseResult) -> list[str]:
    """What is wrong with the first wrong output of a case, who should have written it, and why it is as it is."""
    if case.first_wrong is None and case.changed_inputs:
        if puzzle.fills == "torch":
            text = _("With {case}, the output is right, but {names} was changed: whoever called may need it still.")
        else:
            text = _("With {case}, the output is right, but the op changed {names}: an op writes its output only.")
        return [text.format(case=case.name, names=listed(f"`{name}`" for name in case.changed_inputs))]
    if case.first_wrong is None:
        text = _(
            "With {case}, output[{index}] is right, but no thread of a launch has written it: "
            "it was not the kernel that computed it."
        )
        assert case.written_elsewhere is not None
        return [text.format(case=case.name, index=case.element(case.written_elsewhere))]
    index = case.first_wrong
    assert case.output is not None
    found = _("With {case}, output[{index}] is {value:g}, but NumPy says {expected:g}.").format(
        case=case.name, index=case.element(index), value=case.output.flat[index], expected=case.expected.flat[index]
    )
    if not case.recorded:
        return [found]
    if case.view is None:
        text = _("In this case nothing was launched: {what} was not reached.")
        return [found, text.format(what=_(puzzle.to_fill_in))]
    wrong = Wrong(puzzle, case, case.view, index)
    block, thread = wrong.owner
    writers = case.view.outputs[index].writers
    if writers:
        text = _("Thread {thread} of block {block} wrote it.")
        who = text.format(thread=writers[-1].thread, block=writers[-1].block)
    elif puzzle.fills == "launch":
        who = _("Thread {thread} of block {block} should have written it.").format(thread=thread, block=block)
    else:
        who = _("No thread wrote it.")
    poison = f" {_(POISON)}" if np.isnan(case.output.flat[index]) else ""
    return [f"{found} {who}", explain_launch(wrong) + poison]


def explain_launch(wrong: Wrong) -> str:
    """The first of the reasons that holds, from the most to the least fundamental."""
    for reason in REASONS[wrong.puzzle.fills]:
        found = reason(wrong)
        if found:
            return found
    return _("The picture shows which values went into it: p.picture().")


def exchanged_buffers(wrong: Wrong) -> str | None:
    wanted, passed = wrong.puzzle.arguments, wrong.case.passed
    if passed == wanted or len(passed) != len(wanted):
        return None
    reason = _("The kernel takes the buffers ({wanted}) in this order; the launch passed ({passed}).").format(
        wanted=", ".join(wanted), passed=", ".join(name or _("something else") for name in passed)
    )
    missing = [name for name in wanted if name not in passed]
    if None in passed:
        number = passed.index(None)
        text = _("Argument {number} does not point to the beginning of `{name}`.")
        advice = text.format(number=number + 1, name=wanted[number])
    elif missing:
        advice = _("`{name}` was not passed at all.").format(name=missing[0])
    else:
        advice = _("Put the arguments into the kernel's order.")
    return f"{reason} {advice}"


def overwritten_afterwards(wrong: Wrong) -> str | None:
    stored = _last_stored(wrong)
    assert wrong.case.output is not None
    value = wrong.case.output.flat[wrong.index]
    if stored is None or np.isclose(stored, value, equal_nan=True):
        return None
    return _(
        "The kernel stored {stored:g} there, and at the end it is {value:g}: something wrote over it after the launch. "
        "Does a memset, a copy or another launch follow?"
    ).format(stored=stored, value=value)


def _last_stored(wrong: Wrong) -> float | None:
    """The value that the launch stored last as this output; None where it stored none."""
    buffer = wrong.view.buffers[wrong.view.output]
    accesses = wrong.view.trace.accesses
    place = buffer.address + wrong.index * buffer.dtype.itemsize
    is_store = (accesses["space"] == Space.GLOBAL) & (accesses["kind"] == Kind.STORE)
    stores = accesses[is_store & (accesses["address"] == place) & (accesses["nbytes"] == buffer.dtype.itemsize)]
    return value_of(stores[-1]["bits"], buffer.dtype) if len(stores) else None


def wrong_block_size(wrong: Wrong) -> str | None:
    threads, needed = wrong.view.block[0], wrong.puzzle.threads_per_block
    if threads == needed or not wrong.puzzle.shared:
        return None
    if wrong.view.grid[0] == needed:
        text = ngettext(
            "block_dim gives a block {threads} thread in x, but the kernel's tile is laid out for TPB = {needed}, "
            "and grid_dim gives {needed} blocks: are grid_dim and block_dim exchanged?",
            "block_dim gives a block {threads} threads in x, but the kernel's tile is laid out for TPB = {needed}, "
            "and grid_dim gives {needed} blocks: are grid_dim and block_dim exchanged?",
            threads,
        )
        return text.format(threads=threads, needed=needed)
    text = ngettext(
        "block_dim gives a block {threads} thread in x, but the kernel's tile is laid out for TPB = {needed}.",
        "block_dim gives a block {threads} threads in x, but the kernel's tile is laid out for TPB = {needed}.",
        threads,
    )
    reason = text.format(threads=threads, needed=needed)
    consequence = unwritten_slot(wrong) or overrun(wrong)
    return f"{reason} {consequence}" if consequence else reason


def missing_blocks(wrong: Wrong) -> str | None:
    block = wrong.owner[0]
    if block not in wrong.view.missing_blocks:
        return None
    elements, threads = len(wrong.case.expected), wrong.view.block[0]
    blocks, y, z = wrong.view.grid
    if y * z > 1:
        text = ngettext(
            "Block {block} never ran: grid_dim has {blocks} block, {elements} elements need {needed} in x "
            "(the {others} blocks in y and z repeat the same elements).",
            "Block {block} never ran: grid_dim has {blocks} blocks, {elements} elements need {needed} in x "
            "(the {others} blocks in y and z repeat the same elements).",
            blocks,
        )
    else:
        text = ngettext(
            "Block {block} never ran: grid_dim has {blocks} block, {elements} elements need {needed}, "
            "each of {threads} threads.",
            "Block {block} never ran: grid_dim has {blocks} blocks, {elements} elements need {needed}, "
            "each of {threads} threads.",
            blocks,
        )
    needed = -(-elements // threads)
    values = {"elements": elements, "needed": needed, "threads": threads, "others": y * z}
    return text.format(block=block, blocks=blocks, **values)


def guarded(wrong: Wrong) -> str | None:
    block, thread = wrong.owner
    if wrong.view.outputs[wrong.index].writers:
        return None
    return _(
        "Thread {thread} of block {block} ran but wrote nothing: the kernel's guard held it back. "
        "Which number did the launch give for the size that the guard compares with?"
    ).format(thread=thread, block=block)


def wrong_shared_size(wrong: Wrong) -> str | None:
    for block in wrong.view.blocks:
        for array in block.shared:
            needed = wrong.puzzle.shared_slots(array.name, wrong.case.sizes)
            if needed is not None and needed != len(array.slots):
                return ngettext(
                    "The kernel's shared array `{array}` has {slots} slot; {case} needs {needed}. "
                    "Which numbers did the launch give as the kernel's compile-time sizes?",
                    "The kernel's shared array `{array}` has {slots} slots; {case} needs {needed}. "
                    "Which numbers did the launch give as the kernel's compile-time sizes?",
                    len(array.slots),
                ).format(array=array.name, slots=len(array.slots), case=wrong.case.name, needed=needed)
    return None


def unwritten_slot(wrong: Wrong) -> str | None:
    for array, position, slot in wrong.read:
        if slot.read_unwritten:
            text = _("The thread read {array}[{slot}], which no thread had written by then.")
            return text.format(array=array.name, slot=position)
    return None


def overrun(wrong: Wrong) -> str | None:
    for array, found in wrong.overruns:
        if found.is_store:
            text = ngettext(
                "The thread wrote {array}[{slot}], but `{array}` has {slots} slot.",
                "The thread wrote {array}[{slot}], but `{array}` has {slots} slots.",
                len(array.slots),
            )
        else:
            text = ngettext(
                "The thread read {array}[{slot}], but `{array}` has {slots} slot.",
                "The thread read {array}[{slot}], but `{array}` has {slots} slots.",
                len(array.slots),
            )
        return text.format(array=array.name, slot=found.slot, slots=len(array.slots))
    return None


def zero_instead_of_input(wrong: Wrong) -> str | None:
    """In a tile that begins with the block's own elements, slot s stands for element first + s."""
    if not wrong.puzzle.shared:
        return None
    elements = len(next(iter(wrong.case.inputs.values())))
    number = wrong.owner[0]
    first = next((block.first for block in wrong.view.blocks if block.number == number), 0)
    tile = wrong.puzzle.shared_names[0]
    for array, position, slot in wrong.read:
        if array.name == tile and slot.provenance is Provenance.ZERO and first + position < elements:
            return _(
                "{tile}[{slot}] was filled with zero as if the input had ended, but input[{index}] exists. "
                "Which number did the launch give for the size of the input?"
            ).format(tile=tile, slot=position, index=first + position)
    return None


def changed_afterwards(wrong: Wrong) -> str | None:
    """The op itself is right, so it is what became of its output."""
    writers = wrong.view.outputs[wrong.index].writers
    if not writers:
        return None
    return _(
        "The kernel was called with the right tensors and sizes, so what it wrote was right. Was the output changed "
        "after the call, or is it another tensor that is given back?"
    )


POISON = N_(
    "(The check fills memory that nobody has written with nan, so that reading it shows; "
    "on a real GPU it holds whatever was there before.)"
)

REASONS: dict[str, tuple[Callable[[Wrong], str | None], ...]] = {
    "launch": (
        overwritten_afterwards,
        exchanged_buffers,
        wrong_block_size,
        missing_blocks,
        wrong_shared_size,
        guarded,
        zero_instead_of_input,
        unwritten_slot,
        overrun,
    ),
    "foreach": (overwritten_afterwards,),
    "torch": (changed_afterwards,),
}
"""Why an output may be wrong, by what the learner filled in."""


def explain_failed_launch(puzzle: Puzzle, cases: tuple[CaseResult, ...], failure: Failure) -> list[str]:
    """Why a launch was stopped: what happened, then what is wrong with the launch where its sizes or buffers tell."""
    headline = describe_fault(puzzle, cases, failure.fault) if failure.fault is not None else ""
    sentences = [headline or _("The launch failed: {reason}").format(reason=failure.text)]
    for case in cases:
        if case.view is not None:
            wrong = Wrong(puzzle, case, case.view, 0)
            for reason in (exchanged_buffers, wrong_block_size, wrong_shared_size):
                found = reason(wrong)
                if found:
                    return [*sentences, found]
    return sentences


def describe_fault(puzzle: Puzzle, cases: tuple[CaseResult, ...], fault: Fault) -> str:
    """An access outside of what there is, in the names of the puzzle; empty where it has none for the place."""
    thread, block, is_read = fault.thread[0], fault.block[0], fault.access == "load"
    if fault.space == "shared":
        if is_read:
            text = _(
                "The launch was stopped: thread {thread} of block {block} read past the end of the shared memory of "
                "its block, which holds {arrays}."
            )
        else:
            text = _(
                "The launch was stopped: thread {thread} of block {block} wrote past the end of the shared memory of "
                "its block, which holds {arrays}."
            )
        return text.format(thread=thread, block=block, arrays=listed(f"`{name}`" for name in puzzle.shared_names))
    for case in cases:
        for name, place in case.places.items():
            # Buffers are far apart, so that what is near one was meant for it.
            if fault.space == "global" and -MEANT_FOR_IT <= fault.address - place.address < place.nbytes + MEANT_FOR_IT:
                itemsize = case.expected.itemsize
                index, elements = (fault.address - place.address) // itemsize, place.nbytes // itemsize
                if is_read:
                    text = ngettext(
                        "The launch was stopped: thread {thread} of block {block} read {name}[{index}], but with "
                        "{case} `{name}` has {elements} element. Which sizes did the launch give?",
                        "The launch was stopped: thread {thread} of block {block} read {name}[{index}], but with "
                        "{case} `{name}` has {elements} elements. Which sizes did the launch give?",
                        elements,
                    )
                else:
                    text = ngettext(
                        "The launch was stopped: thread {thread} of block {block} wrote {name}[{index}], but with "
                        "{case} `{name}` has {elements} element. Which sizes did the launch give?",
                        "The launch was stopped: thread {thread} of block {block} wrote {name}[{index}], but with "
                        "{case} `{name}` has {elements} elements. Which sizes did the launch give?",
                        elements,
                    )
                values = {"thread": thread, "block": block, "name": name, "index": index, "elements": elements}
                return text.format(case=case.name, **values)
    return ""


def with_faults_in_words(puzzle: Puzzle, cases: tuple[CaseResult, ...]) -> tuple[CaseResult, ...]:
    """The cases, each with what stopped its launch in the words that a verdict has for it: pictures show them too."""

    def described(case: CaseResult) -> CaseResult:
        view = case.view
        text = describe_fault(puzzle, (case,), view.fault_at) if view is not None and view.fault_at is not None else ""
        return replace(case, view=replace(view, fault=text)) if view is not None and text else case

    return tuple(map(described, cases))


MEANT_FOR_IT = 4096
"""Bytes before and after a buffer that softgpu leaves free."""


def remarks(puzzle: Puzzle, cases: tuple[CaseResult, ...]) -> list[str]:
    """What is wasteful in launches that are right."""
    found = []
    views = [case.view for case in cases if case.view is not None]
    if any(case.launches > 1 for case in cases):
        times = max(case.launches for case in cases)
        text = ngettext(
            "The kernel was launched {times} time for one call; once is enough.",
            "The kernel was launched {times} times for one call; once is enough.",
            times,
        )
        found.append(text.format(times=times))
    if views:
        largest = max(views, key=lambda view: len(view.outputs))
        usual = puzzle.threads_per_block
        if usual and largest.block[0] != usual:
            text = ngettext(
                "block_dim gives a block {threads} thread in x, and the puzzle meant TPB = {usual}. "
                "The result is right all the same, since the kernel asks `block_dim` for its blocks.",
                "block_dim gives a block {threads} threads in x, and the puzzle meant TPB = {usual}. "
                "The result is right all the same, since the kernel asks `block_dim` for its blocks.",
                largest.block[0],
            )
            found.append(text.format(threads=largest.block[0], usual=usual))
        blocks = len(largest.blocks)
        idle = sum(not block.writing for block in largest.blocks)
        if idle:
            text = ngettext(
                "{idle} of {blocks} block had nothing to do, even with {elements} elements: {enough} would be enough.",
                "{idle} of {blocks} blocks had nothing to do, even with {elements} elements: {enough} would be enough.",
                blocks,
            )
            values = {"idle": idle, "blocks": blocks, "elements": len(largest.outputs), "enough": blocks - idle}
            found.append(text.format(**values))
        times = Counter(len(output.writers) for output in largest.outputs).most_common(1)[0][0]
        if times > 1:
            text = ngettext(
                "Every output was written {times} time: grid {grid} and block {block} (x, y, z) "
                "run several threads for each element.",
                "Every output was written {times} times: grid {grid} and block {block} (x, y, z) "
                "run several threads for each element.",
                times,
            )
            found.append(text.format(times=times, grid=largest.grid, block=largest.block))
    return found
