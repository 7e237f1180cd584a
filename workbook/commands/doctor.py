"""`workbook doctor`: what this machine has, and what to do about what is missing."""

import argparse

from workbook.commands import exit_codes
from workbook.language import N_, _

SUMMARY = N_("look at this machine, and say what to do about what is missing")
NOTES = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--translations", action="store_true", help=_("what is still to be translated, instead"))


def run(options: argparse.Namespace) -> int:
    return _translations()


def _translations() -> int:
    from workbook.translations import problems

    found = problems()
    print(*found or [_("All translations are complete and up to date.")], sep="\n")
    return exit_codes.WRONG if found else exit_codes.DONE
