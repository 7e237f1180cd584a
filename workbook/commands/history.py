"""`workbook history`: the versions of the learner's file, to look at and to bring back."""

import argparse
from datetime import datetime
from typing import Any

from workbook.commands import exit_codes
from workbook.commands.arguments import json_option, puzzle_argument
from workbook.commands.terminal import coloured, print_json, table
from workbook.language import N_, _
from workbook.learner import attempts
from workbook.learner.attempts import Version
from workbook.puzzles import Puzzle, find_puzzle
from workbook.verdict import SYMBOLS

SUMMARY = N_("list the versions of your file with their verdicts, show one, or bring one back")
NOTES = N_(
    """\
A version is kept whenever the file is checked or run, and before it is reset or restored.

--json prints an object with puzzle and versions, a list; with --show the list has that
version alone. Each has number, moment, outcome (null if it was not checked), headline,
checked (a time, or null), file, and code, what the region held. With --restore the object
has puzzle, restored, and kept, the version that the file held before (null if none)."""
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    puzzle_argument(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--show", type=int, metavar="N", help=_("print what the region held in version N"))
    what.add_argument("--restore", type=int, metavar="N", help=_("bring version N back; what the file holds is kept"))
    json_option(parser)


def run(options: argparse.Namespace) -> int:
    puzzle = find_puzzle(options.puzzle)
    if options.restore is not None:
        _restore(puzzle, options.restore, options.json)
    elif options.show is not None:
        version = attempts.find_version(puzzle, options.show)
        if options.json:
            print_json({"puzzle": puzzle.id, "versions": [_json(version)]})
        else:
            print(version.code)
    elif options.json:
        print_json({"puzzle": puzzle.id, "versions": list(map(_json, attempts.history(puzzle)))})
    else:
        _print(puzzle)
    return exit_codes.DONE


def _restore(puzzle: Puzzle, number: int, as_json: bool) -> None:
    kept = attempts.restore(puzzle, number)
    if as_json:
        print_json({"puzzle": puzzle.id, "restored": number, "kept": kept.number if kept else None})
        return
    text = _("{file} is version {number} again.").format(file=puzzle.problem_name, number=number)
    if kept is not None and kept.number != number:
        text += " " + _("What it held before is version {number}.").format(number=kept.number)
    print(text)


def _print(puzzle: Puzzle) -> None:
    versions = attempts.history(puzzle)
    if not versions:
        text = _("No version of {file} is kept yet: one is kept whenever it is checked or run.")
        print(text.format(file=puzzle.problem_name))
        return
    now = puzzle.problem_file.read_bytes() if puzzle.problem_file.is_file() else b""
    rows = [_row(version, version.path.read_bytes() == now) for version in versions]
    for line, version in zip(table(rows, right=(1,)), versions, strict=True):
        print((coloured(line[0], version.outcome) if version.outcome else line[0]) + line[1:])
    text = _("{show} prints a version, and {restore} brings it back. They are in {folder}.")
    names = {option: f"`workbook history {puzzle.id} --{option} N`" for option in ("show", "restore")}
    print("\n" + text.format(**names, folder=attempts.history_folder(puzzle)))


def _row(version: Version, is_current: bool) -> tuple[str, ...]:
    symbol = SYMBOLS[version.outcome] if version.outcome else "·"
    said = version.headline or _("not checked")
    if is_current:
        said = _("{text} (the file now)").format(text=said)
    return (symbol, str(version.number), _local(version.moment), _beginning(version.code), said)


def _beginning(code: str) -> str:
    """The first line, as far as there is room for it."""
    first, *others = code.strip().splitlines() or [""]
    return f"{first[:36]} …" if others or len(first) > 38 else first


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _json(version: Version) -> dict[str, Any]:
    return {
        "number": version.number,
        "moment": version.moment,
        "outcome": version.outcome,
        "headline": version.headline,
        "checked": version.checked,
        "file": str(version.path),
        "code": version.code,
    }
