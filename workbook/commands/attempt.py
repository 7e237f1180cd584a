"""Checking an attempt on the command line: progress, the verdict, and the verdict as JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from softgpu import SoftGPUError
from workbook import language
from workbook.check import check_at_once, check_known, check_op
from workbook.commands.exit_codes import BadUsage
from workbook.commands.terminal import coloured, table
from workbook.language import _
from workbook.learner import attempts
from workbook.learner.watch import look
from workbook.puzzles import Puzzle
from workbook.running.devices import devices_for_check
from workbook.running.durations import Estimate
from workbook.running.worker import Worker, WorkerLost
from workbook.verdict import STOPPED, CaseResult, Verdict, launched_cases
from workbook.what_if.forecast import forecast_in_words


def take_attempt(puzzle: Puzzle) -> str:
    """The text of the learner's file, which is kept in the history. Raises BadUsage where there is nothing to check."""
    saved = look(puzzle)
    if saved.problem:
        raise BadUsage(saved.problem)
    attempts.remember(puzzle, saved.text)
    return saved.text


class Checker:
    """Checks attempts at a puzzle on workers of its own, which stay warm from one to the next. Close it: use `with`."""

    def __init__(self, puzzle: Puzzle, kind: str):
        """`kind` is "gpu" or "softgpu"."""
        self.puzzle = puzzle
        self.devices = devices_for_check(kind, puzzle.also_on_cpu)
        self._workers: tuple[Worker, ...] = ()

    def __enter__(self) -> Checker:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.close()

    def check(self, op_text: str, seed: int | None = None, go_on: Callable[[], None] = lambda: None) -> Verdict:
        """The verdict on the text of the learner's file. `go_on` is called every second, and may raise to give up."""
        verdict = check_at_once(self.puzzle, op_text)
        if verdict is None and seed is None:
            verdict = check_known(self.puzzle, op_text, self.devices)
        if verdict is not None:
            return verdict
        foreseen = forecast_in_words(self.puzzle, op_text)
        if foreseen:
            print(foreseen, file=sys.stderr, flush=True)
        progress = ProgressLine(Estimate(self.puzzle, self.devices), go_on)
        try:
            self._workers = self._workers or tuple(map(Worker, self.devices))
            verdict = check_op(self.puzzle, op_text, self._workers, progress, seed)
            progress.estimate.remember()
        except (WorkerLost, SoftGPUError) as error:
            verdict = Verdict(self.puzzle.id, STOPPED, str(error))
        finally:
            progress.end()
        return verdict


class ProgressLine:
    """Says on stderr what happens: a line that changes on a terminal, else a line for each stage."""

    def __init__(self, estimate: Estimate, go_on: Callable[[], None] = lambda: None, title: str = ""):
        self.estimate = estimate
        self._go_on = go_on
        self._title = f"{title}: " if title else ""
        self._live = sys.stderr.isatty()
        self._said = ""

    def __call__(self, stage: str) -> None:
        self._go_on()
        self.estimate.hear(stage)
        if self._live:
            filled = round(20 * self.estimate.fraction())
            line = f"{'█' * filled}{'░' * (20 - filled)} {self.estimate.elapsed():>3} s  {self.estimate.words()}"
            print(f"\r\x1b[K{self._title}{line}", end="", file=sys.stderr, flush=True)
        elif stage != self._said:
            print(self._title + self.estimate.words(), file=sys.stderr, flush=True)
            self._said = stage

    def end(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def print_result(verdict: Verdict) -> None:
    """What it ran on, the op's numbers beside NumPy's, and the verdict."""
    if verdict.device:
        print(verdict.origin)
    _print_comparison(verdict)
    if verdict.device:
        print()
    print_verdict(verdict)


def print_verdict(verdict: Verdict) -> None:
    title, rest = verdict.title, str(verdict).removeprefix(verdict.title)
    print(coloured(title, verdict.outcome) + rest, flush=True)


def print_ways_on(verdict: Verdict) -> None:
    """To somebody at a terminal whose attempt failed: what else there is."""
    if verdict.passed or verdict.outcome == STOPPED or not sys.stderr.isatty():
        return
    ways = []
    if launched_cases(verdict):
        ways.append((_("What your launch did:"), f"workbook figure {verdict.puzzle} --html {verdict.puzzle}.html"))
    ways.append((_("If you are stuck:"), f"workbook hint {verdict.puzzle}"))
    print("", *table(ways), sep="\n", file=sys.stderr)


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


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict for scripts; check.py documents it."""
    return {
        "puzzle": verdict.puzzle,
        "outcome": verdict.outcome,
        "headline": verdict.headline,
        "details": [str(detail) for detail in verdict.details],
        "more": [list(map(str, error)) for error in verdict.more],
        "remarks": list(verdict.remarks),
        "stage": verdict.stage or None,
        "device": verdict.device or None,
        "seed": verdict.seed,
        "seconds": verdict.seconds,
        "known_since": datetime.fromtimestamp(verdict.known_since, UTC) if verdict.known_since else None,
        "cases": [_case_json(case) for case in verdict.cases],
        "raw": verdict.raw,
    }


def _case_json(case: CaseResult) -> dict[str, Any]:
    return {
        "sizes": case.sizes,
        "right": case.right,
        "races": case.races,
        "output": case.output.tolist() if case.output is not None else None,
        "expected": case.expected.tolist(),
        "first_wrong": case.first_wrong,
        "changed_inputs": list(case.changed_inputs),
        "written_elsewhere": case.written_elsewhere,
        "launches": case.launches if case.recorded else None,
    }
