"""What Mojo, MAX, a driver and a worker say, and what it means here: one table for all who explain an error.

Most of these texts are long, and their point stands somewhere in the middle. A pattern is what gives one away; the help
says what is wrong, where, and what to do. `stage` is who says it, and when:

- "mojo": `mojo precompile`, of the text of an op or a kernel, in a second or two;
- "python": the Python side of a puzzle, or MAX's Python API, while the graph is built;
- "graph": MAX, when it compiles the graph for its device;
- "device": MAX, when it opens a GPU;
- "run": the op, the driver or MAX, when the graph is executed;
- "system": the machine that all this runs on.
"""

import re
from dataclasses import dataclass

from workbook.language import N_, _


@dataclass(frozen=True)
class Message:
    """The names in braces in `help` are those of the pattern's groups; beside them `new` is the present word for `old`,
    and `number` counts from 1 what `index` counts from 0."""

    stage: str
    pattern: str
    help: str


REPLACEMENTS = {"fn": "def", "alias": "comptime"}

MESSAGES = (
    # Mojo, of the text
    Message(
        "mojo",
        r"use of unknown declaration 'compiler'",
        N_("The decorator has moved: `import extensibility`, and write `@extensibility.register`."),
    ),
    Message(
        "mojo",
        r"use of unknown declaration 'DeviceContextPtr'",
        N_("There is no `DeviceContextPtr` any more: `execute` is given the context itself, `ctx: DeviceContext`."),
    ),
    Message("mojo", r"unable to locate module 'gpu'", N_("The module has moved: it is `max.gpu` now.")),
    Message(
        "mojo",
        r"expressions must not appear at file scope.*\n\s*alias ",
        N_("`alias` is no word of Mojo any more: write `comptime`. Mojo takes the line for an expression."),
    ),
    Message(
        "mojo",
        r"use of unknown declaration '(?P<name>\w+)'; did you mean to import it from .* Add '(?P<line>[^']+)'",
        N_("`{name}` is not imported: write `{line}` before it."),
    ),
    Message(
        "mojo",
        r"use of unknown declaration '(?P<name>Dim|dim3)'",
        N_("There is no `{name}` here, and none is needed: a size is a number, or a tuple of up to three numbers."),
    ),
    Message(
        "mojo",
        r"missing required argument: 'grid_dim'",
        N_("The launch needs `grid_dim`: say how many blocks the grid has."),
    ),
    Message(
        "mojo",
        r"missing required argument: 'block_dim'",
        N_("The launch needs `block_dim`: say how many threads a block has."),
    ),
    Message(
        "mojo",
        r"'(?P<old>fn|alias)' has been removed",
        N_("`{old}` belongs to an older Mojo and has been removed: write `{new}`."),
    ),
    Message(
        "mojo",
        r"use of unknown declaration '(?P<name>\w+)'; did you mean '(?P<suggestion>\w+)'",
        N_("The name `{name}` does not exist here; did you mean `{suggestion}`?"),
    ),
    Message("mojo", r"use of unknown declaration '(?P<name>\w+)'", N_("The name `{name}` does not exist here.")),
    Message(
        "mojo",
        r"no matching method in call to 'enqueue_function'",
        N_(
            "This is not the form of a launch: `ctx.enqueue_function[kernel[parameters…]](arguments…, grid_dim=…, "
            "block_dim=…)`."
        ),
    ),
    Message(
        "mojo",
        r"unable to locate module 'kernels'",
        N_(
            "The package `kernels` is not there: the folder kernels/ holds it. `git restore kernels` brings it "
            "back as it was."
        ),
    ),
    Message(
        "mojo",
        r"unable to locate module '(?P<name>[\w.]+)'",
        N_(
            "There is no module `{name}`. Mojo has its own in `std` and `max`, and none of Python: `from "
            "std.math import ceildiv`."
        ),
    ),
    Message(
        "mojo",
        r"'DeviceContext(Base)?' value has no attribute '(?P<name>\w+)'",
        N_("The DeviceContext has no method `{name}`; a kernel is launched with `enqueue_function[…](…)`."),
    ),
    Message(
        "mojo",
        r"'(?P<type>\w+)(\[.*)?' value has no attribute '(?P<name>\w+)'",
        N_("A value of type `{type}` has no attribute `{name}`."),
    ),
    Message(
        "mojo",
        r"add '\(\)' to call '(?P<name>\w+)'",
        N_("`{name}` is not called here: after the square brackets parentheses are missing, `()`."),
    ),
    Message(
        "mojo",
        r"indentation must not mix tabs and spaces",
        N_("Tabs and spaces are mixed at the beginning of this line: use spaces only."),
    ),
    Message(
        "mojo",
        r"statement indentation must match the rest of the block",
        N_("This line is not indented as the lines before it: begin it in the same column."),
    ),
    Message(
        "mojo",
        r"body must not be empty",
        N_("After the line with the colon an indented line is missing: what belongs to it is indented by four spaces."),
    ),
    Message("mojo", r"expected ':' after", N_("A colon is missing at the end of this line.")),
    Message(
        "mojo",
        r"unexpected token in expression",
        N_("Mojo cannot read this line from the mark on: something is missing before it, or does not belong there."),
    ),
    Message(
        "mojo",
        r"statements must start at the beginning of a line",
        N_("Two things stand in one line at the mark: is a comma, a bracket or a line break missing before it?"),
    ),
    Message(
        "mojo",
        r"no matching function in call to '(?P<function>\w+)'",
        N_("`{function}` is not called as it is declared: look at the number and the kinds of its arguments."),
    ),
    Message(
        "mojo",
        r"does not implement the '__call__' method",
        N_("What stands before the `(` at the mark cannot be called: it is a value, not a function."),
    ),
    # MAX's Python API, while the graph is built
    Message(
        "python",
        r"no kernel registered for '(?P<name>[^']*)'",
        N_(
            "No package of this graph registers an op `{name}`. Is that the name in `@extensibility.register`, letter "
            "by letter, and is the package among `custom_extensions`?"
        ),
    ),
    Message(
        "python",
        r"'str' object has no attribute 'is_file'",
        N_("`custom_extensions` takes `Path` objects, and this is a `str`."),
    ),
    Message(
        "python",
        r"must be a Mojo source or binary package: (?P<path>.*)",
        N_(
            "This path is no package: `{path}`. A package is a file that ends in `.mojoc`, or a folder with an "
            "`__init__.mojo`."
        ),
    ),
    Message(
        "python",
        r"parameter '(?P<name>[^']*)' supplied to custom op '(?P<op>[^']*)' does not exist",
        N_("`execute` of `{op}` has no parameter `{name}` in its square brackets."),
    ),
    Message(
        "python",
        r"custom op '(?P<op>[^']*)' attribute '(?P<name>[^']*)' with value '(?P<value>.*)' to the proper Mojo",
        N_("The parameter `{name}` of `{op}` has another type in Mojo: {value} does not fit."),
    ),
    Message(
        "python",
        r"unsupported parameter type <class '(?P<type>[^']*)'>",
        N_(
            "A parameter is a `bool`, `int`, `float`, `str` or `DType`, and this is a `{type}`. `int(…)` makes an "
            "`int` of a size that is known when the graph is built."
        ),
    ),
    Message(
        "python",
        r"Could not provide all input arguments to op '(?P<op>[^']*)': .* argument named '(?P<name>[^']*)'",
        N_("`values` is too short for `{op}`: its argument `{name}` is the first that gets none."),
    ),
    # MAX, when it compiles the graph
    Message(
        "graph",
        r"Failed to infer all the kernel parameters: Failed to infer parameter `(?P<name>\w+)`",
        N_("`execute` has a parameter `{name}` in its square brackets, and `parameters` does not say what it is."),
    ),
    Message(
        "graph",
        r"\.rank of the first value is 'Int\((?P<given>\d+)\)' but the second value is 'Int\((?P<wanted>\d+)\)'",
        N_("`out_types` gives the output the rank {given}, and the op's signature has {wanted}."),
    ),
    Message(
        "graph",
        r"\.dtype of the first value is '(?P<given>.*)' but the second value is '(?P<wanted>.*)'",
        N_("`out_types` gives the output the dtype `{given}`, and the op's signature has `{wanted}`."),
    ),
    Message(
        "graph",
        r"failed to infer parameter '(?P<name>\w+)'",
        N_("The kernel's compile-time parameter `{name}` is missing in the square brackets."),
    ),
    Message(
        "graph",
        r"argument #\d+ of type 'Pointer\[",
        N_("The launch passes a pointer, but the kernel takes tensors: `output_tensor`, `input_tensor` and the like."),
    ),
    Message(
        "graph",
        r"argument #(?P<index>\d+) of type .* is not encodable as the declared function argument type",
        N_(
            "Argument number {number} of the kernel has another type than the kernel's compile-time parameters say: "
            "its layout, or its dtype, is that of another tensor. Are the arguments, and the layouts in the square "
            "brackets, in the kernel's order?"
        ),
    ),
    Message(
        "graph",
        r"Wrong number of arguments to enqueue",
        N_("The launch passes another number of arguments than the kernel takes: one for each of its tensors."),
    ),
    Message(
        "graph",
        r"Int and UInt do not conform to DevicePassable",
        N_(
            "An `Int` cannot be passed to a kernel, since a GPU may count with fewer bits. A number that is known when "
            "the op is compiled goes into the square brackets; another one is passed as `Int32(…)`."
        ),
    ),
    Message(
        "graph",
        r"sm_count and thread_count must be known",
        N_(
            "`foreach` is compiled for a GPU here, but the graph runs on the CPU. Pass on what the op is told: "
            "`foreach[target=target](…)`."
        ),
    ),
    Message(
        "graph",
        r"Current compilation target does not support operation: (?P<operation>\w+)",
        N_(
            "The kernel is called as an ordinary function, which runs it on the CPU, where there is no `{operation}`. "
            "ctx.enqueue_function launches it on the GPU."
        ),
    ),
    # A GPU that cannot be opened
    Message(
        "device",
        r"Only NVIDIA .* architectures or higher are supported. Your GPU has compute capability "
        r"(?P<major>\d+)(?P<minor>\d)",
        N_(
            "MAX needs an NVIDIA GPU of compute capability 7.5 or more, and this one has {major}.{minor}. The "
            "software GPU runs everything here: add `--device softgpu`."
        ),
    ),
    Message(
        "device",
        r"Your current (?P<vendor>\w+) GPU driver version is not supported",
        N_(
            "The {vendor} driver of this machine is too old for MAX: install a newer one "
            "(https://modul.ar/gpu-requirements). Until then the software GPU runs everything here: add "
            "`--device softgpu`."
        ),
    ),
    Message(
        "device",
        r"No supported .gpu. device available",
        N_(
            "MAX finds no GPU on this machine. The software GPU runs everything here: leave `--device` out, or "
            "say `--device softgpu`."
        ),
    ),
    # The op, the driver and MAX, when it runs
    Message(
        "run",
        r"Invalid global store of \d+ bytes .* by thread \((?P<thread>\d+), .* of block \((?P<block>\d+), "
        r".* after .* \((?P<size>\d+) bytes at",
        N_(
            "Thread {thread} of block {block} writes past the end of a buffer of {size} bytes: the kernel's size is "
            "not the one in `out_types`."
        ),
    ),
    Message(
        "run",
        r"Buffer of type \[(?P<given>.*)\] does not match expected type \[(?P<wanted>.*)\]",
        N_("An input is {given}, size and dtype; the graph was built for {wanted}."),
    ),
    Message(
        "run",
        r"expected argument (?P<number>\d+) to be on device Device\(type=(?P<wanted>\w+),.*\(type=(?P<given>\w+),",
        N_("Input {number}, counted from 0, is on the device `{given}`; the graph was built for `{wanted}`."),
    ),
    Message(
        "run",
        r"(?P<op>\w+) has no implementation for the target '(?P<target>\w+)'",
        N_("The op's own last branch says it: `{op}` has none for the target `{target}`."),
    ),
    Message(
        "run",
        r"Dim value (?P<size>grid_dim|block_dim)\.(?P<dimension>\w) must be a positive number",
        N_("`{size}` is zero or negative in {dimension} for one of the sizes that are checked."),
    ),
    Message(
        "run",
        r"CUDA_ERROR_OUT_OF_MEMORY|[Oo]ut of memory|OUT_OF_MEMORY",
        N_("The memory of the device is full: a buffer is larger than what is left. Which sizes were asked for?"),
    ),
    # The machine
    Message(
        "system",
        r"No space left on device|Disk quota exceeded",
        N_(
            "The disk is full, so nothing could be compiled: make room, then run it again. What was compiled "
            "earlier lies in .workbook/build and can be deleted."
        ),
    ),
    Message(
        "system",
        r"Permission denied: '(?P<path>[^']*)'",
        N_("`{path}` cannot be written: whose is it, and what rights does it have?"),
    ),
)
"""The first that fits counts: what is more special stands before what is more general."""


def find_message(text: str) -> tuple[Message, str] | None:
    """The message that a text holds, and its help in the learner's language; None where it is not known."""
    for message in MESSAGES:
        match = re.search(message.pattern, text)
        if match:
            words: dict[str, object] = dict(match.groupdict())
            if "old" in words:
                words["new"] = REPLACEMENTS[str(words["old"])]
            if "index" in words:
                words["number"] = int(str(words["index"])) + 1
            return message, _(message.help).format(**words)
    return None


def known_reason(text: str) -> str | None:
    """What a text means here; None for one that is not known."""
    found = find_message(text)
    return found[1] if found else None


def explain(text: str) -> str:
    """The point of what a tool said, in a sentence or two; its own first line where that is not known."""
    return known_reason(text) or text.strip().partition("\n")[0]
