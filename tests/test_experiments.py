"""The notebook "Understanding custom ops": it is run once, and every cell must show what its text says."""

import html
import re

import nbformat
import pytest
from nbclient import NotebookClient

from workbook import rooms
from workbook.diagnosis.messages import explain
from workbook.laboratory.mistakes import MISTAKES, OP, changed_text

NOTEBOOK = rooms.NOTEBOOKS / "understanding_custom_ops.ipynb"


@pytest.fixture(scope="module")
def shown():
    """What each cell showed, as text, by its source."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=180, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    return {cell.source: " ".join(map(text_of, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"}


def text_of(output):
    """The text of what a cell shows: one space between words, and between cells of a table."""
    code = re.sub(r"</?code>", "`", output.data["text/html"])
    return re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]*>", "", code.replace("<td", " <td"))))


PACKAGE = "Found by Mojo, when it compiled the package."
BUILD = "Found by MAX, while Python built the graph"
COMPILE = "Found by MAX, when it compiled the graph"
RUN = "Found only when the op ran."
NOBODY = "Found by nobody."
POINTS = {
    "op_name": (BUILD, "No package of this graph registers an op `substract`"),
    "no_package": (BUILD, "No package of this graph registers an op `subtract`"),
    "path_as_text": (BUILD, "`custom_extensions` takes `Path` objects, and this is a `str`"),
    "path_of_a_source_file": (BUILD, "This path is no package: `experiments/subtract.mojo`"),
    "mojopkg": (BUILD, "A package is a file that ends in `.mojoc`"),
    "misspelt_parameter": (BUILD, "`execute` of `subtract` has no parameter `length`"),
    "missing_parameter": (COMPILE, "has a parameter `size` in its square brackets, and `parameters` does not say"),
    "parameter_of_another_type": (BUILD, "The parameter `size` of `subtract` has another type in Mojo"),
    "parameter_as_dim": (BUILD, "this is a `max.graph.dim.StaticDim`"),
    "missing_value": (BUILD, "its argument `right` is the first that gets none"),
    "swapped_values": (NOBODY, "the op -10 -10 -8 -4 2 10 20 32 46 62"),
    "output_dtype": (COMPILE, "the dtype `DType.float64`, and the op's signature has `DType.float32`"),
    "output_rank": (COMPILE, "the rank 2, and the op's signature has 1"),
    "short_output": (RUN, "Thread 1 of block 1 writes past the end of a buffer of 36 bytes"),
    "input_dtype": (RUN, "An input is (10), f64, size and dtype; the graph was built for (10), f32"),
    "input_on_the_cpu": (RUN, "Input 2, counted from 0, is on the device `cpu`; the graph was built for `gpu`"),
    "compiler_register": (PACKAGE, "write `@extensibility.register`"),
    "alias": (PACKAGE, "write `comptime`"),
    "fn": (PACKAGE, "`fn` belongs to an older Mojo and has been removed: write `def`"),
    "device_context_ptr": (PACKAGE, "`ctx: DeviceContext`"),
    "old_import": (PACKAGE, "it is `max.gpu` now"),
    "int_argument": (COMPILE, "An `Int` cannot be passed to a kernel"),
    "no_implementation": (RUN, "`subtract` has none for the target `cpu`"),
    "no_branches": ("ended by signal 11", "a new one has been started"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_really_made_and_explained(shown, name):
    said = shown[f'x.mistake("{name}")']
    for words in POINTS[name]:
        assert words in said
    file = MISTAKES[name].file
    right, wrong = ((rooms.EXPERIMENTS / file).read_text(), changed_text(MISTAKES[name], file))
    for line in set(wrong.splitlines()) ^ set(right.splitlines()):
        assert " ".join(line.split()) in said, "what was changed is shown"


def test_what_the_tool_said_is_there_but_not_first(shown):
    said = shown['x.mistake("int_argument")']
    assert said.index("An `Int` cannot be passed") < said.index("Everything the tool said")
    assert "Int and UInt do not conform to DevicePassable" in said.partition("Everything the tool said")[2]


def test_the_package_has_the_ops_of_the_room(shown):
    said = shown["x.package()"]
    assert "The file begins with `MPKG`" in said
    for op in (
        "`keep_positive` `output` `input`",
        "`look_through` `output` `input`",
        "`subtract` `output` `left, right`",
    ):
        assert op in said


def test_one_source_runs_on_both_devices(shown):
    said = shown["x.both_devices()"]
    for row in ("NumPy", "CPU", "GPU"):
        assert f"{row} 10 10 8 4 -2 -10 -20 -32 -46 -62" in said
    assert re.search(r"launched the kernel `\w+_subtract_\w+`: 2 blocks of 8 threads", said)


def test_the_way_of_the_data(shown):
    steps = re.search(
        r"1 `Buffer.to\(device\)` The array `left` is copied to the device: 40 bytes at address `0x\w+`. "
        r"2 `Buffer.to\(device\)` The array `right` is copied .* "
        r"3 `model.execute` MAX allocates the output: 40 bytes at address `0x\w+`. 0 of them have been written .* "
        r"4 `execute` `execute` launches `\w+`: 2 blocks of 8 threads, which write the output. "
        r"5 `Buffer.to\(CPU\(\)\)` The result is copied back: 10 10 8 4",
        shown["x.data_flow()"],
    )
    assert steps


def test_what_no_kernel_has_written(shown):
    said = shown["x.memory()"]
    assert "`zero_first=True` 3 0 4 0 5 0 2 0 5 0 40 of 40 bytes were written" in said
    assert "`zero_first=False` 3 nan 4 nan 5 nan 2 nan 5 nan 0 of 40 bytes were written" in said


def test_views_of_the_same_bytes(shown):
    views = shown["x.views()"]
    for seen in (
        "1 2 3 4 5 6 `row_major[2, 3], float32`",
        "1 3 5 2 4 6 `col_major[2, 3], float32`",
        "1 2 3 4 5 6 `row_major[3, 2], float32`",
        "1.065e+09 1.074e+09 1.078e+09 1.082e+09 1.084e+09 1.086e+09 `row_major[2, 3], int32`",
    ):
        assert seen in views


def test_a_package_at_the_path_of_another(shown):
    said = shown["x.stale_package()"]
    assert "At the same path MAX still goes by the old op: `execute` of `subtract` has no parameter `length`" in said
    assert "In a new place the new one is accepted." in said


def test_what_is_not_known_is_told_in_the_tools_own_words():
    assert explain("the moon is full\nand more") == "the moon is full"


def test_a_mistake_that_no_longer_fits_its_file_is_noticed(checkout):
    file = rooms.EXPERIMENTS / OP
    file.write_text(file.read_text().replace("comptime TPB", "comptime THREADS"))
    with pytest.raises(AssertionError, match="exactly one 'comptime TPB'"):
        changed_text(MISTAKES["alias"], OP)
