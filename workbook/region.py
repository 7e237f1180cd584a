"""The marked region of a puzzle's file: the lines that the learner fills in."""

import textwrap
from dataclasses import dataclass

from workbook.language import _

BEGIN = "# >>> your code"
END = "# <<< your code"


class RegionError(ValueError):
    """The file's markers are not as they must be; the message says what is wrong."""


@dataclass(frozen=True)
class Region:
    code: str
    """The learner's lines, without the indentation that they have in the file."""
    first_line: int
    """Line of the file, from 1, that the first line of `code` stands in."""
    indentation: int
    """Columns that every line of `code` is indented by in the file."""


def read_region(text: str) -> Region:
    lines = text.splitlines()
    begin, end = _marker_lines(lines)
    indentation = len(lines[begin]) - len(lines[begin].lstrip())
    inside = "\n".join(lines[begin + 1 : end])
    return Region(textwrap.dedent(inside).strip("\n"), begin + 2, indentation)


def replace_region(text: str, code: str) -> str:
    """The text with other code in its region, indented as the markers are."""
    lines = text.splitlines()
    begin, end = _marker_lines(lines)
    margin = lines[begin][: len(lines[begin]) - len(lines[begin].lstrip())]
    inside = textwrap.indent(textwrap.dedent(code).strip("\n"), margin).splitlines()
    return "\n".join([*lines[: begin + 1], *inside, *lines[end:]]) + "\n"


def _marker_lines(lines: list[str]) -> tuple[int, int]:
    begins = [number for number, line in enumerate(lines) if line.strip() == BEGIN]
    ends = [number for number, line in enumerate(lines) if line.strip() == END]
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        raise RegionError(
            _(
                "The file must have the line `{begin}` once and, after it, the line `{end}` once; "
                "it has them {begins} and {ends} times."
            ).format(begin=BEGIN, end=END, begins=len(begins), ends=len(ends))
        )
    return begins[0], ends[0]
