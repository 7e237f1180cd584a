"""Moving values between registers, packing them, and converting addresses (PTX ISA 9.7.9)."""

from __future__ import annotations

from llvmlite import ir
from llvmlite.ir import Value

from softgpu.instructions.table import TYPES, Modifiers, Type
from softgpu.memory import LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW, WINDOW_SHIFT
from softgpu.native.emitters.integer import constant
from softgpu.native.emitters.table import computes, emits
from softgpu.native.translator import I32, I64, Translator
from softgpu.ptx import Symbol, Vector


def bits_type(kind: Type) -> Type:
    """The type whose values are the bits of `kind`."""
    return kind if kind.bits == 1 else TYPES[f"b{kind.bits}"]


@emits("mov type=pred|b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64")
def _(t: Translator, m: Modifiers) -> None:
    destination, source = t.operands()
    if isinstance(source, Vector):
        part = TYPES[f"b{m.type.bits // len(source.elements)}"]
        joined: Value = constant(ir.IntType(m.type.bits), 0)
        for position, element in enumerate(source.elements):
            value = t.b.zext(t.read(element, part), joined.type)
            joined = t.b.or_(joined, t.b.shl(value, constant(joined, position * part.bits)))
        t.write(destination, m.type, joined)
    elif isinstance(destination, Vector):
        part = TYPES[f"b{m.type.bits // len(destination.elements)}"]
        whole = t.read(source, m.type)
        for position, element in enumerate(destination.elements):
            shifted = t.b.lshr(whole, constant(whole, position * part.bits))
            t.write(element, part, t.b.trunc(shifted, ir.IntType(part.bits)))
    else:
        t.write(destination, m.type, t.read(source, m.type))


@emits("mov size=v2|v4 type=b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64")
def _(t: Translator, m: Modifiers) -> None:
    destination, source = t.operands()
    assert isinstance(destination, Vector) and isinstance(source, Vector)
    values = [t.read(element, m.type) for element in source.elements]
    for element, value in zip(destination.elements, values, strict=True):
        t.write(element, m.type, value)


_WINDOWS = {
    "shared": SHARED_WINDOW,
    "shared::cta": SHARED_WINDOW,
    "shared::cluster": SHARED_WINDOW,
    "local": LOCAL_WINDOW,
    "param": PARAMETER_WINDOW,
    "param::entry": PARAMETER_WINDOW,
}
_SPACES = "global|shared|shared::cta|shared::cluster|local|const|param|param::entry"


def _window(m: Modifiers) -> Value:
    return constant(I64, _WINDOWS.get(str(m["space"]), 0))


@computes(f"cvta space={_SPACES} type=u64", "T = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return t.b.add(a, _window(m))


@computes(f"cvta to space={_SPACES} type=u64", "T = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return t.b.sub(a, _window(m))


@computes("isspacep space=shared|shared::cta|shared::cluster|local|param|param::entry", "pred = u64")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return _lies_in(t, a, _WINDOWS[str(m["space"])])


def _lies_in(t: Translator, address: Value, window: int) -> Value:
    shift = constant(I64, int(WINDOW_SHIFT))
    return t.b.icmp_unsigned("==", t.b.lshr(address, shift), constant(I64, window >> int(WINDOW_SHIFT)))


@computes("isspacep space=global|const", "pred = u64")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    is_constant: Value = ir.Constant(ir.IntType(1), 0)
    for variable in t.program.module.variables.values():
        if variable.space == "const":
            offset = t.b.sub(a, t.address_of(Symbol(variable.name)))
            inside = t.b.icmp_unsigned("<", offset, constant(I64, variable.nbytes))
            is_constant = t.b.or_(is_constant, inside)
    if m["space"] == "const":
        return is_constant
    elsewhere = is_constant
    for window in (SHARED_WINDOW, LOCAL_WINDOW, PARAMETER_WINDOW):
        elsewhere = t.b.or_(elsewhere, _lies_in(t, a, window))
    return t.b.not_(elsewhere)


# A block is a cluster of its own, of rank 0


@computes("mapa space=shared::cluster? type=u32|u64", "T = T u32")
def _(t: Translator, m: Modifiers, address: Value, rank: Value) -> Value:
    return address


@computes("getctarank space=shared::cluster? type=u32|u64", "u32 = T")
def _(t: Translator, m: Modifiers, address: Value) -> Value:
    return constant(I32, 0)
