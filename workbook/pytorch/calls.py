"""What a call of puzzle 20's op must be, in sentences: the lint says them of a text, the check of a call that was made.

Neither PyTorch nor MAX notices most of these mistakes: the op trusts what it is told.
"""

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches

from workbook.language import N_, _

OP = "conv1d"
ARGUMENTS = ("output", "input", "kernel")
SIZES = {"input_size": "input_tensor", "conv_size": "kernel_tensor"}
"""The op's parameters, and the tensors whose number of elements they are."""

TORCH = "torch==2.13.0"


class WrongCall(Exception):
    """The call of an op, or what became of its result, is not right. The message says why."""


def missing() -> str:
    """What to do where PyTorch is not installed; empty where it is."""
    try:
        found = importlib.util.find_spec("torch") is not None
    except ImportError:
        found = False
    if found:
        return ""
    return _(
        "This puzzle needs PyTorch, which is not installed here: it is large, and only this puzzle uses it. "
        "`{cpu}` installs it without CUDA, which is enough; `{cuda}` installs it with CUDA, for an NVIDIA GPU "
        "(with pixi, `{pixi}` has it). Then restart the notebook's kernel, or give the command again."
    ).format(
        cpu=f"uv pip install --torch-backend=cpu {TORCH}",
        cuda="uv sync --inexact --extra torch",
        pixi="pixi run -e torch lab",
    )


def wrong_parameters(names: Collection[str]) -> str | None:
    """What is wrong with the names of the parameters in a call."""
    for name in names:
        if name == "dtype":
            return _(
                "The op takes no `dtype` from PyTorch: it is read from the tensors. (A `DType` could not be passed at "
                "all: the values become a part of the name that PyTorch knows the op by.)"
            )
        if name not in SIZES:
            near = get_close_matches(name, SIZES, n=1)
            if near:
                text = _("The op has no parameter `{name}`; did you mean `{suggestion}`?")
                return text.format(name=name, suggestion=near[0])
            text = _("The op has no parameter `{name}`: it has `input_size` and `conv_size`.")
            return text.format(name=name)
    for name, tensor in SIZES.items():
        if name not in names:
            text = _(
                "The parameter `{name}` is missing: the op is compiled for a number of elements, and nobody tells it "
                "that of `{tensor}`."
            )
            return text.format(name=name, tensor=tensor)
    return None


def wrong_values(given: Mapping[str, object]) -> str | None:
    """What is wrong with the types of the parameters' values."""
    for name, tensor in SIZES.items():
        if type(given[name]) is not int:
            text = _("The parameter `{name}` is a whole number, as `{tensor}.shape[0]` is; it was given {value}.")
            return text.format(name=name, tensor=tensor, value=repr(given[name]))
    return None


def exchanged_sizes() -> str:
    return _(
        "`input_size` and `conv_size` are exchanged: `input_size` is the number of elements of `input_tensor`, "
        "`conv_size` that of `kernel_tensor`."
    )


def wrong_sizes(given: Mapping[str, object], needed: Mapping[str, int]) -> str | None:
    """What is wrong with the values of the parameters, where the tensors have as many elements as `needed` says."""
    if (
        [given[name] for name in SIZES]
        == [needed[name] for name in reversed(SIZES)]
        != [needed[name] for name in SIZES]
    ):
        return exchanged_sizes()
    for name, tensor in SIZES.items():
        if given[name] != needed[name]:
            text = _("The parameter `{name}` was given {value}, but `{tensor}` has {needed} elements here.")
            return text.format(name=name, value=given[name], tensor=tensor, needed=needed[name])
    return None


def wrong_order(passed: Sequence[str]) -> str | None:
    """What is wrong with the order of the tensors; each is an argument's name, or something else."""
    if len(passed) < len(ARGUMENTS) and "output" not in passed and set(passed) <= set(ARGUMENTS):
        return _(
            "The call has no output. PyTorch allocates none for an op of Mojo: make a tensor for the result before the "
            "call, and pass it first."
        )
    if len(passed) != len(ARGUMENTS):
        text = _("The op takes three tensors, (output, input, kernel); the call passes {number}.")
        return text.format(number=len(passed))
    if passed[0] in ARGUMENTS[1:] and tuple(passed[1:]) == ARGUMENTS[1:]:
        text = _(
            "The output is the `{name}` itself: threads would overwrite elements that others have not read yet. Make a "
            "tensor of its own for the result."
        )
        return text.format(name=passed[0])
    if any(given in ARGUMENTS and given != wanted for given, wanted in zip(passed, ARGUMENTS, strict=True)):
        text = _("The op takes (output, input, kernel), in this order: the output first. The call passes ({passed}).")
        return text.format(passed=", ".join(passed))
    return None


NOTHING_CALLED = N_(
    "The op was never called: `library.conv1d[…]` is one, and it runs when it is called with its tensors."
)
GIVES_NOTHING_BACK = N_(
    "A call of the op gives nothing back (`None`): the result is in the output tensor that it was passed. "
    "Give back that tensor."
)
NOTHING_RETURNED = N_("`conv1d_pytorch` gives nothing back: end with `return`, and the output tensor.")
PYTORCHS_OWN = N_(
    "This is PyTorch's own convolution. The puzzle is to call the op that is written in Mojo: `library.conv1d`."
)
NO_PARAMETERS = N_(
    "`library.conv1d` is called without its parameters: write them in square brackets, as one dictionary, before the "
    "parentheses."
)
ONE_DICTIONARY = N_(
    "In the square brackets stands one dictionary, from the names of the parameters to their values: "
    '`{{"input_size": …, "conv_size": …}}`.'
)
ARRAYS_ARE_NO_TENSORS = N_("The op takes PyTorch's tensors as they are; a NumPy array is none.")
A_PATH = N_("`CustomOpLibrary` takes a `Path`, not text. But the library is open already: it is `library`.")
NO_MEMORY = N_("A tensor on the device `meta` has a shape and no memory: the kernel cannot write to it.")
