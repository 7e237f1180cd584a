"""The table of emitters: as softgpu.instructions.table, with functions that build LLVM instructions."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from softgpu.instructions.table import TYPES, Form, Modifiers, Type
from softgpu.native.translator import Translator
from softgpu.ptx import Pair, Sink

Emit = Callable[[Translator, Modifiers], None]

EMITTERS: dict[str, list[tuple[Form, Emit]]] = {}
"""Opcode -> its forms, tried in order, and what builds them."""


def emits(form: str) -> Callable[[Emit], Emit]:
    """Enter an emitter that reads and writes its operands itself."""

    def enter(emit: Emit) -> Emit:
        EMITTERS.setdefault(form.split()[0], []).append((parse_form(form), emit))
        return emit

    return enter


def parse_form(form: str) -> Form:
    slots = []
    for word in form.split()[1:]:
        name, _, choices = word.rstrip("?").rpartition("=")
        alternatives = tuple(choices.split("|"))
        slots.append((name or alternatives[0], alternatives, word.endswith("?")))
    return Form(form, tuple(slots), lambda decoder, m: None)


Build = Callable[..., ir.Value | tuple[ir.Value, ir.Value]]


def computes(form: str, signature: str) -> Callable[[Build], Build]:
    """Enter an emitter whose function gets the translator, the modifiers and the values of the sources, and returns
    that of the destination, or of both destinations for `p|q`."""
    destination_kind, *source_kinds = signature.replace("=", " ").split()

    def enter(build: Build) -> Build:
        def emit(t: Translator, m: Modifiers) -> None:
            destination, *sources = t.operands()
            if len(sources) != len(source_kinds):
                raise t.not_translated("its operands")
            values = [
                t.read(operand, signature_type(kind, m)) for operand, kind in zip(sources, source_kinds, strict=True)
            ]
            result = build(t, m, *values)
            if destination_kind != "p|q":
                t.write(destination, signature_type(destination_kind, m), result)
                return
            pair = destination if isinstance(destination, Pair) else Pair(destination, Sink())
            t.write(pair.first, TYPES["pred"], result[0])
            t.write(pair.second, TYPES["pred"], result[1])

        emits(form)(emit)
        return build

    return enter


def signature_type(kind: str, m: Modifiers) -> Type:
    if kind == "W":
        return TYPES[f"{m.type.name[0]}{m.type.bits * 2}"]
    named = {"T": "type", "S": "source", "R": "result"}.get(kind)
    return TYPES[m[named] or ""] if named else TYPES[kind]
