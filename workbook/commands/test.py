"""`workbook test`: lints, type checks and tests the workbook."""

import argparse
import subprocess
import sys

from workbook import rooms
from workbook.commands import exit_codes
from workbook.language import N_

SUMMARY = N_("lint, type check and test the workbook")
NOTES = N_("Further arguments go to pytest, as in `workbook test tests/test_cli.py -x`.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace) -> int:
    steps = (
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy", "workbook", "softgpu"],
        ["pytest", *options.passed_on],
    )
    for step in steps:
        print(f"── {' '.join(step)}", flush=True)
        if subprocess.call([sys.executable, "-m", *step], cwd=rooms.ROOT) != 0:
            return exit_codes.WRONG
    return exit_codes.DONE
