"""What happens when the worker dies, hangs or is interrupted: the notebook lives on, and says so."""

import os
import signal
import threading
import time

import pytest

from workbook.check import check_op
from workbook.region import read_region, replace_region
from workbook.running.worker import Worker, WorkerLost


@pytest.fixture
def own_worker():
    worker = Worker("softgpu")
    yield worker
    worker.close()


def test_a_worker_killed_in_the_middle_of_a_run_is_replaced(puzzle, own_worker):
    first = own_worker.pid

    def kill_while_compiling(stage):
        if stage == "graph":
            os.kill(first, signal.SIGKILL)

    with pytest.raises(WorkerLost, match=r"signal 9.*a new one has been started.*Nothing you typed is lost"):
        check_op(puzzle, puzzle.solution_file.read_text(), [own_worker], kill_while_compiling)
    assert own_worker.pid != first
    assert check_op(puzzle, puzzle.solution_file.read_text(), [own_worker], lambda stage: None).passed


def test_an_op_that_computes_on_the_cpu_with_the_gpus_memory_does_not_pass(puzzle, own_worker):
    """On a GPU the process would end, so here it does too; the notebook hears why."""
    text = puzzle.solution_file.read_text()
    code = read_region(text).code.replace("BLOCKS_PER_GRID", "1")
    by_hand = f"{code}\nctx.synchronize()\nfor i in range(TPB, input_size):\n    output_tensor[i] = input_tensor[i]\n"
    with pytest.raises(WorkerLost, match=r"signal 11.*cannot reach the memory of a GPU"):
        check_op(puzzle, replace_region(text, by_hand), [own_worker], lambda stage: None)


def test_a_worker_that_died_while_idle_is_replaced_unnoticed(puzzle, own_worker):
    first = own_worker.pid
    os.kill(first, signal.SIGKILL)
    time.sleep(0.2)
    assert check_op(puzzle, puzzle.solution_file.read_text(), [own_worker], lambda stage: None).passed
    assert own_worker.pid != first


def test_an_attempt_that_takes_too_long_is_stopped(puzzle):
    worker = Worker("softgpu", time_limit=0.05)
    try:
        first = worker.pid
        with pytest.raises(WorkerLost, match=r"longer than 0.05 seconds.*new worker"):
            check_op(puzzle, puzzle.solution_file.read_text(), [worker], lambda stage: None)
        assert worker.pid != first
    finally:
        worker.close()


def test_an_interrupt_ends_the_attempt_at_once(puzzle, own_worker):
    first = own_worker.pid
    text = puzzle.solution_file.read_text()
    interrupt = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    # A text that is in no cache, so that it compiles for longer than it takes to interrupt it.
    unseen = text.replace("grid_dim=BLOCKS_PER_GRID", f"grid_dim=BLOCKS_PER_GRID + {time.time_ns() % 10**6} * 0")
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        check_op(puzzle, unseen, [own_worker], lambda stage: None)
    assert time.monotonic() - started < 5
    assert own_worker.pid != first
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_device_that_is_not_there_is_said_in_a_sentence(puzzle):
    worker = Worker("gpu")
    try:
        check_op(puzzle, puzzle.solution_file.read_text(), [worker], lambda stage: None)
    except Exception as error:
        assert "MAX finds no GPU on this machine" in str(error)
    else:
        pytest.skip("this machine has a GPU")
    finally:
        worker.close()
