ctx.enqueue_function[vector_addition_kernel[Layout, dtype]](
    output,
    lhs,
    rhs,
    Int32(size),
    grid_dim=10,
    block_dim=TPB,
)
