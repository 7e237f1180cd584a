"""softgpu beside numba's CUDA simulator and Triton's interpreter: the same kernels, sizes and machine, in one run.

    uv run --group bench bench/software_gpu.py [--kernels …] [--contenders …] [--largest 10000000] [--limit 60]

Every measurement is a process of its own, so that nobody warms another's caches and peak memory is its own. It calls
the kernel once (`first`: with parsing, translating or tracing what that contender does once), then again until a second
has passed besides the slowest call (softgpu loads its compiler only after a number of small launches), and takes the
fastest. One that runs into the limit is not asked for larger sizes. Results are checked
against NumPy before they count.

All contenders run blocks of 128 threads (matmul: tiles of 16 by 16). numba and softgpu run the same algorithm with
shared memory; Triton has none, its programs load what a block loads.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

KERNELS = ("vector_add", "conv1d", "block_sum", "matmul")
THREADS_PER_BLOCK, WEIGHTS, TILE = 128, 4, 16
SIZES = [10**exponent for exponent in range(2, 8)]
SECONDS = 1.0


# The problem: arguments, launch and expected result, the same for all


def matrix_size(threads: int) -> int:
    """A matrix with about one element a thread, made of whole tiles."""
    return max(1, round(threads**0.5 / TILE)) * TILE


def thread_count(kernel: str, threads: int) -> int:
    return matrix_size(threads) ** 2 if kernel == "matmul" else threads


def make_arguments(kernel: str, threads: int) -> tuple[list, np.ndarray]:
    """The kernel's buffers, the output first and the size last, and what the output should become."""
    random = np.random.default_rng(17)
    if kernel == "matmul":
        n = matrix_size(threads)
        a, b = (random.integers(-4, 5, (n, n)).astype(np.float32) for _ in range(2))
        return [np.zeros((n, n), np.float32), a, b, np.int32(n)], a @ b
    x = random.integers(-4, 5, threads).astype(np.float32)
    if kernel == "vector_add":
        y = random.integers(-4, 5, threads).astype(np.float32)
        return [np.zeros_like(x), x, y, np.int32(threads)], x + y
    if kernel == "conv1d":
        weights = np.arange(1, WEIGHTS + 1, dtype=np.float32)
        padded = np.append(x, np.zeros(WEIGHTS - 1, np.float32))
        expected = sum(weights[j] * padded[j : j + threads] for j in range(WEIGHTS))
        return [np.zeros_like(x), x, weights, np.int32(threads)], expected
    blocks = -(-threads // THREADS_PER_BLOCK)
    padded = np.append(x, np.zeros(blocks * THREADS_PER_BLOCK - threads, np.float32))
    return [np.zeros(blocks, np.float32), x, np.int32(threads)], padded.reshape(blocks, -1).sum(axis=1)


def launch_shape(kernel: str, threads: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if kernel == "matmul":
        tiles = matrix_size(threads) // TILE
        return (tiles, tiles), (TILE, TILE)
    return (-(-threads // THREADS_PER_BLOCK),), (THREADS_PER_BLOCK,)


# The contenders: each gives a function that runs the kernel once


def softgpu_contender(kernel: str, threads: int, arguments: list, *, engine=None, observers=()):
    import softgpu

    module = softgpu.Module((Path(__file__).parent / "kernels" / f"{kernel}.ptx").read_text())
    (name,) = module.kernels
    grid, block = launch_shape(kernel, threads)

    def run() -> None:
        followed = [make() for make in observers]
        module.launch(name, grid, block, arguments, observers=followed, engine=engine)
        assert not any(getattr(observer, "reports", None) for observer in followed), "a check accuses a correct kernel"

    return run


def softgpu_plain(*problem):
    return softgpu_contender(*problem)


def softgpu_lockstep(*problem):
    return softgpu_contender(*problem, engine="lockstep")


def softgpu_trace(*problem):
    import softgpu

    return softgpu_contender(*problem, observers=[softgpu.Trace])


def softgpu_trace_block(*problem):
    import softgpu

    return softgpu_contender(*problem, observers=[lambda: softgpu.Trace(blocks=[0])])


def softgpu_checks(*problem):
    import softgpu

    return softgpu_contender(
        *problem, observers=[softgpu.Memcheck, softgpu.Racecheck, softgpu.Initcheck, softgpu.Synccheck]
    )


def numba_simulator(kernel: str, threads: int, arguments: list):
    from peers import numba_simulator as peer

    grid, block = launch_shape(kernel, threads)
    return lambda: getattr(peer, kernel)[grid, block](*arguments)


def triton_interpreter(kernel: str, threads: int, arguments: list):
    from peers import triton_interpreter as peer

    grid, _ = launch_shape(kernel, threads)
    converted = [peer.HostTensor(value) if isinstance(value, np.ndarray) else int(value) for value in arguments]
    constants = {"TILE": TILE} if kernel == "matmul" else {"BLOCK": THREADS_PER_BLOCK}
    constants |= {"WEIGHTS": WEIGHTS} if kernel == "conv1d" else {}
    return lambda: getattr(peer, kernel)[grid](*converted, **constants)


CONTENDERS = {
    "softgpu": softgpu_plain,
    "softgpu, four checks": softgpu_checks,
    "softgpu, trace of block 0": softgpu_trace_block,
    "softgpu, full trace": softgpu_trace,
    "softgpu, lock-step engine": softgpu_lockstep,
    "numba simulator": numba_simulator,
    "Triton interpreter": triton_interpreter,
}


# Measuring


def measure(contender: str, kernel: str, threads: int) -> dict:
    """In a process of its own: seconds of the first and of the fastest later call, and MiB of peak memory."""
    arguments, expected = make_arguments(kernel, threads)
    run = CONTENDERS[contender](kernel, threads, arguments)
    times = []
    while len(times) < 3 or sum(times) - max(times) < SECONDS:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
        np.testing.assert_array_equal(arguments[0].reshape(expected.shape), expected)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first": times[0], "best": min(times[1:]), "peak": peak}


def measure_apart(contender: str, kernel: str, threads: int, limit: float) -> dict | str:
    """`measure` in a new process; or why there is no result."""
    command = [sys.executable, __file__, "--measure", contender, kernel, str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return f"> {limit:g} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        print(f"{contender}, {kernel}, {threads} threads: {lines[-1]}", file=sys.stderr)
        return "failed"
    return json.loads(done.stdout.splitlines()[-1])


def instructions_per_thread(kernel: str, threads: int) -> float:
    """Thread-instructions that softgpu executes, a thread; counted on a launch of this size or, if that is large, on
    10^4 threads (of these kernels only matmul does more for each thread as it grows, in proportion to its size)."""
    import softgpu

    counted = min(threads, 10**4)

    class Counter(softgpu.Observer):
        total = 0

        def instruction(self, launch, instruction, lanes) -> None:
            self.total += lanes.stop - lanes.start if isinstance(lanes, slice) else len(lanes)

    arguments, _ = make_arguments(kernel, counted)
    counter = Counter()
    softgpu_contender(kernel, counted, arguments, observers=[lambda: counter])()
    each = counter.total / thread_count(kernel, counted)
    return each * matrix_size(threads) / matrix_size(counted) if kernel == "matmul" else each


def seconds(value: float) -> str:
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1 or unit == "µs":
            return f"{value * factor:.3g} {unit}"
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--kernels", nargs="+", default=KERNELS, choices=KERNELS)
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="the largest number of threads")
    parser.add_argument("--limit", type=float, default=60, help="seconds that one measurement may take")
    options = parser.parse_args()
    if options.measure:
        contender, kernel, threads = options.measure
        print(json.dumps(measure(contender, kernel, int(threads))))
        return

    for kernel in options.kernels:
        print(f"\n## {kernel}\n")
        print(
            "| contender | threads | first call | later call | beside softgpu | thread-instructions/s | peak memory |"
        )
        print("|---|---|---|---|---|---|---|")
        slow: set[str] = set()
        for threads in (size for size in SIZES if size <= options.largest):
            ours = None
            for contender in options.contenders:
                if contender in slow:
                    continue
                result = measure_apart(contender, kernel, threads, options.limit)
                row = f"| {contender} | {thread_count(kernel, threads):,} |"
                if isinstance(result, str):
                    slow.add(contender)
                    print(f"{row} {result} | | | | |", flush=True)
                    continue
                ours = result["best"] if contender == "softgpu" else ours
                ratio = f"{result['best'] / ours:.3g} ×" if ours else ""
                rate = ""
                if contender.startswith("softgpu"):
                    instructions = instructions_per_thread(kernel, threads) * thread_count(kernel, threads)
                    rate = f"{instructions / result['best']:.2g}"
                print(
                    f"{row} {seconds(result['first'])} | {seconds(result['best'])} | {ratio} | {rate} "
                    f"| {result['peak']:.0f} MiB |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
