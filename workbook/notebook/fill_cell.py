"""The fill-in cell and the learner's file are one. Where both were changed, both are kept."""

from IPython.core.getipython import get_ipython

from workbook import rooms
from workbook.language import _
from workbook.learner import attempts
from workbook.lint.launch import is_attempted
from workbook.puzzles import Puzzle
from workbook.region import RegionError, first_line_in_cell, read_region, replace_region


class FillCell:
    """What a notebook knows of the code in its fill-in cell, and of that in the file."""

    def __init__(self, puzzle: Puzzle):
        self.puzzle = puzzle
        self._put = ""
        """What this notebook put into the file last."""
        self._asked: tuple[str, str] | None = None
        """The code of the cell and that of the file, where the learner was told to decide between them."""

    def run(self, code: str) -> tuple[bool, str]:
        """Bring cell and file together: whether the file is to be checked then, and what to say; perhaps nothing.

        Raises RegionError and OSError where the file is damaged or gone.
        """
        name = self.puzzle.problem_name
        text = attempts.read_problem(self.puzzle)
        in_file = read_region(text).code
        if not is_attempted(code):
            if not is_attempted(in_file):
                return True, ""
            self._bring(in_file)
            return True, _("This cell was empty: it has the code of {file} now.").format(file=name)

        in_cell = _as_in_file(text, code)
        if is_attempted(in_file) and in_file not in (in_cell, self._put):
            if in_cell in _versions(self.puzzle) and self._asked != (in_cell, in_file):
                self._asked = (in_cell, in_file)
                told = _(
                    "{file} was changed after this cell was last run, so the file was checked and the cell left out. "
                    "To put the cell's code into the file, run the cell once more. To have the file's code here, "
                    "replace the cell's with a `#` and run the cell."
                )
                return True, told.format(file=name)
            attempts.write_attempt(self.puzzle, code)
            told = _("{file} had been changed elsewhere. It has this cell's code now; the other is kept in {kept}.")
            told = told.format(file=name, kept=_versions(self.puzzle)[in_file])
        else:
            attempts.write_attempt(self.puzzle, code)
            told = ""
        self._put, self._asked = attempts.read_attempt(self.puzzle), None
        return True, told

    def first_line(self, code: str) -> int | None:
        """The line of the cell that its code begins in, as JupyterLab counts; None where the file has other code."""
        text = attempts.read_problem(self.puzzle)
        is_in_file = is_attempted(code) and _as_in_file(text, code) == read_region(text).code
        return first_line_in_cell(code) if is_in_file else None

    def _bring(self, code: str) -> None:
        """Put code into the cell that runs."""
        shell = get_ipython()
        if shell is not None:
            shell.set_next_input(f"%%fill {self.puzzle.id}\n{code}", replace=True)
        self._put = code


def _as_in_file(text: str, code: str) -> str:
    """The code as the file would have it."""
    try:
        return read_region(replace_region(text, read_region(code).code)).code  # it came with the markers
    except RegionError:
        return read_region(replace_region(text, code)).code


def _versions(puzzle: Puzzle) -> dict[str, str]:
    """The code of all versions in the history, and where each is kept, as seen from the checkout."""
    found = {}
    for version in attempts.history(puzzle):
        try:
            found[read_region(version.read_text()).code] = str(version.path.relative_to(rooms.ROOT))
        except RegionError:
            continue  # a version that is damaged is nobody's code
    return found
