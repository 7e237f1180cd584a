ctx.enqueue_function[
    conv1d_kernel[OutLayout, InLayout, ConvLayout, input_size + conv_size, conv_size, dtype]
](
    output_tensor,
    input_tensor,
    kernel_tensor,
    grid_dim=BLOCKS_PER_GRID,
    block_dim=TPB,
)
