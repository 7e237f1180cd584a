"""The command `workbook`."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from workbook import attempts, language, rooms
from workbook.check import check_at_once, check_op
from workbook.devices import CHOICES, NoSuchDevice, default_device, describe_device, devices_for_check
from workbook.diagnosis.errors import explain_compile_error
from workbook.language import N_, UnknownLanguage, _, ngettext
from workbook.puzzles import Puzzle, UnknownPuzzle, all_puzzles, find_puzzle
from workbook.pytorch import calls
from workbook.pytorch.calls import WrongCall
from workbook.region import RegionError, read_region
from workbook.verdict import Verdict, launched_cases
from workbook.worker import STAGES, Worker, WorkerLost

if TYPE_CHECKING:
    from workbook.execution import Executor


def main() -> int:
    """Run the command; returns the exit status: 0 done and right, 1 wrong or not attempted, 2 bad usage."""
    try:
        parser = _parser()
        options, passed_on = parser.parse_known_args()
        if passed_on and options.run not in (_lab, _test):
            parser.error(_("unrecognized arguments: %s") % " ".join(passed_on))
        options.passed_on = passed_on
        return options.run(options)
    except (UnknownLanguage, UnknownPuzzle, NoSuchDevice, RegionError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    # argparse looks its own words up with these, in a catalogue of its own that nobody has.
    vars(argparse).update(_=_, ngettext=ngettext)
    parser = argparse.ArgumentParser(prog="workbook", description=_("Learn to launch GPU kernels with MAX and Mojo."))
    commands = parser.add_subparsers(required=True, metavar=_("COMMAND"))

    run = commands.add_parser("run", help=_("run a puzzle's program on your file"))
    run.add_argument("puzzle", help=_("for example p17"))
    run.add_argument("--solution", action="store_true", help=_("run the solution instead of your file"))
    run.add_argument("--device", choices=CHOICES, help=_("default: a GPU if one answers, else softgpu"))
    run.set_defaults(run=_run)

    check = commands.add_parser("check", help=_("check your file on all sizes"))
    check.add_argument("puzzle")
    check.add_argument("--seed", type=int, help=_("of the random data; default: a new one each time"))
    check.add_argument("--device", choices=("gpu", "softgpu"), help=_("default: a GPU if one answers, else softgpu"))
    check.set_defaults(run=_check)

    figure = commands.add_parser("figure", help=_("write what your launches did as a page for any browser"))
    figure.add_argument("puzzle")
    figure.add_argument("--html", type=Path, required=True, metavar=_("FILE"), help=_("the file to write"))
    figure.set_defaults(run=_figure)

    reset = commands.add_parser("reset", help=_("empty a puzzle's region again; your version is kept in the history"))
    reset.add_argument("puzzle")
    reset.set_defaults(run=_reset)

    lab = commands.add_parser("lab", help=_("open the workbook in JupyterLab; further arguments go to JupyterLab"))
    lab.set_defaults(run=_lab)
    test = commands.add_parser("test", help=_("lint, type check and test the workbook; further arguments go to pytest"))
    test.set_defaults(run=_test)
    doctor = commands.add_parser("doctor", help=_("look for what is not as it should be"))
    doctor.add_argument("--translations", action="store_true", required=True, help=_("what is still to be translated"))
    doctor.set_defaults(run=_doctor)
    return parser


def _run(options: argparse.Namespace) -> int:
    puzzle = find_puzzle(options.puzzle)
    kind = options.device or default_device()
    if puzzle.fills == "torch" and calls.missing():
        print(calls.missing())
        return 1
    if options.solution:
        op_text = puzzle.solution_file.read_text()
    else:
        op_text = attempts.take_attempt(puzzle)
        # An op's own CPU implementation needs no launch.
        verdict = check_at_once(puzzle, op_text) if kind != "cpu" or puzzle.runs_on_cpu else None
        if verdict is not None:
            print(verdict)
            return 1
    return _run_main(puzzle, op_text, kind)


def _run_main(puzzle: Puzzle, op_text: str, kind: str) -> int:
    from workbook.execution import Executor, Failure
    from workbook.mojo_compiler import MojoCompileError

    # Ctrl-C must end the process at once, also while MAX compiles and Python cannot run a handler.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    executor = Executor(kind)
    print(_("Device: {device}").format(device=describe_device(kind)), flush=True)
    try:
        executor.run_main(puzzle.id, op_text)
    except MojoCompileError as error:
        failure = Failure("precompile", error.raw, tuple(error.diagnostics))
        print("\n".join(explain_compile_error(failure, read_region(op_text))))
        return 1
    except AssertionError as error:
        print(_("Verification failed: {reason}").format(reason=str(error).strip()), _where_and_why(puzzle), sep="\n")
        return 1
    except Exception as error:
        print("\n".join(_explanation(puzzle, op_text, executor, error)))
        return 1
    if kind == "cpu" and not puzzle.runs_on_cpu:
        text = _("Your launch was not used: it is for a GPU. This was the op's CPU implementation.")
    else:
        text = _("This was one size only. To check all sizes: {command}").format(command=f"workbook check {puzzle.id}")
    print(text, file=sys.stderr)
    return 0


def _where_and_why(puzzle: Puzzle) -> str:
    return _("To see where and why: {command}").format(command=f"workbook check {puzzle.id}")


def _explanation(puzzle: Puzzle, op_text: str, executor: "Executor", error: Exception) -> tuple[str, ...]:
    """What to say of an error that came out of MAX; one of the program's own is raised again."""
    from workbook.execution import Failure, full_text

    reason, text = executor.launch_error(), full_text(error)
    if reason:
        return (_("The launch failed: {reason}").format(reason=reason), _where_and_why(puzzle))
    if isinstance(error, WrongCall):
        return (str(error), _where_and_why(puzzle))
    if "Failed to compile the model" in text:
        return explain_compile_error(Failure("graph", text), read_region(op_text))
    raise error


def _check(options: argparse.Namespace) -> int:
    puzzle = find_puzzle(options.puzzle)
    op_text = attempts.take_attempt(puzzle)
    verdict = _verdict(puzzle, op_text, options.device or default_device(), options.seed)
    if verdict is None:
        return 1
    _print_comparison(verdict)
    print(f"\n{verdict}")
    return 0 if verdict.passed else 1


def _verdict(puzzle: Puzzle, op_text: str, kind: str, seed: int | None = None) -> Verdict | None:
    """What a check says; None where it could not be finished, which is told."""
    verdict = check_at_once(puzzle, op_text)
    if verdict is None:
        workers = [Worker(device) for device in devices_for_check(kind, puzzle.also_on_cpu)]
        try:
            verdict = check_op(puzzle, op_text, workers, _ProgressLines(), seed)
        except WorkerLost as error:
            print(error, file=sys.stderr)
            return None
        finally:
            for worker in workers:
                worker.close()
        ran = _("Ran on {device}; random data from seed {seed}.")
        print(ran.format(device=verdict.device, seed=verdict.seed))
    return verdict


def _figure(options: argparse.Namespace) -> int:
    from workbook.stepper.widget import page

    puzzle = find_puzzle(options.puzzle)
    if not options.html.parent.is_dir():
        print(_("There is no folder {folder} to write to.").format(folder=options.html.parent), file=sys.stderr)
        return 2
    op_text = attempts.take_attempt(puzzle)
    verdict = _verdict(puzzle, op_text, "softgpu")
    if verdict is None:
        return 1
    print(f"\n{verdict}")
    cases = launched_cases(verdict)
    if not cases:
        print(_("Nothing was launched, so there is nothing to draw."), file=sys.stderr)
        return 1
    options.html.write_text(page(puzzle, op_text, cases))
    print(_("Written: {file}. It opens in any browser, without Jupyter.").format(file=options.html))
    return 0


def _print_comparison(verdict: Verdict) -> None:
    """The op's numbers beside NumPy's: all cases, or those that are wrong."""
    names = (_("your op:"), _("NumPy:"))
    margin = max(map(language.width, names)) + 1
    for case in verdict.cases:
        if case.output is not None and (verdict.passed or not case.right):
            with np.printoptions(precision=3, suppress=True, floatmode="fixed", linewidth=110, sign=" "):
                print(f"\n{case.name}")
                for name, array in zip(names, (case.output, case.expected), strict=True):
                    numbers = np.array2string(array, prefix=" " * margin)
                    print(name + " " * (margin - language.width(name)) + numbers)


class _ProgressLines:
    """Prints the stages of an attempt, each once."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, stage: str) -> None:
        if stage != self._last:
            print(f"{_(STAGES[stage])} …", flush=True)
            self._last = stage


def _reset(options: argparse.Namespace) -> int:
    puzzle = find_puzzle(options.puzzle)
    attempts.reset(puzzle)
    text = _("{file} is as it was at first. Your versions are in {folder}.")
    print(text.format(file=puzzle.problem_name, folder=rooms.HISTORY / puzzle.id))
    return 0


def _lab(options: argparse.Namespace) -> NoReturn:
    first = next(iter(all_puzzles().values()))
    command = [sys.executable, "-m", "jupyterlab", str(language.notebook_file(first.notebook))]
    # The whole checkout, so that the file that one fills in can be opened in Lab too.
    command.append(f"--ServerApp.root_dir={rooms.ROOT}")
    # Lab's question whether it may fetch news would lie over the notebook.
    config_path = os.environ.get("JUPYTER_CONFIG_PATH")
    ours = str(Path(__file__).parent / "lab_config")
    environment = os.environ | {"JUPYTER_CONFIG_PATH": f"{ours}{os.pathsep}{config_path}" if config_path else ours}
    os.execve(sys.executable, [*command, *options.passed_on], environment)  # no process in between to outlive


def _test(options: argparse.Namespace) -> int:
    steps = (
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy", "workbook", "softgpu"],
        ["pytest", *options.passed_on],
    )
    for step in steps:
        print(f"── {' '.join(step)}", flush=True)
        status = subprocess.call([sys.executable, "-m", *step], cwd=rooms.ROOT)
        if status != 0:
            return status
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from workbook.translations import problems

    found = problems()
    print(*found or [_("All translations are complete and up to date.")], sep="\n")
    return 1 if found else 0


ARGPARSE_TEXTS = (
    N_("usage: "),
    N_("options"),
    N_("positional arguments"),
    N_("show this help message and exit"),
    N_("%(prog)s: error: %(message)s\n"),
    N_("argument %(argument_name)s: %(message)s"),
    N_("the following arguments are required: %s"),
    N_("unrecognized arguments: %s"),
    N_("expected one argument"),
    N_("invalid choice: %(value)r (choose from %(choices)s)"),
    N_("invalid %(type)s value: %(value)r"),
)
"""What argparse may say of this command line, word for word."""


if __name__ == "__main__":
    raise SystemExit(main())
