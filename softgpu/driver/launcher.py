"""Executes the launches that reach the stand-in driver, and answers what it asks of kernels and variables."""

import _thread
import ctypes
import sys
import threading
import traceback
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

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
from softgpu.module import MAX_THREADS, Module
from softgpu.observers import Observer
from softgpu.program import Program

CUDA_SUCCESS = 0
CUDA_ERROR_MISALIGNED_ADDRESS = 716
CUDA_ERROR_UNKNOWN = 999

SHARED_WITHOUT_OPT_IN = 48 * 1024

# The questions of the driver, as cuda/modules.mojo numbers them.
VARIABLE_PLACE, PARAMETER_PLACE, THREADS_PER_BLOCK, SHARED_BYTES, LOCAL_BYTES = range(5)


class NotFound(SoftGPUError):
    """The driver was asked for a variable that the module does not have."""


CUDA_ERRORS: dict[type[SoftGPUError], int] = {
    LaunchError: 1,  # CUDA_ERROR_INVALID_VALUE
    NotFound: 500,  # CUDA_ERROR_NOT_FOUND
    PTXSyntaxError: 218,  # CUDA_ERROR_INVALID_PTX
    MemoryFault: 700,  # CUDA_ERROR_ILLEGAL_ADDRESS
    InstructionBudgetExceeded: 702,  # CUDA_ERROR_LAUNCH_TIMEOUT
    KernelError: 719,  # CUDA_ERROR_LAUNCH_FAILED
    UnsupportedPTX: 801,  # CUDA_ERROR_NOT_SUPPORTED
}
"""The CUresult of each error; of several that fit, the first."""


class LaunchRecord(ctypes.Structure):
    """`Launch` in cuda/modules.mojo."""

    _fields_ = (
        ("module", ctypes.c_uint64),
        ("text", ctypes.c_char_p),
        ("kernel", ctypes.c_char_p),
        ("arguments", ctypes.POINTER(ctypes.c_uint64)),
        ("buffer", ctypes.c_uint64),
        ("buffer_bytes", ctypes.c_uint64),
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("shared_bytes", ctypes.c_uint32),
        ("dynamic_limit", ctypes.c_int32),
    )


class QueryRecord(ctypes.Structure):
    """`Query` in cuda/modules.mojo."""

    _fields_ = (
        ("module", ctypes.c_uint64),
        ("text", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
        ("question", ctypes.c_uint64),
        ("index", ctypes.c_uint64),
        ("answer", ctypes.c_uint64 * 3),
    )


class PythonRecord(ctypes.Structure):
    """`Python` in cuda/lending.mojo."""

    _fields_ = tuple(
        (name, ctypes.c_void_p) for name in ("ensure", "release", "own_state", "current_state", "save", "restore")
    )


class Launcher:
    """Takes launches from the stand-in driver and runs them on the memory that it gave out.

    `observers` follow every launch. `errors` collects what launches raised, since the program that launched sees only
    an error code and a text. Launches of several threads run one after the other. After a kernel failed, its context
    answers every call with that error, as CUDA's does; `errors_stick = False` lets the program go on instead.
    """

    def __init__(self, cuda: ctypes.CDLL):
        self.observers: list[Observer] = []
        self.errors: list[BaseException] = []
        self.errors_stick = True
        self._cuda = cuda
        self._modules: dict[int, Module] = {}
        self._memory = Memory()
        self._changes = -1
        self._numbers: dict[int, int] = {}
        # Python's locks release the global lock while they wait, so that the launch they wait for can go on.
        self._lock = threading.RLock()
        cuda.softgpu_allocations.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        cuda.softgpu_allocations.restype = ctypes.c_int64
        cuda.softgpu_host_writes.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        cuda.softgpu_host_writes.restype = ctypes.c_int64
        cuda.softgpu_modules.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        cuda.softgpu_modules.restype = ctypes.c_int64
        cuda.softgpu_changes.restype = ctypes.c_uint64
        cuda.softgpu_fail.argtypes = [ctypes.c_int32, ctypes.c_char_p, ctypes.c_int32]
        cuda.softgpu_fail.restype = None
        cuda.softgpu_connect.argtypes = [ctypes.c_void_p] * 3
        cuda.softgpu_connect.restype = None
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_uint64)
        self._callbacks = (
            kind(lambda address: self._guarded(self._launch, LaunchRecord.from_address(address))),
            kind(lambda address: self._guarded(self._answer, QueryRecord.from_address(address))),
        )  # kept alive here
        self._python = _python()
        cuda.softgpu_connect(
            *(ctypes.cast(callback, ctypes.c_void_p) for callback in self._callbacks), ctypes.addressof(self._python)
        )

    def _guarded(self, function: Callable, record: ctypes.Structure) -> int:
        """Called by the driver, on whatever thread. Nothing may be raised into it."""
        try:
            with self._lock:
                function(record)
        except SoftGPUError as error:
            return self._failed(_code(error), str(error), sticks=isinstance(error, KernelError) and self.errors_stick)
        except KeyboardInterrupt:
            # To be raised again when the driver's caller is back in Python; at once would be in here.
            threading.Timer(0.05, _thread.interrupt_main).start()
            return self._failed(CUDA_ERROR_UNKNOWN, "the kernel was interrupted from the keyboard")
        except BaseException:
            return self._failed(CUDA_ERROR_UNKNOWN, f"softgpu itself failed: {traceback.format_exc()}")
        return CUDA_SUCCESS

    def _launch(self, record: LaunchRecord) -> None:
        try:
            self._run(record)
        except BaseException as error:
            self.errors.append(error)
            raise

    def _run(self, record: LaunchRecord) -> None:
        self._follow_driver()
        module = self._module(record)
        kernel = record.kernel.decode()
        program = module.program(kernel)
        self._check_dynamic_shared(record, program.shared_bytes)
        module.launch_raw(
            kernel,
            tuple(record.grid),
            tuple(record.block),
            _parameters(record, program),
            self._memory,
            record.shared_bytes,
            self.observers,
        )

    def _answer(self, record: QueryRecord) -> None:
        """The questions are listed in cuda/modules.mojo."""
        module, name = self._module(record), record.name.decode()
        if record.question == VARIABLE_PLACE:
            self._follow_driver()
            symbols = module.symbols(self._memory)
            if name not in symbols:
                raise NotFound(f"the module has no variable {name}")
            variable = self._memory.find(symbols[name])
            assert variable is not None
            record.answer[:] = variable.base, variable.nbytes, variable.data.ctypes.data
            return
        program = module.program(name)
        if record.question == PARAMETER_PLACE:
            parameters = program.kernel.parameters
            if record.index >= len(parameters):
                raise LaunchError(f"kernel {name} has {len(parameters)} parameters, counted from 0")
            parameter = parameters[record.index]
            record.answer[:] = program.parameter_offsets[parameter.name], parameter.nbytes, 0
        elif record.question == THREADS_PER_BLOCK:
            record.answer[0] = program.kernel.max_threads or MAX_THREADS
        elif record.question == SHARED_BYTES:
            record.answer[0] = program.shared_bytes
        elif record.question == LOCAL_BYTES:
            record.answer[0] = program.local_bytes

    def _module(self, record: LaunchRecord | QueryRecord) -> Module:
        if record.module not in self._modules:
            self._modules[record.module] = Module(record.text.decode())
        return self._modules[record.module]

    def _check_dynamic_shared(self, record: LaunchRecord, static_bytes: int) -> None:
        opted_in = record.dynamic_limit >= 0
        limit = record.dynamic_limit if opted_in else max(SHARED_WITHOUT_OPT_IN - static_bytes, 0)
        if record.shared_bytes > limit:
            raise LaunchError(
                f"the launch asks for {record.shared_bytes} bytes of dynamic shared memory, but the kernel may have "
                f"{limit}: raise its attribute CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES before"
            )

    def _follow_driver(self) -> None:
        """Make the executor's memory and modules those that the driver has by now."""
        changes = self._cuda.softgpu_changes()
        if changes != self._changes:
            self._follow_allocations()
            self._changes = changes
        if self._follows_writes():
            self._follow_host_writes()

    def _follow_allocations(self) -> None:
        loaded = set(_rows(self._cuda.softgpu_modules, 1).flat)
        for number in [number for number in self._modules if number not in loaded]:
            for address in self._modules.pop(number).symbols(self._memory).values():
                self._memory.free(address)
        rows = _rows(self._cuda.softgpu_allocations, 4).tolist()
        variables = {address for module in self._modules.values() for address in module.symbols(self._memory).values()}
        live = {row[0]: row for row in rows if row[0] not in variables}
        for address, number in list(self._numbers.items()):
            if address not in live or live[address][3] != number:
                self._memory.free(address)
                del self._numbers[address]
        for address, size, storage, number in live.values():
            if address not in self._numbers:
                # What a program writes into host memory of its own goes past the driver.
                written = storage == address or not self._follows_writes()
                self._memory.adopt(address, size, storage=storage, written=written)
                self._numbers[address] = number

    def _follows_writes(self) -> bool:
        return any(observer.follows_writes for observer in self.observers)

    def _follow_host_writes(self) -> None:
        rows = np.empty((1024, 2), np.uint64)
        while count := self._cuda.softgpu_host_writes(rows.ctypes.data, len(rows)):
            for address, nbytes in rows[:count].tolist():
                self._memory.host_wrote(address, nbytes)

    def _failed(self, code: int, text: str, sticks: bool = False) -> int:
        self._cuda.softgpu_fail(code, text.encode(), sticks)
        return code


def _python() -> PythonRecord:
    api = ctypes.pythonapi
    # Its name before Python 3.13.
    current = api.PyThreadState_GetUnchecked if sys.version_info >= (3, 13) else api._PyThreadState_UncheckedGet
    functions = (
        api.PyGILState_Ensure,
        api.PyGILState_Release,
        api.PyGILState_GetThisThreadState,
        current,
        api.PyEval_SaveThread,
        api.PyEval_RestoreThread,
    )
    return PythonRecord(*(ctypes.cast(function, ctypes.c_void_p) for function in functions))


def _code(error: SoftGPUError) -> int:
    if isinstance(error, MemoryFault) and error.address % error.size:
        return CUDA_ERROR_MISALIGNED_ADDRESS
    return next(code for kind, code in CUDA_ERRORS.items() if isinstance(error, kind))


def _parameters(record: LaunchRecord, program: Program) -> list[bytes]:
    """The bytes of each kernel parameter."""
    parameters = program.kernel.parameters
    if record.arguments:
        return [ctypes.string_at(record.arguments[number], one.nbytes) for number, one in enumerate(parameters)]
    needed = max((program.parameter_offsets[one.name] + one.nbytes for one in parameters), default=0)
    if record.buffer_bytes < needed:
        raise LaunchError(f"the kernel's parameters have {needed} bytes, but {record.buffer_bytes} were given")
    buffer = ctypes.string_at(record.buffer, record.buffer_bytes) if record.buffer else b""
    offsets = [program.parameter_offsets[one.name] for one in parameters]
    return [buffer[offset : offset + one.nbytes] for offset, one in zip(offsets, parameters, strict=True)]


def _rows(function: Callable[[int, int], int], width: int) -> NDArray[np.uint64]:
    """All rows that a function of the driver writes: it takes where to write and for how many there is room, and
    returns how many there are."""
    capacity = 1024
    while True:
        rows = np.empty((capacity, width), np.uint64)
        count = function(rows.ctypes.data, capacity)
        if count <= capacity:
            return rows[:count]
        capacity = count
