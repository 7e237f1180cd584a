"""Opening a puzzle in a notebook, and the cell magic `%%fill`."""

from IPython.core.getipython import get_ipython
from IPython.display import HTML, display

from workbook.language import _
from workbook.notebook.puzzle import NotebookPuzzle
from workbook.notebook.rendering import message_html
from workbook.puzzles import Puzzle, UnknownPuzzle, find_puzzle
from workbook.verdict import FAILED

_open: dict[str, NotebookPuzzle] = {}


def open_puzzle(id: str) -> NotebookPuzzle:
    """The puzzle of a notebook, its worker starting. Also makes the cell magic `%%fill` known."""
    if id not in _open:
        _open[id] = _make_puzzle(find_puzzle(id))
        _open[id].warm()
    shell = get_ipython()
    if shell is not None:
        shell.register_magic_function(_fill_magic, "cell", "fill")  # type: ignore[arg-type]  # its stub is wrong
    return _open[id]


def _make_puzzle(puzzle: Puzzle) -> NotebookPuzzle:
    if puzzle.fills == "torch":
        from workbook.pytorch.notebook import TorchPuzzle  # nobody else is to wait for what it imports

        return TorchPuzzle(puzzle)
    return NotebookPuzzle(puzzle)


def _fill_magic(line: str, cell: str) -> None:
    """`%%fill p17`: the rest of the cell goes into problems/p17/op.mojo, and is checked."""
    try:
        puzzle = open_puzzle(line.strip())
    except UnknownPuzzle as error:
        text = _("The first line of the cell must name the puzzle, as in `%%fill p17`. {problem}").format(problem=error)
        display(HTML(message_html(text, FAILED)))
        return
    puzzle.fill(cell)
