"""An interactive workbook to learn launching GPU kernels with MAX and Mojo, with or without a GPU."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.display import HTML

    from workbook.laboratory.notebook import Laboratory
    from workbook.notebook.puzzle import NotebookPuzzle


def open_puzzle(id: str) -> "NotebookPuzzle":
    """Open a puzzle in a notebook: `p = workbook.open_puzzle("p17")`."""
    from workbook.notebook.opening import open_puzzle as open_in_notebook  # only notebooks need what it imports

    return open_in_notebook(id)


def open_laboratory() -> "Laboratory":
    """Open the experiments of the notebook "Understanding custom ops"."""
    from workbook.laboratory.notebook import open_laboratory as open_in_notebook

    return open_in_notebook()


def machine() -> None:
    """Open the device that attempts run on, and say what it is."""
    from workbook.notebook.start import show_machine

    show_machine()


def overview() -> "HTML":
    """All puzzles, with links to their notebooks and how far the learner has come."""
    from IPython.display import HTML

    from workbook.notebook.start import overview_html

    return HTML(overview_html())
