"""Mistakes that are made with custom ops. Each is a change of a file in experiments/, and is really made when its cell
of the notebook runs; what the tools say of it then is explained in diagnosis/messages.py."""

from dataclasses import dataclass

from workbook import rooms
from workbook.language import N_

OP, PYTHON = "subtract.mojo", "subtract.py"


@dataclass(frozen=True)
class Mistake:
    """In a file of experiments/, the second text of each change takes the place of the first."""

    file: str
    changes: tuple[tuple[str, str], ...]
    devices: tuple[str, ...] = ("gpu",)
    """Where the graph has the op. The graph with both is that of the other experiments, and compiled already."""
    silent: str = ""
    """What there is to say where no tool says anything."""


def _python(right: str, wrong: str, silent: str = "", devices: tuple[str, ...] = ("gpu",)) -> Mistake:
    return Mistake(PYTHON, ((right, wrong),), devices, silent)


def _op(*changes: tuple[str, str], devices: tuple[str, ...] = ("gpu",)) -> Mistake:
    return Mistake(OP, changes, devices)


CPU_BRANCH = """\
        elif target == "cpu":
            for i in range(size):
                output_view[i] = left_view[i] - right_view[i]
"""
LAST_BRANCH = """\
        else:
            raise Error("subtract has no implementation for the target '" + target + "', only for 'gpu' and 'cpu'")
"""

MISTAKES = {
    "op_name": _python('name="subtract"', 'name="substract"'),
    "no_package": _python("custom_extensions=[package]", "custom_extensions=[]"),
    "path_as_text": _python("custom_extensions=[package]", "custom_extensions=[str(package)]"),
    "path_of_a_source_file": _python(
        "custom_extensions=[package]", 'custom_extensions=[Path("experiments/subtract.mojo")]'
    ),
    "mojopkg": _python("custom_extensions=[package]", 'custom_extensions=[package.with_suffix(".mojopkg")]'),
    "misspelt_parameter": _python('"size"', '"length"'),
    "missing_parameter": _python('"size": int(left.shape[0]), ', ""),
    "parameter_of_another_type": _python('"size": int(left.shape[0])', '"size": "10"'),
    "parameter_as_dim": _python('"size": int(left.shape[0])', '"size": left.shape[0]'),
    "missing_value": _python("values=[left, right]", "values=[left]"),
    "swapped_values": _python(
        "values=[left, right]",
        "values=[right, left]",
        N_("Values are matched by position. Two of one type can change places, and only the result shows it."),
    ),
    "output_dtype": _python("TensorType(left.dtype, left.shape", "TensorType(DType.float64, left.shape"),
    "output_rank": _python("left.shape, left.device", "[*left.shape, 1], left.device"),
    "short_output": _python("left.shape, left.device", "[left.shape[0] - 1], left.device"),
    "input_dtype": _python(
        "Buffer.from_numpy(array)", "Buffer.from_numpy(array.astype(np.float64))", devices=("cpu", "gpu")
    ),
    "input_on_the_cpu": _python(
        "Buffer.from_numpy(array).to(device)", "Buffer.from_numpy(array)", devices=("cpu", "gpu")
    ),
    "compiler_register": _op(("@extensibility.register", "@compiler.register")),
    "alias": _op(("comptime TPB", "alias TPB")),
    "fn": _op(("def subtract_kernel", "fn subtract_kernel")),
    "device_context_ptr": _op(("ctx: DeviceContext", "ctx: DeviceContextPtr")),
    "old_import": _op(("from max.gpu import", "from gpu import")),
    "int_argument": _op(
        (
            "    right: TileTensor[dtype, Layout, MutAnyOrigin],\n",
            "    right: TileTensor[dtype, Layout, MutAnyOrigin],\n    count: Int,\n",
        ),
        ("output_view, left_view, right_view, grid_dim", "output_view, left_view, right_view, size, grid_dim"),
    ),
    "no_implementation": _op((CPU_BRANCH, ""), devices=("cpu",)),
    "no_branches": _op(
        ('target == "gpu"', 'target == "cuda"'), (LAST_BRANCH, ""), (' elif target == "cpu":', " else:")
    ),
}


def changed_text(mistake: Mistake, file: str) -> str:
    """The text of a file of experiments/, with the mistake if that is where it is made."""
    text = (rooms.EXPERIMENTS / file).read_text()
    for right, wrong in mistake.changes if mistake.file == file else ():
        assert text.count(right) == 1, f"{file} must have exactly one {right!r}"
        text = text.replace(right, wrong)
    return text
