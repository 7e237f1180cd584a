"""Why an attempt that ran is wrong, or wasteful though right: told from what its launches really did."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from workbook.execution import Failure, Fault
from workbook.launch_view import LaunchView, Overrun, Provenance, SharedArray, Slot
from workbook.puzzles import Puzzle
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
        names = " and ".join(f"`{name}`" for name in case.changed_inputs)
        return [f"With {case.name}, the output is right, but the op changed {names}: an op writes its output only."]
    if case.first_wrong is None:
        return [
            f"With {case.name}, output[{case.written_elsewhere}] is right, but no thread of a launch has written it: "
            "it was not the kernel that computed it."
        ]
    index = case.first_wrong
    assert case.output is not None
    found = f"With {case.name}, output[{index}] is {case.output[index]:g}, but NumPy says {case.expected[index]:g}."
    if not case.recorded:
        return [found]
    if case.view is None:
        return [found, "In this case nothing was launched: the call of ctx.enqueue_function was not reached."]
    wrong = Wrong(puzzle, case, case.view, index)
    block, thread = wrong.owner
    writers = case.view.outputs[index].writers
    who = (
        f"Thread {writers[-1].thread} of block {writers[-1].block} wrote it."
        if writers
        else f"Thread {thread} of block {block} should have written it."
    )
    poison = POISON if np.isnan(case.output[index]) else ""
    return [f"{found} {who}", explain_launch(wrong) + poison]


def explain_launch(wrong: Wrong) -> str:
    """The first of the reasons that holds, from the most to the least fundamental."""
    for reason in REASONS:
        found = reason(wrong)
        if found:
            return found
    return "The picture shows which values went into it: p.picture()."


def exchanged_buffers(wrong: Wrong) -> str | None:
    wanted, passed = wrong.puzzle.arguments, wrong.case.passed
    if passed == wanted or len(passed) != len(wanted):
        return None
    names = ", ".join(name or "something else" for name in passed)
    reason = f"The kernel takes the buffers ({', '.join(wanted)}) in this order; the launch passed ({names})."
    if None in passed:
        number = passed.index(None)
        return f"{reason} Argument {number + 1} does not point to the beginning of `{wanted[number]}`."
    missing = [name for name in wanted if name not in passed]
    if missing:
        return f"{reason} `{missing[0]}` was not passed at all."
    return f"{reason} Put the arguments into the kernel's order."


def wrong_block_size(wrong: Wrong) -> str | None:
    threads, needed = wrong.view.block[0], wrong.puzzle.threads_per_block
    if threads == needed:
        return None
    reason = (
        f"block_dim gives a block {_count(threads, 'thread')} in x, but the kernel's tile "
        f"is laid out for TPB = {needed}"
    )
    if wrong.view.grid[0] == needed:
        return f"{reason}, and grid_dim gives {needed} blocks: are grid_dim and block_dim exchanged?"
    consequence = unwritten_slot(wrong) or overrun(wrong)
    return f"{reason}. {consequence}" if consequence else f"{reason}."


def missing_blocks(wrong: Wrong) -> str | None:
    block, _ = wrong.owner
    if block not in wrong.view.missing_blocks:
        return None
    elements, threads = len(wrong.case.expected), wrong.view.block[0]
    reason = (
        f"Block {block} never ran: grid_dim has {_count(wrong.view.grid[0], 'block')}, "
        f"{elements} elements need {-(-elements // threads)}"
    )
    y, z = wrong.view.grid[1:]
    return f"{reason} in x (the {y * z} blocks in y and z repeat the same elements)." if y * z > 1 else f"{reason}."


def guarded(wrong: Wrong) -> str | None:
    block, thread = wrong.owner
    if wrong.view.outputs[wrong.index].writers:
        return None
    return (
        f"Thread {thread} of block {block} ran but wrote nothing: the kernel's guard held it back. "
        "Which number did the launch give for the size that the guard compares with?"
    )


def wrong_shared_size(wrong: Wrong) -> str | None:
    for block in wrong.view.blocks:
        for array in block.shared:
            needed = wrong.puzzle.shared_slots(array.name, wrong.case.sizes)
            if needed is not None and needed != len(array.slots):
                return (
                    f"The kernel's shared array `{array.name}` has {_count(len(array.slots), 'slot')}; "
                    f"{wrong.case.name} needs {needed}. "
                    "Which numbers did the launch give as the kernel's compile-time sizes?"
                )
    return None


def unwritten_slot(wrong: Wrong) -> str | None:
    for array, position, slot in wrong.read:
        if slot.read_unwritten:
            return f"The thread read {array.name}[{position}], which no thread had written by then."
    return None


def overrun(wrong: Wrong) -> str | None:
    for array, found in wrong.overruns:
        action = "wrote" if found.is_store else "read"
        return f"The thread {action} {array.name}[{found.slot}], but `{array.name}` has {len(array.slots)} slots."
    return None


def zero_instead_of_input(wrong: Wrong) -> str | None:
    """In a tile that begins with the block's own elements, slot s stands for element first + s."""
    elements = len(next(iter(wrong.case.inputs.values())))
    number, _ = wrong.owner
    first = next((block.first for block in wrong.view.blocks if block.number == number), 0)
    tile = wrong.puzzle.shared_names[0]
    for array, position, slot in wrong.read:
        if array.name == tile and slot.provenance is Provenance.ZERO and first + position < elements:
            return (
                f"{tile}[{position}] was filled with zero as if the input had ended, but input[{first + position}] "
                "exists. Which number did the launch give for the size of the input?"
            )
    return None


POISON = (
    " (The check fills memory that nobody has written with nan, so that reading it shows; "
    "on a real GPU it holds whatever was there before.)"
)

REASONS: tuple[Callable[[Wrong], str | None], ...] = (
    exchanged_buffers,
    wrong_block_size,
    missing_blocks,
    wrong_shared_size,
    guarded,
    zero_instead_of_input,
    unwritten_slot,
    overrun,
)


def explain_failed_launch(puzzle: Puzzle, cases: tuple[CaseResult, ...], failure: Failure) -> list[str]:
    """Why a launch was stopped: what happened, then what is wrong with the launch where its sizes or buffers tell."""
    headline = describe_fault(puzzle, cases, failure.fault) if failure.fault is not None else ""
    sentences = [headline or f"The launch failed: {failure.text}"]
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
    who = f"The launch was stopped: thread {fault.thread[0]} of block {fault.block[0]}"
    action = "read" if fault.access == "load" else "wrote"
    if fault.space == "shared":
        arrays = " and ".join(f"`{name}`" for name in puzzle.shared_names)
        return f"{who} {action} past the end of the shared memory of its block, which holds {arrays}."
    for case in cases:
        for name, place in case.places.items():
            # Buffers are far apart, so that what is near one was meant for it.
            if fault.space == "global" and -MEANT_FOR_IT <= fault.address - place.address < place.nbytes + MEANT_FOR_IT:
                itemsize = case.expected.itemsize
                index = (fault.address - place.address) // itemsize
                size = _count(place.nbytes // itemsize, "element")
                return (
                    f"{who} {action} {name}[{index}], but with {case.name} `{name}` has {size}. "
                    "Which sizes did the launch give?"
                )
    return ""


MEANT_FOR_IT = 4096
"""Bytes before and after a buffer that softgpu leaves free."""


def remarks(puzzle: Puzzle, cases: tuple[CaseResult, ...]) -> list[str]:
    """What is wasteful in launches that are right."""
    found = []
    views = [case.view for case in cases if case.view is not None]
    if any(case.launches > 1 for case in cases):
        times = max(case.launches for case in cases)
        found.append(f"The kernel was launched {times} times for one call; once is enough.")
    if views:
        largest = max(views, key=lambda view: len(view.outputs))
        blocks = len(largest.blocks)
        idle = sum(not block.writing for block in largest.blocks)
        if idle:
            found.append(
                f"{idle} of {blocks} blocks had nothing to do, even with {len(largest.outputs)} elements: "
                f"{blocks - idle} are enough."
            )
        times = Counter(len(output.writers) for output in largest.outputs).most_common(1)[0][0]
        if times > 1:
            found.append(
                f"Every output was written {times} times: grid {largest.grid} and block {largest.block} (x, y, z) "
                "run several threads for each element."
            )
    return found


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
