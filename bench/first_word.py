"""How long until the first useful word after a wrong line, by the stage that finds it, beside a bare `mojo precompile`.

    python bench/first_word.py [FILE...]

Each line is checked as in a notebook, in a warm worker that has not seen it: the time is that from the end of typing to
the verdict. FILE is a piece of code for p17; without any, there is a list of twenty. The peer is the Mojo compiler, run
on the same file by hand: it says nothing of what only MAX's graph or the run can tell, and is then marked with a dash.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workbook.check import check_op
from workbook.puzzles import find_puzzle
from workbook.region import replace_region
from workbook.running.mojo_compiler import precompile_kernels
from workbook.running.worker import Worker

PUZZLE = "p17"
KERNEL = "conv1d_kernel[OutLayout, InLayout, ConvLayout, input_size, conv_size, dtype]"
TENSORS = "output_tensor, input_tensor, kernel_tensor"
LINES = [
    f"{KERNEL}<<<2, 15>>>({TENSORS})",
    f"ctx.launch_kernel[{KERNEL}]({TENSORS}, 2, 15)",
    f"ctx.enqueue_function[{KERNEL}]（{TENSORS}, grid_dim=2, block_dim=15）",
    f"ctx.enqueue_function[{KERNEL}]({TENSORS}; grid_dim=2; block_dim=15)",
    f"ctx.enqueue_function[{KERNEL}]({TENSORS}, grid-dim=2, block-dim=15)",
    f"ctx.enqueue_function[{KERNEL}]({TENSORS}, grid_dim=ceildiv(input_size, 15, block_dim=15)",
    f"ctx.enqueue_function[{KERNEL}]({TENSORS}), grid_dim=2, block_dim=15",
    f'ctx.enqueue_function["conv1d_kernel"]({TENSORS}, grid_dim=2, block_dim=15)',
    f"// two blocks\nctx.enqueue_function[{KERNEL}]({TENSORS}, grid_dim=2, block_dim=15)",
    f"ctx.enqueue_function[Conv1D]({TENSORS}, grid_dim=2, block_dim=15)",
    "ctx.",
    f"ctx.enqueue_function[{KERNEL}]({TENSORS}, grid_dim=n_blocks, block_dim=15)",
    f"ctx.enqueue_function[{KERNEL}]({TENSORS}, grid_dim=dim3(2), block_dim=dim3(15))",
    f"var n = 2\n  ctx.enqueue_function[{KERNEL}]({TENSORS}, grid_dim=n, block_dim=15)",
    f"import math\nctx.enqueue_function[{KERNEL}]({TENSORS}, grid_dim=math.ceil(2), block_dim=15)",
    f"if input_size > 15\n    ctx.enqueue_function[{KERNEL}]({TENSORS}, grid_dim=2, block_dim=15)",
    f"ctx.enqueue_function[{KERNEL.replace('dtype', 'DType.int32')}]({TENSORS}, grid_dim=2, block_dim=15)",
    f"ctx.enqueue_function[{KERNEL}](output_tensor.ptr, input_tensor.ptr, kernel_tensor.ptr, grid_dim=2, block_dim=15)",
    f"ctx.enqueue_function[{KERNEL}]({TENSORS}, grid_dim=ceildiv(15, input_size), block_dim=15)",
    f"ctx.enqueue_function[{KERNEL}]({TENSORS}, grid_dim=input_size // 15, block_dim=15)",
]


def peer(text: str, kernels: Path) -> float | None:
    """Seconds that a bare `mojo precompile` takes to refuse a text; None where it does not."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "op"
        package.mkdir()
        (package / "__init__.mojo").touch()
        (package / "op.mojo").write_text(text)
        command = [Path(sys.executable).with_name("mojo"), "precompile", package, "-I", kernels.parent]
        start = time.perf_counter()
        done = subprocess.run([*command, "-o", Path(folder) / "op.mojoc"], capture_output=True)
        seconds = time.perf_counter() - start
    return seconds if done.returncode else None


def main(lines: list[str]) -> None:
    puzzle = find_puzzle(PUZZLE)
    solution = puzzle.solution_file.read_text()
    kernels = precompile_kernels()
    worker = Worker("softgpu")
    check_op(puzzle, solution, [worker], lambda stage: None)  # warm it
    found: dict[str, list[float]] = {}
    ratios = []
    for code in lines:
        text = replace_region(solution, f"{code}  # {time.time_ns()}")
        stages = []
        start = time.perf_counter()
        verdict = check_op(puzzle, text, [worker], stages.append)
        seconds = time.perf_counter() - start
        # Where no worker was asked it was the lint; else the stage that the attempt ended in.
        stage = stages[-1] if stages else "lint"
        found.setdefault(stage, []).append(seconds)
        bare = peer(text, kernels)
        if bare is not None:
            ratios.append(seconds / bare)
        compared = "     –" if bare is None else f"{bare:6.2f} s"
        print(f"{stage:10} {seconds:7.3f} s  mojo: {compared}  {verdict.headline[:100]}", flush=True)
    for stage, times in found.items():
        print(f"{stage}: {len(times)} lines, median {statistics.median(times):.3f} s, longest {max(times):.3f} s")
    if ratios:
        print(f"where Mojo refuses the text: {statistics.median(ratios):.3f} times as long as it (median)")
    worker.close()


if __name__ == "__main__":
    main([Path(name).read_text() for name in sys.argv[1:]] or LINES)
