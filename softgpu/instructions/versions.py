"""Which version of PTX brought what is younger than sm_80, and which modifiers are for later targets (PTX ISA, "PTX ISA
Notes" and "Target ISA Notes" of each instruction)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypeVar

from softgpu.ptx import isa_version

_Key = TypeVar("_Key", str, int)

# A rule is words that stand in an instruction in this order; others may stand between them.
_LATER_ORDERS = (
    *("fence acquire", "fence release cta", "fence release gpu", "fence release sys"),
    *("mbarrier arrive relaxed", "mbarrier arrive_drop relaxed", "mbarrier test_wait relaxed"),
    "mbarrier try_wait relaxed",
)
_VERSIONS = {
    "7.1": ("cvt f32 bf16", "mbarrier parity", "mma and popc"),
    "7.2": ("xorsign abs",),
    "7.4": (
        *("L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate"),
        *("L2::evict_last", "L2::evict_normal", "L2::cache_hint", "L2::64B", "L2::128B", "L2::256B"),
        *("createpolicy", "discard"),
    ),
    "7.5": ("fence proxy alias",),
    "7.6": ("bmsk", "szext"),
    "7.7": ("cvta param", "isspacep param"),
    "7.8": ("shared::cta", "bar cta", "barrier cta", "movmatrix"),
    "8.0": (
        *("cp bulk", "elect", "fence mbarrier_init", "fence async", "setmaxnreg", "u16x2", "s16x2", "relu s32"),
        *("barrier cluster acquire", "barrier cluster release", "barrier cluster relaxed"),
        *("mbarrier expect_tx", "mbarrier complete_tx", "mbarrier release", "mbarrier acquire"),
        *("mbarrier shared::cluster",),
    ),
    "8.1": (
        *("atom v2", "atom v4", "atom v8", "red v2", "red v4", "red v8", "cvt satfinite tf32"),
        *("cvt satfinite f16 f32", "cvt satfinite bf16 f32", "cvt satfinite f16x2 f32", "cvt satfinite bf16x2 f32"),
    ),
    "8.2": ("lop3 and", "lop3 or", "mmio"),
    "8.3": ("param::entry",),
    "8.6": (*_LATER_ORDERS, "cp bulk shared::cta global"),
}
_TARGETS = {
    90: (*_LATER_ORDERS, "cluster", "shared::cluster"),
}


def _matching(table: Mapping[_Key, Sequence[str]], instruction: Sequence[str]) -> list[_Key]:
    """The keys of the rules that an instruction matches."""
    return [key for key, rules in table.items() if any(_has(rule, instruction) for rule in rules)]


def _has(rule: str, instruction: Sequence[str]) -> bool:
    rest = iter(instruction)
    return all(word in rest for word in rule.split())


@cache
def first_version(instruction: tuple[str, ...]) -> str:
    """The version of PTX that brought an opcode with its modifiers, if it is younger than sm_80; otherwise "1.0"."""
    return max(_matching(_VERSIONS, instruction), key=isa_version, default="1.0")


@cache
def first_target(instruction: tuple[str, ...]) -> int:
    """The first target that has all these modifiers, 90 for sm_90, if not every one does; otherwise 0."""
    return max(_matching(_TARGETS, instruction), default=0)
