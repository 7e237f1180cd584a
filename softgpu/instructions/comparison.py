"""Comparison and selection (PTX ISA 9.7.6 and 9.7.7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from softgpu import floats as fl
from softgpu.instructions.floating import by_elements, element_format
from softgpu.instructions.table import Compute, Modifiers, Type, computes


def _unordered(compare: Compute) -> Compute:
    return lambda a, b: compare(a, b) | np.isnan(a) | np.isnan(b)


COMPARISONS: dict[str, Compute] = {
    "eq": np.equal,
    # Ordered: false if an operand is NaN. NumPy's != is true then.
    "ne": lambda a, b: (a < b) | (a > b),
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
    "equ": _unordered(np.equal),
    "neu": np.not_equal,
    "ltu": _unordered(np.less),
    "leu": _unordered(np.less_equal),
    "gtu": _unordered(np.greater),
    "geu": _unordered(np.greater_equal),
    "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
    "nan": lambda a, b: np.isnan(a) | np.isnan(b),
}
COMBINATIONS: dict[str, Compute] = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}

_COMBINE = "combine=and|or|xor"
_FLOAT_COMPARISONS = "compare=eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan"
_COMPARED = (
    ("compare=eq|ne", "", "b16|b32|b64"),
    ("compare=eq|ne|lt|le|gt|ge|lo|ls|hi|hs", "", "u16|u32|u64"),
    ("compare=eq|ne|lt|le|gt|ge", "", "s16|s32|s64"),
    (_FLOAT_COMPARISONS, "ftz?", "f32"),
    (_FLOAT_COMPARISONS, "", "f64"),
)
"""Comparisons, `.ftz`, and the types they are for."""


def _comparison(m: Modifiers) -> Compute:
    """The comparison of two values; of two halves, one after the other, for an x2 type."""
    compare = COMPARISONS[str(m["compare"])]
    if m.type.name not in fl.FORMATS and not m.type.name.endswith("x2"):
        return compare
    description = element_format(m.type)

    def compare_floats(a: NDArray, b: NDArray) -> NDArray:
        a, b = description.unpack(a), description.unpack(b)
        return compare(fl.flush(a, description), fl.flush(b, description)) if m["ftz"] else compare(a, b)

    return compare_floats


def _set_predicates(m: Modifiers) -> Compute:
    compare, combine = _comparison(m), COMBINATIONS.get(str(m["combine"]))

    def execute(a: NDArray, b: NDArray, *c: NDArray) -> tuple[NDArray, NDArray]:
        result = compare(a, b)
        return (combine(result, *c), combine(~result, *c)) if combine else (result, ~result)

    return execute


def _set_predicate(m: Modifiers) -> Compute:
    both = _set_predicates(m)
    return lambda *operands: both(*operands)[0]


def _set_predicates_of_halves(m: Modifiers) -> Compute:
    compare, combine = _comparison(m), COMBINATIONS.get(str(m["combine"]))
    storage = element_format(m.type).storage

    def execute(a: NDArray, b: NDArray, *c: NDArray) -> tuple[NDArray, NDArray]:
        halves = [np.ascontiguousarray(x).view(storage) for x in np.broadcast_arrays(a, b)]
        low, high = compare(*halves).reshape(-1, 2).T
        return (combine(low, *c), combine(high, *c)) if combine else (low, high)

    return execute


def _set_value(m: Modifiers) -> Compute:
    """True is 1.0 for a float result, -1 for an integer; so for each half of an x2 type."""
    compare, combine = _comparison(m), COMBINATIONS.get(str(m["combine"]))
    yes = _true(m.result, halves=m.type.name.endswith("x2"))

    def execute(a: NDArray, b: NDArray, *c: NDArray) -> NDArray:
        result = compare(a, b)
        if combine:
            # One predicate is for both halves.
            result = combine(result, *(np.repeat(x, len(result) // len(x)) if len(x) > 1 else x for x in c))
        return np.where(result, yes, yes.dtype.type(0))

    return execute


def _true(result: Type, halves: bool) -> NDArray:
    one = {"f16": 0x3C00, "bf16": 0x3F80, "f32": 0x3F800000}.get(result.name.removesuffix("x2"))
    bits = 16 if halves else result.bits
    return np.array((1 << bits) - 1 if one is None else one, f"u{bits // 8}")


def _set(form: str, signature: str, since: int = 0) -> None:
    """Enter a form of set, and the same with a predicate to combine with."""

    def enter(m: Modifiers) -> Compute:
        compute = _set_value(m)
        if not m.type.name.endswith("x2"):
            return lambda *operands: compute(*operands).view(m.result.dtype)

        def execute(a: NDArray, b: NDArray, *c: NDArray) -> NDArray:
            return by_elements(lambda x, y: compute(x, y, *c), m.type)(a, b).view(m.result.dtype)

        return execute

    compare, rest = form.split(" ", 1)
    computes(f"set {form}", signature, since)(enter)
    computes(f"set {compare} {_COMBINE} {rest}", f"{signature} pred", since)(enter)


def _setp(compare: str, rest: str, signature: str, define: Compute, since: int = 0) -> None:
    """Enter a form of setp, and the same with a predicate to combine with."""
    computes(f"setp {compare} {rest}", signature, since)(define)
    computes(f"setp {compare} {_COMBINE} {rest}", f"{signature} pred", since)(define)


for _compare, _ftz, _types in _COMPARED:
    _setp(_compare, f"{_ftz} type={_types}", "p|q = T T", _set_predicates)
    _set(f"{_compare} {_ftz} result=u32|s32|f32 type={_types}", "R = T T")
    _set(f"{_compare} {_ftz} result=f16 type={_types}", "R = T T")
    _set(f"{_compare} result=bf16 type={_types}", "R = T T", since=90)
_setp(_FLOAT_COMPARISONS, "ftz? type=f16", "pred = T T", _set_predicate)
_setp(_FLOAT_COMPARISONS, "type=bf16", "pred = T T", _set_predicate, since=90)
_setp(_FLOAT_COMPARISONS, "ftz? type=f16x2", "p|q = T T", _set_predicates_of_halves)
_setp(_FLOAT_COMPARISONS, "type=bf16x2", "p|q = T T", _set_predicates_of_halves, since=90)
_set(f"{_FLOAT_COMPARISONS} ftz? result=f16|u16|s16|u32|s32 type=f16", "R = T T")
_set(f"{_FLOAT_COMPARISONS} result=bf16|u16|s16|u32|s32 type=bf16", "R = T T", since=90)
_set(f"{_FLOAT_COMPARISONS} result=bf16 type=f16", "R = T T", since=90)
_set(f"{_FLOAT_COMPARISONS} ftz? result=f16x2|u32|s32 type=f16x2", "R = T T")
_set(f"{_FLOAT_COMPARISONS} result=bf16x2|u32|s32 type=bf16x2", "R = T T", since=90)

_SELECTED = "b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64"


@computes(f"selp type={_SELECTED}", "T = T T pred")
def _(m: Modifiers) -> Compute:
    return lambda a, b, p: np.where(p, a, b)


@computes(f"slct type={_SELECTED} s32", "T = T T s32")
@computes(f"slct ftz? type={_SELECTED} f32", "T = T T f32")
def _(m: Modifiers) -> Compute:
    if m["ftz"]:  # a negative subnormal becomes -0, which is not below zero
        return lambda a, b, c: np.where(fl.flush(c, fl.FORMATS["f32"]) >= 0, a, b)
    return lambda a, b, c: np.where(c >= 0, a, b)
