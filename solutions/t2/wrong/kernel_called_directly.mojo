vector_addition_kernel[Layout, dtype](output, lhs, rhs, Int32(size))
