"""Explains an error of an attempt: the point of it, the learner's own line, and what to do.

Mojo reports in two steps. `mojo precompile` finds what is wrong with the text, in seconds. What depends on the sizes
and types of the graph's tensors shows only when MAX compiles the graph, as a long chain of notes whose last one is
the reason.
"""

import re
from collections.abc import Iterator
from itertools import islice

from workbook.diagnosis.messages import known_reason
from workbook.language import _
from workbook.lint.sizes import sizes_below_one
from workbook.puzzles import Puzzle
from workbook.region import Region, read_region
from workbook.running.execution import Failure
from workbook.running.mojo_compiler import Diagnostic
from workbook.verdict import CodeLine, Quote


def explain_compile_error(failure: Failure, region: Region) -> tuple[str, ...]:
    """A headline, then the learner's line and what else is known."""
    if failure.diagnostics:
        return _explain_diagnostic(failure.diagnostics[0], region)
    return _explain_instantiation(failure.text, region)


def further_errors(failure: Failure, region: Region) -> tuple[tuple[str, ...], ...]:
    """The same for each error after the first, which may be a consequence of it."""
    return tuple(_explain_diagnostic(diagnostic, region) for diagnostic in failure.diagnostics[1:])


def explain_run_error(puzzle: Puzzle, op_text: str, text: str) -> tuple[str, ...]:
    """The same for an error that the op raised when it ran, which MAX wraps in an account of its own."""
    place: tuple[str, ...] = ()
    match = re.search(r"op\.mojo:(\d+):(\d+):? (.+)", text)
    if match is None:
        headline = known_reason(text) or _("The launch failed: {reason}").format(reason=text)
    else:
        line, column, reason = int(match[1]), int(match[2]), match[3]
        headline = known_reason(reason) or _("The op failed when it ran: {reason}").format(reason=reason)
        place = (_place(read_region(op_text), "op.mojo", line, column, ""),)
    return (headline, *_no_blocks(puzzle, op_text), *place)


def _no_blocks(puzzle: Puzzle, op_text: str) -> Iterator[str]:
    """In which case a launch asks for no block, or for no thread."""
    for case, keyword, size in islice(sizes_below_one(puzzle, op_text), 1):
        sizes = ", ".join(f"{name} {number}" for name, number in case.items())
        yield _("With {case} `{keyword}` is {size}.").format(case=sizes, keyword=keyword, size=size)


def explain_program_error(failure: Failure, region: Region) -> tuple[str, ...]:
    """The same for what stopped the learner's own Python: its diagnostic says it in a sentence already."""
    (stopped,) = failure.diagnostics
    own_line = stopped.line - region.first_line + 1
    quote = [CodeLine.of(region, stopped.file, own_line, 1)] if 1 <= own_line <= len(region.lines) else []
    return (stopped.message, *stopped.notes, *quote)


def explain_python_error(failure: Failure) -> tuple[str, ...]:
    """The same for what stopped the Python side of a puzzle, which the learner may change but need not."""
    if not failure.diagnostics:
        return (known_reason(failure.text) or failure.text,)
    (stopped,) = failure.diagnostics
    headline = known_reason(failure.text) or _("Python stopped in {file}: {error}.").format(
        file=stopped.file, error=stopped.message.rstrip(".")
    )
    advice = _(
        "If you did not mean to change this file, `git restore {file}` brings it back as it was; `workbook reset` "
        "does the same for what you fill in."
    )
    place = _("{file}, line {line}:").format(file=stopped.file, line=stopped.line)
    return (headline, Quote(f"{place}  {stopped.source.strip()}"), advice.format(file=stopped.file))


def explain_system_error(text: str) -> str:
    """What the machine could not do, while something was compiled."""
    return known_reason(text) or _("This machine stopped the compilation: {reason}.").format(reason=text.rstrip("."))


def _explain_diagnostic(diagnostic: Diagnostic, region: Region) -> tuple[str, ...]:
    said = "\n".join((diagnostic.message, *diagnostic.notes))
    headline = known_reason(said) or _("Mojo does not accept it: {message}.").format(message=diagnostic.message)
    place = _place(region, diagnostic.file, diagnostic.line, diagnostic.column, diagnostic.source)
    if diagnostic.file not in ("op.mojo", ""):
        text = _("This is in the kernel's own file, kernels/{file}: `git restore kernels` brings it back as it was.")
        return (headline, place, text.format(file=diagnostic.file))
    is_own = isinstance(place, CodeLine)
    if is_own and re.search("use of unknown declaration '\\w+'$", diagnostic.message):
        return (headline, place, _("The names that can be used stand above the marked region."))
    return (headline, place)


def _explain_instantiation(text: str, region: Region) -> tuple[str, ...]:
    """The text has a chain of notes for each call in the graph. They all say the same, so the first one will do: it
    ends with the constraint that failed, and on the way it names the line of the op."""
    constraint = re.search(r"constraint failed: (.+)", text)
    reason = constraint[1] if constraint else text.strip()
    unknown = _("MAX cannot compile the op for the sizes of this check: {reason}.")
    headline = known_reason(reason) or unknown.format(reason=reason)
    places = re.findall(r"op\.mojo:(\d+):(\d+): note: call expansion", text[: constraint.end()] if constraint else text)
    if not places:
        return (headline,)
    line, column = map(int, places[-1])
    return (headline, _place(region, "op.mojo", line, column, ""))


def _place(region: Region, file: str, line: int, column: int, source: str) -> str:
    """The line that an error points at."""
    own_line = line - region.first_line + 1
    if file == "op.mojo" and 1 <= own_line <= len(region.lines):
        return CodeLine.of(region, file, own_line, column - region.indentation)
    place = _("{file}, line {line}:").format(file=file, line=line)
    return Quote(f"{place}  {source.strip()}")
