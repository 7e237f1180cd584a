"""`workbook reveal`: the solution, why it is so, and how the learner's code differs from it."""

import argparse
import sys
import textwrap

from workbook.commands import exit_codes
from workbook.commands.arguments import json_option, puzzle_argument
from workbook.commands.terminal import coloured, is_interactive, paragraph, print_json
from workbook.language import N_, _
from workbook.learner import help as help_
from workbook.puzzles import Puzzle, find_puzzle
from workbook.verdict import FAILED, PASSED

SUMMARY = N_("show the solution, and how your code differs from it")
NOTES = N_(
    """\
If you have not tried yet, it asks first; without a terminal to ask on it shows nothing,
and the exit status is 3.

--json prints an object with these keys: puzzle, solution, explanation; attempt, what your
region holds, or null; has_passed, whether that has passed; diff, a list of lines."""
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    puzzle_argument(parser)
    parser.add_argument("--yes", action="store_true", help=_("do not ask"))
    json_option(parser)


def run(options: argparse.Namespace) -> int:
    puzzle = find_puzzle(options.puzzle)
    if not options.yes and not help_.has_attempted(puzzle) and not _wanted(puzzle):
        return exit_codes.NOTHING_TRIED
    solution = help_.reveal(puzzle)
    if options.json:
        print_json(
            {
                "puzzle": puzzle.id,
                "solution": solution.code,
                "explanation": solution.explanation.strip(),
                "attempt": solution.attempt,
                "has_passed": solution.has_passed,
                "diff": [str(line) for line in solution.diff],
            }
        )
    else:
        _print(solution)
    return exit_codes.DONE


def _wanted(puzzle: Puzzle) -> bool:
    """Whether somebody who has not tried yet wants to see the solution all the same."""
    text = _("You have not tried {puzzle} yet: the solution is worth more after an attempt.").format(puzzle=puzzle.id)
    if not is_interactive():
        insist = _("To see it all the same: {command}").format(command=f"workbook reveal {puzzle.id} --yes")
        print(text, insist, file=sys.stderr)
        return False
    print(text, _("There are also hints: {command}").format(command=f"workbook hint {puzzle.id}"))
    try:
        answer = input(_("Show the solution all the same? [y/N] "))
    except EOFError:
        print()
        return False
    return answer.strip().lower() in ("y", "yes", *_("y yes").split())


def _print(solution: help_.Solution) -> None:
    print(_("A solution") + ":\n")
    print(textwrap.indent(solution.code, "    ") + "\n")
    print("\n\n".join(map(paragraph, solution.explanation.strip().split("\n\n"))))
    if solution.remark:
        print("\n" + solution.remark)
    if solution.diff:
        print()
    for line in solution.diff:
        text = f"    {line}"
        print({"-": coloured(text, FAILED), "+": coloured(text, PASSED)}.get(line.sign, text))
