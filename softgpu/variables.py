"""The variables of a module in global memory: where they lie, and what they hold at first (PTX ISA 5.1.3 and 5.4.4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from softgpu.errors import LaunchError, PTXSyntaxError, UnsupportedPTX
from softgpu.memory import Allocation, Memory
from softgpu.ptx import TYPE_BITS, Immediate, Symbol, Variable

MAX_CONST_BYTES = 64 * 1024
"""CUDA programming guide, "Compute Capabilities"."""


def place_variables(variables: Mapping[str, Variable], memory: Memory) -> dict[str, Allocation]:
    """Allocate the .global and .const variables that the module defines, and give them their initial values.

    Raises PTXSyntaxError or UnsupportedPTX for a value that does not fit its variable, before anything is allocated,
    and LaunchError where there is no memory for a variable.
    """
    placed = [one for one in variables.values() if one.space in ("global", "const") and not one.is_extern]
    names = {variable.name for variable in placed}
    const_bytes = 0
    for variable in placed:
        const_bytes += variable.nbytes if variable.space == "const" else 0
        if const_bytes > MAX_CONST_BYTES:
            raise PTXSyntaxError(
                f"{const_bytes} bytes of .const variables, of which there can be {MAX_CONST_BYTES}",
                variable.line,
            )
        for _, value in variable.initial:
            if isinstance(value, Symbol) and value.name not in names:
                raise UnsupportedPTX(value.name, variable.line, "the address of what is no .global or .const variable")
            _encoded(variable, value, dict.fromkeys(names, 0))
    try:
        allocations = {
            one.name: memory.allocate(np.zeros(one.nbytes, np.uint8), f"variable {one.name}") for one in placed
        }
    except MemoryError:
        total = sum(one.nbytes for one in placed)
        raise LaunchError(f"there is no memory for the {total} bytes of the module's variables") from None
    addresses = {name: allocation.base for name, allocation in allocations.items()}
    for variable in placed:
        data, size = allocations[variable.name].data, TYPE_BITS[variable.type] // 8
        for position, value in variable.initial:
            encoded = _encoded(variable, value, addresses)
            data[position * size : (position + 1) * size] = np.frombuffer(encoded, np.uint8)
    return allocations


def _encoded(variable: Variable, value: Immediate | Symbol, addresses: Mapping[str, int]) -> bytes:
    """One element of a variable."""
    bits = TYPE_BITS[variable.type]
    if isinstance(value, Symbol):
        if bits != 64:
            raise UnsupportedPTX(value.name, variable.line, f"an address in {bits} bits")
        return ((addresses[value.name] + value.offset) % (1 << 64)).to_bytes(8, "little")
    if variable.type in ("f16", "f32", "f64") and value.type != variable.type:
        with np.errstate(over="ignore"):
            return np.array(value.value, np.float64).astype(f"f{bits // 8}").tobytes()
    number = value.value if value.bits is None else value.bits
    if not isinstance(number, int) or (value.type is not None and TYPE_BITS[value.type] != bits):
        raise PTXSyntaxError(
            f"the float {value.value} cannot initialise {variable.name} of type {variable.type}", variable.line
        )
    return (number % (1 << bits)).to_bytes(bits // 8, "little")
