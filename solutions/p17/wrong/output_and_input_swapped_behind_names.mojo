var first = input_tensor
var second = output_tensor
ctx.enqueue_function[
    conv1d_kernel[OutLayout, InLayout, ConvLayout, input_size, conv_size, dtype]
](
    first,
    second,
    kernel_tensor,
    grid_dim=BLOCKS_PER_GRID,
    block_dim=TPB,
)
