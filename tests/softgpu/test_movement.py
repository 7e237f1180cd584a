"""mov with its packing and unpacking, and the conversion of addresses."""

import numpy as np
import pytest

from softgpu import PTXSyntaxError, UnsupportedPTX

RNG = np.random.default_rng(5)


def words(bits: int, count: int = 256) -> np.ndarray:
    return RNG.integers(0, 1 << bits, count, f"u{bits // 8}", endpoint=False)


@pytest.mark.parametrize("kind", ["b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64"])
def test_mov_keeps_every_bit(evaluate, kind):
    bits = int(kind[1:])
    register = kind if kind[0] == "f" else f"b{bits}"
    x = words(bits)
    assert (evaluate(f"mov.{kind} %d, %a;", register, (register, x)) == x).all()


def test_mov_of_predicates_and_constants(evaluate):
    x = np.arange(8, dtype=np.uint32)
    code = "setp.gt.u32 %q, %a, 3; mov.pred %p, %q; selp.b32 %d, 1, 0, %p;"
    assert evaluate(code, "b32", ("b32", x)).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert evaluate("mov.f32 %d, 0f3FC00000;", "f32", ("b32", x))[0] == 0x3FC00000
    assert evaluate("mov.f32 %d, 1.5;", "f32", ("b32", x))[0] == 0x3FC00000
    assert evaluate("mov.f64 %d, 1.5;", "f64", ("b32", x))[0] == 0x3FF8000000000000
    assert evaluate("mov.b64 %d, -1.5;", "b64", ("b32", x))[0] == 0xBFF8000000000000
    assert evaluate("mov.f64 %d, -0d3FF8000000000000;", "f64", ("b32", x))[0] == 0xBFF8000000000000
    assert evaluate("mov.b32 %d, -2;", "b32", ("b32", x))[0] == 0xFFFFFFFE
    assert evaluate("mov.u32 %d, %ntid.x;", "b32", ("b32", x))[0] == 8


def test_floats_in_wider_registers(evaluate):
    """PTX ISA 9.4.1: the low bits of a source count, and a destination has zeros above."""
    halves = np.array([0x3C00, 0xC000, 0x7BFF, 0x0001], np.uint16)
    values = halves.view(np.float16).astype(np.float32)
    padded = halves.astype(np.uint32) | np.uint32(0xABCD0000)
    assert (evaluate("cvt.f32.f16 %d, %a;", "f32", ("b32", padded)) == values.view(np.uint32)).all()
    assert (evaluate("cvt.rn.f16.f32 %d, %a;", "b64", ("f32", values.view(np.uint32))) == halves).all()
    code = "ld.global.f32 %d, [%rd1]; cvt.f64.f32 %fd1, %d; cvt.rn.f32.f64 %d, %fd1;"  # %rd1 is where %a was
    assert (evaluate(code, "b64", ("f32", values.view(np.uint32))) == values.view(np.uint32)).all()


def test_floats_are_shuffled_as_they_are(evaluate):
    x = words(32, 32)
    assert (evaluate("shfl.sync.bfly.b32 %d, %a, 1, 31, -1;", "f32", ("f32", x)) == x[np.arange(32) ^ 1]).all()


@pytest.mark.parametrize("whole, parts", [(16, 2), (32, 2), (32, 4), (64, 2), (64, 4)])
def test_packing_puts_the_first_part_lowest(evaluate, whole, parts):
    part = whole // parts
    names = [f"x{i}" for i in range(parts)]
    x = words(whole)
    declared = f".reg .b{part} " + ", ".join(names) + ";"
    code = f"{declared} mov.b{whole} {{{', '.join(names)}}}, %a; mov.b{whole} %d, {{{', '.join(reversed(names))}}};"
    register = f"b{whole}"
    got = evaluate(code, register, (register, x))
    split = x.view(f"u{part // 8}").reshape(-1, parts)
    assert (got == np.ascontiguousarray(split[:, ::-1]).view(x.dtype).reshape(-1)).all()


def test_unpacking_into_a_sink(evaluate):
    x = words(64)
    assert (evaluate("mov.b64 {_, %d}, %a;", "b32", ("b64", x)) == (x >> np.uint64(32)).astype(np.uint32)).all()


def test_packing_constants_and_the_register_itself(evaluate):
    x = words(64)
    code = "mov.b64 {%r2, %r3}, %a; mov.b64 %d, %a; mov.b64 {%r3, %r2}, %d; mov.b64 %d, {%r2, 7};"
    assert (evaluate(code, "b64", ("b64", x)) == (x >> np.uint64(32)) + np.uint64(7 << 32)).all()


@pytest.mark.parametrize("kind", ["b32", "u64", "f32"])
def test_vector_mov_reads_before_it_writes(evaluate, kind):
    bits = int(kind[1:])
    register = kind if kind[0] == "f" else f"b{bits}"
    x, y = words(bits), words(bits)
    code = f"mov.v2.{kind} {{%a, %b}}, {{%b, %a}}; mov.{kind} %d, %a;"
    assert (evaluate(code, register, (register, x), (register, y)) == y).all()


@pytest.mark.parametrize(
    "code",
    [
        "mov.f16 %h1, %h2;",
        "mov.b8 %h1, %h2;",
        "mov.v4.b64 {%rd1, %rd2, %rd3, %rd4}, {%rd1, %rd2, %rd3, %rd4};",
        "mov.b64 %rd1, {%h1, %h2};",
        "mov.u32 {%h1, %h2}, %r1;",
        "mov.b64 %rd1, {%r1, %r2, %r3};",
        "mov.u32 %r1, %rd1;",
        "mov.u32 %r1, %f1;",
        "mov.f32 %f1, 1;",
    ],
)
def test_what_mov_does_not_do(kernel, code):
    with pytest.raises((PTXSyntaxError, UnsupportedPTX), match="mov"):
        kernel(f"{code} ret;").program("k")


SPACES = {"global": "g", "shared": "s", "shared::cta": "s", "local": "l", "const": "c"}
MODULE = ".global .b32 g[4]; .const .b32 c[4];"
LOCALS = ".shared .b32 s[4]; .local .b32 l[4];"


@pytest.mark.parametrize("space", SPACES)
def test_generic_addresses_know_their_space(kernel, space):
    lines = [f"mov.u64 %rd2, {SPACES[space]}; cvta.{space}.u64 %rd3, %rd2; ld.param.u64 %rd1, [out];"]
    for number, other in enumerate(("global", "shared", "local", "const")):
        lines.append(f"isspacep.{other} %p1, %rd3; selp.u32 %r1, 1, 0, %p1; st.global.u32 [%rd1+{4 * number}], %r1;")
    lines.append(f"cvta.to.{space}.u64 %rd4, %rd3; setp.eq.u64 %p1, %rd4, %rd2; selp.u32 %r1, 1, 0, %p1;")
    lines.append("st.global.u32 [%rd1+16], %r1; ret;")
    out = np.zeros(5, np.uint32)
    kernel(LOCALS + "\n".join(lines), module=MODULE).launch("k", 1, 1, [out])
    spaces = ("global", "shared", "local", "const")
    assert out.tolist() == [*(int(space.partition("::")[0] == other) for other in spaces), 1]


def test_a_generic_address_reaches_its_variable(kernel):
    code = f"""{LOCALS} ld.param.u64 %rd1, [out]; mov.u64 %rd2, s; cvta.shared.u64 %rd3, %rd2;
        st.u32 [%rd3+8], 77; ld.shared.u32 %r1, [s+8]; st.global.u32 [%rd1], %r1;
        mov.u64 %rd2, l; cvta.local.u64 %rd3, %rd2; st.local.u32 [l+4], 78; ld.u32 %r1, [%rd3+4];
        st.global.u32 [%rd1+4], %r1; ret;"""
    out = np.zeros(2, np.uint32)
    kernel(code).launch("k", 1, 1, [out])
    assert out.tolist() == [77, 78]


def test_the_outputs_of_the_host_are_global(kernel):
    code = """ld.param.u64 %rd1, [out]; isspacep.global %p1, %rd1; isspacep.shared %p2, %rd1;
        selp.u32 %r1, 1, 0, %p1; selp.u32 %r2, 1, 0, %p2; st.global.v2.u32 [%rd1], {%r1, %r2}; ret;"""
    out = np.full(2, 9, np.uint32)
    kernel(code).launch("k", 1, 1, [out])
    assert out.tolist() == [1, 0]
