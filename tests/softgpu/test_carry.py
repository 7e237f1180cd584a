"""Addition, subtraction and multiplication with carry, as long arithmetic that Python's integers check."""

import numpy as np
import pytest

RNG = np.random.default_rng(4)
LANES = 300


def words(bits: int) -> np.ndarray:
    """Random words, a third of them at the edges, where carries are made and passed on."""
    edges = np.array([0, 1, 2, (1 << bits) - 1, (1 << bits) - 2, 1 << bits - 1, (1 << bits - 1) - 1], f"u{bits // 8}")
    random = RNG.integers(0, 1 << bits, LANES, f"u{bits // 8}", endpoint=False)
    return np.where(RNG.random(LANES) < 0.6, RNG.choice(edges, LANES), random)


@pytest.fixture
def long_arithmetic(kernel):
    """Runs code on words a0, a1, …, b0, …; gives the numbers that the words d0, d1, … make, one a lane."""

    def run(code: str, kind: str, results: int, inputs: dict[str, np.ndarray]) -> list[int]:
        bits = int(kind[1:])
        names = [f"d{i}" for i in range(results)]
        lines = [f".reg .b{bits} {name};" for name in (*names, *inputs)]
        lines.append("mov.u32 %r1, %tid.x;")
        for name in inputs:
            lines.append(f"ld.param.u64 %rd1, [p{name}]; mad.wide.u32 %rd1, %r1, {bits // 8}, %rd1;")
            lines.append(f"ld.global.b{bits} {name}, [%rd1];")
        lines.append(code)
        for name in names:
            lines.append(f"ld.param.u64 %rd1, [p{name}]; mad.wide.u32 %rd1, %r1, {bits // 8}, %rd1;")
            lines.append(f"st.global.b{bits} [%rd1], {name};")
        module = kernel("\n".join(lines), [f"u64 p{name}" for name in (*names, *inputs)])
        buffers = [np.zeros(LANES, f"u{bits // 8}") for _ in names]
        module.launch("k", 1, LANES, [*buffers, *inputs.values()])
        return [sum(int(word) << bits * i for i, word in enumerate(row)) for row in zip(*buffers, strict=True)]

    return run


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
@pytest.mark.parametrize("name", ["add", "sub"])
def test_three_words_with_carry(long_arithmetic, name, kind):
    bits = int(kind[1:])
    inputs = {f"{letter}{i}": words(bits) for letter in "ab" for i in range(3)}
    code = f"""{name}.cc.{kind} d0, a0, b0; {name}c.cc.{kind} d1, a1, b1; {name}c.cc.{kind} d2, a2, b2;
               {name}c.{kind} d3, 0, 0;"""
    got = long_arithmetic(code, kind, 4, inputs)
    a, b = (
        [sum(int(inputs[f"{letter}{i}"][lane]) << bits * i for i in range(3)) for lane in range(LANES)]
        for letter in "ab"
    )
    sign = 1 if name == "add" else -1
    assert got == [(x + sign * y) % (1 << 4 * bits) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("kind", ["u32", "u64"])
def test_product_of_two_words(long_arithmetic, kind):
    bits = int(kind[1:])
    inputs = {name: words(bits) for name in ("a0", "a1", "b0", "b1")}
    code = f"""
        mul.lo.{kind} d0, a0, b0;
        mul.hi.{kind} d1, a0, b0;
        mad.lo.cc.{kind} d1, a0, b1, d1;
        madc.hi.{kind} d2, a0, b1, 0;
        mad.lo.cc.{kind} d1, a1, b0, d1;
        madc.hi.cc.{kind} d2, a1, b0, d2;
        addc.{kind} d3, 0, 0;
        mad.lo.cc.{kind} d2, a1, b1, d2;
        madc.hi.{kind} d3, a1, b1, d3;"""
    got = long_arithmetic(code, kind, 4, inputs)
    a, b = (
        [int(low) | int(high) << bits for low, high in zip(*pair, strict=True)]
        for pair in ((inputs["a0"], inputs["a1"]), (inputs["b0"], inputs["b1"]))
    )
    assert got == [x * y for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
@pytest.mark.parametrize("part", ["lo", "hi"])
def test_multiply_and_add_with_carry(long_arithmetic, part, kind):
    bits = int(kind[1:])
    inputs = {name: words(bits) for name in "abc"}
    # The first instruction sets the carry where the lowest bit of c is one.
    code = f"""and.b{bits} d0, c, 1; neg.s{bits} d0, d0; add.cc.u{bits} d0, d0, 1;
               madc.{part}.cc.{kind} d0, a, b, c; addc.{kind} d1, 0, 0;
               mad.{part}.cc.{kind} d2, a, b, c; madc.{part}.{kind} d3, a, b, c;"""
    got = long_arithmetic(code, kind, 4, inputs)
    mask = (1 << bits) - 1
    for lane, number in enumerate(got):
        a, b, c = (int(inputs[name][lane]) for name in "abc")
        if kind[0] == "s":
            a, b = (x - (x >> bits - 1 << bits) for x in (a, b))
        product = (a * b >> (bits if part == "hi" else 0)) & mask
        first, second = product + c + (c & 1), product + c
        wanted = [first & mask, first >> bits, second & mask, product + c + (second >> bits) & mask]
        assert number == sum(word << bits * i for i, word in enumerate(wanted))


def test_the_carry_belongs_to_the_thread(evaluate):
    x = np.arange(64, dtype=np.uint32)
    # Odd threads alone make a carry, in a branch of their own.
    code = """and.b32 %r2, %a, 1; setp.eq.u32 %p, %r2, 1; add.cc.u32 %r3, 0, 0;
              @!%p bra $join; add.cc.u32 %r3, -1, 1;
              $join: addc.u32 %d, %a, 0;"""
    assert evaluate(code, "b32", ("b32", x)).tolist() == [n + n % 2 for n in range(64)]


def test_other_instructions_leave_the_carry_alone(evaluate):
    x = np.arange(8, dtype=np.uint32)
    code = (
        "add.cc.u32 %r3, -1, %a; add.u32 %r4, %a, %a; mul.lo.u32 %r4, %r4, 3; addc.u32 %r5, 0, 0; addc.u32 %d, %r5, 0;"
    )
    assert evaluate(code, "b32", ("b32", x)).tolist() == [0, 2, 2, 2, 2, 2, 2, 2]
