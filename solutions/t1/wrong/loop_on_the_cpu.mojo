for i in range(output.dim_size(0)):
    for j in range(output.dim_size(1)):
        output[i, j] = input[i, j] + 1
