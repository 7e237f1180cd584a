"""Rounding, against exact arithmetic, on inputs made to be hard: cancellation, ties, and the ends of the range."""

from __future__ import annotations

import itertools
import math

import instruction_oracle as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softgpu import Module
from softgpu import floats as fl

LANES = 256
MODES = ("rn", "rz", "rm", "rp")
OPERATIONS = {"add": 2, "sub": 2, "mul": 2, "fma": 3, "div": 2, "rcp": 1, "sqrt": 1}
MODERATE = settings(max_examples=5, deadline=None, derandomize=True)


def operands(kind: str, count: int, seed: int) -> list[np.ndarray]:
    """Bits of LANES numbers for each operand: at the ends of the range, and close to each other in size; significands
    short and long."""
    generator = np.random.default_rng(seed)
    bits, mantissa = oracle.width(kind), oracle.FLOAT[kind][0] - 1
    top, ones = (1 << bits - 1 - mantissa) - 1, (1 << mantissa) - 1

    def mixed(edges: list[int], highest: int) -> np.ndarray:
        is_edge = generator.random(LANES) < 0.4
        return np.where(is_edge, generator.choice(edges, LANES), generator.integers(0, highest + 1, LANES))

    base = mixed([0, 1, 2, mantissa, top // 2, top - 2, top - 1, top], top)
    result = []
    for _ in range(count):
        near = np.clip(base + generator.integers(-mantissa - 2, mantissa + 3, LANES), 0, top)
        exponent = np.where(generator.random(LANES) < 0.7, near, generator.integers(0, top + 1, LANES))
        significand = mixed([0, 1, 2, 3, ones - 1, ones, 1 << mantissa - 1], ones)
        negative = generator.integers(0, 2, LANES)
        packed = negative.astype("u8") << np.uint64(bits - 1) | exponent.astype("u8") << np.uint64(mantissa)
        result.append((packed | significand.astype("u8")).astype(f"u{bits // 8}"))
    return result


def run(instructions: list[str], kind: str, sources: list[np.ndarray], since: int = 80) -> list[np.ndarray]:
    """The results of some instructions of d, a, b, c on the same operands, as bits."""
    bits = oracle.width(kind)
    names = "abc"[: len(sources)]
    lines = ["mov.u32 %t, %tid.x;"]
    for name in names:
        lines.append(
            f"ld.param.u64 %p, [{name}]; mad.wide.u32 %p, %t, {bits // 8}, %p; ld.global.b{bits} %{name}, [%p];"
        )
    for number, instruction in enumerate(instructions):
        lines.append(f"{instruction} %d, {', '.join('%' + name for name in names)};")
        lines.append(f"ld.param.u64 %p, [d]; mad.wide.u32 %p, %t, {bits // 8}, %p;")
        lines.append(f"st.global.b{bits} [%p+{number * len(sources[0]) * bits // 8}], %d;")
    module = Module(
        f".version 8.6\n.target sm_{since}\n.address_size 64\n"
        f".visible .entry k(.param .u64 d, {', '.join(f'.param .u64 {name}' for name in names)}) {{\n"
        f".reg .b32 %t; .reg .b64 %p; .reg .b{bits} %a, %b, %c, %d;\n" + "\n".join(lines) + "\nret; }"
    )
    out = np.zeros((len(instructions), len(sources[0])), f"u{bits // 8}")
    module.launch("k", 1, len(sources[0]), [out, *sources])
    return list(out)


def check(opcode: str, kind: str, sources: list[np.ndarray]) -> None:
    modes = MODES if kind in ("f32", "f64") else ("rn",)
    results = run([f"{opcode}.{mode}.{kind}" for mode in modes], kind, sources, since=90)
    for mode, got in zip(modes, results, strict=True):
        for value, *row in zip(got.tolist(), *(x.tolist() for x in sources), strict=True):
            (wanted,) = oracle.expected(opcode, [mode, kind], [kind] * len(row), row)
            if not (math.isnan(oracle.decode(wanted, kind)) and math.isnan(oracle.decode(value, kind))):
                assert value == wanted, f"{opcode}.{mode}.{kind} {[hex(x) for x in row]}: {value:#x}, not {wanted:#x}"


@pytest.mark.parametrize(
    "opcode, kind",
    [
        (opcode, kind)
        for opcode in OPERATIONS
        for kind in ("f16", "bf16", "f32", "f64")
        if kind in ("f32", "f64") or opcode not in ("div", "rcp", "sqrt")
    ],
)
def test_one_rounding(opcode, kind):

    @MODERATE
    @given(st.integers(0, 2**32))
    def examples(seed):
        check(opcode, kind, operands(kind, OPERATIONS[opcode], seed))

    examples()


@pytest.mark.parametrize("kind", ["f16", "bf16", "f32", "f64"])
def test_cancelling_fma(kind):
    @MODERATE
    @given(st.integers(0, 2**32))
    def examples(seed):
        sources = operands(kind, 2, seed)
        a, b = (np.array([oracle.decode(x, kind) for x in column.tolist()]) for column in sources)
        with np.errstate(all="ignore"):
            products = -(a * b)
        largest = oracle.FLOAT[kind][2]
        c = [x if not math.isfinite(x) or x == 0 else oracle.round_real(oracle.Fraction(x), kind) for x in products]
        c = np.array([oracle.encode(math.copysign(min(abs(x), largest), x), kind) for x in c], sources[0].dtype)
        check("fma", kind, [*sources, c])

    examples()


def test_all_pairs_of_special_numbers():
    for kind in ("f32", "f64"):
        tiny = np.finfo(f"f{oracle.width(kind) // 8}").tiny
        values = [0.0, 1.0, 1.5, 3.0, math.inf, math.nan, oracle.FLOAT[kind][2], float(tiny), float(tiny) / 2, 1e-3]
        values += [math.ldexp(1.0, oracle.FLOAT[kind][1])]
        values += [-x for x in values]
        dtype = f"u{oracle.width(kind) // 8}"
        for opcode, count in OPERATIONS.items():
            rows = list(itertools.product(*[[oracle.encode(x, kind) for x in values]] * min(count, 2)))
            columns = [np.array(column, dtype) for column in zip(*rows, strict=True)]
            if count == 3:
                columns.append(np.roll(columns[1], 7))
            check(opcode, kind, columns)


def test_double_rounding_through_f32_is_seen():
    """bf16: 1 + 2**-8 is a tie, and the last bit of a tiny product decides it; f32 cannot hold both."""
    one, tie = oracle.encode(1.0, "bf16"), oracle.encode(2.0**-8, "bf16")
    small = oracle.encode(2.0**-60, "bf16")
    # 2**-60 * 2**-60 + 1 is 1; (1 + 2**-7) * (1 + 2**-7) = 1 + 2**-6 + 2**-14, a tie but for the last term.
    a = np.array([small, oracle.encode(1 + 2.0**-7, "bf16"), tie], np.uint16)
    b = np.array([small, oracle.encode(1 + 2.0**-7, "bf16"), one], np.uint16)
    c = np.array([one, oracle.encode(2.0**-8 - 2.0**-14 + 2.0**-15, "bf16"), one], np.uint16)
    check("fma", "bf16", [a, b, c])
    f32 = [np.array([bits], np.uint32) for bits in (0x39800002, 0x397FFFFC, 0x3F800001)]
    assert run(["fma.rn.f32"], "f32", f32)[0][0] == 0x3F800001


@pytest.mark.parametrize("name", ["f16", "bf16", "tf32", "f32", "e4m3", "e5m2"])
@pytest.mark.parametrize("mode", [*MODES, "rna"])
def test_rounding_to_a_format(name, mode):
    generator = np.random.default_rng(8)
    precision, smallest, largest, _ = oracle.FLOAT[name]
    exponents = generator.integers(smallest - 3, math.frexp(largest)[1] + 2, 400)
    values = np.ldexp(generator.integers(1, 1 << precision + 2, 400) / 4.0, exponents.astype("i4") - precision + 1)
    values *= generator.choice([-1, 1], 400)
    with np.errstate(all="ignore"):
        got = fl.FORMATS[name].round(values, mode)
    assert got.tolist() == [oracle.round_real(oracle.Fraction(x), name, mode) for x in values.tolist()]
