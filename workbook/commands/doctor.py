"""`workbook doctor`: what this machine has, and what to do about what is missing."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from workbook.commands import exit_codes
from workbook.commands.arguments import json_option
from workbook.commands.terminal import coloured, print_json
from workbook.language import N_, _, ngettext
from workbook.verdict import FAILED, PASSED, STOPPED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbook.doctor.machine import Finding

SUMMARY = N_("look at this machine, and say what to do about what is missing")
NOTES = N_(
    """\
✓ is as it should be, ! is worth knowing, ✗ keeps the workbook from being used.
The exit status is 1 if there is an ✗.

--json prints an object with usable, true or false, and findings, a list. Each has
name, state ("good", "note" or "bad"), what, and advice, which may be empty."""
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--translations", action="store_true", help=_("what is still to be translated, instead"))
    json_option(parser)


def run(options: argparse.Namespace) -> int:
    if options.translations:
        return _translations()

    from workbook.doctor.examination import examine
    from workbook.doctor.machine import BAD

    findings = examine()
    usable = all(finding.state != BAD for finding in findings)
    if options.json:
        print_json({"usable": usable, "findings": [vars(finding) for finding in findings]})
    else:
        _print(findings)
    return exit_codes.DONE if usable else exit_codes.WRONG


def _print(findings: Sequence[Finding]) -> None:
    from workbook.doctor.machine import BAD, GOOD, GROUPS, NOTE, SYMBOLS

    colours = {GOOD: PASSED, NOTE: STOPPED, BAD: FAILED}
    for group, title in GROUPS.items():
        of_group = [finding for finding in findings if finding.name.split(".")[0] == group]
        if of_group:
            print(_(title))
        for finding in of_group:
            print(f"  {coloured(SYMBOLS[finding.state], colours[finding.state])} {finding.what}")
            if finding.advice:
                print(f"      {finding.advice}")
    bad = sum(finding.state == BAD for finding in findings)
    if bad:
        text = ngettext(
            "The workbook cannot be used here yet: {count} thing is missing, marked ✗.",
            "The workbook cannot be used here yet: {count} things are missing, marked ✗.",
            bad,
        )
        print("\n" + text.format(count=bad))
    else:
        print("\n" + _("The workbook can be used here."))


def _translations() -> int:
    from workbook.translations import problems

    found = problems()
    print(*found or [_("All translations are complete and up to date.")], sep="\n")
    return exit_codes.WRONG if found else exit_codes.DONE
