"""`workbook check`: the check that the notebook makes."""

import argparse

from workbook.commands import exit_codes
from workbook.commands.arguments import json_option, puzzle_argument
from workbook.commands.exit_codes import BadUsage
from workbook.commands.terminal import print_json
from workbook.language import N_, _
from workbook.learner import progress
from workbook.puzzles import find_puzzle
from workbook.running.devices import default_device

SUMMARY = N_("check your file on all sizes")
NOTES = N_(
    """\
--json prints an object with these keys:
  puzzle, outcome   "passed", "failed", "not attempted" or "stopped"
  headline, details, remarks
                    what the verdict says: a sentence, and lists of sentences
  more              the errors after the first, each as a list of texts
  stage             what gave the verdict: "lint", "compiler", "driver", "check"; or null
  device, seed      what it ran on, and what the random data came from; or null
  seconds           of each stage that was run
  known_since       when it was run, if this is the answer to an earlier run; else null
  cases             for each case that was run: sizes, right, races, output, expected,
                    first_wrong (an index into the flattened output, or null),
                    changed_inputs, written_elsewhere, launches
  raw               the full text of the tool that refused the attempt, or ""
Numbers that JSON does not have are the texts "NaN", "Infinity" and "-Infinity"."""
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    puzzle_argument(parser)
    parser.add_argument("--seed", type=int, help=_("of the random data; runs the attempt again"))
    parser.add_argument("--device", choices=("gpu", "softgpu"), help=_("default: a GPU if one answers, else softgpu"))
    parser.add_argument("--solution", action="store_true", help=_("check the solution instead of your file"))
    json_option(parser)


def run(options: argparse.Namespace) -> int:
    puzzle = find_puzzle(options.puzzle)

    from workbook.check import NO_SEED
    from workbook.commands.attempt import Checker, print_result, print_ways_on, take_attempt, verdict_json

    if options.seed is not None and options.seed < 0:
        raise BadUsage(_(NO_SEED).format(seed=options.seed))
    op_text = puzzle.solution_file.read_text() if options.solution else take_attempt(puzzle)
    with Checker(puzzle, options.device or default_device()) as checker:
        verdict = checker.check(op_text, options.seed)
    if not options.solution:
        progress.record(puzzle, op_text, verdict)
    if options.json:
        print_json(verdict_json(verdict))
    else:
        print_result(verdict)
        print_ways_on(verdict)
    return exit_codes.OF_OUTCOME[verdict.outcome]
