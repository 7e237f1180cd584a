"""What a learner is told while an attempt runs, and where it need not run at all."""

import json
import multiprocessing
import threading
import time
from dataclasses import replace

import gated
import numpy as np
import pytest

from softgpu import LaunchTrace
from softgpu.trace import ACCESS
from workbook import rooms
from workbook.check import check_known, check_op
from workbook.laboratory import notebook as laboratory
from workbook.notebook import puzzle as notebook_puzzle
from workbook.notebook import waiting
from workbook.notebook.puzzle import NotebookPuzzle
from workbook.notebook.waiting import Cancelled, Interrupted
from workbook.puzzles import find_puzzle
from workbook.region import read_region
from workbook.running import answers, durations
from workbook.running.answers import Answer
from workbook.running.durations import AT_FIRST, Estimate
from workbook.running.execution import Failure
from workbook.running.mojo_compiler import Diagnostic
from workbook.warm import warm

DEVICES = ("softgpu",)
STAGES = ("start", "precompile", "graph", "run")


def run_through(estimate, seconds):
    """Let an attempt take some seconds in each stage; what the bar shows four times a second."""
    shown, now = [], 0.0
    for stage, length in zip(STAGES, seconds, strict=True):
        for tick in range(int(4 * length) + 1):
            estimate.hear(stage, now + tick / 4)
            shown.append(estimate.fraction(now + tick / 4))
        now += length
    estimate.remember(now)
    return shown


@pytest.mark.parametrize("seconds", [(0, 2, 15, 0), (4, 2, 90, 3), (0, 0, 0.5, 0)], ids=["usual", "slow", "fast"])
def test_the_bar_never_falls_and_is_never_full_before_the_end(puzzle, seconds):
    shown = run_through(Estimate(puzzle, DEVICES, now=0), seconds)
    assert shown == sorted(shown)
    assert shown[-1] < 1


def test_the_bar_moves_on_when_an_attempt_takes_much_longer(puzzle):
    estimate = Estimate(puzzle, DEVICES, now=0)
    estimate.hear("graph", 3)
    shown = [estimate.fraction(moment) for moment in (10, 20, 40)]
    assert shown[0] < shown[1] < shown[2] < 1
    assert "longer than usual" not in estimate.words(10)
    assert "MAX builds the graph around it: this takes longer than usual." in estimate.words(40)


def test_the_estimate_learns_from_earlier_attempts(puzzle):
    assert "about 16 s more" in _words_at_graph(puzzle)
    for _ in range(3):
        run_through(Estimate(puzzle, DEVICES, now=0), (0, 1, 40, 0))
    assert "about 40 s more" in _words_at_graph(puzzle)
    # Another puzzle on the same machine is not slower than this one; another device is another matter.
    assert "about 40 s more" in _words_at_graph(find_puzzle("t2"))
    assert Estimate(puzzle, ("cpu",)).plan[2].seconds == AT_FIRST["graph"]


def test_nothing_is_learnt_from_a_text_that_was_compiled_before(puzzle):
    run_through(Estimate(puzzle, DEVICES, now=0), (0, 1, 40, 0))
    for _ in range(5):
        run_through(Estimate(puzzle, DEVICES, now=0), (0, 0, 1, 0))
    assert "about 40 s more" in _words_at_graph(puzzle)


def _words_at_graph(puzzle):
    estimate = Estimate(puzzle, DEVICES, now=0)
    estimate.hear("graph", 0)
    return estimate.words(0)


def test_two_devices_are_one_bar():
    estimate = Estimate(find_puzzle("t1"), ("cpu", "softgpu"), now=0)
    shown = []
    for now, stage in enumerate([*STAGES, *STAGES]):
        estimate.hear(stage, now)
        shown.append(estimate.fraction(now))
    assert shown == sorted(shown) and len(set(shown)) == 8
    assert estimate.step.device == "softgpu"


@pytest.mark.parametrize("damage", [b"\xff\x00\n", b'{"puzzle": "p17"\n', b"[]\n17\nnull\n", b'{"puzzle": 1}\n'])
def test_a_damaged_line_costs_only_itself(puzzle, damage):
    run_through(Estimate(puzzle, DEVICES, now=0), (0, 1, 40, 0))
    with rooms.DURATIONS.open("ab") as file:
        file.write(damage)
    run_through(Estimate(puzzle, DEVICES, now=0), (0, 1, 40, 0))
    assert len(durations._read()) == 8
    assert "about 40 s more" in _words_at_graph(puzzle)


def _remember_often(id, times):
    for _ in range(times):
        Estimate(find_puzzle(id), DEVICES).remember()


def test_two_writers_lose_nothing_and_the_file_stays_small(puzzle, monkeypatch):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_remember_often, args=(id, 100)) for id in ("p17", "t2")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(rooms.DURATIONS.read_text().splitlines()) == 200
    assert all(json.loads(line)["stage"] == "start" for line in rooms.DURATIONS.read_text().splitlines())
    monkeypatch.setattr(durations, "KEPT", 50)
    _remember_often("p17", 1)
    assert len(rooms.DURATIONS.read_text().splitlines()) == 50


# Answers


@pytest.fixture
def gate():
    """The stand-in for MAX, which answers at once."""
    gated.gate().touch()
    return gated.gate()


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """Puzzles of notebooks are run by the stand-in for MAX."""
    monkeypatch.setenv("PYTHONPATH", str(gated.copied_to(tmp_path / "path")))
    monkeypatch.setattr(notebook_puzzle, "Worker", gated.GatedWorker)
    made = []
    monkeypatch.setattr(gated.GatedWorker, "_start", _noted(gated.GatedWorker._start, made))
    yield
    for worker in made:
        worker.close()


def _noted(start, made):
    def noted(worker):
        made.append(worker)
        start(worker)

    return noted


def an_answer(puzzle, **changes):
    """Keeps an answer to the solution."""
    text = puzzle.solution_file.read_text()
    executor = gated.GatedExecutor("softgpu")
    execution = replace(executor.run(puzzle.id, text, 7, None, lambda stage: None), **changes)
    name = answers.identity(puzzle, text, DEVICES)
    answers.keep(name, puzzle, text, DEVICES, Answer((execution,), seed=7, when=1e9))
    return text


def test_a_known_text_is_answered_and_says_since_when(puzzle, gate):
    text = an_answer(puzzle)
    verdict = check_known(puzzle, text, DEVICES)
    assert verdict.passed and verdict.seed == 7 and len(verdict.cases) == len(puzzle.cases)
    assert "This is the answer from 2001-09-09" in str(verdict.origin)


def test_whatever_an_answer_depends_on_may_not_change_by_a_byte(puzzle, gate, monkeypatch):
    text = an_answer(puzzle)
    assert check_known(puzzle, text + "\n", DEVICES) is None
    assert check_known(puzzle, text, ("cpu",)) is None
    assert check_known(replace(puzzle, tolerance=puzzle.tolerance / 2), text, DEVICES) is None
    for file in (puzzle.kernel_file, puzzle.python_file, find_puzzle("t2").solution_file):
        before = file.read_bytes()
        file.write_bytes(before + b"\n")
        assert check_known(puzzle, text, DEVICES) is None, file
        file.write_bytes(before)
    with monkeypatch.context() as patch:
        patch.setattr(answers, "version", lambda tool: "27.0")
        assert check_known(puzzle, text, DEVICES) is None
    with monkeypatch.context() as patch:
        patch.setattr(answers, "_program", lambda: "other sources")
        assert check_known(puzzle, text, DEVICES) is None
    assert check_known(puzzle, text, DEVICES).passed


def test_a_real_gpu_is_always_asked(puzzle, gate):
    text = puzzle.solution_file.read_text()
    devices = ("gpu", "softgpu")
    execution = gated.GatedExecutor("gpu").run(puzzle.id, text, 7, None, lambda stage: None)
    name = answers.identity(puzzle, text, devices)
    answers.keep(name, puzzle, text, devices, Answer((execution, execution), 7, 1e9))
    assert check_known(puzzle, text, devices) is None
    assert not rooms.ANSWERS.exists()


@pytest.mark.parametrize("keep", [0, 30, -1])
def test_a_damaged_answer_is_thrown_away(puzzle, gate, keep):
    text = an_answer(puzzle)
    (file,) = rooms.ANSWERS.iterdir()
    file.write_bytes(file.read_bytes()[: keep - 1] + b"x")
    assert check_known(puzzle, text, DEVICES) is None
    assert not file.exists()


def test_a_failure_that_may_be_the_machines_is_not_kept(puzzle, gate):
    an_answer(puzzle, failure=Failure("graph", "No space left on device"))
    assert not rooms.ANSWERS.exists()
    an_answer(puzzle, failure=Failure("precompile", "…", (Diagnostic("no such name", "op.mojo", 1, 1, ""),)))
    assert len(list(rooms.ANSWERS.iterdir())) == 1


def test_an_answer_is_not_kept_where_a_file_changed_during_the_run(puzzle, gate):
    class Changing:
        device = "softgpu"

        def run(self, *attempt):
            puzzle.kernel_file.write_text(puzzle.kernel_file.read_text() + "\n")
            return gated.GatedExecutor("softgpu").run(*attempt[:3], None, attempt[3])

    assert check_op(puzzle, puzzle.solution_file.read_text(), [Changing()], lambda stage: None).passed
    assert not rooms.ANSWERS.exists()


def test_answers_take_no_more_room_than_they_may(puzzle, gate, monkeypatch):
    an_answer(puzzle)
    (first,) = rooms.ANSWERS.iterdir()
    monkeypatch.setattr(answers, "ROOM", int(2.5 * first.stat().st_size))
    for number in range(5):
        puzzle.kernel_file.write_text(f"# {number}\n")
        an_answer(puzzle)
    assert len(list(rooms.ANSWERS.iterdir())) == 2
    assert not first.exists()


def test_an_answer_that_is_too_large_is_not_kept_and_drives_no_other_out(puzzle, gate, monkeypatch):
    text = an_answer(puzzle)
    (kept,) = rooms.ANSWERS.iterdir()
    name, answer = answers.identity(puzzle, text, ("cpu",)), answers.find(puzzle, text, DEVICES)
    monkeypatch.setattr(answers, "ROOM", kept.stat().st_size // 2)
    answers.keep(name, puzzle, text, ("cpu",), answer)
    assert list(rooms.ANSWERS.iterdir()) == [kept]


def test_a_huge_record_is_not_even_packed(puzzle, gate, monkeypatch):
    text = puzzle.solution_file.read_text()
    execution = gated.GatedExecutor("softgpu").run(puzzle.id, text, 7, None, lambda stage: None)
    launch = LaunchTrace("kernel", (1, 1, 1), (1, 1, 1), (), (), (), (), accesses=np.zeros(10, ACCESS))
    monkeypatch.setattr(answers, "LARGEST", launch.accesses.nbytes - 1)
    monkeypatch.setattr(answers.pickle, "dumps", lambda answer: pytest.fail("it was packed"))
    name = answers.identity(puzzle, text, DEVICES)
    answers.keep(name, puzzle, text, DEVICES, Answer((replace(execution, launches=(launch,)),), 7, 1e9))
    assert not rooms.ANSWERS.exists()


def test_warm_runs_the_solutions_once(gate, stand_in, monkeypatch):
    monkeypatch.setattr("workbook.warm.Worker", gated.GatedWorker)
    puzzles = [find_puzzle("p17"), find_puzzle("t2")]
    heard = []
    first, second = (warm(puzzles, lambda puzzle, stage: heard.append((puzzle.id, stage)), "softgpu") for _ in range(2))
    assert [(one.puzzle, one.was_known, one.problem) for one in first] == [("p17", False, ""), ("t2", False, "")]
    assert [one.was_known for one in second] == [True, True]
    assert ("p17", "graph") in heard and ("t2", "graph") in heard


# In the notebook


@pytest.fixture
def shown(monkeypatch):
    """What stands in the outputs of the notebook's cells, in order; and the bars there were."""
    outputs, bars = [], []

    class Output:
        def __init__(self, content):
            self.number = len(outputs)
            outputs.append(None)
            self.update(content)

        def update(self, content):
            if isinstance(content, waiting.Waiting):
                bars.append(content)
            outputs[self.number] = content if isinstance(content, waiting.Waiting) else content.data

    def display(content, display_id=False):
        return Output(content)

    monkeypatch.setattr(waiting, "display", display)
    monkeypatch.setattr(notebook_puzzle, "display", display)
    return outputs, bars


def eventually(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def code_of(puzzle):
    return read_region(puzzle.solution_file.read_text()).code


def test_cancelling_ends_the_attempt_and_the_next_one_works(puzzle, stand_in, shown):
    outputs, bars = shown
    p = NotebookPuzzle(puzzle)

    def press():
        eventually(lambda: bars and bars[0].estimate.step.stage == "graph")
        bars[0]._handle_custom_msg({"cancel": True}, [])

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(Interrupted):
        p.fill(code_of(puzzle))
    presser.join()
    assert "You stopped the attempt" in outputs[-1]
    p.picture()
    assert "The last attempt was stopped" in outputs[-1]
    gated.gate().touch()
    p.check()
    assert "p17 passed" in outputs[-1]
    assert not any(isinstance(output, waiting.Waiting) for output in outputs)


def test_what_builds_on_a_passed_check_can_be_run_again_after_it_was_stopped(puzzle, stand_in, gate, shown):
    outputs, _bars = shown
    p = NotebookPuzzle(puzzle)
    p.fill(code_of(puzzle))

    def stop(progress):
        raise Cancelled

    with pytest.raises(Interrupted):
        p._show_what_comes_of(stop)
    assert "You stopped the attempt" in outputs[-1]
    assert p.verdict.passed


def test_an_experiment_has_the_bar_and_its_button_ends_it(shown, monkeypatch):
    outputs, bars = shown

    class Pressed:
        def __init__(self, device, executor): ...

        def ask(self, request, progress):
            progress("precompile")
            progress._answer(progress, {"cancel": True}, [])
            progress("compile")

    monkeypatch.setattr(laboratory, "Worker", Pressed)
    monkeypatch.setattr(laboratory, "SOFTGPU_RUNS_HERE", True)
    with pytest.raises(Interrupted):
        laboratory.Laboratory().both_devices()
    assert bars[0].words.startswith("Mojo compiles the package: about ")
    assert "You interrupted the experiment" in outputs[-1]
    assert not any(isinstance(output, waiting.Waiting) for output in outputs)


def test_a_known_text_needs_no_worker_and_a_seed_runs_it_again(puzzle, stand_in, gate, shown):
    outputs, bars = shown
    NotebookPuzzle(puzzle).fill(code_of(puzzle))
    assert len(bars) == 1
    again = NotebookPuzzle(puzzle)  # as after a restart
    again.check()
    assert len(bars) == 1 and "p17 passed" in outputs[-1] and "This is the answer from" in outputs[-1]
    again.check(seed=3)
    assert len(bars) == 2 and "seed 3" in outputs[-1] and "This is the answer from" not in outputs[-1]
