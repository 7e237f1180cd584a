"""The benchmark's kernels for numba's CUDA simulator. Importing this module turns the simulator on."""

import os

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"

from numba import cuda, float32

THREADS_PER_BLOCK, WEIGHTS, TILE = 128, 4, 16


@cuda.jit
def vector_add(output, a, b, size):
    i = cuda.grid(1)
    if i < size:
        output[i] = a[i] + b[i]


@cuda.jit
def conv1d(output, x, weights, size):
    local_i, i = cuda.threadIdx.x, cuda.grid(1)
    tile = cuda.shared.array(THREADS_PER_BLOCK + WEIGHTS - 1, float32)
    tile[local_i] = x[i] if i < size else 0
    if local_i < WEIGHTS - 1:
        tile[THREADS_PER_BLOCK + local_i] = x[i + THREADS_PER_BLOCK] if i + THREADS_PER_BLOCK < size else 0
    cuda.syncthreads()
    if i < size:
        total = 0.0
        for j in range(WEIGHTS):
            total += tile[local_i + j] * weights[j]
        output[i] = total


@cuda.jit
def block_sum(output, x, size):
    local_i, i = cuda.threadIdx.x, cuda.grid(1)
    partial = cuda.shared.array(THREADS_PER_BLOCK, float32)
    partial[local_i] = x[i] if i < size else 0
    cuda.syncthreads()
    stride = THREADS_PER_BLOCK // 2
    while stride > 0:
        if local_i < stride:
            partial[local_i] += partial[local_i + stride]
        cuda.syncthreads()
        stride //= 2
    if local_i == 0:
        output[cuda.blockIdx.x] = partial[0]


@cuda.jit
def matmul(output, a, b, size):
    column, row = cuda.threadIdx.x, cuda.threadIdx.y
    i, j = cuda.blockIdx.y * TILE + row, cuda.blockIdx.x * TILE + column
    a_tile = cuda.shared.array((TILE, TILE), float32)
    b_tile = cuda.shared.array((TILE, TILE), float32)
    total = 0.0
    for step in range(size // TILE):
        a_tile[row, column] = a[i, step * TILE + column]
        b_tile[row, column] = b[step * TILE + row, j]
        cuda.syncthreads()
        for k in range(TILE):
            total += a_tile[row, k] * b_tile[k, column]
        cuda.syncthreads()
    output[i, j] = total
