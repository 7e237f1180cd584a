"""Comparison and selection (PTX ISA 9.7.6 and 9.7.7)."""

from __future__ import annotations

from llvmlite import ir
from llvmlite.ir import Value

from softgpu.instructions.table import Modifiers
from softgpu.native.emitters.floating import flush
from softgpu.native.emitters.integer import constant
from softgpu.native.emitters.table import computes
from softgpu.native.translator import Translator

_SYMBOLS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_UNSIGNED = {"lo": "<", "ls": "<=", "hi": ">", "hs": ">="}

_FLOAT_COMPARISONS = "compare=eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan"
_COMPARED = (
    ("compare=eq|ne", "", "type=b16|b32|b64"),
    ("compare=eq|ne|lt|le|gt|ge|lo|ls|hi|hs", "", "type=u16|u32|u64"),
    ("compare=eq|ne|lt|le|gt|ge", "", "type=s16|s32|s64"),
    (_FLOAT_COMPARISONS, "ftz?", "type=f32"),
    (_FLOAT_COMPARISONS, "", "type=f16|f64"),
)


def compare(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    name = str(m["compare"])
    if m.type.is_float:
        if m["ftz"]:
            a, b = flush(t, a), flush(t, b)
        if name in ("num", "nan"):
            return t.b.fcmp_ordered("ord", a, b) if name == "num" else t.b.fcmp_unordered("uno", a, b)
        if name[-1] == "u" and name[:-1] in _SYMBOLS:
            return t.b.fcmp_unordered(_SYMBOLS[name[:-1]], a, b)
        return t.b.fcmp_ordered(_SYMBOLS[name], a, b)
    symbol = _SYMBOLS.get(name) or _UNSIGNED[name]
    return t.b.icmp_signed(symbol, a, b) if m.type.name[0] == "s" else t.b.icmp_unsigned(symbol, a, b)


def _set_predicates(t: Translator, m: Modifiers, a: Value, b: Value) -> tuple[Value, Value]:
    result = compare(t, m, a, b)
    return result, t.b.not_(result)


def combine(t: Translator, m: Modifiers, result: Value, c: Value) -> Value:
    return {"and": t.b.and_, "or": t.b.or_, "xor": t.b.xor}[str(m["combine"])](result, c)


def _set_combined_predicates(t: Translator, m: Modifiers, a: Value, b: Value, c: Value) -> tuple[Value, Value]:
    result = compare(t, m, a, b)
    return combine(t, m, result, c), combine(t, m, t.b.not_(result), c)


def _set_value(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return _as_value(t, m, compare(t, m, a, b))


def _set_combined_value(t: Translator, m: Modifiers, a: Value, b: Value, c: Value) -> Value:
    return _as_value(t, m, combine(t, m, compare(t, m, a, b), c))


def _as_value(t: Translator, m: Modifiers, result: Value) -> Value:
    kind = m.result
    if kind.is_float:
        floating = ir.FloatType() if kind.bits == 32 else ir.DoubleType()
        return t.b.select(result, ir.Constant(floating, 1.0), ir.Constant(floating, 0.0))
    return t.b.sext(result, ir.IntType(kind.bits))


for _compare, _ftz, _operand_types in _COMPARED:
    _rest = f"{_ftz} {_operand_types}"
    computes(f"setp {_compare} {_rest}", "p|q = T T")(_set_predicates)
    computes(f"setp {_compare} combine=and|or|xor {_rest}", "p|q = T T pred")(_set_combined_predicates)
    computes(f"set {_compare} {_ftz} result=u32|s32|f32 {_operand_types}", "R = T T")(_set_value)
    computes(f"set {_compare} combine=and|or|xor {_ftz} result=u32|s32|f32 {_operand_types}", "R = T T pred")(
        _set_combined_value
    )

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
