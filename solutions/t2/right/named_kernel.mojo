comptime kernel = vector_addition_kernel[Layout, dtype]
ctx.enqueue_function[kernel](
    output,
    lhs,
    rhs,
    Int32(size),
    grid_dim=ceildiv(size, TPB),
    block_dim=TPB,
)
