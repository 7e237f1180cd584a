comptime kernel = conv1d_kernel[OutLayout, InLayout, ConvLayout, input_size, conv_size, dtype]
var blocks = ceildiv(input_size, TPB)
ctx.enqueue_function[
    kernel
](
    output_tensor,
    input_tensor,
    kernel_tensor,
    grid_dim=blocks,
    block_dim=TPB,
)
