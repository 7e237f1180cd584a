add_on_cpu(output, lhs, rhs, size)
