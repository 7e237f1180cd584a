"""`workbook hint`: the next hint."""

import argparse
import sys

from workbook.commands import exit_codes
from workbook.commands.arguments import json_option, puzzle_argument
from workbook.commands.terminal import paragraph, print_json
from workbook.language import N_, _
from workbook.learner.help import all_hints, next_hint
from workbook.puzzles import find_puzzle

SUMMARY = N_("show the next hint")
NOTES = N_(
    """\
--json prints an object with these keys: puzzle, count, and hints, a list of those that
are shown now; each has number and text."""
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    puzzle_argument(parser)
    parser.add_argument("--all", action="store_true", help=_("show all hints"))
    json_option(parser)


def run(options: argparse.Namespace) -> int:
    puzzle = find_puzzle(options.puzzle)
    count = len(puzzle.hints)
    if options.all:
        hints = all_hints(puzzle)
    else:
        hint = next_hint(puzzle)
        hints = (hint,) if hint is not None else ()

    if options.json:
        shown = [{"number": hint.number, "text": hint.text} for hint in hints]
        print_json({"puzzle": puzzle.id, "count": count, "hints": shown})
        return exit_codes.DONE
    for hint in hints:
        title = _("Hint {number} of {count}").format(number=hint.number, count=count)
        print(paragraph(f"{title}: {hint.text}"))
    if not hints:
        text = _("You have seen all {count} hints. `{all}` shows them again, and `{reveal}` the solution.")
        print(
            paragraph(
                text.format(count=count, all=f"workbook hint {puzzle.id} --all", reveal=f"workbook reveal {puzzle.id}")
            )
        )
    elif hints[-1].number < count:
        print(_("For the next one: {command}").format(command=f"workbook hint {puzzle.id}"), file=sys.stderr)
    return exit_codes.DONE
