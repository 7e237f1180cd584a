ctx.enqueue_function[vector_addition_kernel[Layout, dtype]](
    lhs,
    output,
    rhs,
    Int32(size),
    grid_dim=ceildiv(size, TPB),
    block_dim=TPB,
)
