"""Malformed PTX: whatever the text, softgpu executes it or says in one sentence what is wrong with which line."""

import random
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softgpu import LaunchError, Memory, Module, SoftGPUError
from softgpu.instructions import FORMS

HERE = Path(__file__).parent
CORPUS = [
    path.read_text()
    for folder in (HERE / "ptx", HERE / "kernels", HERE.parent / "data")
    for path in sorted(folder.rglob("*.ptx"))
]
# A word, number or directive; anything else by the character.
TOKEN = re.compile(r"\s+|//[^\n]*|[\w.%$:]+|.", re.DOTALL)
WORDS = sorted({token for text in CORPUS for token in TOKEN.findall(text) if not token.isspace()})
ODD = [
    *("-1", "0", "1", "4000000000", "99999999999999999999999999", "0x", "0xFFFFFFFFFFFFFFFFF", "1e999", "-1e999"),
    *("0f7FC00000", "0f7F80000", "0dFFF0000000000000", "1.5", "08", "0b2", "nan", "inf", "٣", "²", "½"),
    *("é", "\x00", "\x0b", "\u2028", "\ud7ff", "\U0001f600", "\ufeff", "\\", '"', "'", "#", "`", "/*", "*/", "//"),
    *("{", "}", "(", ")", "[", "]", "<", ">", ";", ",", ":", "@", "!", "|", "+", "-", "=", "_", "%", ".", "..", "$"),
    *("%r1", "%rd1", "%f1", "%p1", "%tid", "%tid.x", "%tid.q", "%clock64", "WARP_SZ", "%r-1", "%r99999999999"),
    *(".reg", ".pred", ".b8", ".b16", ".b32", ".b64", ".b128", ".f16x2", ".tf32", ".v2", ".v4", ".v8", ".align"),
    *(".entry", ".func", ".global", ".shared", ".local", ".const", ".param", ".extern", ".visible", ".weak"),
    *(".version", ".target", ".address_size", ".file", ".loc", ".section", ".pragma", ".maxntid", ".reqntid"),
    *(".branchtargets", ".calltargets", ".callprototype", ".noreturn", ".alias", ".maxnreg", ".minnctapersm"),
    *("call", "ret", "bra", "brx.idx", "bar.sync", "barrier.sync", "mov.b32", "ld.param.b64", "st.shared.v4.f32"),
    *("atom.global.cas.b32", "cvt.rn.f32.f64", "shfl.sync.idx.b32", "mma.sync.aligned.m16n8k16.row.col", "cp.async"),
]


def execute(text):
    """Parse, decode and launch every kernel. Returns the SoftGPUErrors; anything else raised is a failure."""
    errors = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            module = Module(text)
        except SoftGPUError as error:
            return [error]
        for kernel in module.kernels:
            memory = Memory()
            buffer = memory.allocate(4096, "a buffer").base
            try:
                parameters = [
                    np.uint64(buffer + 512 * number).tobytes()[: one.nbytes].ljust(one.nbytes, b"\0")
                    for number, one in enumerate(module.program(kernel).kernel.parameters)
                ]
                module.launch_raw(kernel, 2, 40, parameters, memory, instruction_budget=1500, engine="lockstep")
            except SoftGPUError as error:
                errors.append(error)
    return errors


def check(text):
    started = time.process_time()
    errors = execute(text)
    assert time.process_time() - started < 10
    for error in errors:
        message = str(error)
        assert "\n" not in message and len(message) < 600, message
        assert isinstance(error, LaunchError) or re.search(r"PTX line(s)? \d+", message), message


def mutate(text, chance):
    """One to three small changes."""
    tokens = TOKEN.findall(text)
    solid = [number for number, token in enumerate(tokens) if not token.isspace()]
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        one, other = chance.choice(solid), chance.choice(solid)
        match chance.randrange(8):
            case 0:
                tokens[one] = ""
            case 1:
                tokens[one] = f"{tokens[one]} {tokens[one]}"
            case 2:
                tokens[one], tokens[other] = tokens[other], tokens[one]
            case 3 | 4:
                tokens[one] = chance.choice(ODD)
            case 5:
                tokens[one] = chance.choice(WORDS)
            case 6:
                tokens[one] = f" {chance.choice(ODD)} {tokens[one]}"
            case 7:
                parts = tokens[one].split(".")
                parts[chance.randrange(len(parts))] = chance.choice(chance.choice(WORDS + ODD).split("."))
                tokens[one] = ".".join(parts)
    return "".join(tokens)


HEADER = ".version 8.1\n.target sm_90a\n.address_size 64\n"
DECLARATIONS = """
.reg .pred %p<8>; .reg .b8 %c<4>; .reg .b16 %h<8>; .reg .b32 %r<16>; .reg .b64 %rd<16>; .reg .b128 %q<4>;
.reg .f16 %fh<4>; .reg .f16x2 %fx<4>; .reg .bf16 %bh<4>; .reg .f32 %f<16>; .reg .f64 %fd<16>;
.reg .s32 %s<8>; .reg .u64 %u<4>;
.shared .align 16 .b8 tile[256]; .local .align 16 .b8 frame[64];
mov.u64 %rd1, data; mov.u64 %rd2, tile; mov.u32 %r1, %tid.x; mov.u32 %r2, -1;
"""
OPERANDS = """
%p1 %p2 !%p1 %c1 %h1 %r1 %r2 %r3 %rd1 %rd2 %rd3 %q1 %fh1 %fx1 %bh1 %f1 %f2 %fd1 %s1 %u1 %tid.x %clock64 %nothing
0 1 -1 31 32 255 4294967295 0xFFFFFFFFFFFFFFFF 1.5 0f7FC00000 0dFFF0000000000000 WARP_SZ _ tile frame data k $end absent
[%rd1] [%rd2] [%rd1+8] [%rd1-1] [%r1] [tile] [frame+4] [data] [0] [out] [%p1] [%f1] tile+4
%p1|%p2 %r1|%p1 _|_ %r1|%r2 {%r1,%r2} {%r1,%r2,%r3,%r4} {%f1,%f2,%f3,%f4} {%f1,%f2} {%h1,%h2} {%rd1,%rd2}
{%r1} {_,_} {%r1,1} {%c1,%c2,%c3,%c4} {%h1,%h2,%h3,%h4} {%r1,%r2,%r3,%r4,%r5,%r6,%r7,%r8} ($end) (%r1) (%r1,%r2)
""".split()


FITTING = {"pred": "%p1 %p2", "16": "%h1 %h2 1", "32": "%r1 %r2 %r3 %f1 %f2 7", "64": "%rd2 %rd3 %rd1 %fd1 5"}
FITTING |= {"f": "%f1 %f2 %fd1 %fd2 %h1", "mem": "[%rd1] [%rd2] [data] [tile] [frame]", "8": "%h1 %r1"}


def instruction_of(form, chance, operands):
    """An instruction that has the modifiers of a form, and operands of which most fit, or none."""
    words = [form.text.split()[0]]
    words += [chance.choice(choices) for _, choices, optional in form.slots if not optional or chance.random() < 0.4]
    fitting = [one for word in words for key in FITTING for one in FITTING[key].split() if word.endswith(key)]
    fitting += FITTING["32"].split() + (FITTING["mem"].split() if len(words) > 2 else [])
    wild = chance.choice((0, 0.2, 0.2, 1))
    chosen = [chance.choice(OPERANDS if chance.random() < wild else fitting) for _ in range(operands)]
    guard = chance.choice(("", "", "", "@%p1 ", "@!%p2 "))
    return f"{guard}{'.'.join(words)} {', '.join(chosen)};"


def any_kernel(instructions):
    body = "\n".join(instructions)
    return (
        f"{HEADER}.global .align 16 .b8 data[256];\n.visible .entry k(.param .u64 out)\n"
        f"{{{DECLARATIONS}{body}\n$end:\nret;\n}}\n"
    )


@pytest.mark.parametrize("seed", range(20))
def test_mutated_modules(seed):
    chance = random.Random(seed)
    for _ in range(40):
        check(mutate(chance.choice(CORPUS), chance))


@pytest.mark.parametrize("seed", range(5))
def test_truncated_modules(seed):
    chance = random.Random(seed)
    for _ in range(40):
        text = chance.choice(CORPUS)
        check(text[: chance.randrange(len(text))])


@pytest.mark.parametrize("opcode", sorted(FORMS))
def test_any_form_with_any_operands(opcode):
    for form in FORMS[opcode]:
        for seed in range(3):
            chance = random.Random(f"{form.text} {seed}")
            check(any_kernel([instruction_of(form, chance, chance.choice((0, 1, 2, 2, 3, 3, 3, 4, 4, 5, 6)))]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(ODD), st.sampled_from(WORDS)), max_size=12))
def test_any_words_in_a_kernel(words):
    check(any_kernel([" ".join(words)]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(ODD), st.sampled_from(WORDS)), max_size=20))
def test_any_words_in_a_module(words):
    check(HEADER + " ".join(words))


@settings(max_examples=100, deadline=None)
@given(st.text(), st.integers(0, len(CORPUS[0])))
def test_any_text_anywhere(text, position):
    check(text)
    check(CORPUS[0][:position] + text + CORPUS[0][position:])


def kernel_of(body, module="", parameters=".param .u64 out"):
    return f"{HEADER}{module}.visible .entry k({parameters})\n{{\n.reg .b32 %r<8>; .reg .pred %p<2>;\n{body}\nret;\n}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected a .version directive"),
        (HEADER + "\0", r"line 4: unexpected character '\\x00'"),
        (kernel_of("bra $nowhere;"), r"line 7: `bra \$nowhere` names no label"),
        (kernel_of("bra %r1;"), "line 7: `bra %r1` names no label"),
        (kernel_of("$a:\n$a:"), r"line 8: .*'\$a' is defined twice"),
        (kernel_of("$a: add.u32 %r1, %r2, $a;"), r"line 7: .*'\$a' is not declared"),
        (kernel_of("$a: mov.u32 $a, 1;"), "line 7: .*the destination must be a register"),
        (kernel_of(".reg .b64 %x;\n.reg .b32 %x;"), "line 8: register '%x' is declared twice"),
        (kernel_of("add.u32 %r1, %r8, 1;"), "line 7: register '%r8' is not declared"),
        (kernel_of("add.u32 %r1, %r2;"), "line 7: .*expected 3 operands, found 2"),
        (kernel_of("add.u32 %r1, %r2, 1"), "line 8: expected ';', found 'ret'"),
        (kernel_of("@%r1 bra $a; $a:"), "line 7: '%r1' is not a declared predicate register"),
        (kernel_of("frobnicate.u32 %r1;"), "line 7: softgpu does not support `frobnicate.u32 %r1`"),
        (kernel_of("mov.u32 %r1, 18446744073709551616;"), "line 7: 18446744073709551616 does not fit 64 bits"),
        (kernel_of("mov.u32 %r1, " + "1" * 100_000 + ";"), "line 7: this integer is too long"),
        (kernel_of(".local .b8 big[4000000000]; ld.local.u32 %r1, [big];"), "line 4: .* bytes of local memory"),
        (kernel_of(".shared .b8 big[4000000000]; ld.shared.u32 %r1, [big];"), "4000000000 bytes of shared memory"),
        (kernel_of(".shared .b32 x = 1;"), "line 7: 'x' is in .shared memory, which cannot be initialised"),
        (kernel_of("", ".const .b8 big[4000000000];\n"), "line 4: 4000000000 bytes of .const variables"),
        (kernel_of("", ".global .b64 big[65536][65536];\n"), "line 4: this is no size of an array"),
        (kernel_of("", "", ".param .b8 big[4000000000]"), "line 4: .*parameters"),
        (kernel_of("call f;", ".func f() { call f; ret; }\n"), "line 4: .*recursion"),
        (kernel_of("bar.sync 16;"), "line 7: .*barriers are numbered 0 to 15"),
        (kernel_of("{" * 100_000), "line 9: .*no closing '}'"),
        (kernel_of("mov.u32 %r1, " + "(" * 100_000 + ";"), r"line 7: expected a number, found '\('"),
        (
            HEADER + ".global .b8 x[4] = " + "{" * 100_000,
            "line 4: 'x' has a brace in its initialiser where no array begins",
        ),
        (kernel_of("$a: bra $a;"), "stopped after 1500 instructions while looping at PTX line 7"),
    ],
)
def test_what_is_wrong_is_said(text, message):
    check(text)
    (error,) = execute(text)
    assert re.search(message, str(error)), str(error)


CALLS_THAT_DOUBLE = "".join(f".func f{n}() {{ call f{n + 1}; call f{n + 1}; ret; }}\n" for n in range(40))


@pytest.mark.parametrize(
    "text",
    [
        kernel_of(".reg .b32 %many<4000000000>; mov.u32 %many3999999999, 1;"),
        kernel_of("{" * 20_000 + "}" * 20_000),
        kernel_of("mov.u32 %r1, " + "-" * 20_001 + "1;"),
        kernel_of("".join(f"$l{n}: @%p1 bra $l{n * 7919 % 3000};\n" for n in range(3000))),
        kernel_of("".join(f"$l{n}:" for n in range(20_000))),
        kernel_of("add.u32 %r1" + ", %r1" * 20_000 + ";"),
        kernel_of("add" + ".u32" * 20_000 + " %r1;"),
        kernel_of("mov.u32 %" + "r" * 100_000 + ", 1;"),
        kernel_of("mov.u32 %r" + "1" * 20_000 + ", 1;"),
        kernel_of("call f0;", CALLS_THAT_DOUBLE + ".func f40() { ret; }\n"),
        kernel_of(
            "call f0;", "".join(f".func f{n}() {{ call f{n + 1}; }}\n" for n in range(2000)) + ".func f2000() {}\n"
        ),
    ],
    ids=range(11),
)
def test_extremes_end_soon(text):
    check(text)


def test_offsets_wrap_around_as_addresses_do():
    (error,) = execute(kernel_of(".shared .align 4 .b32 x; ld.shared.u32 %r2, [x+18446744073709551612];"))
    assert "Invalid shared load of 4 bytes at address 0xfffffffffffffffc" in str(error)
