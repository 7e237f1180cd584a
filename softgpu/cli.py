"""The command `softgpu`: run any Python program that uses MAX on the software GPU, checked if asked for."""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

import softgpu
from softgpu.checks import CHECKS, Check, Severity
from softgpu.checks.report import times
from softgpu.machine import Launch
from softgpu.observers import Observer


def main() -> int:
    parser = argparse.ArgumentParser(prog="softgpu", description="A GPU in software, for programs that use MAX.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a Python program on the software GPU")
    run.add_argument(
        "--check",
        type=_checks,
        default=[],
        metavar="CHECKS",
        help=f"follow every launch with these checks: all, or some of {', '.join(CHECKS)}, with commas between; "
        "the command fails if one finds an error or a warning",
    )
    run.add_argument("program", type=Path, help="the Python file")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="what the program gets as its arguments")
    options = parser.parse_args()

    if not options.program.is_file():
        parser.error(f"there is no file {options.program}")
    try:
        launcher = softgpu.install()
    except softgpu.SoftGPUError as error:
        print(f"softgpu: {error}", file=sys.stderr)
        return 1
    printer = _Printer(options.check)
    if options.check:
        launcher.observers += [*options.check, printer]
        launcher.errors_stick = False  # the program goes on after a failed kernel, and is checked to its end
    try:
        _run_program(options.program, options.arguments)
    finally:
        if options.check:
            printer.print_summary()
    return 1 if printer.errors or printer.warnings else 0


def _checks(names: str) -> list[Check]:
    chosen = list(CHECKS) if names == "all" else names.split(",")
    for name in chosen:
        if name not in CHECKS:
            raise argparse.ArgumentTypeError(f"there is no check '{name}'; choose all, or some of {', '.join(CHECKS)}")
    return [check() for name, check in CHECKS.items() if name in chosen]


def _run_program(program: Path, arguments: Sequence[str]) -> None:
    """As `python PROGRAM ARGS` does: the program's own arguments, and its folder first on the path."""
    sys.argv = [str(program), *arguments]
    sys.path.insert(0, str(program.resolve().parent))
    sys.excepthook = partial(_show, program, sys.excepthook)
    try:
        runpy.run_path(str(program), run_name="__main__")
    except SystemExit as ending:
        if ending.code not in (None, 0):
            raise


def _show(
    program: Path,
    show: Callable[..., object],
    kind: type[BaseException],
    error: BaseException,
    traceback: TracebackType | None,
) -> None:
    """Show what the program raised with the frames of its own, and not those of what runs it."""
    while traceback and traceback.tb_frame.f_code.co_filename != str(program):
        traceback = traceback.tb_next
    show(kind, error.with_traceback(traceback), traceback)


class _Printer(Observer):
    """Prints at the end of each launch what the checks have found in it, in compute-sanitizer's form."""

    def __init__(self, checks: Sequence[Check]):
        self._checks = checks
        self._printed = [0] * len(checks)
        self._launches = 0

    @property
    def errors(self) -> int:
        return sum(self._count(check, Severity.ERROR) for check in self._checks)

    @property
    def warnings(self) -> int:
        return sum(self._count(check, Severity.WARNING) for check in self._checks)

    def launch_begin(self, launch: Launch) -> None:
        self._launches += 1

    def launch_end(self, launch: Launch) -> None:
        for number, check in enumerate(self._checks):
            for report in check.reports[self._printed[number] :]:
                if report.severity != Severity.INFO:
                    _print([*str(report).splitlines(), ""])
            self._printed[number] = len(check.reports)

    def print_summary(self) -> None:
        lines = []
        if not self._launches:
            lines.append("No kernel was launched in this process: there was nothing to check")
        for check in self._checks:
            errors, warnings = self._count(check, Severity.ERROR), self._count(check, Severity.WARNING)
            name = type(check).__name__.upper()
            if name == "RACECHECK":
                shown = times(errors + warnings, "hazard")
                lines.append(
                    f"{name} SUMMARY: {shown} displayed ({times(errors, 'error')}, {times(warnings, 'warning')})"
                )
            else:
                lines.append(f"{name} SUMMARY: {times(errors, 'error')}, {times(warnings, 'warning')}")
        _print([*lines, f"ERROR SUMMARY: {times(self.errors, 'error')}"])

    @staticmethod
    def _count(check: Check, severity: Severity) -> int:
        return sum(report.severity == severity for report in check.reports)


def _print(lines: Sequence[str]) -> None:
    print("\n".join(f"========= {line}".rstrip() for line in lines), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
