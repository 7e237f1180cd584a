"""`workbook watch`: checks the learner's file whenever it is saved."""

import argparse
import time
from collections.abc import Callable
from threading import Event

from workbook.commands.arguments import puzzle_argument
from workbook.commands.terminal import clear_screen
from workbook.language import N_, _
from workbook.learner import attempts, progress
from workbook.learner.watch import Saved, watch
from workbook.puzzles import find_puzzle
from workbook.running.devices import default_device

SUMMARY = N_("check your file whenever you save it, until Ctrl-C")
NOTES = N_("Edit the file anywhere. A check that is not finished when you save again is given up for the new one.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    puzzle_argument(parser)
    parser.add_argument("--device", choices=("gpu", "softgpu"), help=_("default: a GPU if one answers, else softgpu"))


def run(options: argparse.Namespace) -> int:
    puzzle = find_puzzle(options.puzzle)

    from workbook.commands.attempt import Checker, print_result, print_ways_on

    with Checker(puzzle, options.device or default_device()) as checker:

        def on_change(saved: Saved, go_on: Callable[[], None]) -> None:
            clear_screen()
            print(f"── {puzzle.problem_name} {time.strftime('%H:%M:%S')} ──", flush=True)
            if saved.problem:
                print(saved.problem)
            else:
                attempts.remember(puzzle, saved.text)
                verdict = checker.check(saved.text, go_on=go_on)
                progress.record(puzzle, saved.text, verdict)
                print_result(verdict)
                print_ways_on(verdict)
            text = _("Waiting for you to save {file}. Ctrl-C ends this.")
            print("\n" + text.format(file=puzzle.problem_name), flush=True)

        watch(puzzle, on_change, Event())
    raise AssertionError  # only an interrupt ends it
