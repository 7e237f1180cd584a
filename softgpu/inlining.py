"""Replaces every call of a device function by the function's body, so that a decoded kernel has no calls.

Each call site gets its own copy of the function's registers and labels. The function's variables exist once: a thread
is in one of its calls at a time, since there is no recursion. Variables of the `.param` space through which a caller
and a function pass values (PTX ISA 7.1) become registers where every access names the same bytes, as compilers do it,
and local memory elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from softgpu.errors import PTXSyntaxError, UnsupportedPTX
from softgpu.ptx import (
    TYPE_BITS,
    Address,
    Function,
    Instruction,
    Kernel,
    Operand,
    Pair,
    Parameter,
    PTXModule,
    Register,
    Sink,
    Symbol,
    Variable,
    Vector,
)

MAX_DEPTH = 64
MAX_INSTRUCTIONS = 1 << 18

SYSTEM_FUNCTIONS = {"vprintf": (1, 2), "__assertfail": (0, 5)}
"""Functions that the GPU's driver provides: how many values they return, and how many they take. Each stays in the
kernel as an instruction `call.NAME` on registers: those returned, then the arguments."""


def inline_calls(module: PTXModule, kernel: Kernel) -> Kernel:
    """The kernel with all calls replaced. Raises UnsupportedPTX for recursion, indirect calls and functions without a
    body, and PTXSyntaxError where a call does not fit its function."""
    has_calls = any(instruction.opcode == "call" for instruction in kernel.instructions)
    if not has_calls and all(variable.space != "param" for variable in kernel.variables.values()):
        return kernel
    if _size(module, kernel.instructions, {}) > MAX_INSTRUCTIONS:
        reason = f"with its calls, the kernel has over {MAX_INSTRUCTIONS} instructions"
        raise UnsupportedPTX(f".entry {kernel.name}", kernel.line, reason)
    inliner = _Inliner(module, kernel)
    inliner.copy(kernel.instructions, kernel.labels, _Names())
    _resolve_parameters(inliner.kernel)
    return inliner.kernel


def _size(module: PTXModule, instructions: Sequence[Instruction], sizes: dict[str, int], depth: int = 0) -> int:
    """How many instructions a body has with its calls. What is wrong with a call is found when it is replaced."""
    total = len(instructions)
    for instruction in instructions:
        target = instruction.operands[1] if instruction.opcode == "call" else None
        function = module.function(target.name) if isinstance(target, Symbol) else None
        if function is None or depth == MAX_DEPTH:
            continue
        if function.name not in sizes:
            sizes[function.name] = 0
            sizes[function.name] = _size(module, function.instructions, sizes, depth + 1)
        total += sizes[function.name]
    return total


@dataclass(slots=True)
class _Names:
    """What the names of a body become at one call site. `site` is empty for the kernel itself."""

    site: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    returns_to: str = ""
    callers: tuple[str, ...] = ()

    def label(self, name: str) -> str:
        return name + self.site

    def register(self, register: Register) -> Register:
        return replace(register, name=register.name + self.site)

    def symbol(self, symbol: Symbol) -> Symbol:
        return replace(symbol, name=self.variables.get(symbol.name, symbol.name))

    def operand(self, operand: Operand) -> Operand:
        if isinstance(operand, Register):
            return self.register(operand)
        if isinstance(operand, Symbol):
            return self.symbol(operand)
        if isinstance(operand, Address) and operand.base is not None:
            base = self.register(operand.base) if isinstance(operand.base, Register) else self.symbol(operand.base)
            return Address(base, operand.offset)
        if isinstance(operand, Vector):
            return Vector(tuple(self.operand(element) for element in operand.elements))
        if isinstance(operand, Pair):
            return Pair(self.operand(operand.first), self.operand(operand.second))
        return operand


class _Inliner:
    def __init__(self, module: PTXModule, kernel: Kernel):
        self.module = module
        self.kernel = replace(
            kernel,
            instructions=[],
            labels={},
            variables=dict(kernel.variables),
            branch_targets=dict(kernel.branch_targets),
        )
        self.sites = 0

    def emit(self, template: Instruction, opcode: str, modifiers: Sequence[str], operands: Sequence[Operand]) -> None:
        """Add an instruction that stands where `template` does."""
        instructions = self.kernel.instructions
        instructions.append(
            replace(
                template,
                index=len(instructions),
                opcode=opcode,
                modifiers=tuple(modifiers),
                operands=tuple(operands),
            )
        )

    def copy(self, instructions: Sequence[Instruction], labels: dict[str, int], names: _Names) -> None:
        """Add a body, with its calls replaced."""
        labels_at: dict[int, list[str]] = {}
        for label, index in labels.items():
            labels_at.setdefault(index, []).append(names.label(label))
        for index, original in enumerate([*instructions, None]):
            for label in labels_at.get(index, ()):
                self.kernel.labels[label] = len(self.kernel.instructions)
            if original is None:
                break
            guard = names.register(original.guard) if original.guard else None
            instruction = replace(original, guard=guard)
            if original.opcode == "call":
                self._call(instruction, names)
            elif original.opcode == "ret" and names.returns_to:
                self.emit(instruction, "bra", original.modifiers, [Symbol(names.returns_to)])
            elif original.opcode in ("bra", "brx") and original.operands:
                *others, target = original.operands
                assert isinstance(target, Symbol)
                operands = [*map(names.operand, others), Symbol(names.label(target.name))]
                self.emit(instruction, original.opcode, original.modifiers, operands)
            else:
                operands = [names.operand(operand) for operand in original.operands]
                self.emit(instruction, original.opcode, original.modifiers, operands)

    def _call(self, call: Instruction, names: _Names) -> None:
        returned, target, passed = (names.operand(operand) for operand in call.operands)
        assert isinstance(returned, Vector) and isinstance(passed, Vector)
        if not isinstance(target, Symbol) or target.offset:
            raise UnsupportedPTX(call.text, call.line, "an indirect call")
        function = self.module.function(target.name)
        if function is None:
            raise UnsupportedPTX(call.text, call.line, f"there is no function {target.name} in this module")
        if not (len(returned.elements) == len(function.returns) and len(passed.elements) == len(function.parameters)):
            raise PTXSyntaxError(
                f"`{call.text}` passes {len(passed.elements)} and returns {len(returned.elements)} values, but "
                f"{function.name} takes {len(function.parameters)} and returns {len(function.returns)}",
                call.line,
            )
        self.sites += 1
        site = f"@call{self.sites}"
        skipped = f"after {function.name}{site}"
        if call.guard is not None:
            unless = replace(call, guard=replace(call.guard, negated=not call.guard.negated))
            self.emit(unless, "bra", (), [Symbol(skipped)])
            call = replace(call, guard=None)
        if not function.is_declared:
            self._inline(call, function, returned.elements, passed.elements, site, names.callers)
        elif SYSTEM_FUNCTIONS.get(function.name) == (len(returned.elements), len(passed.elements)):
            self._call_system(call, function, returned.elements, passed.elements, site)
        else:
            reason = f"it calls the function {function.name}, which this module only declares"
            if function.name in ("malloc", "free"):
                reason = f"it calls {function.name}, and a kernel cannot allocate memory here"
            raise UnsupportedPTX(call.text, call.line, reason)
        self.kernel.labels[skipped] = len(self.kernel.instructions)

    def _inline(
        self,
        call: Instruction,
        function: Function,
        returned: Sequence[Operand],
        passed: Sequence[Operand],
        site: str,
        callers: tuple[str, ...],
    ) -> None:
        if function.name in callers:
            raise UnsupportedPTX(call.text, call.line, f"recursion: {' calls '.join((*callers, function.name))}")
        if len(callers) == MAX_DEPTH:
            raise UnsupportedPTX(call.text, call.line, f"calls nested more than {MAX_DEPTH} deep")
        if any(isinstance(value, Symbol) and value in passed for value in returned):
            raise UnsupportedPTX(call.text, call.line, "a variable that both passes and returns a value")
        names = _Names(site, {}, f"return of {function.name}{site}", (*callers, function.name))
        for variable in function.variables.values():
            name = f"{variable.name}@{function.name}"
            names.variables[variable.name] = name
            self.kernel.variables[name] = replace(variable, name=name)
        for label, targets in function.branch_targets.items():
            self.kernel.branch_targets[names.label(label)] = tuple(map(names.label, targets))
        for parameter, value in zip(function.parameters, passed, strict=True):
            self._transfer(call, parameter, self._formal(call, parameter, value, names), value)
        formals = [
            self._formal(call, parameter, value, names)
            for parameter, value in zip(function.returns, returned, strict=True)
        ]
        self.copy(function.instructions, function.labels, names)
        self.kernel.labels[names.returns_to] = len(self.kernel.instructions)
        for parameter, formal, value in zip(function.returns, formals, returned, strict=True):
            self._transfer(call, parameter, value, formal)

    def _formal(self, call: Instruction, parameter: Parameter, value: Operand, names: _Names) -> Operand:
        """What a parameter is inside the function: for a `.param` variable that is passed, this variable itself."""
        if parameter.register is not None:
            return names.register(parameter.register)
        name = parameter.name + names.site
        if isinstance(value, Symbol):
            name = value.name
            variable = self.kernel.variables.get(name)
            if value.offset or variable is None or variable.space != "param" or variable.nbytes != parameter.nbytes:
                raise PTXSyntaxError(
                    f"`{call.text}`: {name} is no .param variable of {parameter.nbytes} bytes, as {parameter.name} is",
                    call.line,
                )
        else:
            self.kernel.variables[name] = Variable(
                name, "param", parameter.type, parameter.count, parameter.alignment, call.line
            )
        names.variables[parameter.name] = name
        return Symbol(name)

    def _transfer(self, call: Instruction, parameter: Parameter, target: Operand, source: Operand) -> None:
        """Copy a value of the parameter's type to where it is wanted; variables are not copied but shared."""
        if isinstance(target, Sink) or target == source:
            return
        kind = parameter.type if parameter.type[0] in "fp" else f"b{TYPE_BITS[parameter.type]}"
        if parameter.is_array or (isinstance(target, Symbol) and isinstance(source, Symbol)):
            raise PTXSyntaxError(f"`{call.text}` does not pass {parameter.name} as a .param variable", call.line)
        for operand in (target, source):
            if isinstance(operand, Register) and TYPE_BITS[operand.type] != TYPE_BITS[parameter.type]:
                raise PTXSyntaxError(
                    f"`{call.text}`: register {operand.name.partition('@')[0]} is {operand.type}, but {parameter.name} "
                    f"is {parameter.type}",
                    call.line,
                )
        if isinstance(source, Symbol):
            self.emit(call, "ld", ("param", kind), [target, Address(source, 0)])
        elif isinstance(target, Symbol):
            self.emit(call, "st", ("param", kind), [Address(target, 0), source])
        else:
            self.emit(call, "mov", (kind,), [target, source])

    def _call_system(
        self,
        call: Instruction,
        function: Function,
        returned: Sequence[Operand],
        passed: Sequence[Operand],
        site: str,
    ) -> None:
        def register(parameter: Parameter) -> Register:
            return Register(parameter.name + site, f"b{8 * parameter.nbytes}")

        results = [register(one) for one in function.returns]
        arguments = [register(one) for one in function.parameters]
        for parameter, argument, value in zip(function.parameters, arguments, passed, strict=True):
            self._transfer(call, parameter, argument, value)
        self.emit(call, "call", (function.name,), [*results, *arguments])
        for parameter, result, value in zip(function.returns, results, returned, strict=True):
            self._transfer(call, parameter, value, result)


# Variables by which values are passed

_PARAMETER_SPACES = {"param", "param::func"}


@dataclass(frozen=True, slots=True)
class _ParameterAccess:
    """An `ld.param` or `st.param` of a variable: `elements` are registers or constants, `offset` in bytes."""

    variable: str
    offset: int
    kind: str
    elements: tuple[Operand, ...]

    @property
    def size(self) -> int:
        return TYPE_BITS[self.kind] // 8

    @property
    def parts(self) -> list[tuple[int, Operand]]:
        """The offset of each element, and the element."""
        return [(self.offset + number * self.size, element) for number, element in enumerate(self.elements)]


def _resolve_parameters(kernel: Kernel) -> None:
    """Replace the accesses of `.param` variables by moves of registers, or by accesses of local memory."""
    variables = {name: one for name, one in kernel.variables.items() if one.space == "param"}
    accesses = [_parameter_access(instruction, variables) for instruction in kernel.instructions]
    in_memory = _kept_in_memory(variables, kernel.instructions, accesses)
    for name in variables:
        if name not in in_memory:
            del kernel.variables[name]
    instructions: list[Instruction] = []
    new_index = []
    for instruction, access in zip(kernel.instructions, accesses, strict=True):
        new_index.append(len(instructions))
        if access is None:
            instructions.append(replace(instruction, index=len(instructions)))
        elif access.variable in in_memory:
            modifiers = tuple("local" if one.startswith("param") else one for one in instruction.modifiers)
            instructions.append(replace(instruction, index=len(instructions), modifiers=modifiers))
        else:
            for offset, element in access.parts:
                register = Register(f"{access.variable}+{offset}", f"b{8 * access.size}")
                operands = (element, register) if instruction.opcode == "ld" else (register, element)
                instructions.append(
                    replace(
                        instruction, index=len(instructions), opcode="mov", modifiers=(access.kind,), operands=operands
                    )
                )
    new_index.append(len(instructions))
    kernel.labels = {label: new_index[index] for label, index in kernel.labels.items()}
    kernel.instructions = instructions


def _parameter_access(instruction: Instruction, variables: dict[str, Variable]) -> _ParameterAccess | None:
    """What an instruction does to one of the variables, if it loads or stores it directly."""
    if instruction.opcode not in ("ld", "st") or len(instruction.operands) != 2 or not instruction.types:
        return None
    address, value = instruction.operands[:: -1 if instruction.opcode == "ld" else 1]
    if not isinstance(address, Address) or not isinstance(address.base, Symbol) or address.base.name not in variables:
        return None
    if not _PARAMETER_SPACES & set(instruction.modifiers):
        return None
    name = address.base.name
    elements = value.elements if isinstance(value, Vector) else (value,)
    access = _ParameterAccess(name, address.base.offset + address.offset, instruction.types[-1], elements)
    if access.offset < 0 or access.offset + len(elements) * access.size > variables[name].nbytes:
        raise PTXSyntaxError(
            f"`{instruction.text}` reaches past the {variables[name].nbytes} bytes of {name.partition('@')[0]}",
            instruction.line,
        )
    return access


def _kept_in_memory(
    variables: dict[str, Variable],
    instructions: Sequence[Instruction],
    accesses: Sequence[_ParameterAccess | None],
) -> set[str]:
    """The variables that no registers can stand for: their address is taken, or accesses overlap in part."""
    kept = {
        name for one, access in zip(instructions, accesses, strict=True) if access is None for name in _symbols(one)
    }
    kept &= set(variables)
    for instruction in instructions:
        through_register = instruction.opcode == "ld" and _PARAMETER_SPACES & set(instruction.modifiers)
        if kept and through_register and not _symbols(instruction):
            raise UnsupportedPTX(
                instruction.text, instruction.line, "an address in a register, where a .param variable's is taken"
            )
    extents: dict[str, set[tuple[int, int]]] = {name: set() for name in variables}
    for access in filter(None, accesses):
        for offset, element in access.parts:
            extents[access.variable].add((offset, access.size))
            other_width = isinstance(element, Register) and TYPE_BITS[element.type] != 8 * access.size
            if other_width or access.size == 1:
                kept.add(access.variable)
    for name, parts in extents.items():
        if any(start + size > following for (start, size), (following, _) in itertools.pairwise(sorted(parts))):
            kept.add(name)
    return kept


def _symbols(instruction: Instruction) -> list[str]:
    """The variables that an instruction names."""
    bases = [one.base if isinstance(one, Address) else one for one in instruction.operands]
    return [base.name for base in bases if isinstance(base, Symbol)]
