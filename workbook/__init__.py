"""An interactive workbook to learn launching GPU kernels with MAX and Mojo, with or without a GPU."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbook.laboratory.notebook import Laboratory
    from workbook.notebook.puzzle import NotebookPuzzle


def open_puzzle(id: str) -> "NotebookPuzzle":
    """Open a puzzle in a notebook: `p = workbook.open_puzzle("p17")`."""
    from workbook.notebook.puzzle import open_puzzle as open_in_notebook  # only notebooks need what it imports

    return open_in_notebook(id)


def open_laboratory() -> "Laboratory":
    """Open the experiments of the notebook "Understanding custom ops"."""
    from workbook.laboratory.notebook import open_laboratory as open_in_notebook

    return open_in_notebook()
