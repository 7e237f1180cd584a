"""What tools say is provoked for real, and must be explained. The mistakes that experiments/ are for are made in
test_experiments.py, and those of launches in test_launches.py."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from launches import case_of, conv1d

from softgpu.driver import build
from workbook import rooms
from workbook.check import check_op, judge
from workbook.diagnosis.errors import explain_compile_error, further_errors
from workbook.diagnosis.launches import explain_wrong_output
from workbook.diagnosis.messages import MESSAGES, explain, find_message, known_reason
from workbook.learner import progress
from workbook.notebook.rendering import verdict_html
from workbook.region import first_line_in_cell, read_region, replace_region
from workbook.running import mojo_compiler
from workbook.running.execution import Execution, Failure
from workbook.running.executor import NotCompiled, precompiled
from workbook.running.mojo_compiler import MojoCompileError, precompile, precompile_kernels, precompile_op
from workbook.running.worker import Worker
from workbook.verdict import FAILED, STOPPED, CodeLine, Verdict

SEED = 20261121


def silent(stage):
    pass


# Mojo, of the learner's text: what no lint says

LAUNCH = (
    "ctx.enqueue_function[conv1d_kernel[OutLayout, InLayout, ConvLayout, input_size, conv_size, dtype]]("
    "output_tensor, input_tensor, kernel_tensor, grid_dim=2, block_dim=TPB)"
)
NOT_MOJO = {
    "var n = 2\n    " + LAUNCH: ("line 2", "not indented as the lines before it"),
    f"if True:\n\tvar n = 2\n        {LAUNCH}": ("line 3", "Tabs and spaces are mixed"),
    f"if conv_size > 1:\n{LAUNCH}": ("line 1", "an indented line is missing"),
    f"if conv_size > 1\n    {LAUNCH}": ("line 1", "A colon is missing at the end"),
    f"48 {LAUNCH}": ("line 1", "Two things stand in one line"),
    f"var x = @ 2\n{LAUNCH}": ("line 1", "cannot read this line from the mark on"),
    f"import numpy as np\n{LAUNCH}": ("line 1", "There is no module `numpy`", "none of Python"),
    LAUNCH.replace("=2", "=ceil(input_size)"): ("line 1", "write `from std.math import ceil`"),
    LAUNCH.replace("=2", "=Dim(2)"): ("line 1", "There is no `Dim` here", "a tuple"),
    LAUNCH.replace("=2", "=n_blocks"): ("line 1", "`n_blocks` does not exist", "above the marked region"),
    LAUNCH.replace("=2", "=ceildiv(input_size)"): ("line 1", "`ceildiv` is not called as it is declared"),
    LAUNCH.replace("=2", "=input_size()"): ("line 1", "What stands before the `(` at the mark cannot be called"),
    f"var n = String(2).length\n{LAUNCH}": ("line 1", "A value of type `String` has no attribute `length`"),
    f"ctx.enqueue_all()\n{LAUNCH}": ("line 1", "no method `enqueue_all`", "enqueue_function"),
    "var f = ctx.compile_function[conv1d_kernel[OutLayout, InLayout, ConvLayout, input_size, conv_size, dtype]]": (
        "line 1",
        "`compile_function` is not called here",
    ),
}


@pytest.fixture(scope="module")
def kernels():
    return precompile_kernels()


@pytest.mark.parametrize("code", NOT_MOJO)
def test_what_mojo_says_of_a_line_is_explained(code, puzzle, kernels):
    line, *words = NOT_MOJO[code]
    text = replace_region(puzzle.solution_file.read_text(), code)
    with pytest.raises(MojoCompileError) as caught:
        precompile_op(puzzle.id, text, kernels)
    failure = Failure("precompile", caught.value.raw, tuple(caught.value.diagnostics))
    headline, quote, *rest = explain_compile_error(failure, read_region(text))
    assert line + ":" in quote.in_cell(1)
    for word in words:
        assert word in " ".join((headline, *rest))


def test_the_first_error_is_told_and_the_others_are_folded(puzzle, kernels):
    text = replace_region(
        puzzle.solution_file.read_text(), "\nnothing(1)\n\nnobody(2)\nnowhere(3)\nnever(4)\n" + LAUNCH
    )
    with pytest.raises(MojoCompileError) as caught:
        precompile_op(puzzle.id, text, kernels)
    failure = Failure("precompile", caught.value.raw, tuple(caught.value.diagnostics))
    headline, *details = explain_compile_error(failure, read_region(text))
    more = further_errors(failure, read_region(text))
    verdict = Verdict("p17", FAILED, headline, tuple(details), raw=failure.text, more=more)
    told = str(verdict)
    # As in the file, in which the code begins in line 45, and as in a cell whose first line is %%fill.
    assert (
        told.index("op.mojo, line 45:  nothing(1)") < told.index("And 3 more errors") < told.index("line 47:  nobody")
    )
    assert "line 49" not in told and "`workbook check p17 --json` has everything" in told
    shown = verdict_html(verdict, cell_line=first_line_in_cell("\nnothing(1)\n"))
    first, _, folded = shown.partition("<details>")
    assert "line 3:  nothing(1)" in first and "nobody" not in first
    assert "And 3 more errors" in folded and "line 5:  nobody(2)" in folded and "line 7:  never(4)" in folded


def test_lines_are_counted_as_the_file_and_the_cell_have_them(puzzle):
    text = puzzle.solution_file.read_text().replace("# >>> your code\n", "# >>> your code\n\n\n")
    region = read_region(text)
    assert text.splitlines()[region.first_line - 1].strip() == region.code.splitlines()[0]
    line = CodeLine.of(region, "op.mojo", 1, 5)
    assert line.startswith(f"op.mojo, line {region.first_line}:  ctx.")
    cell = "%%fill p17\n\n" + region.code
    first = first_line_in_cell("\n" + region.code)
    assert cell.splitlines()[first - 1] == region.code.splitlines()[0]
    assert line.in_cell(first).startswith("line 3:  ctx.")
    pasted = "# mine\n# >>> your code\n" + region.code + "\n# <<< your code"
    assert f"%%fill p17\n{pasted}".splitlines()[first_line_in_cell(pasted) - 1] == region.code.splitlines()[0]


def test_a_kernel_that_does_not_compile_is_named(puzzle, kernels):
    sources = {
        "__init__.mojo": "",
        "conv1d.mojo": (rooms.KERNELS / "conv1d.mojo").read_text().replace("barrier()", "barier()"),
    }
    with pytest.raises(MojoCompileError) as caught:
        precompile("kernels", sources)
    failure = Failure("precompile", caught.value.raw, tuple(caught.value.diagnostics))
    told = " ".join(explain_compile_error(failure, read_region(puzzle.solution_file.read_text())))
    assert "The name `barier` does not exist here" in told or "did you mean `barrier`" in told
    assert "kernels/conv1d.mojo: `git restore kernels`" in told


def test_a_missing_package_of_kernels_is_named(puzzle):
    with pytest.raises(MojoCompileError) as caught:
        precompile("alone", {"__init__.mojo": "", "op.mojo": puzzle.solution_file.read_text()})
    assert "The package `kernels` is not there" in known_reason(caught.value.diagnostics[0].message)


# The Python side of a puzzle, which a learner may change

CHANGES = {
    "a syntax error": ("    return ops.custom(", "    return ops.custom((", "SyntaxError", "'(' was never closed"),
    "a wrong name": ("ops.custom(", "opps.custom(", "NameError: name 'opps' is not defined"),
    "an import": ("from max.dtype import DType", "from max.dtypes import DType", "ModuleNotFoundError"),
    "the name of the op": ('name="conv1d"', 'name="conv_1d"', "No package of this graph registers an op `conv_1d`"),
    "an unknown parameter": ('"conv_size":', '"kernel_size":', "`execute` of `conv1d` has no parameter `kernel_size`"),
    "a mistyped parameter": ('"conv_size": int(kernel.shape[0])', '"conv_size": "4"', "has another type in Mojo"),
    "a parameter that is no number": ("int(kernel.shape[0])", "kernel.shape[0]", "a `bool`, `int`, `float`, `str`"),
    "too few operands": ("values=[input, kernel]", "values=[input]", "`values` is too short for `conv1d`"),
}


def test_a_changed_python_side_is_explained(puzzle):
    original = puzzle.python_file.read_text()
    worker = Worker("softgpu")  # one that runs in this test's copy of the checkout
    try:
        for name, (right, wrong, *words) in CHANGES.items():
            assert original.count(right) == 1, name
            puzzle.python_file.write_text(original.replace(right, wrong))
            verdict = check_op(puzzle, puzzle.solution_file.read_text(), [worker], silent, seed=SEED)
            assert verdict.outcome == FAILED, name
            told = str(verdict)
            for word in [*words, "problems/p17/p17.py, line ", "`git restore problems/p17/p17.py`"]:
                assert word in told, (name, told)
            assert "Traceback" not in told, name
    finally:
        worker.close()


# The device

OPEN = """
import ctypes, os, sys
for library in sys.argv[1:]:
    ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
from workbook.running.devices import NoSuchDevice, open_device
try:
    open_device("gpu")
except NoSuchDevice as error:
    print(error, flush=True)
os._exit(0)
"""


OPEN_UNASKED = """
import os
from max.driver import Accelerator
try:
    Accelerator()
except Exception as error:
    print(error, flush=True)
os._exit(0)
"""


def told_of_device(*libraries):
    runtime = build.modular_lib_folder() / "libKGENCompilerRTShared.so"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MODULAR_", "LD_"))}
    command = [sys.executable, "-c", OPEN, runtime, *libraries]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parent.parent
    ).stdout


@pytest.fixture
def driver(tmp_path):
    """The stand-in driver, in a copy."""
    for file in build.built_driver().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_without_a_gpu_the_software_gpu_is_named():
    assert "MAX finds no GPU on this machine" in told_of_device()
    # And what MAX itself says, to whoever does not ask first.
    said = subprocess.run([sys.executable, "-c", OPEN_UNASKED], capture_output=True, text=True).stdout
    assert "MAX finds no GPU on this machine" in explain(said), said


def test_a_driver_that_is_too_old_is_named(driver):
    cuda = driver / "libcuda.so.1"
    before, after = (b"\xc7\x07" + version.to_bytes(4, "little") for version in (13000, 11040))
    assert cuda.read_bytes().count(before) == 1  # what cuDriverGetVersion stores
    cuda.write_bytes(cuda.read_bytes().replace(before, after))
    told = told_of_device(driver / "libnvidia-ml.so.1", cuda)
    assert "The NVIDIA driver of this machine is too old for MAX" in told
    assert "--device softgpu" in told


def test_a_gpu_that_is_too_old_is_named(driver):
    source = driver / "nvml.mojo"
    text = (build.SOURCES / "nvml.mojo").read_text()
    capability = "at[Int32](major)[] = Int32(9) if is_sm_90() else Int32(8)"
    assert text.count(capability) == 1
    source.write_text(text.replace(capability, "at[Int32](major)[] = 6"))
    build._link([build._compile(source, driver)], driver / "libnvidia-ml.so.1")
    told = told_of_device(driver / "libnvidia-ml.so.1", driver / "libcuda.so.1")
    assert "MAX needs an NVIDIA GPU of compute capability 7.5 or more, and this one has 6.0" in told


OUT_OF_MEMORY = """
import os, softgpu
softgpu.install()
from max.driver import Accelerator, Buffer
from max.dtype import DType
try:
    Buffer(DType.float32, [2**34], device=Accelerator())
except Exception as error:
    print(error, flush=True)
os._exit(0)
"""


def test_a_buffer_that_does_not_fit_is_explained():
    said = subprocess.run([sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True)
    assert "The memory of the device is full" in explain(said.stdout), said


# What was written after the launch


def test_an_output_that_was_right_until_something_wrote_over_it(puzzle):
    view = conv1d()
    assert all(output.ok for output in view.outputs)
    outputs = tuple(replace(output, value=0.0, ok=False) for output in view.outputs)
    case = case_of(replace(view, outputs=outputs), input_size=28, conv_size=4)
    told = " ".join(explain_wrong_output(puzzle, case))
    assert f"The kernel stored {view.outputs[0].expected:g} there, and at the end it is 0" in told
    assert "Does a memset, a copy or another launch follow?" in told

    wrong = conv1d(grid=1)
    assert "wrote over it" not in " ".join(explain_wrong_output(puzzle, case_of(wrong, input_size=28, conv_size=4)))


# The machine


def test_a_full_disk_is_explained(puzzle, monkeypatch):
    def write_text(path, text):
        with open("/dev/full", "w") as full:
            full.write(text)

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(OSError) as caught:
        precompile("full", {"__init__.mojo": f"# {SEED}\n"})
    assert "The disk is full" in known_reason(str(caught.value))


@pytest.mark.parametrize(("said", "told"), [("", "status -9"), ("LLVM ERROR: No space left on device", "disk is full")])
def test_a_mojo_that_is_ended_says_nothing_of_the_attempt(puzzle, monkeypatch, said, told):
    def end(command, **options):
        return subprocess.CompletedProcess(command, -9, stdout="", stderr=said)

    monkeypatch.setattr(mojo_compiler, "subprocess_run_mojo", end)
    with pytest.raises(NotCompiled) as caught:
        precompiled(puzzle, f"# {SEED}")
    text = puzzle.solution_file.read_text()
    verdict = judge(puzzle, text, Execution("softgpu", (), (), failure=caught.value.failure))
    assert verdict.outcome == STOPPED
    assert told in verdict.headline
    progress.record(puzzle, text, verdict)
    assert progress.of(puzzle).attempts == 0, "it is no attempt that failed"


WRITE = """
import os, sys
from pathlib import Path
if os.geteuid() == 0:
    os.seteuid(65534)  # root may write anywhere
try:
    (Path(sys.argv[1]) / "op.mojo").write_text("")
except OSError as error:
    print(error)
"""


def test_a_folder_that_cannot_be_written_to_is_named():
    said = subprocess.run([sys.executable, "-c", WRITE, "/"], capture_output=True, text=True).stdout
    assert "`/op.mojo` cannot be written" in explain(said), said


def test_every_message_is_found_by_its_own_pattern_only_after_more_special_ones():
    patterns = [message.pattern for message in MESSAGES]
    assert len(set(patterns)) == len(patterns)
    assert all(re.compile(pattern) for pattern in patterns)
    assert find_message("the moon is full") is None
    assert explain("the moon is full\nand more") == "the moon is full"
