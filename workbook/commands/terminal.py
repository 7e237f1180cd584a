"""Writing for people and for scripts: colours and a cleared screen where there is a terminal, JSON where it is asked
for."""

import json
import math
import os
import shutil
import sys
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, TextIO

from workbook.language import width, wrap
from workbook.verdict import FAILED, NOT_ATTEMPTED, PASSED, STOPPED

COLOURS = {PASSED: "32", FAILED: "31", NOT_ATTEMPTED: "34", STOPPED: "33"}
"""Of outcomes, as numbers of ECMA-48: green, red, blue, yellow."""


def coloured(text: str, outcome: str, stream: TextIO | None = None) -> str:
    """Text in the colour of an outcome, if it goes to a terminal. NO_COLOR (no-color.org) is honoured."""
    stream = stream or sys.stdout
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{COLOURS[outcome]}m{text}\x1b[0m"


def table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Lines with the cells of all rows below each other; the columns in `right` are aligned at their right side."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for number, cell in enumerate(row):
            space = " " * (widths[number] - width(cell))
            cells.append(space + cell if number in right else cell + space)
        lines.append("  ".join(cells).rstrip())
    return lines


def paragraph(text: str) -> str:
    """Text broken into lines that are easy to read, on a terminal; elsewhere as it is."""
    if not sys.stdout.isatty():
        return text
    return "\n".join(wrap(text, min(shutil.get_terminal_size().columns, 100)))


def clear_screen() -> None:
    """Begin at the top of an empty screen, if there is one."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        print("\x1b[H\x1b[2J", end="")


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def print_json(content: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(_representable(content), indent=2, allow_nan=False))


def _representable(value: Any) -> Any:
    """The same with times as ISO 8601, and with what JSON has no number for as text: "NaN", "Infinity", "-Infinity"."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _representable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_representable(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
