ctx.enqueue_function[vector_addition_kernel[Layout, dtype]](
    output,
    lhs,
    rhs,
    Int32(size),
    block_dim=TPB,
)
