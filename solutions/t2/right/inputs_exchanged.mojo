ctx.enqueue_function[vector_addition_kernel[Layout, dtype]](
    output,
    rhs,
    lhs,
    Int32(size),
    grid_dim=ceildiv(size, TPB),
    block_dim=TPB,
)
