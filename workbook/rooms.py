"""Where things live. The folder listing of the project is the map; this names its rooms."""

import os
from pathlib import Path

ROOT = Path(os.environ.get("WORKBOOK_ROOT") or Path(__file__).resolve().parent.parent)
"""The checkout. `WORKBOOK_ROOT` names another folder with the same rooms."""

PUZZLES_FILE = ROOT / "puzzles.toml"
KERNELS = ROOT / "kernels"
EXPERIMENTS = ROOT / "experiments"
PROBLEMS = ROOT / "problems"
SOLUTIONS = ROOT / "solutions"
NOTEBOOKS = ROOT / "notebooks"

STATE = ROOT / ".workbook"
"""What the workbook keeps of its own, and git ignores: the history of attempts, and compiled packages."""
HISTORY = STATE / "history"
BUILD = STATE / "build"
ANSWERS = STATE / "answers"
DURATIONS = STATE / "durations.jsonl"
PROGRESS = STATE / "progress.toml"
LOCK = STATE / "lock"
