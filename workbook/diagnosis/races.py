"""Two threads of a launch at one element with no order between them: which ones, and in which lines."""

from contextlib import suppress

from workbook.language import _
from workbook.pictures.launch_view import LaunchView, race_text
from workbook.puzzles import Puzzle
from workbook.running.lines import NoLines, build_lines, find_lines, op_text_of
from workbook.verdict import CaseResult


def explain_race(puzzle: Puzzle, text: str, case: CaseResult) -> list[str]:
    """The first race of a case. May take 10 s, while the lines of the kernel are looked up."""
    assert case.view is not None
    view, race = case.view, case.view.races[0]
    op_text = op_text_of(puzzle, text)
    if find_lines(view.trace, op_text) is None:
        with suppress(NoLines):
            build_lines(puzzle, op_text, [case])
    first, second = (_line(view, op_text, line) for line in race.lines)
    if first == second:
        where = _("Both do so in {line}.").format(line=first)
    elif race.both_write:
        where = _("One does so in {first}, the other in {second}.").format(first=first, second=second)
    else:
        where = _("It is written in {first} and read in {second}.").format(first=first, second=second)
    advice = _(
        "Which of the two comes first is chance, whatever came out here. A barrier between them would settle it, "
        "or another division of the work among the threads."
    )
    when = _("That was with {case}.").format(case=case.name)
    return [f"{race_text(view, race)} {when}", where, advice]


def _line(view: LaunchView, op_text: str, ptx_line: int) -> str:
    """line 47 of kernels/conv1d.mojo (`barrier()`); or the line of PTX, where that is not known."""
    instruction = next(one for one in view.trace.instructions if one.line == ptx_line)
    known = find_lines(view.trace, op_text)
    if known is None or instruction.index not in known[1]:
        return _("line {line} of its PTX (`{code}`)").format(line=ptx_line, code=instruction.text)
    source, line = known[0], known[1][instruction.index]
    code = source.text.split("\n")[line - 1].strip()
    return _("line {line} of {file} (`{code}`)").format(line=line, file=source.name, code=code)
