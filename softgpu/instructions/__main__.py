"""Prints what softgpu supports, as the table of instructions has it: `python -m softgpu.instructions`."""

from __future__ import annotations

import sys

from softgpu.instructions import FORMS
from softgpu.instructions.table import Form
from softgpu.machine import SPECIAL_REGISTERS

INTRODUCTION = """\
# What softgpu supports

Written by `python -m softgpu.instructions > softgpu/SUPPORTED.md`, from the table that instructions are decoded by.
What is not here is refused, by instruction and PTX line, before the kernel runs.

`.{a,b}` is one of these, `{.a}` this or nothing, `{.a,.b}` one of these or nothing. A form that not every target has is
marked with the first that does. What is younger than the `.version` of a module is refused there.
"""


def supported() -> str:
    """The Markdown text."""
    groups: dict[str, dict[str, list[Form]]] = {}
    for opcode, forms in FORMS.items():
        for form in forms:
            groups.setdefault(form.decode.__module__, {}).setdefault(opcode, []).append(form)
    parts = [INTRODUCTION]
    for module in sorted(groups):
        heading = (sys.modules[module].__doc__ or module).partition("\n")[0].rstrip(".")
        rows = [
            f"| {opcode} | {'<br>'.join(notation(opcode, form) for form in forms)} |"
            for opcode, forms in sorted(groups[module].items())
        ]
        parts.append("\n".join([f"## {heading}", "", "| instruction | forms |", "|---|---|", *rows]) + "\n")
    registers = ", ".join(f"`%{name}`" for name in sorted(SPECIAL_REGISTERS))
    parts.append(f"## Special registers (PTX ISA 10)\n\n{registers}\n")
    return "\n".join(parts)


def notation(opcode: str, form: Form) -> str:
    """A form as the PTX ISA writes it, in Markdown."""
    text = opcode
    for _, choices, optional in form.slots:
        if optional:
            text += "{" + ",".join(f".{choice}" for choice in choices) + "}"
        else:
            text += f".{choices[0]}" if len(choices) == 1 else ".{" + ",".join(choices) + "}"
    return f"`{text}` (sm_{form.since})" if form.since else f"`{text}`"


if __name__ == "__main__":
    print(supported(), end="")
