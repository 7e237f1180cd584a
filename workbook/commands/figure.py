"""`workbook figure`: what the learner's launches did, as a picture or as a page."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from workbook.commands import exit_codes
from workbook.commands.arguments import json_option, puzzle_argument
from workbook.commands.exit_codes import BadUsage
from workbook.commands.terminal import print_json
from workbook.language import N_, _, listed
from workbook.learner import progress
from workbook.puzzles import Puzzle, find_puzzle

if TYPE_CHECKING:
    from workbook.verdict import Verdict

SUMMARY = N_("draw what your launches did: a picture, or a page for any browser")
NOTES = N_(
    """\
The attempt is checked on the software GPU, which records what every thread does.
It is drawn whether it passes or not.

  workbook figure p17 -o attempt.png
  workbook figure p17 --html attempt.html     to step through it, without Jupyter

--json prints an object with these keys: puzzle, outcome, headline, and files, a list."""
)
FORMATS = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    puzzle_argument(parser)
    parser.add_argument("-o", dest="picture", type=Path, metavar=_("FILE"), help=_("the picture: a png, svg or pdf"))
    parser.add_argument("--html", type=Path, metavar=_("FILE"), help=_("the page"))
    parser.add_argument(
        "--case", type=int, metavar="N", help=_("the case to draw, from 0; default: the one that has most to tell")
    )
    parser.add_argument("--block", type=int, metavar="N", help=_("the block to draw, from 0; default: several"))
    json_option(parser)


def run(options: argparse.Namespace) -> int:
    puzzle = find_puzzle(options.puzzle)
    _look_at_arguments(options, puzzle)

    from workbook.commands.attempt import Checker, print_verdict, take_attempt
    from workbook.verdict import launched_cases

    op_text = take_attempt(puzzle)
    with Checker(puzzle, "softgpu") as checker:
        verdict = checker.check(op_text)
    progress.record(puzzle, op_text, verdict)
    cases = launched_cases(verdict)
    files: list[Path] = []
    if cases and options.picture:
        _draw(verdict, options)
        files.append(options.picture)
    if cases and options.html:
        from workbook.stepper.widget import page

        options.html.write_text(page(puzzle, op_text, cases), encoding="utf-8")
        files.append(options.html)

    if options.json:
        names = [str(file) for file in files]
        print_json({"puzzle": puzzle.id, "outcome": verdict.outcome, "headline": verdict.headline, "files": names})
    else:
        print_verdict(verdict)
        if not cases:
            print(_("Nothing was launched, so there is nothing to draw."))
        if options.picture in files:
            print(_("Written: {file}.").format(file=options.picture))
        if options.html in files:
            print(_("Written: {file}. It opens in any browser, without Jupyter.").format(file=options.html))
    return exit_codes.DONE if files else exit_codes.OF_OUTCOME[verdict.outcome]


def _look_at_arguments(options: argparse.Namespace, puzzle: Puzzle) -> None:
    """Raises BadUsage before anything is compiled."""
    if options.picture is None and options.html is None:
        text = _("Say what to write: a picture with `-o attempt.png`, or a page with `--html attempt.html`.")
        raise BadUsage(text)
    if options.picture is not None and options.picture.suffix.lower() not in FORMATS:
        text = _("{file} must end in one of {formats}: that says what kind of picture it is.")
        raise BadUsage(text.format(file=options.picture, formats=", ".join(FORMATS)))
    for file in (options.picture, options.html):
        if file is not None and not file.parent.is_dir():
            raise BadUsage(_("There is no folder {folder} to write to.").format(folder=file.parent))
        if file is not None and file.is_dir():
            raise BadUsage(_("{file} is a folder: name a file in it.").format(file=file))
    if options.case is not None and not 0 <= options.case < len(puzzle.cases):
        text = _("{puzzle} has the cases 0 to {last}.")
        raise BadUsage(text.format(puzzle=puzzle.id, last=len(puzzle.cases) - 1))


def _draw(verdict: "Verdict", options: argparse.Namespace) -> None:
    from workbook.pictures.figure import figure
    from workbook.pictures.launch_view import telling

    if options.case is None:
        views = {case.name: case.view for case in verdict.cases if case.view is not None}
        view = views[telling(views)]
    else:
        view = verdict.cases[options.case].view
    if view is None:
        raise BadUsage(_("Case {case} launched nothing.").format(case=options.case))
    blocks = [one.number for one in view.blocks]
    if options.block is not None and options.block not in blocks:
        text = _("There is no block {block} to draw: this launch has the blocks {blocks}.")
        raise BadUsage(text.format(block=options.block, blocks=listed(map(str, blocks))))
    figure(view, options.block).savefig(options.picture, dpi=200, bbox_inches=None)
