comptime kernel = conv1d_kernel[OutLayout, InLayout, ConvLayout, input_size, conv_size, dtype]
ctx.enqueue_function[
    kernel, kernel
](
    output_tensor,
    input_tensor,
    kernel_tensor,
    grid_dim=BLOCKS_PER_GRID,
    block_dim=TPB,
)
