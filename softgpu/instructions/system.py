"""The functions that the GPU's driver provides to kernels: printing, and failing (CUDA programming guide, "Formatted
Output" and "Assertion")."""

from __future__ import annotations

import ctypes
import re
import sys

import numpy as np
from numpy.typing import NDArray

from softgpu.errors import AssertionFailed, MemoryFault
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import TYPES, Modifiers, instruction
from softgpu.machine import Chunk, Lanes, lane_count, lane_indices
from softgpu.memory import LOCAL_WINDOW, SHARED_WINDOW
from softgpu.program import Execute
from softgpu.ptx import Instruction


@instruction("call function=vprintf")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """Print, one thread after the other, and return the number of arguments, or -1 for a null format."""
    result, text, values = decoder.operands(3)
    write = decoder.write(result, TYPES["b32"])
    read_format, read_values = decoder.read(text, TYPES["u64"]), decoder.read(values, TYPES["u64"])
    instruction = decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        count = lane_count(lanes)
        formats = np.broadcast_to(read_format(chunk, lanes), count).tolist()
        buffers = np.broadcast_to(read_values(chunk, lanes), count).tolist()
        printed = np.zeros(count, np.int32)
        for row, lane in enumerate(lane_indices(lanes).tolist()):
            reader = _Reader(chunk, instruction, lane)
            text, printed[row] = _formatted(reader, formats[row], buffers[row])
            sys.stdout.write(text.decode("utf-8", "replace"))
        write(chunk, lanes, printed.view(np.uint32))

    return execute


@instruction("call function=__assertfail")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """Takes the message, file, line and function of an assertion that failed, and the size of a character."""
    operands = decoder.operands(5)
    kinds = ("u64", "u64", "u32", "u64", "u64")
    reads = [decoder.read(operand, TYPES[kind]) for operand, kind in zip(operands, kinds, strict=True)]
    instruction = decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        message, file, line, function, _ = (int(np.atleast_1d(read(chunk, lanes))[0]) for read in reads)
        lane = int(lane_indices(lanes)[0])
        reader = _Reader(chunk, instruction, lane)
        place = f"{reader.text(file)}:{line}"
        raise AssertionFailed(
            message=reader.text(message),
            source=f"{place} in {reader.text(function)}" if function else place,
            thread=chunk.thread_of(lane),
            block=chunk.block_of(lane),
            line=instruction.line,
        )

    return execute


class _Reader:
    """Reads memory as one thread sees it, by generic address. Raises MemoryFault where there is none."""

    def __init__(self, chunk: Chunk, instruction: Instruction, lane: int):
        self.chunk = chunk
        self.instruction = instruction
        self.lane = lane

    def data(self, address: int, count: int) -> bytes:
        found = self._memory(address)[:count].tobytes()
        if len(found) < count:
            raise self._fault(address + len(found))
        return found

    def string(self, address: int) -> bytes:
        """The bytes up to a zero."""
        memory = self._memory(address)
        ends = np.flatnonzero(memory == 0)
        if len(ends) == 0:
            raise self._fault(address + len(memory))
        return memory[: int(ends[0])].tobytes()

    def text(self, address: int) -> str:
        return self.string(address).decode("utf-8", "replace") if address else ""

    def _memory(self, address: int) -> NDArray[np.uint8]:
        """The memory from an address on, to the end of what contains it."""
        chunk = self.chunk
        for window, memory, owner in (
            (LOCAL_WINDOW, chunk.local, self.lane),
            (SHARED_WINDOW, chunk.shared, int(chunk.local_block[self.lane])),
        ):
            if 0 <= address - window < memory.size:
                start = owner * memory.stride
                return memory.data[start + address - window : start + memory.size]
        allocation = chunk.launch.memory.find(address)
        if allocation is None:
            raise self._fault(address)
        return allocation.data[address - allocation.base :]

    def _fault(self, address: int) -> MemoryFault:
        return MemoryFault(
            access="load",
            size=1,
            space="generic",
            address=address,
            thread=self.chunk.thread_of(self.lane),
            block=self.chunk.block_of(self.lane),
            line=self.instruction.line,
            reason="there is no memory",
        )


# C's printf

_CONVERSION = re.compile(
    rb"%(?P<flags>[-+ #0]*)(?P<width>\*|\d{1,4})?(?P<precision>\.(?:\*|\d{0,4}))?(?P<length>hh|h|ll|l|j|z|t)?"
    rb"(?P<kind>[%diuoxXcspfFeEgGaA])"
)
_C_LIBRARY = ctypes.CDLL(None)


def _formatted(reader: _Reader, text_address: int, address: int) -> tuple[bytes, int]:
    """What printf prints for a format and a buffer of arguments, and how many arguments it took.

    Arguments lie in the buffer one after the other, each aligned to its size: 4 bytes for int, 8 for long long, double
    and pointers. What is no conversion is printed as it stands.
    """
    if text_address == 0:
        return b"", -1
    count = 0

    def take(size: int) -> bytes:
        nonlocal address, count
        start = -(-address // size) * size
        address = start + size
        count += 1
        return reader.data(start, size)

    def convert(match: re.Match[bytes]) -> bytes:
        part = match.groupdict(b"")
        kind, length = part["kind"], part["length"]
        if kind == b"%":
            return b"%"
        shape = b"%" + part["flags"] + part["width"] + part["precision"]
        values = [ctypes.c_int.from_buffer_copy(take(4)) for _ in range(shape.count(b"*"))]
        if kind in b"aAeEfFgG":
            return _snprintf(shape + kind, *values, ctypes.c_double.from_buffer_copy(take(8)))
        if kind == b"s":
            pointer = int.from_bytes(take(8), "little")
            return _snprintf(shape + b"s", *values, ctypes.c_char_p(reader.string(pointer) if pointer else b"(null)"))
        if kind == b"p":
            return _snprintf(shape + b"p", *values, ctypes.c_void_p(int.from_bytes(take(8), "little")))
        is_long = length in (b"l", b"ll", b"j", b"z", b"t")
        number = ctypes.c_uint64(int.from_bytes(take(8 if is_long else 4), "little"))
        return _snprintf(shape + (b"ll" if is_long else length) + kind, *values, number)

    return _CONVERSION.sub(convert, reader.string(text_address)), count


def _snprintf(shape: bytes, *values: object) -> bytes:
    """One conversion, as the C library makes it."""
    length = _C_LIBRARY.snprintf(None, ctypes.c_size_t(0), shape, *values)
    buffer = ctypes.create_string_buffer(length + 1)
    _C_LIBRARY.snprintf(buffer, ctypes.c_size_t(length + 1), shape, *values)
    return buffer.raw[:length]
