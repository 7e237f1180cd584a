"""Every register-to-register form of the table, with every choice of its modifiers, against the oracle.

The forms and the types of their operands come from softgpu's own table, so that a new row without an oracle fails.
"""

from __future__ import annotations

import itertools
import math
import random

import instruction_oracle as oracle
import numpy as np
import pytest

from softgpu import Module
from softgpu.instructions import FORMS
from softgpu.instructions.table import Form

LANES = 192
BATCH = 24
"""Instructions of one kernel."""

KINDS = ("integer", "floating", "comparison", "conversion", "movement")
ROWS = [
    (opcode, form)
    for opcode, forms in FORMS.items()
    for form in forms
    if form.decode.__module__.rpartition(".")[2] in KINDS
]
TESTED_BY_HAND = {
    "mov": "test_movement.py",
    "cvta": "test_movement.py",
    "isspacep": "test_movement.py",
    "lop3": "test_integer_instructions.py",
    "addc": "test_carry.py",
    "subc": "test_carry.py",
    "madc": "test_carry.py",
    "mapa": "test_memory.py",
    "getctarank": "test_memory.py",
}
"""What has state, space or constants, which an oracle of one lane's registers cannot see."""


def by_hand(opcode: str, form: Form) -> bool:
    return opcode in TESTED_BY_HAND or " cc " in form.text


# Values


def specials(kind: str) -> list[int]:
    """Register contents at the edges of a type: zeros, ones, extremes, subnormals, infinities, NaNs, ties."""
    if kind == "pred":
        return [0, 1]
    if kind.endswith("x2"):
        halves = specials({"f16x2": "f16", "bf16x2": "bf16"}.get(kind, "u16"))
        return [high << 16 | low for low, high in zip(halves, halves[5:] + halves[:5], strict=True)]
    if kind not in oracle.FLOAT:
        bits = oracle.width(kind)
        ones, top = (1 << bits) - 1, 1 << bits - 1
        return [n & ones for n in (0, 1, 2, 3, 7, 31, 32, 33, 64, 0xFF, ones, ones - 1, top, top - 1, top + 1, 0x5A5A)]
    precision, smallest, largest, nan = oracle.FLOAT[kind]
    tiny = math.ldexp(1.0, smallest + precision - 1)
    numbers = [0.0, math.ldexp(1.0, smallest), tiny - math.ldexp(1.0, smallest), tiny, 0.5, 1.0, 1.5, 2.5, 3.0, largest]
    numbers += [1.0 + math.ldexp(1.0, 1 - precision), 0.75, 1000.0, math.inf, min(2.0**127, 2.0**15)]
    bits = [oracle.encode(x, kind) for x in numbers]
    sign = 1 << oracle.width(kind) - 1
    signalling = (nan & ~(sign >> 1 >> {"f16": 5, "bf16": 8, "f32": 8, "f64": 11}.get(kind, 8))) | 1
    return [*bits, *(x | sign for x in bits), nan, nan | sign, signalling]


def anything(kind: str, near: int, generator: random.Random) -> int:
    """Random register contents; for a float half of them of a size near another's, where operands interact."""
    bits = oracle.width(kind)
    value = generator.getrandbits(bits)
    if kind in oracle.FLOAT and generator.random() < 0.5:
        mantissa = oracle.FLOAT[kind][0] - 1
        shift = generator.randint(-3, 3)
        exponent = ((near >> mantissa) + shift) % (1 << bits - mantissa)
        return exponent << mantissa | value & (1 << mantissa) - 1
    return value >> generator.randrange(bits) if kind[0] in "us" and bits > 1 else value


def columns(kinds: list[str], generator: random.Random) -> list[list[int]]:
    """Pairs of special values, then random ones: one list of LANES register contents for each source."""
    edges = [specials(kind) for kind in kinds]
    rows = list(itertools.islice(itertools.product(*edges[:2]), 2000))
    rows = generator.sample(rows, min(len(rows), LANES * 2 // 3))
    rows = [[*row, *(generator.choice(edge) for edge in edges[2:])] for row in rows]
    while len(rows) < LANES:
        row = [anything(kinds[0], 0, generator)]
        row += [anything(kind, row[0], generator) for kind in kinds[1:]]
        rows.append(row)
    generator.shuffle(rows)
    return [list(column) for column in zip(*rows, strict=True)]


# Instructions


def choices(form: Form) -> list[tuple[dict[str, str], list[str]]]:
    """The named modifiers and the words of each instruction of a form."""
    slots = [[*alternatives, *([""] if optional else [])] for _, alternatives, optional in form.slots]
    names = [name for name, _, _ in form.slots]
    return [
        ({n: word for n, word in zip(names, words, strict=True) if word}, [word for word in words if word])
        for words in itertools.product(*slots)
    ]


def operand_types(form: Form, named: dict[str, str]) -> tuple[list[str], list[str]]:
    """The types of destinations and sources, from the signature."""
    short = {"T": named.get("type"), "S": named.get("source"), "R": named.get("result")}
    if "W" in form.signature:
        short["W"] = f"{named['type'][0]}{2 * int(named['type'][1:])}"
    destinations, sources = form.signature.split("=")
    first = (
        ["pred", "pred"] if destinations.strip() == "p|q" else [short.get(destinations.strip()) or destinations.strip()]
    )
    return first, [short.get(word) or word for word in sources.split()]


def storage(kind: str) -> int:
    """Bits of memory and, mostly, of the register that hold a type: bytes live in 32 bits."""
    return 32 if kind == "pred" else max(oracle.width(kind), 16) if kind[1:] != "8" else 32


def run(instructions: list[str], since: int, results: list[str], kinds: list[str], sources: list) -> list:
    """The destinations, as bits for each lane, of each of some instructions on the same sources."""
    count = len(sources[0])
    names = [f"d{number}" for number in range(len(results))] + [f"s{number}" for number in range(len(kinds))]
    lines = ["mov.u32 %lane, %tid.x;"]
    # The registers of a conversion from or to bf16 have just the width of the type.
    exact = {
        name
        for name, kind in zip(names, [*results, *kinds], strict=True)
        if kind[1:] == "8" and "bf16" in kinds + results
    }
    for name, kind in zip(names, [*results, *kinds], strict=True):
        size = storage(kind)
        lines += [
            f".reg .b{8 if name in exact else size} %{name}; .reg .pred %p{name}; .reg .b64 %at_{name};",
            f"ld.param.u64 %at_{name}, [{name}]; mad.wide.u32 %at_{name}, %lane, {size // 8}, %at_{name};",
        ]
        if name[0] == "s":
            lines.append(f"ld.global.b{8 if name in exact else size} %{name}, [%at_{name}];")
            if kind == "pred":
                lines.append(f"setp.ne.u32 %p{name}, %{name}, 0;")
    registers = [
        f"%{'p' if kind == 'pred' else ''}{name}" for name, kind in zip(names, [*results, *kinds], strict=True)
    ]
    destination, operands = "|".join(registers[: len(results)]), ", ".join(registers[len(results) :])
    for number, instruction in enumerate(instructions):
        lines.append(f"{instruction} {destination}, {operands};")
        for name, kind in zip(names, results, strict=False):
            if kind == "pred":
                lines.append(f"selp.b32 %{name}, 1, 0, %p{name};")
            if name in exact:
                lines.append(f"cvt.{kind[0]}32.{kind} %byte, %{name};")
            size, register = storage(kind), "byte" if name in exact else name
            lines.append(f"st.global.b{size} [%at_{name}+{number * count * size // 8}], %{register};")
    module = Module(
        f".version 8.6\n.target sm_{max(since, 80)}\n.address_size 64\n.visible .entry k("
        + ", ".join(f".param .u64 {name}" for name in names)
        + ")\n{\n.reg .b32 %lane, %byte;\n"
        + "\n".join(lines)
        + "\nret;\n}"
    )
    buffers = [np.zeros((len(instructions), count), f"u{storage(kind) // 8}") for kind in results]
    inputs = [np.array(x, f"u{storage(kind) // 8}") for kind, x in zip(kinds, sources, strict=True)]
    module.launch("k", 1, count, [*buffers, *inputs])
    return list(zip(*(buffer.tolist() for buffer in buffers), strict=True))


# Comparison of results


def agrees(got: int, wanted: object, kind: str, keeps_nan: bool) -> bool:
    if isinstance(wanted, list):  # two approximate halves
        half = kind.removesuffix("x2")
        return all(agrees(got >> 16 * i & 0xFFFF, part, half, keeps_nan) for i, part in enumerate(wanted))
    if isinstance(wanted, tuple):
        exact, error = wanted
        value = oracle.decode(got, kind)
        if math.isnan(exact):
            return math.isnan(value)
        if exact == 0 or error == 0:
            return value == exact and (exact != 0 or math.copysign(1, value) == math.copysign(1, exact))
        return abs(value - exact) <= error
    mask = (1 << (oracle.width(kind) if kind[1:] != "8" else 32)) - 1
    if kind[1:] == "8":  # a byte is extended to its register, by its sign if it has one
        wanted = oracle.decode(wanted, kind)
    if got == wanted & mask:
        return True
    if not keeps_nan:
        return False
    if kind.endswith("x2"):
        half = kind.removesuffix("x2")
        return all(agrees(got >> i & 0xFFFF, wanted >> i & 0xFFFF, half, True) for i in (0, 16))
    return kind in oracle.FLOAT and all(math.isnan(oracle.decode(x, kind)) for x in (got, wanted))


@pytest.mark.parametrize(
    "opcode, form", [row for row in ROWS if not by_hand(*row)], ids=lambda value: getattr(value, "text", "")
)
def test_form(opcode, form):
    generator = random.Random(form.text)
    of_types: dict[tuple, list[list[str]]] = {}
    for named, words in choices(form):
        results, kinds = operand_types(form, named)
        of_types.setdefault((tuple(results), tuple(kinds)), []).append(words)
    for (results, kinds), all_words in of_types.items():
        sources = columns(list(kinds), generator)
        if opcode in ("setp", "set"):  # there are thousands of these
            sources = [column[:40] for column in sources]
        for first in range(0, len(all_words), BATCH):
            batch = all_words[first : first + BATCH]
            instructions = [".".join([opcode, *words]) for words in batch]
            for words, got in zip(batch, run(instructions, form.since, results, kinds, sources), strict=True):
                check(opcode, words, results, kinds, sources, got)


def check(opcode: str, words: list[str], results: list[str], kinds: list[str], sources: list, got: list) -> None:
    # NaNs keep their bits where an instruction moves a value or its sign alone, and everywhere in f64.
    keeps_nan = opcode in ("neg", "abs", "copysign") or results[0] == "f64"
    for lane, row in enumerate(zip(*sources, strict=True)):
        wanted = oracle.expected(opcode, words, kinds, list(row))
        for destination, (value, right) in enumerate(zip((x[lane] for x in got), wanted, strict=False)):
            assert agrees(value, right, results[destination], keeps_nan), (
                f"{'.'.join([opcode, *words])} of {[hex(x) for x in row]}: {value:#x}, expected "
                f"{right if isinstance(right, (tuple, list)) else hex(right)}"
            )


def test_every_form_is_tested():
    without_signature = {opcode for opcode, form in ROWS if not form.signature} | {
        opcode for opcode, form in ROWS if by_hand(opcode, form)
    }
    assert without_signature <= {*TESTED_BY_HAND, "add", "sub", "mad"}
    assert len(ROWS) > 150
