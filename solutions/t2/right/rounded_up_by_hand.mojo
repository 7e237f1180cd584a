ctx.enqueue_function[vector_addition_kernel[Layout, dtype]](
    output,
    lhs,
    rhs,
    Int32(size),
    grid_dim=(size + TPB - 1) // TPB,
    block_dim=TPB,
)
