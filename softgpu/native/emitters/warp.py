"""What the lanes of a warp do together, and fences (PTX ISA 9.7.9.6, 9.7.13 and 9.7.14).

The thread tells the runtime what it contributes and is suspended until the lanes of its member mask have met.
"""

from __future__ import annotations

from llvmlite import ir
from llvmlite.ir import Value

from softgpu.events import EventFlag, EventKind, Rows
from softgpu.instructions.control import SCOPES
from softgpu.instructions.table import TYPES, Modifiers, Type
from softgpu.native import layout
from softgpu.native.emitters.integer import constant
from softgpu.native.emitters.table import emits
from softgpu.native.translator import I64, Translator
from softgpu.ptx import Operand, Pair, Sink


def _meet(t: Translator, kind: int, membermask: Operand, *values: Value) -> None:
    mask = t.read(membermask, TYPES["u32"])
    t.suspend(layout.AT_WARP, [constant(I64, kind), *(t.resize(value, I64) for value in (mask, *values))])


def _of_type(kind: int, of: Type) -> int:
    """Lanes meet only at instructions of the same type."""
    return kind | list(TYPES).index(of.name) * (layout.KIND + 1)


def _answer(t: Translator, word: int, operand: Operand, kind: Type) -> None:
    t.write(operand, kind, t.resize(t.answer(word), ir.IntType(kind.bits)))


@emits("bar warp sync")
def _(t: Translator, m: Modifiers) -> None:
    _meet(t, layout.WARP_SYNC, t.operands()[0])


_SHUFFLES = {
    "up": layout.SHUFFLE_UP,
    "down": layout.SHUFFLE_DOWN,
    "bfly": layout.SHUFFLE_BUTTERFLY,
    "idx": layout.SHUFFLE_INDEX,
}


@emits("shfl sync mode=up|down|bfly|idx b32")
def _(t: Translator, m: Modifiers) -> None:
    destination, *sources, membermask = t.operands()
    pair = destination if isinstance(destination, Pair) else Pair(destination, Sink())
    _meet(t, _SHUFFLES[str(m["mode"])], membermask, *(t.read(source, TYPES["u32"]) for source in sources))
    _answer(t, 0, pair.first, TYPES["u32"])
    _answer(t, 1, pair.second, TYPES["pred"])


_VOTES = {"all": layout.VOTE_ALL, "any": layout.VOTE_ANY, "uni": layout.VOTE_UNIFORM}


@emits("vote sync mode=all|any|uni pred")
def _(t: Translator, m: Modifiers) -> None:
    destination, predicate, membermask = t.operands()
    _meet(t, _VOTES[str(m["mode"])], membermask, t.read(predicate, TYPES["pred"]))
    _answer(t, 0, destination, TYPES["pred"])


@emits("vote sync ballot b32")
def _(t: Translator, m: Modifiers) -> None:
    destination, predicate, membermask = t.operands()
    _meet(t, layout.VOTE_BALLOT, membermask, t.read(predicate, TYPES["pred"]))
    _answer(t, 0, destination, TYPES["b32"])


@emits("match mode=any|all sync type=b32|b64")
def _(t: Translator, m: Modifiers) -> None:
    destination, value, membermask = t.operands()
    pair = destination if isinstance(destination, Pair) else Pair(destination, Sink())
    kind = layout.MATCH_ANY if m["mode"] == "any" else layout.MATCH_ALL
    _meet(t, _of_type(kind, m.type), membermask, t.read(value, m.type))
    _answer(t, 0, pair.first, TYPES["b32"])
    _answer(t, 1, pair.second, TYPES["pred"])


_REDUCTIONS = {
    "add": layout.REDUCE_ADD,
    "min": layout.REDUCE_MIN,
    "max": layout.REDUCE_MAX,
    "and": layout.REDUCE_AND,
    "or": layout.REDUCE_OR,
    "xor": layout.REDUCE_XOR,
}


@emits("redux sync operation=add|min|max type=u32|s32")
@emits("redux sync operation=and|or|xor type=b32")
def _(t: Translator, m: Modifiers) -> None:
    destination, source, membermask = t.operands()
    value = t.read(source, m.type)
    # Of a sum, the low bits are the same with and without the sign.
    value = t.b.sext(value, I64) if m.type.name == "s32" else t.b.zext(value, I64)
    _meet(t, _of_type(_REDUCTIONS[str(m["operation"])], m.type), membermask, value)
    _answer(t, 0, destination, m.type)


@emits("elect sync")
def _(t: Translator, m: Modifiers) -> None:
    destination, membermask = t.operands()
    assert isinstance(destination, Pair)
    _meet(t, layout.ELECT, membermask)
    _answer(t, 0, destination.first, TYPES["b32"])
    _answer(t, 1, destination.second, TYPES["pred"])


@emits("membar scope=cta|gl|sys")
@emits("fence order=sc|acq_rel|acquire|release? scope=cta|cluster|gpu|sys")
def _(t: Translator, m: Modifiers) -> None:
    """Memory is always consistent here."""
    if t.rows_wanted & (Rows.ALL | Rows.RELEASES):
        flags = _ORDERS.get(str(m["order"]), EventFlag.ACQUIRE | EventFlag.RELEASE)
        t.row(EventKind.FENCE, flags=flags, detail=SCOPES[str(m["scope"])])
        t.tick()


_ORDERS = {"acquire": EventFlag.ACQUIRE, "release": EventFlag.RELEASE}


@emits("fence proxy kind=alias|async")
@emits("fence proxy async space=global|shared::cta|shared::cluster")
@emits("fence mbarrier_init release cluster")
@emits("griddepcontrol action=launch_dependents|wait")
@emits("setmaxnreg action=inc|dec sync aligned u32")
@emits("nanosleep u32")
@emits("pmevent mask?")
def _(t: Translator, m: Modifiers) -> None:
    """Time does not pass here, memory has one way to it, and no register is scarce."""
