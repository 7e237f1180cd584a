"""NVIDIA's assembler has the last word on what PTX is: it is asked about every form of the table, and about what is
nearly one. Whatever softgpu executes must be legal; the assembler itself is not that strict about the order of
modifiers, so the reverse is asked of the forms alone."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import assembler
import pytest

from softgpu import Module, SoftGPUError
from softgpu.instructions import FORMS
from softgpu.instructions.table import TYPES, Form
from softgpu.instructions.versions import first_target

VERSION = "9.0"
HEADER = """.version {version}
.target sm_{target}
.address_size 64
.global .align 16 .b8 data[256]; .const .align 16 .b8 table[64];
.visible .entry k(.param .align 16 .b8 arg[64])
{{ .shared .align 16 .b8 tile[256]; .local .align 16 .b8 frame[64];
.reg .pred %p<8>; .reg .b8 %c<12>; .reg .b16 %h<12>; .reg .b32 %r<40>; .reg .b64 %rd<40>; .reg .f32 %f<20>;
.reg .f64 %fd<20>; .reg .u16 %uh<4>; .reg .s32 %sr<4>; .reg .u64 %ud<4>; .reg .f16 %x<4>; .reg .f16x2 %xx<4>;
"""
FIRST_LINE = HEADER.count("\n") + 1
CHOICES = 30
"""Instructions of a form with its modifiers chosen at random, where there are more."""

# Operands


def register(kind: str, number: int) -> str:
    if kind in ("pred", "f32", "f64"):
        return {"pred": "%p", "f32": "%f", "f64": "%fd"}[kind] + str(number)
    bits = TYPES[kind].bits if kind in TYPES else {"e4m3x2": 16, "e5m2x2": 16}[kind]
    return {8: "%c", 16: "%h", 32: "%r", 64: "%rd"}[bits] + str(number)


def vector(kind: str, count: int, first: int = 1) -> str:
    return "{" + ", ".join(register(kind, (first + i) % 12) for i in range(count)) + "}"


def of_signature(signature: str, m: dict[str, str]) -> str:
    short = {"T": m.get("type"), "S": m.get("source"), "R": m.get("result")}
    if "W" in signature:
        short["W"] = f"{m['type'][0]}{2 * TYPES[m['type']].bits}"
    destination, *sources = (short.get(kind) or kind for kind in signature.replace("=", " ").split())
    registers = [register(kind, number) for number, kind in enumerate(sources, 2)]
    return ", ".join(["%p1|%p2" if destination == "p|q" else register(destination, 1), *registers])


# What an instruction without a signature takes: the first pattern that its name matches. {d}, {e} and {f} have the type
# of the instruction, and are vectors where it is one.
TEMPLATES = {
    r"mov\.": "{d}, {e}",
    r"isspacep": "%p1, %rd2",
    r"lop3\.(or|and)": "%r1|%p1, %r2, %r3, %r4, 0x80, %p2",
    r"lop3": "%r1, %r2, %r3, %r4, 0x80",
    r"(add|addc|sub|subc)\.": "{d}, {e}, {f}",
    r"(mad|madc)\.": "{d}, {e}, {f}, {d}",
    r"ldu?\.": "{d}, [%rd9]",
    r"st\.": "[%rd9], {d}",
    r"atom\..*cas": "{d}, [%rd9], {e}, {f}",
    r"atom": "{d}, [%rd9], {e}",
    r"red\.": "[%rd9], {e}",
    r"prefetch": "[%rd9]",
    r"applypriority|discard": "[%rd9], 128",
    r"createpolicy\.range": "%rd1, [%rd9], %r1, %r2",
    r"createpolicy\.cvt": "%rd1, %rd2",
    r"createpolicy": "%rd1, 0.5",
    r"cp\.async\.(bulk\.)?(commit_group|wait_all)": "",
    r"cp\.async\.(bulk\.)?wait_group": "1",
    r"cp\.async\.mbarrier": "[%rd9]",
    r"cp\.async\.bulk\.prefetch": "[%rd9], %r1",
    r"cp\.async\.bulk\.global": "[%rd9], [%rd8], %r1",
    r"cp\.async\.bulk": "[%rd9], [%rd8], %r1, [%rd7]",
    r"cp\.async": "[%rd9], [%rd8], 16, %r1",
    r"mbarrier\.(init|expect_tx|complete_tx)": "[%rd9], %r1",
    r"mbarrier\.inval": "[%rd9]",
    r"mbarrier\.pending_count": "%r1, %rd1",
    r"mbarrier\.arrive.*(expect_tx|noComplete).*shared::cluster": "_, [%rd9], %r1",
    r"mbarrier\.arrive.*(expect_tx|noComplete)": "%rd1, [%rd9], %r1",
    r"mbarrier\.arrive.*shared::cluster": "_, [%rd9]",
    r"mbarrier\.arrive": "%rd1, [%rd9]",
    r"mbarrier\..*parity": "%p1, [%rd9], %r1",
    r"mbarrier": "%p1, [%rd9], %rd1",
    r"ldmatrix.*x1": "{%r1}, [%rd9]",
    r"ldmatrix.*x2": "{%r1, %r2}, [%rd9]",
    r"ldmatrix": "{%r1, %r2, %r3, %r4}, [%rd9]",
    r"stmatrix.*x1": "[%rd9], {%r1}",
    r"stmatrix.*x2": "[%rd9], {%r1, %r2}",
    r"stmatrix": "[%rd9], {%r1, %r2, %r3, %r4}",
    r"movmatrix": "%r1, %r2",
    r"bra": "$end",
    r"bar\.warp": "%r1",
    r"barrier\.cluster": "",
    r"(bar|barrier)\..*popc": "%r1, %r2, 64, %p2",
    r"(bar|barrier)\..*red": "%p1, 1, %r3, !%p2",
    r"bar|barrier": "1, 64",
    r"nanosleep": "%r1",
    r"pmevent": "5",
    r"shfl": "%r1|%p1, %r2, 1, 31, -1",
    r"vote.*ballot": "%r1, %p2, %r3",
    r"vote": "%p1, !%p2, -1",
    r"match.*all": "%r1|%p1, {e}, -1",
    r"match": "%r1, {e}, %r2",
    r"redux": "%r1, %r2, %r3",
    r"elect": "%r1|%p1, -1",
    r"activemask": "%r1",
    r"ret|exit|trap|fence|membar|griddepcontrol": "",
}
ELEMENT_BITS = {"f16": 16, "bf16": 16, "tf32": 32, "f64": 64, "s8": 8, "u8": 8, "s4": 4, "u4": 4, "b1": 1}


def of_matrices(m: dict[str, str]) -> str:
    """The fragments of mma: what a lane holds of D, A, B and C."""
    rows, _, depth = (int(number) for number in re.findall(r"\d+", m["shape"]))
    kind = "f64" if m["a"] == "f64" else "b32"
    row_groups, depth_groups = rows // 8, depth * ELEMENT_BITS[m["a"]] // TYPES[kind].bits // 4
    kind_c = {"f16": "b32", "s32": "b32"}.get(m["d"], m["d"])
    size_c = 2 * row_groups // (2 if m["d"] == "f16" else 1)
    a, b = vector(kind, row_groups * depth_groups, 4), vector(kind, depth_groups, 8)
    return ", ".join([vector(kind_c, size_c), a, b, vector(kind_c, size_c, 2)])


def operands(name: str, form: Form, m: dict[str, str]) -> str:
    if form.signature:
        return of_signature(form.signature, m)
    if name.startswith("mma"):
        return of_matrices(m)
    template = next(text for pattern, text in TEMPLATES.items() if re.match(pattern, name))
    size = int((m.get("vector") or m.get("size") or "v1")[1:])
    for letter, first in zip("def", (1, 5, 9), strict=True):
        if "{" + letter + "}" in template:
            kind = m["type"]
            template = template.replace(
                "{" + letter + "}", vector(kind, size, first) if size > 1 else register(kind, first)
            )
    return template + (", %rd7" if "L2::cache_hint" in m else "")


# Instructions

Case = tuple[int, str, str]
"""A target, an instruction's name with its modifiers, and its operands."""
WITHOUT_OPERANDS = ("brx", "call", "setmaxnreg")
"""Need more than registers, or a target of another kind; they are tested elsewhere."""


def cases(choices: int) -> Iterator[Case]:
    """Instructions of every form, as the PTX ISA defines them."""
    generator = random.Random(5)
    for opcode, forms in FORMS.items():
        for form in forms if opcode not in WITHOUT_OPERANDS else ():
            slots = [[*alternatives, *([""] if optional else [])] for _, alternatives, optional in form.slots]
            chosen = list(itertools.islice(itertools.product(*slots), 2000))
            if len(chosen) > choices:
                chosen = [tuple(generator.choice(slot) for slot in slots) for _ in range(choices)]
            for words in chosen:
                m = {slot: word for (slot, _, _), word in zip(form.slots, words, strict=True) if word}
                if m.get("vector") == "v4" and TYPES[m["type"]].bits == 64:
                    continue  # more than 16 bytes
                name = ".".join([opcode, *filter(None, words)])
                target = max(80, form.since, first_target(tuple(name.split("."))))
                yield target, name, operands(name, form, m)


def module(instructions: Iterable[str], target: int) -> str:
    return HEADER.format(version=VERSION, target=target) + "\n".join(instructions) + "\nret;\n$end: ret;\n}"


def is_executed(instruction: str, target: int) -> bool:
    try:
        Module(module([instruction], target)).program("k")
    except SoftGPUError:
        return False
    return True


def illegal(instructions: Iterable[tuple[int, str]], library: Path) -> list[str]:
    """Those that the assembler refuses, with its reason."""
    refused = []
    of_target: dict[int, list[str]] = {}
    for target, instruction in dict.fromkeys(instructions):
        of_target.setdefault(target, []).append(instruction)
    for target, lines in of_target.items():
        batches = [lines[first : first + 400] for first in range(0, len(lines), 400)]
        logs = assembler.complaints([module(batch, target) for batch in batches], library)
        for batch, log in zip(batches, logs, strict=True):
            refused += [f"{batch[line - FIRST_LINE]} | {log.splitlines()[0]}" for line in assembler.lines_of(log)]
            refused += [log] * (bool(log) and not assembler.lines_of(log))
    return refused


@pytest.fixture(scope="module")
def library() -> Path:
    found = assembler.library()
    if found is None:
        pytest.skip("there is no libNVPTX.so in this environment")
    return found


def test_every_form_is_legal(library):
    instructions = [(target, f"{name} {rest};") for target, name, rest in cases(CHOICES)]
    assert [one for target, one in instructions if not is_executed(one, target)] == []
    assert illegal(instructions, library) == []


# What is nearly legal

OPERANDS = (
    *("%p3 !%p3 %c1 %h3 %r6 %rd5 %f3 %fd3 %uh1 %sr1 %ud1 %x1 %xx1 1 -1 1.5 0f3F800000 0d3FF0000000000000 _").split(),
    *("tile data frame table arg %tid.x %clock64 [%rd9] {%r1,%r2} %r1|%p1 $end").split(),
)
PLACES = "[tile] [tile+4] [data+4] [frame] [table] [arg] [16] [0] [%rd9-8] [%h1] [%f1] [%p1] [%r9] [%r9+4] [k]".split()
WORDS = (
    "rn rz rm rni rzi ftz sat relu satfinite NaN xorsign abs approx full cc lo hi wide cta cluster gpu sys relaxed "
    "acquire release acq_rel volatile weak mmio nc global shared local const param L1::evict_last L2::evict_last "
    "L2::cache_hint L2::128B ca cg wb v2 v4 u8 s8 b8 u16 s16 b16 u32 s32 b32 u64 s64 b64 f16 f16x2 bf16 f32 f64 pred "
    "tf32 and or add min exch cas popc eq lt lo ltu noftz sync aligned all up uni to parity L2 clamp wrap trans"
).split()
LENIENT = {
    r"movmatrix|prefetchu|createpolicy|pmevent|discard|applypriority": "hints, and what nobody writes by hand",
    r"(setp|set)\..*bf16.* [01-]": "constants as predicates, which other types have",
    r"cvt.*e[45]m[32]x2": "a pair of bytes may be in any register of 16 bits",
    r"cvt\.pack": "special registers",
    r"cvt\.\S*ftz\S* %rd5": "floats in wider registers, which other modifiers have",
    r"cvt\.\S*tf32": "constants",
    r"mma": "floats in registers of other types",
    r"(atom|red)\.\S*(L2::cache_hint|v[248])\S* .*(tile|frame)": "errors inside the assembler",
    r"mov\.v": "special registers in vectors",
    r"(bfe|bfi)\..*, (-1|300)": "positions that wrap around",
    r"mbarrier\.\S*arrive.*, -1": "counts",
}
"""Where softgpu executes what the assembler refuses, for no harm comes of it."""


def variations(case: Case, generator: random.Random) -> Iterator[tuple[int, str]]:
    """An instruction with one operand replaced, one missing or one too many, or one modifier less, more or other."""
    target, name, rest = case
    parts = re.findall(r"\[[^]]*\]|\{[^}]*\}|[^,\s]+", rest)
    replaced = [
        [*parts[:i], other, *parts[i + 1 :]]
        for i, part in enumerate(parts)
        for other in (*OPERANDS, *(PLACES if part[0] == "[" else ()))
    ]
    for changed in (*replaced, parts[:-1], [*parts, "%r1"], ["_", *parts[1:]]):
        yield target, f"{name} {', '.join(changed)};"
    opcode, *words = name.split(".")
    for i in range(len(words) + 1):
        others = generator.sample(WORDS, 8)
        changed = [words[:i] + words[i + 1 :], *([*words[:i], word, *words[i:]] for word in others)]
        changed += [[*words[:i], word, *words[i + 1 :]] for word in others]
        for some in changed:
            yield target, f"{'.'.join([opcode, *some])} {rest};"


def test_what_is_executed_is_legal(library):
    generator = random.Random(6)
    near = dict.fromkeys(one for case in cases(1) for one in variations(case, generator))
    executed = [
        (target, one)
        for target, one in near
        if not any(re.match(pattern, one) for pattern in LENIENT) and is_executed(one, target)
    ]
    assert 3000 < len(executed) < len(near) / 3
    assert illegal(executed, library) == []
