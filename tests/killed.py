"""Processes that are killed in the middle of what they do."""

import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from typing import IO

Say = Callable[[str], object]


def run_and_kill(work: Callable[[str, Say], None], rounds: int, at_once: int = 2) -> list[list[str]]:
    """Let processes do some work side by side, kill each at a moment of its own, and do it again, so many times.

    `work` gets a name of its own, and a function for what it wants to say; it works for ever. Returns what each process
    has said, which is one line at least.
    """
    moments = random.Random(17)
    said = []
    for round in range(rounds):
        processes = [_start(work, f"{round}_{number}") for number in range(at_once)]
        for process, pipe in processes:
            said.append([pipe.readline().rstrip("\n")])  # it is at work
            time.sleep(moments.uniform(0.0, 0.04))
            process.kill()
        for (process, pipe), lines in zip(processes, said[-at_once:], strict=True):
            process.join()
            assert process.exitcode == -signal.SIGKILL, "it ended by itself"
            with pipe:
                lines += [line.rstrip("\n") for line in pipe if line.endswith("\n")]
    return said


def run_at_once(work: Callable[[str, Say], None], at_once: int = 2) -> None:
    """Let processes do some work side by side, to its end."""
    processes = [_start(work, str(number)) for number in range(at_once)]
    for process, pipe in processes:
        process.join()
        pipe.close()
        assert process.exitcode == 0


def _start(work: Callable[[str, Say], None], name: str) -> tuple[ForkProcess, IO[str]]:
    reading, writing = os.pipe()
    process = get_context("fork").Process(target=_work, args=(work, name, writing))
    process.start()
    os.close(writing)
    return process, os.fdopen(reading)


def _work(work: Callable[[str, Say], None], name: str, pipe: int) -> None:
    work(name, lambda text: os.write(pipe, f"{text}\n".encode()))
