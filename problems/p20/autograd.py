"""Beyond puzzle 20: the op gets a gradient, so that PyTorch can train what it computes."""

import torch
from max.experimental.torch import CustomOpLibrary
from p20 import conv1d_pytorch


def differentiable(library: CustomOpLibrary) -> torch.library.CustomOpDef:
    """The convolution as an operation of PyTorch's own: it gives back its result, and PyTorch knows its gradient.

    The op of the library cannot be given a gradient, since it writes into a tensor that it was passed. This operation
    calls it, but makes its output itself and changes none of its inputs.
    """

    @torch.library.custom_op("workbook::conv1d", mutates_args=())
    def conv1d(input: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        # MAX takes no tensors that require a gradient. Here they need none: the gradient of all this is said below.
        return conv1d_pytorch(library, input.detach(), kernel.detach())

    @conv1d.register_fake
    def _(input, kernel):
        # What torch.compile needs to know beforehand: shape, dtype and device of the result.
        return torch.empty_like(input)

    def keep(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    def backward(ctx, gradient):
        """From the gradient with respect to the output to those with respect to the inputs."""
        input, kernel = ctx.saved_tensors
        # input[m] went into output[m - j] with the weight kernel[j]: the same convolution, from the other end.
        of_input = conv1d(gradient.flip(0), kernel).flip(0)
        # kernel[j] went into output[i] with the weight input[i + j], which is zero past the end.
        windows = torch.nn.functional.pad(input, (0, len(kernel) - 1)).unfold(0, len(input), 1)
        return of_input, windows @ gradient

    conv1d.register_autograd(backward, setup_context=keep)
    return conv1d


def reference(input: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """The same with PyTorch's own convolution, to compare with."""
    padded = torch.nn.functional.pad(input, (0, len(kernel) - 1))
    return torch.nn.functional.conv1d(padded[None, None], kernel[None, None])[0, 0]
