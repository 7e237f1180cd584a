"""Explains what the Mojo compiler says of a launch: the point of it, the learner's own line, and what to do.

Mojo reports in two steps. `mojo precompile` finds what is wrong with the text, in seconds. What depends on the sizes
and types of the graph's tensors shows only when MAX compiles the graph, as a long chain of notes whose last one is
the reason.
"""

import re

from workbook.execution import Failure
from workbook.language import N_, _, width
from workbook.mojo_compiler import Diagnostic
from workbook.region import Region
from workbook.verdict import Quote

KNOWN_REASONS = (
    (
        r"missing required argument: 'grid_dim'",
        N_("The launch needs `grid_dim`: say how many blocks the grid has."),
    ),
    (
        r"missing required argument: 'block_dim'",
        N_("The launch needs `block_dim`: say how many threads a block has."),
    ),
    (
        r"'(?P<old>fn|alias)' has been removed",
        N_("`{old}` belongs to an older Mojo and has been removed: write `{new}`."),
    ),
    (
        r"use of unknown declaration '(?P<name>\w+)'; did you mean '(?P<suggestion>\w+)'",
        N_("The name `{name}` does not exist here; did you mean `{suggestion}`?"),
    ),
    (
        r"use of unknown declaration '(?P<name>\w+)'",
        N_("The name `{name}` does not exist here. The names that op.mojo offers stand above the marked region."),
    ),
    (
        r"failed to infer parameter '(?P<name>\w+)'",
        N_("The kernel's compile-time parameter `{name}` is missing in the square brackets."),
    ),
    (
        r"argument #\d+ of type 'Pointer\[",
        N_("The launch passes a pointer, but the kernel takes tensors: `output_tensor`, `input_tensor` and the like."),
    ),
    (
        r"argument #(?P<index>\d+) of type .* is not encodable as the declared function argument type",
        N_(
            "Argument number {number} of the kernel has another type than the kernel's compile-time parameters say: "
            "its layout, or its dtype, is that of another tensor. Are the arguments, and the layouts in the square "
            "brackets, in the kernel's order?"
        ),
    ),
    (
        r"Wrong number of arguments to enqueue",
        N_("The launch passes another number of arguments than the kernel takes: one for each of its tensors."),
    ),
    (
        r"Int and UInt do not conform to DevicePassable",
        N_(
            "An `Int` cannot be passed to a kernel, since a GPU may count with fewer bits. A number that is known when "
            "the op is compiled goes into the square brackets; another one is passed as `Int32(…)`."
        ),
    ),
    (
        r"sm_count and thread_count must be known",
        N_(
            "`foreach` is compiled for a GPU here, but the graph runs on the CPU. Pass on what the op is told: "
            "`foreach[target=target](…)`."
        ),
    ),
    (
        r"Current compilation target does not support operation: (?P<operation>\w+)",
        N_(
            "The kernel is called as an ordinary function, which runs it on the CPU, where there is no `{operation}`. "
            "ctx.enqueue_function launches it on the GPU."
        ),
    ),
    (
        r"no matching method in call to 'enqueue_function'",
        N_(
            "This is not the form of a launch: `ctx.enqueue_function[kernel[parameters…]](arguments…, grid_dim=…, "
            "block_dim=…)`."
        ),
    ),
    (
        r"Dim value (?P<size>grid_dim|block_dim)\.(?P<dimension>\w) must be a positive number",
        N_("`{size}` is zero or negative in {dimension} for one of the sizes that are checked."),
    ),
)
"""What the compiler says, and what it means here. The names in braces are those of the pattern's groups; `new` is
the present word for `old`, and `number` counts from 1 what `index` counts from 0."""

REPLACEMENTS = {"fn": "def", "alias": "comptime"}


def explain_compile_error(failure: Failure, region: Region) -> tuple[str, ...]:
    """A headline, then the learner's line and what else is known. Line numbers are those of the learner's code."""
    if failure.diagnostics:
        return _explain_diagnostics(failure.diagnostics, region)
    return _explain_instantiation(failure.text, region)


def explain_run_error(text: str, region: Region) -> tuple[str, ...]:
    """The same for an error that the op raised when it ran, which MAX wraps in an account of its own."""
    match = re.search(r"op\.mojo:(\d+):(\d+):? (.+)", text)
    if match is None:
        return (_("The launch failed: {reason}").format(reason=text),)
    line, column, reason = int(match[1]), int(match[2]), match[3]
    headline = known_reason(reason) or _("The op failed when it ran: {reason}").format(reason=reason)
    return (headline, _place(region, "op.mojo", line, column, ""))


def explain_program_error(failure: Failure, region: Region) -> tuple[str, ...]:
    """The same for what stopped the learner's own Python: its diagnostic says it in a sentence already."""
    (stopped,) = failure.diagnostics
    code = region.code.splitlines()
    own_line = stopped.line - region.first_line + 1
    quote = [quote_line(own_line, code[own_line - 1], 1)] if 1 <= own_line <= len(code) else []
    return (stopped.message, *stopped.notes, *quote)


def _explain_diagnostics(diagnostics: tuple[Diagnostic, ...], region: Region) -> tuple[str, ...]:
    first = diagnostics[0]
    reason = known_reason("\n".join((first.message, *first.notes)))
    headline = reason or _("Mojo does not accept it: {message}.").format(message=first.message)
    return (headline, _place(region, first.file, first.line, first.column, first.source))


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


def known_reason(message: str) -> str | None:
    """What a message means here; None for one that is not known."""
    for pattern, meaning in KNOWN_REASONS:
        match = re.search(pattern, message)
        if match:
            words = match.groupdict()
            if "old" in words:
                words["new"] = REPLACEMENTS[words["old"]]
            if "index" in words:
                words["number"] = int(words["index"]) + 1
            return _(meaning).format(**words)
    return None


def _place(region: Region, file: str, line: int, column: int, source: str) -> str:
    """The line that an error points at: in the learner's own numbers where it is theirs, else in the file's."""
    code = region.code.splitlines()
    own_line = line - region.first_line + 1
    if file == "op.mojo" and 1 <= own_line <= len(code):
        return quote_line(own_line, code[own_line - 1], column - region.indentation)
    place = _("{file}, line {line}:").format(file=file, line=line)
    return Quote(f"{place}  {source.strip()}")


def quote_line(number: int, text: str, column: int) -> str:
    """A line of the learner's code with a caret under the column; both count from 1."""
    start = _("line {line}:").format(line=number) + "  "
    before = max(column, 1) - 1
    return Quote(f"{start}{text}\n{' ' * width(start + text[:before].ljust(before))}^")
