"""Says why an access was not allowed, in the words of the memory that refused it."""

from __future__ import annotations

import numpy as np

from softgpu.errors import Dim3, MemoryFault
from softgpu.instructions.memory import space_of
from softgpu.instructions.table import TYPES
from softgpu.machine import Launch
from softgpu.memory import LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW, InvalidAccess, ScratchMemory
from softgpu.program import Operation

_KINDS = {"ld": "load", "ldu": "load", "st": "store", "atom": "atomic", "red": "atomic"}
_WINDOWS = {1: "shared", 2: "local", 3: "param"}
_WINDOW_BITS = 56


def memory_fault(launch: Launch, operation: Operation, address: int, thread: Dim3, block: Dim3) -> MemoryFault:
    """The fault of one thread's access to an address."""
    instruction, m = operation.instruction, operation.modifiers
    assert m is not None and {SHARED_WINDOW, LOCAL_WINDOW, PARAMETER_WINDOW} == {k << _WINDOW_BITS for k in _WINDOWS}
    space = space_of(m)
    if space == "generic":
        space = _WINDOWS.get(address >> _WINDOW_BITS, "global")
        if space != "global":
            address &= (1 << _WINDOW_BITS) - 1
    size = TYPES[str(m["type"])].bits // 8 * {None: 1, "v2": 2, "v4": 4, "v8": 8}[m["vector"]]
    addresses = np.array([address], np.uint64)
    program = launch.program
    scratch = {
        "shared": (program.shared_bytes + launch.shared_bytes, "the block's shared memory"),
        "local": (program.local_bytes, "the thread's local memory"),
        "param": (program.parameter_bytes, "the kernel's parameters"),
    }
    reason = ""
    try:
        if space in scratch:
            ScratchMemory(0, *scratch[space]).locate(addresses, 0, size, size)
        else:
            launch.memory.locate(addresses, size, size)
    except InvalidAccess as invalid:
        reason = invalid.reason
    return MemoryFault(
        access=_KINDS[instruction.opcode],
        size=size,
        space=space,
        address=address,
        thread=thread,
        block=block,
        line=instruction.line,
        reason=reason,
    )
