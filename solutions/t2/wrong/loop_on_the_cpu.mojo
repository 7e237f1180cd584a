for i in range(size):
    output[i] = lhs[i] + rhs[i]
