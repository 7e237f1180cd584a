"""`workbook reset`: the problem as it was handed out."""

import argparse

from workbook import attempts
from workbook.commands import exit_codes
from workbook.commands.arguments import puzzle_argument
from workbook.language import N_, _
from workbook.puzzles import find_puzzle

SUMMARY = N_("empty a puzzle's region again; your version is kept in the history")
NOTES = N_("`workbook history p17 --restore N` brings a version back.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    puzzle_argument(parser)


def run(options: argparse.Namespace) -> int:
    puzzle = find_puzzle(options.puzzle)
    attempts.reset(puzzle)
    text = _("{file} is as it was at first. Your versions are in {folder}.")
    print(text.format(file=puzzle.problem_name, folder=attempts.history_folder(puzzle)))
    return exit_codes.DONE
