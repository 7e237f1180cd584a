"""Puzzle 20: what it prints, what it says without PyTorch, and what its notebook tries out."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from test_notebooks import execute, output_of
from torch_here import needs_torch

from workbook.check import check_at_once, check_op, judge
from workbook.puzzles import find_puzzle
from workbook.region import read_region, replace_region
from workbook.running.execution import Failure
from workbook.running.executor import NotCompiled

PROGRAM_OUTPUT = """\
Puzzle 20: From MAX Graph to PyTorch Custom Ops
============================================================
Input array: [ 0.  1.  2.  3.  4.  5.  6.  7.  8.  9. 10. 11. 12. 13. 14.]   Convolution kernel: [0. 1. 2. 3.]   \
NumPy reference result: [14. 20. 26. 32. 38. 44. 50. 56. 62. 68. 74. 80. 41. 14.  0.]
Testing PyTorch Custom Op (device: {device})
PyTorch custom op result: [14. 20. 26. 32. 38. 44. 50. 56. 62. 68. 74. 80. 41. 14.  0.]
✅ PyTorch custom op verification PASSED
Comparing with MAX Graph approach
MAX Graph result: [14. 20. 26. 32. 38. 44. 50. 56. 62. 68. 74. 80. 41. 14.  0.]
✅ MAX Graph verification PASSED
✅ PyTorch and MAX Graph results MATCH
"""

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # as if it were not installed
sys.argv = ["workbook", *sys.argv[1:]]
from workbook.commands.main import main
raise SystemExit(main())
"""

DIES = """
import os
os.kill(os.getpid(), 6)
"""


@pytest.fixture
def puzzle():
    return find_puzzle("p20")


def workbook(*arguments, program=("-m", "workbook.commands.main")):
    return subprocess.run([sys.executable, *program, *arguments], capture_output=True, text=True)


@needs_torch
@pytest.mark.parametrize("device, where", [("softgpu", "cpu tensors, kernel on softgpu"), ("cpu", "cpu")])
def test_run_prints_the_program(device, where):
    result = workbook("run", "p20", "--solution", "--device", device)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.split("\n", 1)[1] == PROGRAM_OUTPUT.format(device=where)
    assert "workbook check p20" in result.stderr


@needs_torch
def test_run_explains_a_call_that_cannot_be_right(puzzle):
    wrong = "torch.empty(3)"
    code = read_region(puzzle.solution_file.read_text()).code.replace("torch.empty_like(input_tensor)", wrong)
    puzzle.problem_file.write_text(replace_region(puzzle.solution_file.read_text(), code))
    result = workbook("run", "p20", "--device", "softgpu")
    assert result.returncode == 1
    assert "The output has the shape (3,)" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


@needs_torch
def test_a_wrong_parameter_spoils_no_later_attempt(puzzle, worker, checkout):
    """The process goes on, and PyTorch knows an op by the text of its parameters: tensor(15) is 15 there."""
    solution = puzzle.solution_file.read_text()
    wrong = (checkout / "solutions" / "p20" / "wrong" / "parameter_as_tensor.py").read_text()
    outcomes = [
        check_op(puzzle, text, [worker], lambda stage: None).outcome
        for text in (solution, replace_region(solution, wrong), solution)
    ]
    assert outcomes == ["passed", "failed", "passed"]


@needs_torch
def test_a_damaged_graph_or_kernel_is_named(puzzle, monkeypatch):
    from workbook.pytorch import bridge

    def not_compiled():
        raise NotCompiled(Failure("system", "No space left on device"))

    def verdict():
        executor = SimpleNamespace(kind="softgpu", launcher=None)
        text = puzzle.solution_file.read_text()
        return judge(puzzle, text, bridge.run(executor, puzzle, text, 1, lambda stage: None))

    monkeypatch.setattr(bridge, "open_bridge", lambda kind: None)
    monkeypatch.setattr(bridge, "packages", lambda: [])
    find_puzzle("p17").python_file.write_text("import numpy\nmake_case =\n")
    assert "problems/p17/p17.py, line 2:" in " ".join(verdict().details)
    monkeypatch.setattr(bridge, "packages", not_compiled)
    assert (verdict().outcome, "disk is full" in verdict().headline) == ("stopped", True)


@pytest.mark.parametrize("command", [("run", "p20", "--solution"), ("run", "p20"), ("check", "p20")], ids=" ".join)
def test_without_pytorch_one_is_told_how_to_get_it(command):
    result = workbook(*command, program=("-c", WITHOUT_TORCH))
    assert result.returncode == 4
    assert "PyTorch, which is not installed" in result.stdout
    assert "uv pip install --torch-backend=cpu torch==2.13.0" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_the_other_puzzles_need_no_pytorch(puzzle, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    other = find_puzzle("p17")
    assert check_at_once(other, other.solution_file.read_text()) is None
    assert check_at_once(puzzle, puzzle.solution_file.read_text()).outcome == "stopped"


@needs_torch
def test_the_notebook_tries_out_what_nobody_examines(puzzle, checkout):
    """Also what ends the process in which it is tried out."""
    for name in ("output_last_behind_names", "parameters_swapped_behind_names"):
        (checkout / "solutions" / "p20" / "wrong" / f"{name}.py").write_text(DIES)
    notebook = execute(puzzle.notebook, fill=read_region(puzzle.solution_file.read_text()).code)
    assert "p20 passed" in output_of(notebook, "%%fill")

    comparison = output_of(notebook, "p.comparison()")
    assert "Both give the same result." in comparison
    assert "input_size=15, conv_size=4" in comparison or "conv_size=4, input_size=15" in comparison
    assert "blocks of 15 threads" in comparison

    shown = output_of(notebook, 'p.what_if("without_compile")')
    assert "Nothing complained, and the result is right." in shown
    assert "1 kernel was launched" in shown
    shown = output_of(notebook, 'p.what_if("output_missing_behind_names")')
    assert "missing value for argument" in shown
    assert "a memset of 60 bytes does not stay inside one allocation" in output_of(
        notebook, 'p.what_if("output_too_short")'
    )
    for name in ("output_last_behind_names", "parameters_swapped_behind_names"):
        shown = output_of(notebook, f'p.what_if("{name}")')
        assert "The process did not survive it" in shown
        assert "signal 6" in shown

    shown = output_of(notebook, "p.gradients()")
    assert "The gradients with the op are those of" in shown
    assert "agrees with finite differences" in shown
    assert "launched the kernel 2 times" in shown
