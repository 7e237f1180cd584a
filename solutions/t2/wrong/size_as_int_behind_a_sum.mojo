ctx.enqueue_function[vector_addition_kernel[Layout, dtype]](
    output,
    lhs,
    rhs,
    size + 0,
    grid_dim=ceildiv(size, TPB),
    block_dim=TPB,
)
