"""Mistakes that are made with custom ops. Each is a change of a file in experiments/, and is really made when its cell
of the notebook runs; what the tools say of it then is explained here."""

import re
from dataclasses import dataclass

from workbook import rooms
from workbook.diagnosis.errors import known_reason
from workbook.language import N_, _

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

REASONS = (
    (
        r"no kernel registered for '(?P<name>[^']*)'",
        N_(
            "No package of this graph registers an op `{name}`. Is that the name in `@extensibility.register`, letter "
            "by letter, and is the package among `custom_extensions`?"
        ),
    ),
    (
        r"'str' object has no attribute 'is_file'",
        N_("`custom_extensions` takes `Path` objects, and this is a `str`."),
    ),
    (
        r"must be a Mojo source or binary package: (?P<path>.*)",
        N_(
            "This path is no package: `{path}`. A package is a file that ends in `.mojoc`, or a folder with an "
            "`__init__.mojo`."
        ),
    ),
    (
        r"parameter '(?P<name>[^']*)' supplied to custom op '(?P<op>[^']*)' does not exist",
        N_("`execute` of `{op}` has no parameter `{name}` in its square brackets."),
    ),
    (
        r"custom op '(?P<op>[^']*)' attribute '(?P<name>[^']*)' with value '(?P<value>.*)' to the proper Mojo",
        N_("The parameter `{name}` of `{op}` has another type in Mojo: {value} does not fit."),
    ),
    (
        r"unsupported parameter type <class '(?P<type>[^']*)'>",
        N_(
            "A parameter is a `bool`, `int`, `float`, `str` or `DType`, and this is a `{type}`. `int(…)` makes an "
            "`int` of a size that is known when the graph is built."
        ),
    ),
    (
        r"Could not provide all input arguments to op '(?P<op>[^']*)': .* argument named '(?P<name>[^']*)'",
        N_("`values` is too short for `{op}`: its argument `{name}` is the first that gets none."),
    ),
    (
        r"Failed to infer all the kernel parameters: Failed to infer parameter `(?P<name>\w+)`",
        N_("`execute` has a parameter `{name}` in its square brackets, and `parameters` does not say what it is."),
    ),
    (
        r"\.rank of the first value is 'Int\((?P<given>\d+)\)' but the second value is 'Int\((?P<wanted>\d+)\)'",
        N_("`out_types` gives the output the rank {given}, and the op's signature has {wanted}."),
    ),
    (
        r"\.dtype of the first value is '(?P<given>.*)' but the second value is '(?P<wanted>.*)'",
        N_("`out_types` gives the output the dtype `{given}`, and the op's signature has `{wanted}`."),
    ),
    (
        r"Invalid global store of \d+ bytes .* by thread \((?P<thread>\d+), .* of block \((?P<block>\d+), "
        r".* after .* \((?P<size>\d+) bytes at",
        N_(
            "Thread {thread} of block {block} writes past the end of a buffer of {size} bytes: the kernel's size is "
            "not the one in `out_types`."
        ),
    ),
    (
        r"Buffer of type \[(?P<given>.*)\] does not match expected type \[(?P<wanted>.*)\]",
        N_("An input is {given}, size and dtype; the graph was built for {wanted}."),
    ),
    (
        r"expected argument (?P<number>\d+) to be on device Device\(type=(?P<wanted>\w+),.*\(type=(?P<given>\w+),",
        N_("Input {number}, counted from 0, is on the device `{given}`; the graph was built for `{wanted}`."),
    ),
    (
        r"(?P<op>\w+) has no implementation for the target '(?P<target>\w+)'",
        N_("The op's own last branch says it: `{op}` has none for the target `{target}`."),
    ),
    (
        r"use of unknown declaration 'compiler'",
        N_("The decorator has moved: `import extensibility`, and write `@extensibility.register`."),
    ),
    (
        r"use of unknown declaration 'DeviceContextPtr'",
        N_("There is no `DeviceContextPtr` any more: `execute` is given the context itself, `ctx: DeviceContext`."),
    ),
    (
        r"unable to locate module 'gpu'",
        N_("The module has moved: it is `max.gpu` now."),
    ),
    (
        r"expressions must not appear at file scope.*\n\s*alias ",
        N_("`alias` is no word of Mojo any more: write `comptime`. Mojo takes the line for an expression."),
    ),
)
"""What MAX says, and what it means. The names in braces are those of the pattern's groups."""


def changed_text(mistake: Mistake, file: str) -> str:
    """The text of a file of experiments/, with the mistake if that is where it is made."""
    text = (rooms.EXPERIMENTS / file).read_text()
    for right, wrong in mistake.changes if mistake.file == file else ():
        assert text.count(right) == 1, f"{file} must have exactly one {right!r}"
        text = text.replace(right, wrong)
    return text


def explain(text: str) -> str:
    """The point of what a tool said, in a sentence or two; its own first line where that is not known."""
    for pattern, meaning in REASONS:
        match = re.search(pattern, text)
        if match:
            return _(meaning).format(**match.groupdict())
    return known_reason(text) or text.strip().splitlines()[0]
