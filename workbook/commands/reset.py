"""`workbook reset`: the problem as it was handed out."""

import argparse

from workbook import rooms
from workbook.commands import exit_codes
from workbook.commands.arguments import json_option, puzzle_argument
from workbook.commands.terminal import print_json
from workbook.language import N_, _
from workbook.learner import attempts
from workbook.puzzles import find_puzzle

SUMMARY = N_("empty a puzzle's region again; your version is kept in the history")
NOTES = N_(
    """\
It also repairs a file whose marks are damaged, and brings back one that is gone.

--json prints an object with these keys: puzzle, file, and kept, which has the number
and the path of the version that was kept; or null, if the file was as it is now."""
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    puzzle_argument(parser)
    json_option(parser)


def run(options: argparse.Namespace) -> int:
    puzzle = find_puzzle(options.puzzle)
    kept = attempts.reset(puzzle)
    if kept is not None and kept.path.read_bytes() == puzzle.problem_file.read_bytes():
        kept = None  # it was as it was at first
    if options.json:
        version = {"number": kept.number, "path": str(kept.path.relative_to(rooms.ROOT))} if kept else None
        print_json({"puzzle": puzzle.id, "file": puzzle.problem_name, "kept": version})
        return exit_codes.DONE
    print(_("{file} is as it was at first.").format(file=puzzle.problem_name))
    if kept is not None:
        text = _("What it held is version {number}, kept in {file}. To bring it back: {command}")
        command = f"workbook history {puzzle.id} --restore {kept.number}"
        print(text.format(number=kept.number, file=kept.path.relative_to(rooms.ROOT), command=command))
    return exit_codes.DONE
