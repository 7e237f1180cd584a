ctx.enqueue_function[vector_addition_kernel[Layout, dtype]](
    output,
    lhs,
    rhs,
    Int32(size),
    grid_dim=max(ceildiv(size, TPB) - 1, 1),
    block_dim=TPB,
)
