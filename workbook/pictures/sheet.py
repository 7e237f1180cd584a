"""A sheet to draw cells in columns on: what the pictures of launches share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from workbook.language import pgettext, width


@dataclass(frozen=True, slots=True)
class Look:
    """How a kind of cell is drawn. No two differ in colour alone: each has its word, and some a hatch."""

    word: str
    fill: str
    edge: str
    hatch: str = ""


RIGHT_INK = "#0b6e4f"
INK, MUTED, PANEL, EDGE_COLOUR = "#111827", "#4b5563", "#f5f6f8", "#6b7280"

COLUMN_INCHES = 0.345
LEFT, RIGHT_MARGIN = 3.3, 0.6  # in columns

WRONG = Look("wrong output", "#ffe3dc", "#c81e1e")


class Sheet:
    """A drawing in units of one column, y downwards from the `y` that the next row gets."""

    def __init__(self, columns: Sequence[int]):
        self.columns = columns
        self.x = _positions(columns)
        self.width = max(self.x.values(), default=0) + 1
        self.y = 0.0
        self._figure = Figure(facecolor="white")
        self._axes: Axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()

    def finish(self) -> Figure:
        across, down = LEFT + self.width + RIGHT_MARGIN, self.y + 0.4
        self._figure.set_size_inches(across * COLUMN_INCHES, down * COLUMN_INCHES)
        self._axes.set_xlim(-LEFT, self.width + RIGHT_MARGIN)
        self._axes.set_ylim(down, 0)
        return self._figure

    def text(self, x: float, y: float, text: str, size: float = 7.5, colour: str = INK, **style: Any) -> None:
        style = {"ha": "center", "va": "center", "fontfamily": font_families(), **style}
        self._axes.text(x, y, text, fontsize=size, color=colour, **style)

    def label(self, text: str, y: float, **style: Any) -> None:
        """The name of a row."""
        self.text(-0.35, y, text, **{"colour": MUTED, "ha": "right", **style})

    def in_column(self, column: int, y: float, text: str, size: float, colour: str = INK, **style: Any) -> None:
        if column in self.x:
            # Long texts are set smaller, so that they stay in their column.
            size = min(size, size * 5.2 / max(width(text), 1))
            self.text(self.x[column] + 0.5, y, text, size, colour, **style)

    def cell(self, column: int, y: float, height: float, look: Look, width: float = 0.8, kind: str = "") -> None:
        if column in self.x:
            self.box(self.x[column] + 0.03, y, 0.94, height, look, width, kind)

    def box(
        self,
        x: float,
        y: float,
        across: float,
        down: float,
        look: Look,
        width: float = 0.8,
        kind: str = "",
        dashed: bool = False,
        alpha: float = 1,
    ) -> None:
        """A rectangle; `kind` tells what it stands for to whoever looks through the figure's patches."""
        self._axes.add_patch(
            Rectangle(
                (x, y),
                across,
                down,
                facecolor=look.fill,
                edgecolor=look.edge,
                linewidth=width,
                hatch=look.hatch,
                hatch_linewidth=0.5,
                linestyle=(0, (4, 3)) if dashed else "solid",
                gid=kind or look.word,
                alpha=alpha,
            )
        )

    def panel(self, top: float, bottom: float) -> None:
        self._axes.add_patch(
            Rectangle((-LEFT + 0.3, top), LEFT + self.width, bottom - top, facecolor=PANEL, edgecolor="none", zorder=0)
        )

    def line(self, start: float, end: float, y: float, **style: Any) -> None:
        self._axes.plot([start, end], [y, y], **style)

    def upright(self, x: float, top: float, bottom: float, **style: Any) -> None:
        self._axes.plot([x, x], [top, bottom], **style)

    def rule(self, x: float, top: float, bottom: float) -> None:
        self.upright(x, top, bottom, color=EDGE_COLOUR, linewidth=1, linestyle=(0, (1, 2)), zorder=0.5)

    def span(self, columns: Iterable[int]) -> tuple[float, float] | None:
        """From where to where those of the columns reach that are drawn."""
        drawn = [self.x[column] for column in columns if column in self.x]
        return (min(drawn), max(drawn) + 1) if drawn else None

    def mark_gaps(self, row: range, y: float) -> None:
        """Dots where columns of a row are left out."""
        for column, following in pairwise(self.columns):
            if following > column + 1 and column in row and column + 1 in row:
                self.text(self.x[column] + 1.5, y, "⋯", 9, MUTED)


def _positions(columns: Sequence[int]) -> dict[int, float]:
    """Where each column stands: side by side, with one column of space where some are left out."""
    positions: dict[int, float] = {}
    x = 0.0
    for number, column in enumerate(columns):
        if number and column > columns[number - 1] + 1:
            x += 1
        positions[column] = x
        x += 1
    return positions


@cache
def font_families() -> list[str]:
    """The faces of texts: matplotlib's own, and for letters that it does not have, those of the package that the
    catalogue names."""
    package = pgettext("the Python package with a font that has this language's letters", "matplotlib")
    if package == "matplotlib":
        return ["sans-serif"]
    spec = find_spec(package)  # an import might change the settings of all figures
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No package {package!r} is installed, whose fonts figures in this language need.")
    files = sorted(Path(spec.submodule_search_locations[0]).rglob("*.[to]tf"))
    for file in files:
        font_manager.fontManager.addfont(file)
    families = {font_manager.FontProperties(fname=file).get_name() for file in files}
    return ["sans-serif", *sorted(families)]


def short(value: float) -> str:
    """A value in at most six characters where possible."""
    if math.isnan(value):
        return "NaN"
    if abs(value) < 10000 and value == round(value):
        return f"{value:.0f}"
    if 0.005 <= abs(value) < 1000:
        return f"{value:.{2 if abs(value) < 10 else 1}f}"
    return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")
