ctx.enqueue_function[vector_addition_kernel[dtype=dtype, Layout=Layout]](
    output,
    lhs,
    rhs,
    Int32(size),
    grid_dim=ceildiv(size, TPB),
    block_dim=TPB,
)
