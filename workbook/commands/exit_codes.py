"""What the command's exit status says; the same for all commands, and told by `workbook --help`.

An interrupt (Ctrl-C) ends the process with the signal itself, which a shell shows as 130.
"""

from workbook.language import N_
from workbook.verdict import FAILED, NOT_ATTEMPTED, PASSED, STOPPED

DONE, WRONG, BAD_USAGE, NOTHING_TRIED, GIVEN_UP = range(5)

OF_OUTCOME = {PASSED: DONE, FAILED: WRONG, NOT_ATTEMPTED: NOTHING_TRIED, STOPPED: GIVEN_UP}

MEANINGS = {
    DONE: N_("done; of an attempt: it passed"),
    WRONG: N_("the attempt failed; of `doctor` and `test`: something is not as it should be"),
    BAD_USAGE: N_("the command cannot be carried out as it was given"),
    NOTHING_TRIED: N_("the puzzle has not been attempted"),
    GIVEN_UP: N_("stopped before there was a verdict, for a reason that is told"),
    130: N_("interrupted with Ctrl-C"),
}


class BadUsage(Exception):
    """The command cannot be carried out as it was given; the message says why."""
