ctx.enqueue_function[vector_addition_kernel[Layout, dtype]](
    output,
    lhs,
    rhs,
    Int32(size - 1),
    grid_dim=ceildiv(size, TPB),
    block_dim=TPB,
)
