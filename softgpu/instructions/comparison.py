"""Comparison and selection (PTX ISA 9.7.6 and 9.7.7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from softgpu import arithmetic as ar
from softgpu.instructions.table import Compute, Modifiers, computes


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

_FLOAT_COMPARISONS = "compare=eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan"
_COMPARED = (
    ("compare=eq|ne", "", "type=b16|b32|b64"),
    ("compare=eq|ne|lt|le|gt|ge|lo|ls|hi|hs", "", "type=u16|u32|u64"),
    ("compare=eq|ne|lt|le|gt|ge", "", "type=s16|s32|s64"),
    (_FLOAT_COMPARISONS, "ftz?", "type=f32"),
    (_FLOAT_COMPARISONS, "", "type=f16|f64"),
)
"""Comparisons, `.ftz`, and the types they are for."""


def _comparison(m: Modifiers) -> Compute:
    compare = COMPARISONS[str(m["compare"])]
    return (lambda a, b: compare(ar.flush(a), ar.flush(b))) if m["ftz"] else compare


def _set_predicates(m: Modifiers) -> Compute:
    compare = _comparison(m)

    def execute(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
        result = compare(a, b)
        return result, ~result

    return execute


def _set_combined_predicates(m: Modifiers) -> Compute:
    compare, combine = _comparison(m), COMBINATIONS[str(m["combine"])]

    def execute(a: NDArray, b: NDArray, c: NDArray) -> tuple[NDArray, NDArray]:
        result = compare(a, b)
        return combine(result, c), combine(~result, c)

    return execute


def _set_value(m: Modifiers) -> Compute:
    compare = _comparison(m)
    result = m.result.dtype.type
    yes = result(1) if m.result.is_float else ~result(0)
    return lambda a, b: np.where(compare(a, b), yes, result(0))


for _compare, _ftz, _operand_types in _COMPARED:
    _rest = f"{_ftz} {_operand_types}"
    computes(f"setp {_compare} {_rest}", "p|q = T T")(_set_predicates)
    computes(f"setp {_compare} combine=and|or|xor {_rest}", "p|q = T T pred")(_set_combined_predicates)
    computes(f"set {_compare} {_ftz} result=u32|s32|f32 {_operand_types}", "R = T T")(_set_value)


@computes("selp type=b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64", "T = T T pred")
def _(m: Modifiers) -> Compute:
    return lambda a, b, p: np.where(p, a, b)


@computes("slct type=b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64 s32", "T = T T s32")
def _(m: Modifiers) -> Compute:
    return lambda a, b, c: np.where(c >= 0, a, b)


@computes("slct ftz? type=b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64 f32", "T = T T f32")
def _(m: Modifiers) -> Compute:
    return lambda a, b, c: np.where((ar.flush(c) if m["ftz"] else c) >= 0, a, b)
