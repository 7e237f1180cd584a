"""Comparison and selection (PTX ISA 9.7.6 and 9.7.7)."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from llvmlite.ir import Value

from softgpu.floats import FORMATS
from softgpu.instructions.table import TYPES, Modifiers, Type
from softgpu.native.emitters.floating import element_type, flush, flush_value, halves, join
from softgpu.native.emitters.integer import constant
from softgpu.native.emitters.table import computes, emits
from softgpu.native.translator import Translator

_SYMBOLS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_UNSIGNED = {"lo": "<", "ls": "<=", "hi": ">", "hs": ">="}

_COMBINE = "combine=and|or|xor"
_FLOAT_COMPARISONS = "compare=eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan"
_COMPARED = (
    ("compare=eq|ne", "", "type=b16|b32|b64"),
    ("compare=eq|ne|lt|le|gt|ge|lo|ls|hi|hs", "", "type=u16|u32|u64"),
    ("compare=eq|ne|lt|le|gt|ge", "", "type=s16|s32|s64"),
    (_FLOAT_COMPARISONS, "ftz?", "type=f32|f16"),
    (_FLOAT_COMPARISONS, "", "type=f64|bf16"),
)


def compare(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    name, kind = str(m["compare"]), element_type(m.type)
    if kind.name in FORMATS:
        if m["ftz"]:
            a, b = flush_value(t, kind, a), flush_value(t, kind, b)
        if name in ("num", "nan"):
            return t.b.fcmp_ordered("ord", a, b) if name == "num" else t.b.fcmp_unordered("uno", a, b)
        if name[-1] == "u" and name[:-1] in _SYMBOLS:
            return t.b.fcmp_unordered(_SYMBOLS[name[:-1]], a, b)
        return t.b.fcmp_ordered(_SYMBOLS[name], a, b)
    symbol = _SYMBOLS.get(name) or _UNSIGNED[name]
    return t.b.icmp_signed(symbol, a, b) if m.type.name[0] == "s" else t.b.icmp_unsigned(symbol, a, b)


def _compare_halves(t: Translator, m: Modifiers, a: Value, b: Value) -> list[Value]:
    """The comparisons of the lower and of the upper halves of an x2 type."""
    kind = element_type(m.type)
    pairs = zip(halves(t, a), halves(t, b), strict=True)
    return [compare(t, m, t.from_bits(x, kind), t.from_bits(y, kind)) for x, y in pairs]


def combine(t: Translator, m: Modifiers, result: Value, c: Value | None) -> Value:
    """With the predicate of the form that has one."""
    if c is None:
        return result
    return {"and": t.b.and_, "or": t.b.or_, "xor": t.b.xor}[str(m["combine"])](result, c)


def _set_predicates(t: Translator, m: Modifiers, a: Value, b: Value, c: Value | None = None) -> tuple[Value, Value]:
    result = compare(t, m, a, b)
    return combine(t, m, result, c), combine(t, m, t.b.not_(result), c)


def _set_predicates_of_halves(
    t: Translator, m: Modifiers, a: Value, b: Value, c: Value | None = None
) -> tuple[Value, Value]:
    low, high = _compare_halves(t, m, a, b)
    return combine(t, m, low, c), combine(t, m, high, c)


def _set_value(t: Translator, m: Modifiers, a: Value, b: Value, c: Value | None = None) -> Value:
    return _true_or_zero(t, m.result, m.result.bits, combine(t, m, compare(t, m, a, b), c))


def _set_halves(t: Translator, m: Modifiers, a: Value, b: Value, c: Value | None = None) -> Value:
    results = [combine(t, m, result, c) for result in _compare_halves(t, m, a, b)]
    return join(t, *(_true_or_zero(t, m.result, 16, result) for result in results))


def _true_or_zero(t: Translator, kind: Type, bits: int, result: Value) -> Value:
    """The bits of a result: true is 1.0 for a float, -1 for an integer."""
    yes = {"f16": 0x3C00, "bf16": 0x3F80, "f32": 0x3F800000}.get(element_type(kind).name, -1)
    width = ir.IntType(bits)
    return t.b.select(result, constant(width, yes), constant(width, 0))


def _set(form: str, build: Callable[..., Value]) -> None:
    """Enter a form of set, and the same with a predicate to combine with."""

    def emit(t: Translator, m: Modifiers) -> None:
        destination, a, b, *predicate = t.operands()
        values = [t.read(a, m.type), t.read(b, m.type), *(t.read(p, TYPES["pred"]) for p in predicate)]
        t.write(destination, TYPES[f"b{m.result.bits}"], build(t, m, *values))

    compare_slot, rest = form.split(" ", 1)
    emits(f"set {form}")(emit)
    emits(f"set {compare_slot} {_COMBINE} {rest}")(emit)


for _compare, _ftz, _operand_types in _COMPARED:
    computes(f"setp {_compare} {_ftz} {_operand_types}", "p|q = T T")(_set_predicates)
    computes(f"setp {_compare} {_COMBINE} {_ftz} {_operand_types}", "p|q = T T pred")(_set_predicates)
    _set(f"{_compare} {_ftz} result=u16|s16|u32|s32|f16|bf16|f32 {_operand_types}", _set_value)
computes(f"setp {_FLOAT_COMPARISONS} ftz? type=f16x2|bf16x2", "p|q = T T")(_set_predicates_of_halves)
computes(f"setp {_FLOAT_COMPARISONS} {_COMBINE} ftz? type=f16x2|bf16x2", "p|q = T T pred")(_set_predicates_of_halves)
_set(f"{_FLOAT_COMPARISONS} ftz? result=f16x2|bf16x2|u32|s32 type=f16x2|bf16x2", _set_halves)

SELECTED = "b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64"


@computes(f"selp type={SELECTED}", "T = T T pred")
def _(t: Translator, m: Modifiers, a: Value, b: Value, p: Value) -> Value:
    return t.b.select(p, a, b)


@computes(f"slct type={SELECTED} s32", "T = T T s32")
def _(t: Translator, m: Modifiers, a: Value, b: Value, c: Value) -> Value:
    return t.b.select(t.b.icmp_signed(">=", c, constant(c, 0)), a, b)


@computes(f"slct ftz? type={SELECTED} f32", "T = T T f32")
def _(t: Translator, m: Modifiers, a: Value, b: Value, c: Value) -> Value:
    c = flush(t, c) if m["ftz"] else c
    return t.b.select(t.b.fcmp_ordered(">=", c, ir.Constant(c.type, 0.0)), a, b)
