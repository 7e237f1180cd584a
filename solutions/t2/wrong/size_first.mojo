ctx.enqueue_function[vector_addition_kernel[Layout, dtype]](
    Int32(size),
    output,
    lhs,
    rhs,
    grid_dim=ceildiv(size, TPB),
    block_dim=TPB,
)
