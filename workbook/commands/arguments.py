"""Arguments that several commands have."""

import argparse

from workbook.language import _


def puzzle_argument(parser: argparse.ArgumentParser) -> None:
    """The puzzle that a command is about."""
    parser.add_argument("puzzle", metavar=_("PUZZLE"), help=_("for example p17"))


def json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help=_("print one JSON object, for scripts"))
