"""Which shared variable the address of an access is made from, read off the program.

A forward dataflow analysis over registers. The address of a variable keeps its origin through additions, moves and
conversions; what is loaded from memory, and every other result, is a plain number. Where two paths bring different
origins to a register, or an instruction mixes them, nothing is known: then nothing can be said of the access either.
"""

from __future__ import annotations

from collections import deque

from softgpu.program import Branch, Exit, Operation, Program, Trap
from softgpu.ptx import Address, Operand, Register, Symbol, Vector

NUMBER = ""
UNKNOWN = "?"
_KEEPING = {"mov", "cvt", "cvta", "add", "mad", "and", "or", "xor"}
"""Instructions that make an address in the variable from one in it; `and`, `or` and `xor` align and swizzle."""

_State = dict[str, str]


def shared_variables(program: Program) -> dict[int, str]:
    """For the index of each instruction whose address surely comes from one shared variable, its name."""
    found = {}
    for index, state in _states(program).items():
        operation = program.operations[index]
        origins = {
            _origin(program, state, operand)
            for operand in operation.instruction.operands
            if isinstance(operand, Address)
        } - {NUMBER}
        if len(origins) == 1 and UNKNOWN not in origins:
            found[index] = origins.pop()
    return found


def _states(program: Program) -> dict[int, _State]:
    """For each instruction that can be reached, what is known of the registers before it."""
    before: dict[int, _State] = {0: {}}
    pending = deque([0])
    while pending:
        index = pending.popleft()
        operation = program.operations[index]
        after = dict(before[index])
        _carry_out(program, operation, after)
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


def _carry_out(program: Program, operation: Operation, state: _State) -> None:
    instruction = operation.instruction
    origin = NUMBER
    if not any(isinstance(operand, Address) for operand in instruction.operands):
        sources = [_origin(program, state, operand) for operand in instruction.operands[1:]]
        origin = _result(instruction.opcode, sources)
    for register in operation.destinations:
        # Under a guard the register may keep what it had.
        kept = state.get(register.name, origin) if operation.guard is not None else origin
        state[register.name] = origin if kept == origin else UNKNOWN


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


def _origin(program: Program, state: _State, operand: Operand) -> str:
    if isinstance(operand, Register):
        return state.get(operand.name, NUMBER)
    if isinstance(operand, Symbol):
        return operand.name if operand.name in program.shared_offsets else NUMBER
    if isinstance(operand, Address) and operand.base is not None:
        return _origin(program, state, operand.base)
    if isinstance(operand, Vector):
        return _result("mov", [_origin(program, state, element) for element in operand.elements])
    return NUMBER
