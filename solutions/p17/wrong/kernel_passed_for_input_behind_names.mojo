var signal = kernel_tensor
ctx.enqueue_function[
    conv1d_kernel[OutLayout, ConvLayout, ConvLayout, input_size, conv_size, dtype]
](
    output_tensor,
    signal,
    kernel_tensor,
    grid_dim=BLOCKS_PER_GRID,
    block_dim=TPB,
)
