"""Control flow, barriers and fences (PTX ISA 9.7.12 and 9.7.13)."""

from __future__ import annotations

from softgpu.events import EventFlag, EventKind
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import TYPES, Modifiers, instruction
from softgpu.program import Barrier, Branch, Execute, Exit, Trap
from softgpu.ptx import Immediate, Symbol


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


def _barrier(decoder: Decoder, m: Modifiers) -> None:
    operands = decoder.operands(1, 2)
    if not m["sync"] and len(operands) == 1:
        raise decoder.invalid("an arrival needs a thread count")
    number = decoder.read(operands[0], TYPES["u32"])
    count = decoder.read(operands[1] if len(operands) == 2 else Immediate(0), TYPES["u32"])
    decoder.operation.control = Barrier(number, count, waits=bool(m["sync"]))


for _words in ("bar cta?", "barrier cta?"):
    _aligned = " aligned?" if _words.startswith("barrier") else ""
    instruction(f"{_words} sync{_aligned}")(_barrier)
    instruction(f"{_words} arrive{_aligned}")(_barrier)


def _nothing(decoder: Decoder, m: Modifiers) -> Execute:
    """Memory is always consistent here, and time does not pass."""
    return lambda chunk, lanes: None


SCOPES = {"cta": 0, "cluster": 1, "gpu": 1, "gl": 1, "sys": 2}
"""How far an ordering reaches, as EventKind.FENCE tells it; a cluster is one block here, but its name promises more."""
_ORDERS = {"acquire": EventFlag.ACQUIRE, "release": EventFlag.RELEASE}


@instruction("membar scope=cta|gl|sys")
@instruction("fence order=sc|acq_rel|acquire|release? scope=cta|cluster|gpu|sys")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """Memory is always consistent here, so a fence changes nothing; but it is reported."""
    fence, scope = decoder.instruction, SCOPES[str(m["scope"])]
    flags = _ORDERS.get(str(m["order"]), EventFlag.ACQUIRE | EventFlag.RELEASE)
    return lambda chunk, lanes: chunk.tell(EventKind.FENCE, fence, lanes, detail=scope, flags=flags)


instruction("griddepcontrol action=launch_dependents|wait")(_nothing)
instruction("nanosleep u32")(_nothing)
