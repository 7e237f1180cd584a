"""The table of instructions: its rows, and how to enter one.

An entry is a form and a function. The form is the instruction's syntax: an opcode, then its modifiers.

    word             this modifier
    a|b|c            one of these
    name=a|b|c       one of these, found as m["name"]
    …?               or nothing

The signature gives the types of the operands, the destination before the equals sign: `T` is `type=`, `S`
is `source=`, `R` is `result=`, `W` is the type of twice the width of T, anything else a type by name; `p|q`
is one destination or two. The function takes the modifiers and returns the function that is executed, on one
array for each operand. Whatever matches no form is refused, and so is a form that the target lacks.

Semantics: PTX ISA chapter 9.7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from softgpu.program import Execute
from softgpu.ptx import TYPE_BITS

if TYPE_CHECKING:
    from softgpu.instructions.decoder import Decoder

Compute = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Type:
    """A PTX type and the NumPy type that stands for it."""

    name: str
    bits: int
    dtype: np.dtype

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f"

    @property
    def is_untyped(self) -> bool:
        """Whether it is just so many bits: b8 to b64."""
        return self.name[0] == "b" and self.name[1:].isdigit()

    @property
    def is_integer(self) -> bool:
        return self.name[0] in "us" and self.name[1:].isdigit()


def _type(name: str) -> Type:
    bits = TYPE_BITS[name]
    if name == "pred":
        dtype = "?"
    elif name in ("f16", "f32", "f64"):
        dtype = f"f{bits // 8}"
    else:
        dtype = f"{'i' if name[0] == 's' else 'u'}{bits // 8}"
    return Type(name, bits, np.dtype(dtype))


TYPES = {name: _type(name) for name, bits in TYPE_BITS.items() if bits <= 64}
# Types of instructions alone: no register or variable is declared with them.
TYPES |= {name: Type(name, 32, np.dtype(np.uint32)) for name in ("u16x2", "s16x2")}


class Modifiers:
    """The modifiers of one instruction, by the names its form gives them."""

    def __init__(self, found: dict[str, str]):
        self._found = found

    def __getitem__(self, name: str) -> str | None:
        return self._found.get(name)

    @property
    def type(self) -> Type:
        return TYPES[self._found["type"]]

    @property
    def source(self) -> Type:
        return TYPES[self._found["source"]]

    @property
    def result(self) -> Type:
        return TYPES[self._found["result"]]


# Forms

Decode = Callable[["Decoder", Modifiers], Execute | None]


@dataclass(frozen=True, slots=True)
class Form:
    """One row of the table. `text` is the form as written; `decode` makes an instruction of it executable;
    `since` is the first target that has it, 90 for sm_90; `signature` is empty where `decode` alone knows it."""

    text: str
    slots: tuple[tuple[str, tuple[str, ...], bool], ...]
    decode: Decode
    since: int = 0
    signature: str = ""

    def match(self, modifiers: Sequence[str]) -> Modifiers | None:
        found = {}
        position = 0
        for name, choices, optional in self.slots:
            if position < len(modifiers) and modifiers[position] in choices:
                found[name] = modifiers[position]
                position += 1
            elif not optional:
                return None
        return Modifiers(found) if position == len(modifiers) else None


FORMS: dict[str, list[Form]] = {}
"""Opcode -> its forms, tried in order."""


def instruction(form: str, since: int = 0, signature: str = "") -> Callable[[Decode], Decode]:
    """Enter an instruction that decodes its operands itself, and that exists since target sm_`since`."""
    opcode, *words = form.split()
    slots = []
    for word in words:
        optional = word.endswith("?")
        name, _, choices = word.rstrip("?").rpartition("=")
        alternatives = tuple(choices.split("|"))
        slots.append((name or alternatives[0], alternatives, optional))

    def enter(decode: Decode) -> Decode:
        FORMS.setdefault(opcode, []).append(Form(" ".join(form.split()), tuple(slots), decode, since, signature))
        return decode

    return enter


def computes(form: str, signature: str, since: int = 0) -> Callable[[Callable[[Modifiers], Compute]], Callable]:
    """Enter an instruction that computes its destinations from its sources, each lane for itself."""
    destination_part, *source_part = signature.replace("=", " ").split()

    def enter(function: Callable[[Modifiers], Compute]) -> Callable:
        def decode(decoder: Decoder, m: Modifiers) -> Execute:
            destination, *sources = decoder.operands(1 + len(source_part))
            return decoder.compute(function(m), destination, destination_part, sources, source_part, m)

        decode.__module__ = function.__module__  # The list of what is supported names it.
        instruction(form, since, signature)(decode)
        return function

    return enter
