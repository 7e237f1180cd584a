"""Checks an attempt: lint, build and run, then a verdict that names what is wrong and where."""

import time
from collections.abc import Sequence
from dataclasses import replace
from random import SystemRandom

import numpy as np

from softgpu import LaunchTrace
from softgpu.trace import Kind, Space
from workbook.diagnosis.errors import (
    explain_compile_error,
    explain_program_error,
    explain_python_error,
    explain_run_error,
    explain_system_error,
    further_errors,
)
from workbook.diagnosis.launches import explain_failed_launch, explain_wrong_output, remarks, with_faults_in_words
from workbook.diagnosis.races import explain_race
from workbook.language import N_, _, ngettext
from workbook.lint.foreach import lint_foreach
from workbook.lint.launch import is_attempted, lint
from workbook.lint.pytorch import lint_torch
from workbook.pictures.launch_view import Buffer, LaunchView, launch_view
from workbook.puzzles import Arrays, Puzzle
from workbook.pytorch import calls
from workbook.region import read_region
from workbook.running import answers
from workbook.running.answers import Answer
from workbook.running.execution import BufferPlace, Execution, Outcome, Progress
from workbook.running.worker import Worker
from workbook.verdict import FAILED, NOT_ATTEMPTED, PASSED, STOPPED, CaseResult, CodeLine, Verdict

LINTS = {"launch": lint, "foreach": lint_foreach, "torch": lint_torch}
"""How what the learner filled in is read, by what it is."""

NO_SEED = N_("Random data cannot come from seed {seed}: a seed is 0 or more.")

Workers = Sequence[Worker]


def check_op(puzzle: Puzzle, op_text: str, workers: Workers, progress: Progress, seed: int | None = None) -> Verdict:
    """Check the text of an op.mojo, on the device of each worker in turn. It passes if it is right on all of them.

    Random data comes from `seed`, 0 or more, which is new each time if it is None. Raises WorkerLost.
    """
    at_once = check_at_once(puzzle, op_text)
    if at_once is not None:
        return at_once
    if seed is not None and seed < 0:
        return Verdict(puzzle.id, STOPPED, _(NO_SEED).format(seed=seed))
    if seed is None:
        seed = SystemRandom().randrange(10**6)
    devices = [worker.device for worker in workers]
    name = answers.identity(puzzle, op_text, devices)
    executions: list[Execution] = []
    for worker in workers:
        executions.append(worker.run(puzzle.id, op_text, seed, progress))
        failure = executions[-1].failure
        if failure is not None and failure.stage in ("precompile", "graph", "python", "system"):
            break  # another device would say the same
    answer = Answer(tuple(executions), seed, time.time())
    answers.keep(name, puzzle, op_text, devices, answer)
    return _judge_all(puzzle, op_text, answer)


def check_known(puzzle: Puzzle, op_text: str, devices: Sequence[str]) -> Verdict | None:
    """The verdict on an attempt that has been run before, on the same devices and with the same sources."""
    answer = answers.find(puzzle, op_text, devices)
    return replace(_judge_all(puzzle, op_text, answer), known_since=answer.when) if answer is not None else None


def _judge_all(puzzle: Puzzle, op_text: str, answer: Answer) -> Verdict:
    """The verdict on what came of an attempt on all its devices."""
    return _strictest(
        [
            replace(
                judge(puzzle, op_text, execution),
                device=execution.device,
                seed=answer.seed,
                seconds=execution.seconds,
            )
            for execution in answer.executions
        ]
    )


def _strictest(verdicts: list[Verdict]) -> Verdict:
    """The last device is the one that explains most. But where an earlier one disagrees with a pass, that counts."""
    *others, last = verdicts
    if last.passed:
        failed = next((verdict for verdict in others if not verdict.passed), None)
        if failed is not None:
            elsewhere = _("(On {device} it is right.)").format(device=last.device)
            return replace(failed, headline=f"{failed.headline} {elsewhere}")
    device = verdicts[0].device
    for verdict in verdicts[1:]:
        device = _("{devices}; and {device}").format(devices=device, device=verdict.device)
    return replace(last, device=device)


def check_at_once(puzzle: Puzzle, op_text: str) -> Verdict | None:
    """The verdict where it can be read off the text: nothing filled in, or a mistake that the lint sees."""
    missing = calls.missing() if puzzle.fills == "torch" else ""
    if missing:
        return Verdict(puzzle.id, STOPPED, missing, stage="lint")
    region = read_region(op_text)
    code = region.code
    if not is_attempted(code):
        return Verdict(
            puzzle.id,
            NOT_ATTEMPTED,
            _(
                "The marked region of {file} is still empty. Fill in {what}, in the file or in the notebook's cell. "
                "Hints: `workbook hint {puzzle}`, or `p.hint()` in the notebook."
            ).format(file=puzzle.problem_name, what=_(puzzle.to_fill_in), puzzle=puzzle.id),
            stage="lint",
        )
    kernel_texts = {f"kernels.{puzzle.kernel_module}": puzzle.kernel_file.read_text()} if puzzle.kernel_file else {}
    findings = LINTS[puzzle.fills](code, op_text, kernel_texts)
    if not findings:
        return None
    lines = [CodeLine.of(region, puzzle.file, finding.line, finding.column) for finding in findings]
    first, *others = zip((finding.message for finding in findings), lines, strict=True)
    return Verdict(puzzle.id, FAILED, first[0], first[1:], stage="lint", more=tuple(others))


def judge(puzzle: Puzzle, op_text: str, execution: Execution) -> Verdict:
    """The verdict on an attempt that was built and, if it compiled, run."""
    failure = execution.failure
    if failure is not None and failure.stage == "program":
        headline, *details = explain_program_error(failure, read_region(op_text))
        return Verdict(puzzle.id, FAILED, headline, tuple(details), stage="check", raw=failure.text)
    if failure is not None and failure.stage == "system":
        return Verdict(puzzle.id, STOPPED, explain_system_error(failure.text), stage="compiler", raw=failure.text)
    if failure is not None and failure.stage == "python":
        headline, *details = explain_python_error(failure)
        return Verdict(puzzle.id, FAILED, headline, tuple(details), stage="compiler", raw=failure.text)
    if failure is not None and failure.stage != "launch":
        region = read_region(op_text)
        headline, *details = explain_compile_error(failure, region)
        more = further_errors(failure, region)
        return Verdict(puzzle.id, FAILED, headline, tuple(details), stage="compiler", raw=failure.text, more=more)

    cases = tuple(_case_result(puzzle, execution, number) for number in range(len(execution.cases)))
    if failure is not None:
        if failure.by_softgpu:
            headline, *details = explain_failed_launch(puzzle, cases, failure)
            cases = with_faults_in_words(puzzle, cases)
        else:
            headline, *details = explain_run_error(puzzle, op_text, failure.text)
        return Verdict(puzzle.id, FAILED, headline, tuple(details), stage="driver", cases=cases, raw=failure.text)

    wrong = [case for case in cases if not case.right]
    if wrong:
        differing = [case for case in wrong if not case.right_by_chance]
        headline = ngettext(
            "{number} of {count} case differs from NumPy.", "{number} of {count} cases differ from NumPy.", len(cases)
        ).format(number=len(differing), count=len(cases))
        if not differing:
            headline = _("Every case matches NumPy, but by chance: threads race.")
        details = explain_wrong_output(puzzle, differing[0]) if differing else []
        racing = next((case for case in [*differing[:1], *wrong] if case.races), None)
        details += explain_race(puzzle, op_text, racing) if racing else []
        return Verdict(puzzle.id, FAILED, headline, tuple(details), stage="check", cases=cases)
    headline = ngettext("The case matches NumPy.", "All {count} cases match NumPy.", len(cases))
    headline = headline.format(count=len(cases))
    return Verdict(puzzle.id, PASSED, headline, remarks=tuple(remarks(puzzle, cases)), stage="check", cases=cases)


def _case_result(puzzle: Puzzle, execution: Execution, number: int) -> CaseResult:
    inputs, expected = execution.cases[number], execution.expected[number]
    output = execution.outputs[number] if execution.outputs is not None else None
    traces = launches_of_case(execution, number)
    places = _places(puzzle, execution, number, traces)
    sizes = puzzle.cases[number]
    names = puzzle.arguments[1:]
    return CaseResult(
        sizes=sizes,
        inputs=dict(zip(names, inputs, strict=True)),
        expected=expected,
        output=output,
        first_wrong=None if output is None else _first_wrong(output, expected, puzzle.tolerance),
        changed_inputs=_changed(names, inputs, execution.inputs_after[number]) if execution.inputs_after else (),
        written_elsewhere=_unwritten(traces, places[puzzle.arguments[0]], expected)
        if output is not None and traces
        else None,
        recorded=execution.recorded,
        launches=len(traces),
        places=places,
        passed=_passed_buffers(traces[-1], places) if traces and puzzle.fills == "launch" else (),
        view=_view(puzzle, execution, traces[-1], places, expected, output, sizes) if traces else None,
    )


def _first_wrong(output: np.ndarray, expected: np.ndarray, tolerance: float) -> int | None:
    """The index in the flattened arrays."""
    wrong = np.flatnonzero(~np.isclose(output, expected, rtol=tolerance, atol=tolerance))
    return int(wrong[0]) if len(wrong) else None


def _changed(names: Sequence[str], before: Arrays, after: Arrays) -> tuple[str, ...]:
    return tuple(name for name, one, other in zip(names, before, after, strict=True) if not np.array_equal(one, other))


def _unwritten(traces: list[LaunchTrace], place: BufferPlace, expected: np.ndarray) -> int | None:
    """The first element of the output, counted through its rows, that no thread of any launch has stored."""
    written = np.zeros(expected.size, bool)
    for trace in traces:
        stores = trace.accesses[(trace.accesses["space"] == Space.GLOBAL) & (trace.accesses["kind"] != Kind.LOAD)]
        # The difference of unsigned numbers is huge for an address before the buffer.
        index = (stores["address"] - np.uint64(place.address)) // np.uint64(expected.itemsize)
        written[index[index < expected.size]] = True
    return None if written.all() else int(np.flatnonzero(~written)[0])


def launches_of_case(execution: Execution, number: int) -> list[LaunchTrace]:
    """The launches that were handed a buffer of this case: MAX runs the calls of a graph in an order of its own."""
    if execution.launches_by_case is not None:
        return list(execution.launches_by_case[number])
    addresses = {place.address for place in execution.places[number].values()}
    return [trace for trace in execution.launches if addresses.intersection(_words(trace))]


def _outcome_of(execution: Execution, trace: LaunchTrace) -> Outcome:
    pairs = zip(execution.launches, execution.outcomes, strict=True)
    return next(outcome for launch, outcome in pairs if launch is trace)


def _as_written(trace: LaunchTrace, place: BufferPlace, expected: np.ndarray) -> np.ndarray:
    """What the launch stored in the output, where that cannot be asked for; NaN where it stored nothing."""
    stores = trace.accesses[(trace.accesses["space"] == Space.GLOBAL) & (trace.accesses["kind"] != Kind.LOAD)]
    index = (stores["address"] - np.uint64(place.address)) // np.uint64(expected.itemsize)
    inside = index < expected.size
    written = np.full(expected.size, np.nan, expected.dtype)
    written[index[inside]] = stores["bits"][inside].astype(f"u{expected.itemsize}").view(expected.dtype)
    return written.reshape(expected.shape)


def _words(trace: LaunchTrace) -> list[int]:
    """The parameters in pieces of eight bytes: addresses, among other things. MAX packs all that `foreach` passes into
    one parameter."""
    return [word for parameter in trace.parameters for word in np.frombuffer(parameter[: len(parameter) & ~7], "<u8")]


def _pointers(trace: LaunchTrace) -> list[int]:
    """The first eight bytes of each parameter that has so many: the address, where it is a tensor."""
    return [int.from_bytes(parameter[:8], "little") for parameter in trace.parameters if len(parameter) >= 8]


def _places(puzzle: Puzzle, execution: Execution, number: int, traces: list[LaunchTrace]) -> dict[str, BufferPlace]:
    """The buffers of a case. Where the launch failed there is no output to ask for its address: then it is the one
    buffer that the kernel was handed beside the inputs."""
    places = dict(execution.places[number])
    output = puzzle.arguments[0]
    if output not in places and traces:
        others = set(_pointers(traces[-1])) - {place.address for place in places.values()}
        if len(others) == 1:
            places[output] = BufferPlace(others.pop(), execution.expected[number].nbytes)
    return places


def _passed_buffers(trace: LaunchTrace, places: dict[str, BufferPlace]) -> tuple[str | None, ...]:
    names = {place.address: name for name, place in places.items()}
    return tuple(names.get(pointer) for pointer in _pointers(trace))


def _view(
    puzzle: Puzzle,
    execution: Execution,
    trace: LaunchTrace,
    places: dict[str, BufferPlace],
    expected: np.ndarray,
    output: np.ndarray | None,
    sizes: dict[str, int],
) -> LaunchView | None:
    if puzzle.arguments[0] not in places:
        return None
    dtype, outcome = expected.dtype, _outcome_of(execution, trace)
    return launch_view(
        trace,
        {name: Buffer(place.address, place.nbytes // dtype.itemsize, dtype) for name, place in places.items()},
        expected,
        _as_written(trace, places[puzzle.arguments[0]], expected) if output is None else output,
        shared_names=puzzle.shared_names,
        thread_per_element=puzzle.fills != "foreach",
        output=puzzle.arguments[0],
        case=", ".join(f"{name} {size}" for name, size in sizes.items()),
        races=outcome.races,
        fault=outcome.error,
        fault_at=outcome.fault,
        rtol=puzzle.tolerance,
        atol=puzzle.tolerance,
    )
