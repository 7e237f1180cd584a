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
    inside = textwrap.dedent("\n".join(lines[begin + 1 : end]))
    return Region(inside.strip("\n"), begin + 2 + _blank_lines(inside), indentation)


def first_line_in_cell(cell: str) -> int:
    """The line of a `%%fill` cell, as JupyterLab counts them, that its code begins in; `cell` is what follows the line
    with the magic, which is the first."""
    is_copied_with_markers = BEGIN in cell and END in cell
    return 1 + read_region(cell).first_line if is_copied_with_markers else 2 + _blank_lines(textwrap.dedent(cell))


def _blank_lines(text: str) -> int:
    """How many there are at the beginning."""
    return len(text) - len(text.lstrip("\n"))


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
