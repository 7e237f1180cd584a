"""`workbook run`: the program of a puzzle, on the learner's file."""

from __future__ import annotations

import argparse
import io
import signal
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from workbook.commands import exit_codes
from workbook.commands.arguments import json_option, puzzle_argument
from workbook.commands.terminal import print_json
from workbook.language import N_, _
from workbook.puzzles import Puzzle, find_puzzle
from workbook.running.devices import CHOICES, default_device, describe_device

if TYPE_CHECKING:
    from workbook.running.executor import Executor

SUMMARY = N_("run a puzzle's program on your file, with one size")
NOTES = N_(
    """\
What the program prints goes to stdout. `workbook check` looks at all sizes.

--json prints an object with these keys: puzzle, device, outcome ("passed", "failed",
"not attempted" or "stopped"), and output, which is what is printed without --json."""
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    puzzle_argument(parser)
    parser.add_argument("--solution", action="store_true", help=_("run the solution instead of your file"))
    parser.add_argument("--device", choices=CHOICES, help=_("default: a GPU if one answers, else softgpu"))
    json_option(parser)


def run(options: argparse.Namespace) -> int:
    puzzle = find_puzzle(options.puzzle)
    kind = options.device or default_device()
    if not options.json:
        return _run(puzzle, kind, options.solution)
    with redirect_stdout(io.StringIO()) as output:
        status = _run(puzzle, kind, options.solution)
    outcome = next(outcome for outcome, its_status in exit_codes.OF_OUTCOME.items() if its_status == status)
    print_json({"puzzle": puzzle.id, "device": kind, "outcome": outcome, "output": output.getvalue()})
    return status


def _run(puzzle: Puzzle, kind: str, solution: bool) -> int:
    from workbook.check import check_at_once
    from workbook.commands.attempt import print_verdict, take_attempt
    from workbook.pytorch import calls

    if puzzle.fills == "torch" and calls.missing():
        print(calls.missing())
        return exit_codes.GIVEN_UP
    if solution:
        op_text = puzzle.solution_file.read_text()
    else:
        op_text = take_attempt(puzzle)
        # An op's own CPU implementation needs no launch.
        verdict = check_at_once(puzzle, op_text) if kind != "cpu" or puzzle.runs_on_cpu else None
        if verdict is not None:
            print_verdict(verdict)
            return exit_codes.OF_OUTCOME[verdict.outcome]
    return _run_main(puzzle, op_text, kind)


def _run_main(puzzle: Puzzle, op_text: str, kind: str) -> int:
    from softgpu import SoftGPUError
    from workbook.diagnosis.errors import explain_compile_error, explain_system_error
    from workbook.region import read_region
    from workbook.running.executor import Executor, NotCompiled

    # Ctrl-C must end the process at once, also while MAX compiles and Python cannot run a handler.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        executor = Executor(kind)
    except SoftGPUError as error:
        print(error)
        return exit_codes.GIVEN_UP
    print(_("Device: {device}").format(device=describe_device(kind)), flush=True)
    try:
        executor.run_main(puzzle.id, op_text)
    except NotCompiled as error:
        if error.failure.stage == "system":
            print(explain_system_error(error.failure.text))
            return exit_codes.GIVEN_UP
        print("\n".join(explain_compile_error(error.failure, read_region(op_text))))
        return exit_codes.WRONG
    except AssertionError as error:
        print(_("Verification failed: {reason}").format(reason=str(error).strip()), _where_and_why(puzzle), sep="\n")
        return exit_codes.WRONG
    except Exception as error:
        print("\n".join(_explanation(puzzle, op_text, executor, error)))
        return exit_codes.WRONG
    if kind == "cpu" and not puzzle.runs_on_cpu:
        text = _("Your launch was not used: it is for a GPU. This was the op's CPU implementation.")
    else:
        text = _("This was one size only. To check all sizes: {command}").format(command=f"workbook check {puzzle.id}")
    print(text, file=sys.stderr)
    return exit_codes.DONE


def _where_and_why(puzzle: Puzzle) -> str:
    return _("To see where and why: {command}").format(command=f"workbook check {puzzle.id}")


def _explanation(puzzle: Puzzle, op_text: str, executor: Executor, error: Exception) -> tuple[str, ...]:
    """What to say of an error that came out of MAX; one of the program's own is raised again."""
    from workbook.diagnosis.errors import explain_compile_error, explain_python_error
    from workbook.pytorch.calls import WrongCall
    from workbook.region import read_region
    from workbook.running.execution import Failure, full_text
    from workbook.running.executor import python_failure

    reason, text = executor.launch_error(), full_text(error)
    if reason:
        return (_("The launch failed: {reason}").format(reason=reason), _where_and_why(puzzle))
    if isinstance(error, WrongCall):
        return (str(error), _where_and_why(puzzle))
    if "Failed to compile the model" in text:
        return explain_compile_error(Failure("graph", text), read_region(op_text))
    failure = python_failure(puzzle, error)
    if failure.diagnostics:
        return explain_python_error(failure)
    raise error
