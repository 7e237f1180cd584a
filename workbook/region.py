"""The marked region of a puzzle's file: the lines that the learner fills in."""

import os
from dataclasses import dataclass

from workbook.language import _

BEGIN = "# >>> your code"
END = "# <<< your code"


class RegionError(ValueError):
    """The file's markers are not as they must be; the message says what is wrong."""


@dataclass(frozen=True)
class Region:
    code: str
    """The learner's lines, without the indentation that all of them have in the file."""
    first_line: int
    """Line of the file, from 1, that the first line of `code` stands in."""
    indentation: int
    """Columns that are left out of every line of `code`."""

    @property
    def lines(self) -> list[str]:
        return self.code.split("\n") if self.code else []


def read_region(text: str) -> Region:
    lines = text.split("\n")  # as Mojo and editors count them; `splitlines` also breaks at rarer characters
    begin, end = _marker_lines(lines)
    inside = lines[begin + 1 : end]
    code = _without_margin(inside)
    return Region(code.strip("\n"), begin + 2 + _blank_lines(code), len(_margin(inside)))


def first_line_in_cell(cell: str) -> int:
    """The line of a `%%fill` cell, as JupyterLab counts them, that its code begins in; `cell` is what follows the line
    with the magic, which is the first."""
    if BEGIN in cell and END in cell:  # it was copied with the markers
        return 1 + read_region(cell).first_line
    return 2 + _blank_lines(_without_margin(cell.split("\n")))


def _blank_lines(text: str) -> int:
    """How many there are at the beginning."""
    return len(text) - len(text.lstrip("\n"))


def replace_region(text: str, code: str) -> str:
    """The text with other code in its region, indented as the markers are."""
    lines = text.split("\n")
    begin, end = _marker_lines(lines)
    margin = _white_space_before(lines[begin])
    inside = _without_margin(code.split("\n")).strip("\n")
    indented = [margin + line if line else "" for line in inside.split("\n")] if inside else []
    return "\n".join([*lines[: begin + 1], *indented, *lines[end:]])


def _without_margin(lines: list[str]) -> str:
    """The lines as one text, without the white space that they have in common."""
    margin = _margin(lines)
    return "\n".join(line.removeprefix(margin) if line.strip() else "" for line in lines)


def _margin(lines: list[str]) -> str:
    """The white space that all lines begin with. A comment counts only among comments: it may begin in any column."""
    written = [line for line in lines if line.strip()]
    code = [line for line in written if not line.lstrip().startswith("#")]
    return os.path.commonprefix([_white_space_before(line) for line in code or written])  # noqa: RUF071 - of letters


def _white_space_before(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


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
