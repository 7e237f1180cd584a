"""Control flow, barriers and fences (PTX ISA 9.7.12 and 9.7.13)."""

from __future__ import annotations

from collections.abc import Sequence

from softgpu.events import EventFlag, EventKind
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import TYPES, Modifiers, instruction
from softgpu.machine import WARP_SIZE
from softgpu.program import BARRIERS, CLUSTER_BARRIER, Barrier, Branch, Execute, Exit, Read, Reduction, Trap
from softgpu.ptx import Immediate, Operand, Symbol

MAX_COUNT = 1024
"""Threads of the largest block."""


@instruction("bra uni?")
def _(decoder: Decoder, m: Modifiers) -> None:
    (target,) = decoder.operands(1)
    assert isinstance(target, Symbol)
    decoder.operation.control = Branch((target.name,))


@instruction("brx idx uni?")
def _(decoder: Decoder, m: Modifiers) -> None:
    index, targets = decoder.operands(2)
    assert isinstance(targets, Symbol)
    labels = decoder.program.kernel.branch_targets[targets.name]
    decoder.operation.control = Branch(labels, decoder.read(index, TYPES["u32"]))


@instruction("ret uni?")
@instruction("exit")
def _(decoder: Decoder, m: Modifiers) -> None:
    decoder.operands(0)
    decoder.operation.control = Exit()


@instruction("trap")
def _(decoder: Decoder, m: Modifiers) -> None:
    decoder.operands(0)
    decoder.operation.control = Trap()


@instruction("bar cta? action=sync|arrive")
@instruction("barrier cta? action=sync|arrive aligned?")
def _(decoder: Decoder, m: Modifiers) -> None:
    waits = m["action"] == "sync"
    number, *count = decoder.operands(*((1, 2) if waits else (2,)))
    decoder.operation.control = Barrier(*_place(decoder, number, count), waits=waits)


@instruction("bar cta? red operation=popc u32")
@instruction("bar cta? red operation=and|or pred")
@instruction("barrier cta? red operation=popc aligned? u32")
@instruction("barrier cta? red operation=and|or aligned? pred")
def _(decoder: Decoder, m: Modifiers) -> None:
    destination, number, *count, predicate = decoder.operands(3, 4)
    operation = str(m["operation"])
    reduction = Reduction(
        operation,
        decoder.read(predicate, TYPES["pred"]),
        decoder.write(destination, TYPES["u32" if operation == "popc" else "pred"]),
    )
    decoder.operation.control = Barrier(*_place(decoder, number, count), reduction=reduction)


def _place(decoder: Decoder, number: Operand, count: Sequence[Operand]) -> tuple[Read, Read]:
    """How to read the number of a barrier, and its thread count where one is given. Constants are checked here."""
    if isinstance(number, Immediate) and not 0 <= number.value < BARRIERS:
        raise decoder.unsupported(f"barriers are numbered 0 to {BARRIERS - 1}")
    for operand in count:
        if isinstance(operand, Immediate) and (operand.value % WARP_SIZE or not 0 < operand.value <= MAX_COUNT):
            raise decoder.unsupported(f"thread counts are multiples of {WARP_SIZE}, up to {MAX_COUNT}")
    counted = count[0] if count else Immediate(0)
    return decoder.read(number, TYPES["u32"]), decoder.read(counted, TYPES["u32"])


@instruction("barrier cluster arrive order=release|relaxed? aligned?", since=90)
@instruction("barrier cluster wait order=acquire? aligned?", since=90)
def _(decoder: Decoder, m: Modifiers) -> None:
    decoder.operands(0)
    arrives = bool(m["arrive"])
    number, count = (decoder.read(Immediate(value), TYPES["u32"]) for value in (CLUSTER_BARRIER, 0))
    decoder.operation.control = Barrier(number, count, arrives=arrives, waits=not arrives)


def _nothing(decoder: Decoder, m: Modifiers) -> Execute:
    """For hints, delays and fences between proxies: time does not pass here, and memory is always consistent."""
    decoder.operands(0)
    return lambda chunk, lanes: None


def _number(decoder: Decoder, m: Modifiers) -> Execute:
    """The same, with a number that is read and no more."""
    (number,) = decoder.operands(1)
    decoder.read(number, TYPES["u32"])
    return lambda chunk, lanes: None


@instruction("setmaxnreg action=inc|dec sync aligned u32", since=90)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    if not decoder.program.module.target.endswith("a"):
        raise decoder.unsupported("it needs a target with all features of its GPU, as sm_90a")
    return _number(decoder, m)


SCOPES = {"cta": 0, "cluster": 0, "gpu": 1, "gl": 1, "sys": 2}
"""How far an ordering reaches, as EventKind.FENCE tells it; a cluster is one block here."""
_ORDERS = {"acquire": EventFlag.ACQUIRE, "release": EventFlag.RELEASE}


@instruction("membar scope=cta|gl|sys")
@instruction("fence order=sc|acq_rel|acquire|release? scope=cta|cluster|gpu|sys")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """Memory is always consistent here, so a fence changes nothing; but it is reported."""
    decoder.operands(0)
    fence, scope = decoder.instruction, SCOPES[str(m["scope"])]
    flags = _ORDERS.get(str(m["order"]), EventFlag.ACQUIRE | EventFlag.RELEASE)
    return lambda chunk, lanes: chunk.tell(EventKind.FENCE, fence, lanes, detail=scope, flags=flags)


instruction("fence proxy alias")(_nothing)
instruction("fence proxy async", since=90)(_nothing)
instruction("fence proxy async space=global|shared::cta|shared::cluster", since=90)(_nothing)
instruction("fence mbarrier_init release cluster", since=90)(_nothing)
instruction("griddepcontrol action=launch_dependents|wait", since=90)(_nothing)
instruction("nanosleep u32")(_number)
instruction("pmevent mask?")(_number)
