"""Processes that are killed in the middle of what they do."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable

Say = Callable[[str], None]


def run_and_kill(work: Callable[[str, Say], None], rounds: int, at_once: int = 2) -> list[list[str]]:
    """Let processes do some work side by side, kill each at a moment of its own, and do it again, so many times.

    `work` gets a name of its own, and a function for what it wants to say; it works for ever. Returns what each process
    has said.
    """
    context = multiprocessing.get_context("fork")
    moments = random.Random(17)
    said = []
    for round in range(rounds):
        pipes = [os.pipe() for _ in range(at_once)]
        processes = [
            context.Process(target=_work, args=(work, f"{round}_{number}", pipes[number][1]))
            for number in range(at_once)
        ]
        for process in processes:
            process.start()
        for process in processes:
            time.sleep(moments.uniform(0.0, 0.05))
            process.kill()
        for process, (reading, writing) in zip(processes, pipes, strict=True):
            process.join()
            assert process.exitcode == -signal.SIGKILL, "it ended by itself"
            os.close(writing)
            with os.fdopen(reading) as pipe:
                said.append([line.rstrip("\n") for line in pipe if line.endswith("\n")])
    return said


def _work(work: Callable[[str, Say], None], name: str, pipe: int) -> None:
    work(name, lambda text: print(text, file=os.fdopen(os.dup(pipe), "w")))
