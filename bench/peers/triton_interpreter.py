"""The benchmark's kernels for Triton's interpreter. Importing this module turns the interpreter on."""

import os

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import triton
import triton.language as tl


class HostTensor:
    """What Triton's interpreter asks of a PyTorch tensor, for a NumPy array."""

    device, is_cpu = "cpu", True

    def __init__(self, array: np.ndarray):
        self.array, self.dtype = array, "fp32"

    def data_ptr(self) -> int:
        return self.array.ctypes.data

    def untyped_storage(self):
        return self

    def cpu(self):
        return self

    def new_empty(self, size, device):
        return HostTensor(np.empty(size, np.float32))

    def set_(self, storage, offset, size, stride) -> None:
        self.array = storage.array

    def storage_offset(self) -> int:
        return 0

    def size(self):
        return self.array.shape

    def stride(self):
        return self.array.strides

    def copy_(self, other) -> None:
        assert other.array is self.array


@triton.jit
def vector_add(output, a, b, size, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(output + i, tl.load(a + i, mask=i < size) + tl.load(b + i, mask=i < size), mask=i < size)


@triton.jit
def conv1d(output, x, weights, size, BLOCK: tl.constexpr, WEIGHTS: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for j in range(WEIGHTS):
        total += tl.load(x + i + j, mask=i + j < size, other=0.0) * tl.load(weights + j)
    tl.store(output + i, total, mask=i < size)


@triton.jit
def block_sum(output, x, size, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(output + tl.program_id(0), tl.sum(tl.load(x + i, mask=i < size, other=0.0)))


@triton.jit
def matmul(output, a, b, size, TILE: tl.constexpr):
    k = tl.arange(0, TILE)
    i = tl.program_id(1) * TILE + k
    j = tl.program_id(0) * TILE + k
    total = tl.zeros([TILE, TILE], tl.float32)
    for step in range(0, size, TILE):
        a_tile = tl.load(a + i[:, None] * size + step + k[None, :])
        b_tile = tl.load(b + (step + k)[:, None] * size + j[None, :])
        total += tl.dot(a_tile, b_tile)
    tl.store(output + i[:, None] * size + j[None, :], total)
