"""Which variable or kernel argument the address of an access is made from, read off the program.

A forward dataflow analysis over registers. The address of a variable keeps its origin through additions, moves and
conversions; what is loaded from memory, and every other result, is a plain number. Where two paths bring different
origins to a register, or an instruction mixes them, nothing is known: then nothing can be said of the access either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Set
from functools import lru_cache
from typing import TYPE_CHECKING

from softgpu.program import Branch, Exit, Operation, Program, Trap
from softgpu.ptx import TYPE_BITS, Address, Operand, Register, Symbol, Vector

if TYPE_CHECKING:
    from softgpu.machine import Launch
    from softgpu.memory import Allocation

NUMBER = ""
UNKNOWN = "?"
_KEEPING = {"mov", "cvt", "cvta", "add", "mad", "and", "or", "xor"}
"""Instructions that make an address in the variable from one in it; `and`, `or` and `xor` align and swizzle."""

_State = dict[str, str]
_NOTHING: frozenset[int] = frozenset()


@lru_cache(maxsize=256)
def shared_variables(program: Program) -> dict[int, str]:
    """For the index of each instruction whose address surely comes from one shared variable, its name."""
    return {
        index: name
        for index, name in _origins(program, frozenset(program.shared_offsets), _NOTHING)
        if name not in (NUMBER, UNKNOWN)
    }


def stored_allocations(launch: Launch) -> list[Allocation]:
    """The allocations that a store or atomic of a kernel may reach: those that the pointers among its arguments, from
    which the addresses are made, point into. All allocations, where an address is made in another way.

    An address made from one argument is taken to stay in what that argument points into.
    """
    memory, parameters = launch.memory, launch.parameters
    pointers = {}
    for offset in range(0, len(parameters) - 7, 8):
        allocation = memory.find(int.from_bytes(parameters[offset : offset + 8].tobytes(), "little"))
        if allocation is not None:
            pointers[offset] = allocation
    names = _stored(launch.program, frozenset(launch.symbols), frozenset(pointers))
    if names is None:
        return list(memory.allocations)
    found = {id(one): one for one in (pointers[int(name)] for name in names if name.isdecimal())}
    for name in names & launch.symbols.keys():
        allocation = memory.find(launch.symbols[name])
        if allocation is not None:
            found[id(allocation)] = allocation
    return sorted(found.values(), key=lambda allocation: allocation.base)


@lru_cache(maxsize=256)
def _stored(program: Program, symbols: frozenset[str], pointers: frozenset[int]) -> frozenset[str] | None:
    """What the addresses of a program's stores and atomics are made from: names of variables, and offsets of the
    parameters that are pointers; None if that is not known of one."""
    variables = symbols | program.shared_offsets.keys() | program.local_offsets.keys()
    names = set()
    for index, origin in _origins(program, variables, pointers):
        instruction = program.operations[index].instruction
        reads = instruction.opcode in ("ld", "ldu", "prefetch", "prefetchu", "applypriority", "discard")
        if reads or any(space in instruction.modifiers for space in ("shared", "shared::cta", "local", "param")):
            continue
        if origin in (NUMBER, UNKNOWN):
            return None
        names.add(origin)
    return frozenset(names)


def _origins(program: Program, variables: Set[str], pointers: frozenset[int]) -> Iterator[tuple[int, str]]:
    """The index of each instruction that can be reached and has an address, and what that is made from."""
    for index, state in _states(program, variables, pointers).items():
        operands = program.operations[index].instruction.operands
        addresses = [operand for operand in operands if isinstance(operand, Address)]
        if addresses:
            origins = {_origin(variables, state, address) for address in addresses} - {NUMBER}
            yield index, NUMBER if not origins else origins.pop() if len(origins) == 1 else UNKNOWN


def _states(program: Program, variables: Set[str], pointers: frozenset[int]) -> dict[int, _State]:
    """For each instruction that can be reached, what is known of the registers before it."""
    before: dict[int, _State] = {0: {}}
    pending = deque([0])
    while pending:
        index = pending.popleft()
        operation = program.operations[index]
        after = dict(before[index])
        _carry_out(program, variables, pointers, operation, after)
        for successor in _successors(program, index):
            known = before.get(successor)
            joined = after if known is None else _join(known, after)
            if joined != known:
                before[successor] = dict(joined)
                pending.append(successor)
    return before


def _successors(program: Program, index: int) -> list[int]:
    operation = program.operations[index]
    targets = []
    if isinstance(operation.control, Branch):
        targets += [program.kernel.labels[label] for label in operation.control.labels]
    ends = isinstance(operation.control, Branch | Exit | Trap) and operation.guard is None
    if not ends and index + 1 < len(program.operations):
        targets.append(index + 1)
    return targets


def _join(one: _State, other: _State) -> _State:
    """What is known where two paths meet; a register that only one of them has set has that value."""
    joined = dict(one)
    for register, origin in other.items():
        if joined.setdefault(register, origin) != origin:
            joined[register] = UNKNOWN
    return joined


def _carry_out(
    program: Program, variables: Set[str], pointers: frozenset[int], operation: Operation, state: _State
) -> None:
    instruction = operation.instruction
    if any(isinstance(operand, Address) for operand in instruction.operands):
        origin = _loaded(program, operation, pointers)
    else:
        sources = [_origin(variables, state, operand) for operand in instruction.operands[1:]]
        origin = _result(instruction.opcode, sources)
    for register in operation.destinations:
        # Under a guard the register may keep what it had.
        kept = state.get(register.name, origin) if operation.guard is not None else origin
        state[register.name] = origin if kept == origin else UNKNOWN


def _loaded(program: Program, operation: Operation, pointers: frozenset[int]) -> str:
    """The offset of the parameter that a load reads, if it is a pointer."""
    instruction = operation.instruction
    if not pointers or instruction.opcode != "ld":
        return NUMBER
    address = instruction.operands[1]
    if not isinstance(address, Address) or not isinstance(address.base, Symbol):
        return NUMBER
    if address.base.name not in program.parameter_offsets:
        return NUMBER
    offset = program.parameter_offsets[address.base.name] + address.base.offset + address.offset
    nbytes = sum(TYPE_BITS.get(word, 0) for word in instruction.modifiers) // 8
    if isinstance(instruction.operands[0], Vector):
        reach = range(offset, offset + nbytes * len(instruction.operands[0].elements))
        return UNKNOWN if any(pointer in reach for pointer in pointers) else NUMBER
    return str(offset) if nbytes == 8 and offset in pointers else NUMBER


def _result(opcode: str, sources: list[str]) -> str:
    named = [origin for origin in sources if origin != NUMBER]
    if not named:
        return NUMBER
    if opcode == "sub":
        if len(named) == 2:
            return NUMBER if named[0] == named[1] != UNKNOWN else UNKNOWN
        return named[0] if sources[0] == named[0] else UNKNOWN
    if opcode == "selp":
        return named[0] if sources[0] == sources[1] else UNKNOWN
    return named[0] if len(named) == 1 and opcode in _KEEPING else UNKNOWN


def _origin(variables: Set[str], state: _State, operand: Operand) -> str:
    if isinstance(operand, Register):
        return state.get(operand.name, NUMBER)
    if isinstance(operand, Symbol):
        return operand.name if operand.name in variables else NUMBER
    if isinstance(operand, Address) and operand.base is not None:
        return _origin(variables, state, operand.base)
    if isinstance(operand, Vector):
        return _result("mov", [_origin(variables, state, element) for element in operand.elements])
    return NUMBER
