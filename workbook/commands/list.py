"""`workbook list`: the puzzles, and how far the learner has come."""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from workbook.commands import exit_codes
from workbook.commands.arguments import json_option
from workbook.commands.terminal import coloured, print_json, table
from workbook.language import N_, _
from workbook.learner import progress
from workbook.learner.progress import PuzzleProgress
from workbook.puzzles import Puzzle, all_puzzles
from workbook.verdict import FAILED, PASSED, WORDS

SUMMARY = N_("list the puzzles, and how far you have come")
NOTES = N_(
    """\
--json prints an object with `puzzles`, a list. Each has these keys:
  puzzle, title, notebook, file
  outcome           of the last attempt: "passed", "failed" or "not attempted"
  solved            whether any attempt has passed
  attempts, hints   how many versions were checked, and how many hints shown
  hints_there_are
  first_passed, last_attempt, revealed
                    times, or null"""
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)


def run(options: argparse.Namespace) -> int:
    for notice in progress.notices():  # of earlier times: what is set aside now, `read` tells itself
        print(notice, file=sys.stderr)
    puzzles, known = all_puzzles(), progress.read()
    if options.json:
        print_json({"puzzles": [_json(puzzle, known[id]) for id, puzzle in puzzles.items()]})
    else:
        _print(puzzles, known)
    return exit_codes.DONE


def _print(puzzles: Mapping[str, Puzzle], known: Mapping[str, PuzzleProgress]) -> None:
    headings: tuple[str, ...] = ("", _("puzzle"), "", "", _("attempts"), _("hints"))
    rows = [headings, *(_row(puzzle, known[id]) for id, puzzle in puzzles.items())]
    heading, *lines = table(rows, right=(4, 5))
    print(heading)
    for line, of_puzzle in zip(lines, known.values(), strict=True):
        print(coloured(line[0], _outcome(of_puzzle)) + line[1:])
    following = next((puzzle for puzzle in puzzles.values() if not known[puzzle.id].is_solved), None)
    if following is None:
        print("\n" + _("You have solved all of them."))
    else:
        text = _("Next is {puzzle}: its file is {file}, its notebook {notebook}.")
        print("\n" + text.format(puzzle=following.id, file=following.problem_name, notebook=following.notebook))


def _row(puzzle: Puzzle, done: PuzzleProgress) -> tuple[str, ...]:
    state = _(WORDS[_outcome(done)])
    if done.is_solved and done.outcome == FAILED:
        state = _("passed (the last attempt failed)")
    return (done.symbol, puzzle.id, _(puzzle.title), state, str(done.attempts), f"{done.hints}/{len(puzzle.hints)}")


def _outcome(done: PuzzleProgress) -> str:
    return PASSED if done.is_solved else done.outcome


def _json(puzzle: Puzzle, done: PuzzleProgress) -> dict[str, Any]:
    return {
        "puzzle": puzzle.id,
        "title": _(puzzle.title),
        "notebook": puzzle.notebook,
        "file": puzzle.problem_name,
        "outcome": done.outcome,
        "solved": done.is_solved,
        "attempts": done.attempts,
        "hints": done.hints,
        "hints_there_are": len(puzzle.hints),
        "first_passed": done.first_passed,
        "last_attempt": done.last_attempt,
        "revealed": done.revealed,
    }
