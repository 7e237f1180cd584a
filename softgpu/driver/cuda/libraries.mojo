"""What is answered for NVIDIA's libraries, of which softgpu has none.

MAX multiplies matrices with kernels of its own, but has cuBLAS do so where the shape does not suit them: a width that is
no multiple of 128, say. If cuBLAS cannot be started, another kernel of MAX's does it, of which softgpu executes the
PTX as of any other. On a machine without cuBLAS, MAX takes this function from whatever library has it, and aborts if
none does.

Source: cuBLAS Library User Guide, section 2.4.1.
"""

comptime CUBLAS_STATUS_NOT_INITIALIZED: Int32 = 1


@export
def cublasCreate_v2(handle: UInt64) abi("C") -> Int32:
    return CUBLAS_STATUS_NOT_INITIALIZED
