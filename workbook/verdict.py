"""What the learner is told of an attempt."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbook.language import N_, _, ngettext, width

if TYPE_CHECKING:  # commands that only name outcomes are not to wait for these
    import numpy as np

    from workbook.pictures.launch_view import LaunchView
    from workbook.region import Region
    from workbook.running.execution import BufferPlace

PASSED = "passed"
FAILED = "failed"
NOT_ATTEMPTED = "not attempted"
STOPPED = "stopped"
"""The attempt was not finished: interrupted, its worker lost, the disk full. It says nothing of the launch."""

SYMBOLS = {PASSED: "✓", FAILED: "✗", NOT_ATTEMPTED: "○", STOPPED: "■"}
TITLES = {
    PASSED: N_("{puzzle} passed"),
    FAILED: N_("{puzzle} failed"),
    NOT_ATTEMPTED: N_("{puzzle} not attempted"),
    STOPPED: N_("{puzzle} stopped"),
}
WORDS = {PASSED: N_("passed"), FAILED: N_("failed"), NOT_ATTEMPTED: N_("not attempted"), STOPPED: N_("stopped")}


class Quote(str):
    """A line of code and where it stands, perhaps with a caret below it: to be shown in a face of one width."""


class CodeLine(Quote):
    """A line of the learner's own code. As text it counts the lines of its file; `in_cell` those of a cell."""

    own: int
    """The line within the marked region, from 1."""
    code: str
    column: int

    @classmethod
    def of(cls, region: Region, file: str, own: int, column: int) -> CodeLine:
        """Line `own` of a file's marked region; the column counts from 1, without the region's indentation."""
        code = region.lines[own - 1]
        place = _("{file}, line {line}:").format(file=file, line=region.first_line + own - 1)
        line = cls(_with_caret(place, code, column))
        line.own, line.code, line.column = own, code, column
        return line

    def in_cell(self, first: int) -> Quote:
        """The same in a cell in which the code begins with line `first`."""
        return quote_line(first + self.own - 1, self.code, self.column)


def quote_line(number: int, text: str, column: int) -> Quote:
    """A line of code with a caret under the column; both count from 1."""
    return Quote(_with_caret(_("line {line}:").format(line=number), text, column))


def _with_caret(place: str, text: str, column: int) -> str:
    start = f"{place}  "
    before = max(column, 1) - 1
    if before > LEGIBLE:  # a caret that one must scroll to is not seen
        cut = before - LEGIBLE // 2
        text, before = f"… {text[cut:]}", before - cut + len("… ")
    return f"{start}{text}\n{' ' * width(start + text[:before].ljust(before))}^"


LEGIBLE = 70
"""How many columns of a line of code are shown before its caret."""


@dataclass(frozen=True)
class CaseResult:
    """One call of the op, with the sizes of one case."""

    sizes: dict[str, int]
    inputs: dict[str, np.ndarray]
    expected: np.ndarray
    output: np.ndarray | None
    """What the op gave; None where the launch failed."""
    first_wrong: int | None
    """Index, in the flattened output, of the first element that is not NumPy's."""
    changed_inputs: tuple[str, ...]
    """The inputs that are not what they were."""
    written_elsewhere: int | None
    """The same of the first one that no launch has written, though it is right; None also where nothing is recorded."""
    recorded: bool
    """Whether the device records what launches do: the software GPU does, a real one does not."""
    launches: int
    """How many launches were recorded for this call."""
    places: dict[str, BufferPlace]
    """Where its buffers lay, by their names."""
    passed: tuple[str | None, ...]
    """The buffers that the last launch handed to the kernel, by their names; None for anything else."""
    view: LaunchView | None
    """What the last launch did."""

    @property
    def right(self) -> bool:
        return self.is_result_right and not self.races

    @property
    def right_by_chance(self) -> bool:
        return self.is_result_right and self.races

    @property
    def is_result_right(self) -> bool:
        return (
            self.output is not None
            and self.first_wrong is None
            and not self.changed_inputs
            and self.written_elsewhere is None
        )

    @property
    def races(self) -> bool:
        """Whether threads used an element with no order between them."""
        return self.view is not None and bool(self.view.races)

    def element(self, index: int) -> str:
        """An element of the output by its index in the flattened output: "15", or "2, 3" in a matrix."""
        import numpy as np

        return ", ".join(str(part) for part in np.unravel_index(index, self.expected.shape))

    @property
    def name(self) -> str:
        return ", ".join(f"{key} {value}" for key, value in self.sizes.items())


@dataclass(frozen=True)
class Verdict:
    """The outcome of an attempt, in sentences for the learner.

    `stage` is what gave the verdict: "lint", "compiler", "driver" or "check". `raw` is the full text of a tool that
    the sentences were made from.
    """

    puzzle: str
    outcome: str
    headline: str
    details: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    stage: str = ""
    device: str = ""
    seed: int | None = None
    cases: tuple[CaseResult, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    raw: str = ""
    more: tuple[tuple[str, ...], ...] = ()
    """The errors after the first, each as a message and its line: they may be consequences of it."""
    known_since: float | None = None
    """When it was run, in seconds since 1970, where this is the answer to an earlier run of the very same."""

    @property
    def passed(self) -> bool:
        return self.outcome == PASSED

    @property
    def title(self) -> str:
        """✓ p17 passed."""
        return f"{SYMBOLS[self.outcome]} {_(TITLES[self.outcome]).format(puzzle=self.puzzle)}"

    @property
    def first_wrong_case(self) -> CaseResult | None:
        return next((case for case in self.cases if not case.right), None)

    @property
    def origin(self) -> str:
        """What it was run on, and when if that was not now; in one or two sentences."""
        ran = _("Ran on {device}. Random data from seed {seed}.").format(device=self.device, seed=self.seed)
        if self.known_since is None:
            return ran
        moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.known_since))
        text = _("This is the answer from {moment}: nothing that it depends on has changed since. {ran}")
        return text.format(moment=moment, ran=ran)

    def __str__(self) -> str:
        lines = [f"{self.title}: {self.headline}", *self.details]
        if self.more:
            lines += [further_title(self), *("\n".join(error) for error in self.more[:MORE_SHOWN])]
        if len(self.more) > MORE_SHOWN:
            text = _("`workbook check {puzzle} --json` has everything that the tools said.")
            lines.append(text.format(puzzle=self.puzzle))
        lines += [_("Remark: {remark}").format(remark=remark) for remark in self.remarks]
        return "\n".join(lines)


MORE_SHOWN = 2
"""How many of the errors after the first are told where nothing can be folded."""


def further_title(verdict: Verdict) -> str:
    """What stands above the errors after the first."""
    count = len(verdict.more)
    return ngettext("And {count} more error:", "And {count} more errors:", count).format(count=count)


def launched_cases(verdict: Verdict) -> dict[str, CaseResult]:
    """The cases of which there is a launch to draw, by their names: ✓ input_size 28, conv_size 4."""
    return {
        f"{SYMBOLS[PASSED if case.right else FAILED]} {case.name}": case
        for case in verdict.cases
        if case.view is not None
    }
