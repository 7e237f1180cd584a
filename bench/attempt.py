"""How long an attempt takes in the warm worker, beside a bare `mojo precompile` and `session.load` of the same graph.

    python bench/attempt.py [ROUNDS]

Every round compiles a launch that no cache has seen, once in each way, in turn; the peer does no check and no trace.
Also measures the answer to a launch that only the lint has to refuse.
"""

import statistics
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from workbook.check import check_at_once, check_op
from workbook.puzzles import find_puzzle, python_side
from workbook.running.worker import Worker

PUZZLE = "p17"


def unseen(number: int) -> str:
    """The solution, written so that neither Mojo's nor MAX's cache knows it."""
    text = find_puzzle(PUZZLE).solution_file.read_text()
    salt = time.time_ns() % 10**9 + number
    return text.replace("grid_dim=BLOCKS_PER_GRID", f"grid_dim=BLOCKS_PER_GRID + Int(input_size == {salt})")


def bare(requests, answers) -> None:
    """The peer: a warm process of its own that precompiles and loads, and nothing else."""
    import softgpu

    softgpu.install()
    from max.driver import Accelerator
    from max.engine import InferenceSession
    from mojo.run import subprocess_run_mojo

    from workbook.running.mojo_compiler import precompile_kernels

    puzzle = find_puzzle(PUZZLE)
    python = python_side(puzzle)
    device = Accelerator()
    session = InferenceSession(devices=[device])
    kernels = precompile_kernels()
    for text in iter(requests.get, None):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "op"
            package.mkdir()
            (package / "__init__.mojo").touch()
            (package / "op.mojo").write_text(text)
            op = Path(folder) / "op.mojoc"
            subprocess_run_mojo(["precompile", str(package), "-I", str(kernels.parent), "-o", str(op)], check=True)
            cases = [python.make_case(_random(), **sizes) for sizes in puzzle.cases]
            session.load(python.build_graph(cases, device, [kernels, op]))
        answers.put(time.perf_counter() - start)


def _random():
    import numpy as np

    return np.random.default_rng(0)


def main(rounds: int) -> None:
    puzzle = find_puzzle(PUZZLE)
    worker = Worker("softgpu")
    context = get_context("spawn")
    requests, answers = context.SimpleQueue(), context.SimpleQueue()
    peer = context.Process(target=bare, args=(requests, answers))
    peer.start()

    def attempt(text: str) -> float:
        start = time.perf_counter()
        assert check_op(puzzle, text, [worker], lambda stage: None).passed
        return time.perf_counter() - start

    def peers_attempt(text: str) -> float:
        requests.put(text)
        return answers.get()

    attempt(unseen(0)), peers_attempt(unseen(1))  # warm both
    times: dict[str, list[float]] = {"attempt": [], "bare": []}
    for number in range(rounds):
        ways = [("attempt", attempt), ("bare", peers_attempt)]
        for name, way in ways if number % 2 else ways[::-1]:
            times[name].append(way(unseen(2 + number)))
            print(f"round {number + 1}: {name:8} {times[name][-1]:6.2f} s", flush=True)
    ratio = statistics.median(times["attempt"]) / statistics.median(times["bare"])
    print(f"median: attempt {statistics.median(times['attempt']):.2f} s, bare {statistics.median(times['bare']):.2f} s")
    print(f"an attempt takes {ratio:.3f} times as long as the bare compilation")

    refused = puzzle.solution_file.read_text().replace("grid_dim=BLOCKS_PER_GRID,", "")
    lint_times = []
    for _ in range(20):
        start = time.perf_counter()
        assert check_at_once(puzzle, refused) is not None
        lint_times.append(time.perf_counter() - start)
    print(f"a launch that the lint refuses is answered in {1000 * statistics.median(lint_times):.1f} ms (median)")

    requests.put(None)
    peer.join()
    worker.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
