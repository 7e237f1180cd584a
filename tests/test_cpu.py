"""The op's own CPU implementation and the Python side, compared with NumPy over many sizes in one graph."""

import subprocess
import sys

PROGRAM = """
import numpy as np
from workbook.running.executor import Executor
from workbook.running.mojo_compiler import precompile_kernels, precompile_op
from workbook.puzzles import find_puzzle, python_side

puzzle = find_puzzle("p17")
python = python_side(puzzle)
executor = Executor("cpu")
kernels = precompile_kernels()
op = precompile_op(puzzle.id, puzzle.problem_file.read_text(), kernels)
random = np.random.default_rng(17)
sizes = [(1, 1), (1, 4), (2, 3), (5, 5), (14, 2), (15, 4), (16, 4), (30, 1), (31, 16), (100, 7), (1000, 4)]
cases = [python.make_case(random, *size) for size in sizes]
model = executor.session.load(python.build_graph(cases, executor.device, [kernels, op]))
for size, case, result in zip(sizes, cases, model.execute(*(array for case in cases for array in case)), strict=True):
    signal, weights = case
    wanted = [
        sum(float(signal[i + j]) * float(weights[j]) for j in range(len(weights)) if i + j < len(signal))
        for i in range(len(signal))
    ]
    np.testing.assert_allclose(result.to_numpy(), wanted, rtol=1e-4, atol=1e-5, err_msg=str(size))
    np.testing.assert_allclose(python.expected_result(*case), wanted, rtol=1e-4, atol=1e-5, err_msg=str(size))
print(f"{len(sizes)} sizes agree")
"""


def test_the_cpu_implementation_agrees_with_numpy():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "11 sizes agree"
