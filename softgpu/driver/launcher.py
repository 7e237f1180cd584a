"""Executes the launches that reach the stand-in driver."""

import ctypes
import traceback

from softgpu.errors import (
    InstructionBudgetExceeded,
    KernelError,
    LaunchError,
    MemoryFault,
    PTXSyntaxError,
    SoftGPUError,
    UnsupportedPTX,
)
from softgpu.memory import Memory
from softgpu.module import Module
from softgpu.observers import Observer

CUDA_SUCCESS = 0
CUDA_ERROR_UNKNOWN = 999

CUDA_ERRORS: dict[type[SoftGPUError], int] = {
    LaunchError: 1,  # CUDA_ERROR_INVALID_VALUE
    PTXSyntaxError: 218,  # CUDA_ERROR_INVALID_PTX
    MemoryFault: 700,  # CUDA_ERROR_ILLEGAL_ADDRESS
    InstructionBudgetExceeded: 702,  # CUDA_ERROR_LAUNCH_TIMEOUT
    KernelError: 719,  # CUDA_ERROR_LAUNCH_FAILED
    UnsupportedPTX: 801,  # CUDA_ERROR_NOT_SUPPORTED
}
"""The CUresult of each error; of several that fit, the first."""


class LaunchRecord(ctypes.Structure):
    """`Launch` in cuda.mojo."""

    _fields_ = (
        ("module", ctypes.c_uint64),
        ("text", ctypes.c_char_p),
        ("kernel", ctypes.c_char_p),
        ("arguments", ctypes.POINTER(ctypes.c_uint64)),
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("shared_bytes", ctypes.c_uint32),
    )


class Launcher:
    """Takes launches from the stand-in driver and runs them on the memory that it gave out.

    `observers` follow every launch. `errors` collects what launches raised, since the program that launched sees only
    an error code and a text.
    """

    def __init__(self, cuda: ctypes.CDLL):
        self.observers: list[Observer] = []
        self.errors: list[Exception] = []
        self._cuda = cuda
        self._modules: dict[int, Module] = {}
        self._memory = Memory()
        cuda.softgpu_allocations.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        cuda.softgpu_allocations.restype = ctypes.c_int64
        cuda.softgpu_fail.argtypes = [ctypes.c_int32, ctypes.c_char_p]
        cuda.softgpu_fail.restype = None
        self._callback = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_uint64)(self._on_launch)  # kept alive here
        cuda.softgpu_connect.argtypes = [ctypes.c_void_p]
        cuda.softgpu_connect.restype = None
        cuda.softgpu_connect(ctypes.cast(self._callback, ctypes.c_void_p))

    def _on_launch(self, address: int) -> int:
        """Called by the driver, on whatever thread launches. Nothing may be raised into it."""
        try:
            self._launch(LaunchRecord.from_address(address))
        except SoftGPUError as error:
            code = next(code for kind, code in CUDA_ERRORS.items() if isinstance(error, kind))
            return self._failed(error, code, str(error))
        except Exception as error:
            return self._failed(error, CUDA_ERROR_UNKNOWN, f"softgpu itself failed: {traceback.format_exc()}")
        return CUDA_SUCCESS

    def _launch(self, record: LaunchRecord) -> None:
        if record.module not in self._modules:
            self._modules[record.module] = Module(record.text.decode())
        module = self._modules[record.module]
        kernel = record.kernel.decode()
        parameters = [
            ctypes.string_at(record.arguments[number], parameter.nbytes)
            for number, parameter in enumerate(module.program(kernel).kernel.parameters)
        ]
        self._follow_allocations()
        module.launch_raw(
            kernel,
            tuple(record.grid),
            tuple(record.block),
            parameters,
            self._memory,
            record.shared_bytes,
            self.observers,
        )

    def _follow_allocations(self) -> None:
        """Make the executor's memory hold what the driver has allocated by now."""
        capacity = 1024
        while True:
            rows = (ctypes.c_uint64 * (3 * capacity))()
            count = self._cuda.softgpu_allocations(rows, capacity)
            if count <= capacity:
                break
            capacity = count
        live = {rows[3 * n]: (rows[3 * n + 1], rows[3 * n + 2]) for n in range(count)}
        known = {one.base: (one.nbytes, one.data.ctypes.data) for one in self._memory.allocations}
        variables = {address for module in self._modules.values() for address in module.symbols(self._memory).values()}
        for address, place in known.items():
            if live.get(address) != place and address not in variables:
                self._memory.free(address)
        for address, (size, storage) in live.items():
            if known.get(address) != (size, storage):
                self._memory.adopt(address, size, storage=storage)

    def _failed(self, error: Exception, code: int, text: str) -> int:
        self.errors.append(error)
        self._cuda.softgpu_fail(code, text.encode())
        return code
