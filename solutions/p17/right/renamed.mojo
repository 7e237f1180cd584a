var out = output_tensor
var signal = input_tensor
var weights = kernel_tensor
ctx.enqueue_function[
    conv1d_kernel[OutLayout, InLayout, ConvLayout, input_size, conv_size, dtype]
](
    out,
    signal,
    weights,
    grid_dim=BLOCKS_PER_GRID,
    block_dim=TPB,
)
