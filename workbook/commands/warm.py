"""`workbook warm`: runs the solutions ahead."""

import argparse
import sys
from dataclasses import asdict

from workbook.commands import exit_codes
from workbook.commands.arguments import json_option
from workbook.commands.terminal import print_json
from workbook.language import N_, _
from workbook.puzzles import Puzzle, all_puzzles, find_puzzle
from workbook.running.devices import default_device

SUMMARY = N_("run the solutions ahead, so that the first attempt waits for less")
NOTES = N_(
    """\
For a classroom: run it once on each machine. What is known already is not run again.

--json prints an object with one key, puzzles: a list in which each has puzzle, seconds,
was_known, and problem, which says why there is no answer, or is ""."""
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("puzzles", nargs="*", metavar=_("PUZZLE"), help=_("default: all of them"))
    parser.add_argument("--device", choices=("gpu", "softgpu"), help=_("default: a GPU if one answers, else softgpu"))
    json_option(parser)


def run(options: argparse.Namespace) -> int:
    named = [find_puzzle(id) for id in options.puzzles]

    from workbook.commands.attempt import ProgressLine
    from workbook.pytorch import calls
    from workbook.running.devices import devices_for_check
    from workbook.running.durations import Estimate
    from workbook.warm import warm

    kind = options.device or default_device()
    puzzles = named or list(all_puzzles().values())
    if not named and calls.missing():
        for puzzle in [one for one in puzzles if one.fills == "torch"]:
            text = _("{puzzle}: left out, since PyTorch is not installed.")
            print(text.format(puzzle=puzzle.id), file=sys.stderr if options.json else sys.stdout)
            puzzles.remove(puzzle)
    shown: dict[str, ProgressLine] = {}

    def on_progress(puzzle: Puzzle, stage: str) -> None:
        if puzzle.id not in shown:
            estimate = Estimate(puzzle, devices_for_check(kind, puzzle.also_on_cpu))
            shown[puzzle.id] = ProgressLine(estimate, title=puzzle.id)
        shown[puzzle.id](stage)

    done = warm(puzzles, on_progress, kind)
    for progress in shown.values():
        progress.end()
    if options.json:
        print_json({"puzzles": [asdict(warmed) for warmed in done]})
    for warmed in () if options.json else done:
        if warmed.problem:
            print(f"{warmed.puzzle}: {warmed.problem}")
        elif warmed.was_known:
            print(_("{puzzle}: was known already.").format(puzzle=warmed.puzzle))
        else:
            print(_("{puzzle}: done in {seconds:.0f} s.").format(puzzle=warmed.puzzle, seconds=warmed.seconds))
    return exit_codes.WRONG if any(warmed.problem for warmed in done) else exit_codes.DONE
