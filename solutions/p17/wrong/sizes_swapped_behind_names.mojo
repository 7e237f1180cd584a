comptime n = conv_size
comptime m = input_size
ctx.enqueue_function[
    conv1d_kernel[OutLayout, InLayout, ConvLayout, n, m, dtype]
](
    output_tensor,
    input_tensor,
    kernel_tensor,
    grid_dim=BLOCKS_PER_GRID,
    block_dim=TPB,
)
