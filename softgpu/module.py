"""Modules of PTX text, and launching their kernels on NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import DTypeLike, NDArray

from softgpu import engines
from softgpu.errors import Dim3, LaunchError
from softgpu.machine import Launch
from softgpu.memory import Allocation, Memory
from softgpu.observers import Observer
from softgpu.program import Program
from softgpu.ptx import Parameter, parse
from softgpu.variables import place_variables

MAX_THREADS = 1024
MAX_BLOCK = (1024, 1024, 64)
MAX_GRID = (2**31 - 1, 65535, 65535)
MAX_SHARED_BYTES = 227 * 1024
"""Limits of a launch: CUDA programming guide, "Compute Capabilities"; shared memory as on sm_90."""

Extent = int | tuple[int, ...]
"""A grid or block: one to three numbers, x first."""


class Module:
    """PTX text, parsed once. A kernel is decoded when it is first launched, and then kept.

    Raises PTXSyntaxError where the text is malformed. What softgpu does not support raises UnsupportedPTX
    before a kernel that contains it runs.
    """

    def __init__(self, ptx: str):
        if not isinstance(ptx, str):
            raise TypeError(f"a module is made of PTX text, a str, not of {_a(ptx)}")
        self.ptx = parse(ptx)
        self._memory = Memory()
        self._first_use = Lock()
        self._programs: dict[str, Program] = {}
        self._symbols: WeakKeyDictionary[Memory, dict[str, int]] = WeakKeyDictionary()
        self._variables: WeakKeyDictionary[Memory, dict[str, Allocation]] = WeakKeyDictionary()

    @property
    def kernels(self) -> tuple[str, ...]:
        """The names of the kernels."""
        return tuple(self.ptx.kernels)

    def program(self, kernel_name: str) -> Program:
        """The decoded kernel. Raises LaunchError for an unknown name, or UnsupportedPTX."""
        if kernel_name not in self.ptx.kernels:
            raise LaunchError(f"there is no kernel '{kernel_name}' in this module; it has {_listed(self.kernels)}")
        with self._first_use:
            if kernel_name not in self._programs:
                self._programs[kernel_name] = Program(self.ptx, self.ptx.kernels[kernel_name])
            return self._programs[kernel_name]

    def launch(
        self,
        kernel_name: str,
        grid: Extent,
        block: Extent,
        args: Sequence[NDArray | np.generic],
        shared_bytes: int = 0,
        observers: Sequence[Observer] = (),
        instruction_budget: int | None = None,
        engine: str | None = None,
        shuffle_seed: int | None = None,
    ) -> None:
        """Run a kernel to its end.

        `args` has one entry a parameter. A NumPy array is a device buffer: the kernel gets a pointer to it
        and changes it in place, so it must be C-contiguous and writable, and the parameter 64 bits wide (an
        integer, or the struct that Mojo wraps a tensor's pointer in). A NumPy scalar is passed by value
        and must have the parameter's size and kind; a struct is an np.void. Python numbers are refused,
        because they do not say how many bits they have. `shared_bytes` is a block's dynamic shared memory.
        `engine` is one of softgpu.engines.ENGINES; without it the fastest that can run the launch is taken.

        A kernel that does not end is stopped: `instruction_budget` is how many instructions a thread may execute. By
        default that is a thousand million in native code, where so many threads may also be looping that they are
        stopped together, when nobody has come to an end or met others for some seconds. In lock-step, where an
        instruction is issued once for many threads, all that are issued for some blocks count, and the default is four
        million. With a `shuffle_seed`, a number
        from 0, blocks and warps run in an order that depends on it: a kernel whose result depends on their order then
        gives different results for different seeds, but the same for the same seed.

        Raises LaunchError, UnsupportedPTX or KernelError.
        """
        program = self.program(kernel_name)
        parameters = program.kernel.parameters
        if not isinstance(args, Sequence) or isinstance(args, str | bytes):
            raise LaunchError(f"args must be a list of arrays and scalars, not {_a(args)}")
        if len(args) != len(parameters):
            taken = f"{len(parameters)} argument{'s' if len(parameters) != 1 else ''}"
            given = f"{len(args)} {'were' if len(args) != 1 else 'was'}"
            raise LaunchError(f"kernel {kernel_name} takes {taken}, but {given} given")
        memory = self._memory
        buffers: dict[tuple[int, int], Allocation] = {}
        values = []
        try:
            for number, (argument, parameter) in enumerate(zip(args, parameters, strict=True)):
                if isinstance(argument, np.ndarray):
                    _check_buffer(number, argument, parameter)
                    # Two arguments that are the same memory must have the same address.
                    key = (argument.ctypes.data, argument.nbytes)
                    if key not in buffers:
                        buffers[key] = memory.allocate(argument, f"argument {number}")
                    values.append(np.uint64(buffers[key].base).tobytes())
                else:
                    values.append(_scalar_bytes(number, argument, parameter))
            self.launch_raw(
                kernel_name,
                grid,
                block,
                values,
                memory,
                shared_bytes,
                observers,
                instruction_budget,
                engine,
                shuffle_seed,
                tuple(buffers.values()),
            )
        finally:
            for allocation in buffers.values():
                memory.free(allocation.base)

    def launch_raw(
        self,
        kernel_name: str,
        grid: Extent,
        block: Extent,
        parameters: Sequence[bytes],
        memory: Memory,
        shared_bytes: int = 0,
        observers: Sequence[Observer] = (),
        instruction_budget: int | None = None,
        engine: str | None = None,
        shuffle_seed: int | None = None,
        own: Sequence[Allocation] | None = None,
    ) -> None:
        """As `launch`, but on a global memory of the caller's, and with the bytes of each parameter.

        `own` is given if the kernel can change nothing but these allocations and the module's variables, and only this
        process uses them: then the launch can be undone, and so begin before its kernel is translated.
        """
        _check_number("shared_bytes", shared_bytes, 0)
        if instruction_budget is not None:
            _check_number("instruction_budget", instruction_budget, 1)
        if shuffle_seed is not None:
            _check_number("shuffle_seed", shuffle_seed, 0)
        if not isinstance(observers, Sequence) or not all(isinstance(one, Observer) for one in observers):
            raise LaunchError(f"observers must be a list of observers such as softgpu.Memcheck(), not {observers!r}")
        program = self.program(kernel_name)
        declared = program.kernel.parameters
        if len(parameters) != len(declared):
            raise LaunchError(
                f"kernel {kernel_name} takes {len(declared)} parameters, but {len(parameters)} were given"
            )
        space = np.zeros(program.parameter_bytes, np.uint8)
        for parameter, value in zip(declared, parameters, strict=True):
            if len(value) != parameter.nbytes:
                raise LaunchError(
                    f"parameter {parameter.name} has {parameter.nbytes} bytes, but {len(value)} were given"
                )
            offset = program.parameter_offsets[parameter.name]
            space[offset : offset + len(value)] = np.frombuffer(value, np.uint8)
        launch = Launch(
            program=program,
            grid=_extent("grid", grid, MAX_GRID),
            block=_extent("block", block, MAX_BLOCK),
            memory=memory,
            parameters=space,
            symbols=self.symbols(memory),
            shared_bytes=shared_bytes,
            observers=tuple(observers),
        )
        _check_launch(launch)
        launch.number = next(memory.launch_numbers)
        if not any(observer.follows_writes for observer in launch.observers):
            memory.assume_written()
        undoable = None if own is None else (*own, *self._variables[memory].values())
        engines.run(launch, instruction_budget, engine, shuffle_seed, undoable)

    def symbols(self, memory: Memory) -> dict[str, int]:
        """The addresses of the module's .global and .const variables, placed in a memory on first use."""
        with self._first_use:
            if memory not in self._symbols:
                self._variables[memory] = place_variables(self.ptx.variables, memory)
                self._symbols[memory] = {name: one.base for name, one in self._variables[memory].items()}
            return self._symbols[memory]

    def global_array(self, name: str, dtype: DTypeLike) -> NDArray:
        """A .global or .const variable, as `launch` uses it: a one-dimensional array on its memory, to read and write.

        Variables keep their values from one launch to the next. Raises KeyError where the module has no such variable.
        """
        self.symbols(self._memory)
        return self._variables[self._memory][name].data.view(dtype)


def _a(value: object) -> str:
    """What a value is, as in "an int"."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"  # a uint32


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_number(name: str, value: object, smallest: int) -> None:
    if not _is_integer(value) or value < smallest:  # type: ignore[operator]
        raise LaunchError(f"{name} must be an integer from {smallest}, not {value!r}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"


def _extent(what: str, extent: Extent, limits: Dim3) -> Dim3:
    numbers = extent if isinstance(extent, tuple) else (extent,)
    if not 1 <= len(numbers) <= 3 or not all(_is_integer(number) for number in numbers):
        raise LaunchError(f"the {what} must be one to three integers, not {extent!r}")
    x, y, z = (*map(int, numbers), 1, 1)[:3]
    for axis, number, limit in zip("xyz", (x, y, z), limits, strict=True):
        if not 1 <= number <= limit:
            raise LaunchError(f"the {what}'s {axis} dimension is {number}, but it must be from 1 to {limit}")
    return x, y, z


def _check_launch(launch: Launch) -> None:
    kernel, threads = launch.program.kernel, launch.threads_per_block
    if threads > MAX_THREADS:
        raise LaunchError(f"a block of {launch.block} has {threads} threads, but a GPU allows at most {MAX_THREADS}")
    if kernel.required_block and launch.block != kernel.required_block:
        raise LaunchError(f"kernel {kernel.name} must have blocks of {kernel.required_block}, not {launch.block}")
    if kernel.max_threads and threads > kernel.max_threads:
        raise LaunchError(
            f"kernel {kernel.name} was compiled for at most {kernel.max_threads} threads a block, not {threads}"
        )
    shared = launch.program.shared_bytes + launch.shared_bytes
    if shared > MAX_SHARED_BYTES:
        raise LaunchError(
            f"a block needs {shared} bytes of shared memory, but it can have from 0 to {MAX_SHARED_BYTES}"
        )


def _check_buffer(number: int, array: NDArray, parameter: Parameter) -> None:
    # Mojo passes a tensor whose layout is static as a struct of eight bytes that holds just the pointer.
    if parameter.nbytes != 8 or not (parameter.is_array or parameter.type in ("u64", "b64", "s64")):
        raise LaunchError(
            f"argument {number} is an array, but parameter {parameter.name} is not a pointer: "
            f"it is a {_described(parameter)}"
        )
    if not array.dtype.isnative:
        raise LaunchError(f"argument {number} has foreign byte order: pass array.astype(array.dtype.newbyteorder('='))")
    if not array.flags.c_contiguous:
        raise LaunchError(f"argument {number} is not C-contiguous: pass np.ascontiguousarray(...) of it")
    if not array.flags.writeable:
        raise LaunchError(f"argument {number} is read-only: pass a copy of it")
    if array.dtype.hasobject:
        raise LaunchError(f"argument {number} holds Python objects, which a kernel cannot read")


def _scalar_bytes(number: int, scalar: object, parameter: Parameter) -> bytes:
    if not isinstance(scalar, np.generic):
        raise LaunchError(
            f"argument {number} is {_a(scalar)}: pass a NumPy array for a buffer, "
            f"or a NumPy scalar such as np.int32(5) for a value"
        )
    kinds = {"u": "iub", "s": "iub", "f": "f"}.get(parameter.type[0])
    wrong_kind = kinds is not None and not parameter.is_array and scalar.dtype.kind not in kinds
    if scalar.dtype.itemsize != parameter.nbytes or wrong_kind:
        raise LaunchError(
            f"argument {number} is {_a(scalar)} of {scalar.dtype.itemsize} bytes, "
            f"but parameter {parameter.name} is a {_described(parameter)}"
        )
    return scalar.tobytes()


def _described(parameter: Parameter) -> str:
    if parameter.is_array:
        return f"struct of {parameter.nbytes} bytes"
    return f"{parameter.type} of {parameter.nbytes} byte{'s' if parameter.nbytes != 1 else ''}"
