"""ldmatrix, stmatrix, movmatrix and mma, against the formulas of the PTX ISA manual for each fragment.

The oracle puts the matrices into registers and takes them out of them element by element, as the manual's section on
each shape says it (9.7.15.5, "Matrix Fragments for mma"), and multiplies with Python's or NumPy's own arithmetic.
"""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from softgpu import MemoryFault, UnsupportedPTX
from softgpu.errors import IncompleteWarp


@pytest.fixture
def kernel(kernel):
    return partial(kernel, target="sm_90")


# Row and column of element i of a lane, from groupID g and threadID_in_group t: (A, B), as the manual prints them.
F16_K8 = (
    lambda g, t, i: (g if i < 2 else g + 8, t * 2 + (i & 1)),
    lambda g, t, i: (t * 2 + i, g),
)
F16_K16 = (
    lambda g, t, i: (g if i < 2 or 4 <= i < 6 else g + 8, t * 2 + (i & 1) + (8 if i >= 4 else 0)),
    lambda g, t, i: (t * 2 + (i & 1) + (8 if i >= 2 else 0), g),
)
TF32_K4 = (lambda g, t, i: (g if i == 0 else g + 8, t), lambda g, t, i: (t, g))
TF32_K8 = (
    lambda g, t, i: (g if i in (0, 2) else g + 8, t if i < 2 else t + 4),
    lambda g, t, i: (t if i == 0 else t + 4, g),
)
F64_M8_K4 = (lambda g, t, i: (g, t), lambda g, t, i: (t, g))
F64_K16 = (lambda g, t, i: (g if i % 2 == 0 else g + 8, i // 2 * 4 + t), lambda g, t, i: (t + i * 4, g))
S8_M8_K16 = (lambda g, t, i: (g, t * 4 + i), lambda g, t, i: (t * 4 + i, g))
S8_K16 = (lambda g, t, i: (g if i < 4 else g + 8, t * 4 + (i & 3)), lambda g, t, i: (t * 4 + i, g))
S8_K32 = (
    lambda g, t, i: (g if i < 4 or 8 <= i < 12 else g + 8, t * 4 + (i & 3) + (16 if i >= 8 else 0)),
    lambda g, t, i: (t * 4 + (i & 3) + (16 if i >= 4 else 0), g),
)
S4_M8_K32 = (lambda g, t, i: (g, t * 8 + i), lambda g, t, i: (t * 8 + i, g))
S4_K32 = (lambda g, t, i: (g if i < 8 else g + 8, t * 8 + (i & 7)), lambda g, t, i: (t * 8 + i, g))
S4_K64 = (
    lambda g, t, i: (g if i < 8 or 16 <= i < 24 else g + 8, t * 8 + (i & 7) + (32 if i >= 16 else 0)),
    lambda g, t, i: (t * 8 + (i & 7) + (32 if i >= 8 else 0), g),
)
B1_M8_K128 = (lambda g, t, i: (g, t * 32 + i), lambda g, t, i: (t * 32 + i, g))
B1_K128 = (lambda g, t, i: (g if i < 32 else g + 8, t * 32 + i % 32), lambda g, t, i: (t * 32 + i, g))
B1_K256 = (
    lambda g, t, i: (g if i < 32 or 64 <= i < 96 else g + 8, t * 32 + i % 32 + (128 if i >= 64 else 0)),
    lambda g, t, i: (t * 32 + i % 32 + (128 if i >= 32 else 0), g),
)


def accumulator_place(g, t, i):
    return (g if i < 2 else g + 8, t * 2 + (i & 1))


LAYOUTS = {
    ("m16n8k8", "f16"): F16_K8,
    ("m16n8k16", "f16"): F16_K16,
    ("m16n8k8", "bf16"): F16_K8,
    ("m16n8k16", "bf16"): F16_K16,
    ("m16n8k4", "tf32"): TF32_K4,
    ("m16n8k8", "tf32"): TF32_K8,
    ("m8n8k4", "f64"): F64_M8_K4,
    ("m16n8k4", "f64"): TF32_K4,
    ("m16n8k8", "f64"): TF32_K8,
    ("m16n8k16", "f64"): F64_K16,
    ("m8n8k16", "s8"): S8_M8_K16,
    ("m16n8k16", "s8"): S8_K16,
    ("m16n8k32", "s8"): S8_K32,
    ("m8n8k32", "s4"): S4_M8_K32,
    ("m16n8k32", "s4"): S4_K32,
    ("m16n8k64", "s4"): S4_K64,
    ("m8n8k128", "b1"): B1_M8_K128,
    ("m16n8k128", "b1"): B1_K128,
    ("m16n8k256", "b1"): B1_K256,
}
BITS = {"f16": 16, "bf16": 16, "tf32": 32, "f64": 64, "f32": 32, "s32": 32, "s8": 8, "u8": 8, "s4": 4, "u4": 4, "b1": 1}


def shape_of(name):
    return tuple(int(number) for number in name[1:].replace("n", " ").replace("k", " ").split())


def fragments(bits_of_matrix, place, bits):
    """Registers of 32 (or 64) bits a lane, from the bits of each element of a matrix."""
    width = max(bits, 32)
    per_lane = bits_of_matrix.size // 32
    registers = [[0] * (per_lane * bits // width) for _ in range(32)]
    for lane in range(32):
        for i in range(per_lane):
            position = i * bits
            row, column = place(lane >> 2, lane % 4, i)
            registers[lane][position // width] |= int(bits_of_matrix[row, column]) << position % width
    return np.array(registers, f"u{width // 8}")


def matrix_of(registers, place, bits, shape):
    """The bits of each element of a matrix, from the registers of each lane."""
    width = registers.itemsize * 8
    matrix = np.zeros(shape, f"u{max(bits, 8) // 8}")
    for lane in range(32):
        for i in range(registers.shape[1] * width // bits):
            position = i * bits
            word = int(registers[lane, position // width])
            matrix[place(lane >> 2, lane % 4, i)] = word >> position % width & (1 << bits) - 1
    return matrix


def multiply(kernel, shape, modifiers, types, a, b, c, block=32):
    """D, as bits, of the instruction; A, B and C are matrices of bits. Every warp computes the same."""
    rows, columns, _ = shape_of(shape)
    d_type, a_type, b_type, c_type = types
    family = {"u8": "s8", "u4": "s4"}.get(a_type, a_type)
    place_a, place_b = LAYOUTS[shape, family]
    inputs = [
        fragments(a, place_a, BITS[a_type]),
        fragments(b, place_b, BITS[b_type]),
        fragments(c, accumulator_place, BITS[c_type]),
    ]
    wide = a_type == "f64"
    kind, size = ("z", 8) if wide else ("q", 4)
    lines = ["mov.u32 %r31, %laneid; mov.u32 %r30, %tid.x; .reg .b32 %q<64>; .reg .f64 %z<64>;"]
    names = []
    for letter, fragment in zip("abc", inputs, strict=True):
        count = fragment.shape[1]
        lines.append(f"ld.param.u64 %rd1, [{letter}]; mad.wide.u32 %rd1, %r31, {count * size}, %rd1;")
        group = [f"%{kind}{sum(map(len, names)) + i}" for i in range(count)]
        names.append(group)
        lines += [f"ld.global.b{8 * size} {name}, [%rd1+{i * size}];" for i, name in enumerate(group)]
    results = [f"%{kind}{40 + i}" for i in range(inputs[2].shape[1])]
    operands = ", ".join("{" + ", ".join(group) + "}" for group in [results, *names])
    lines.append(f"mma.sync.aligned.{shape}.row.col{modifiers} {operands};")
    lines.append(f"ld.param.u64 %rd1, [out]; mad.wide.u32 %rd1, %r30, {len(results) * size}, %rd1;")
    lines += [f"st.global.b{8 * size} [%rd1+{i * size}], {name};" for i, name in enumerate(results)]
    out = np.zeros((block, len(results)), f"u{size}")
    kernel("\n".join(lines) + "ret;", ["u64 out", "u64 a", "u64 b", "u64 c"]).launch("k", 1, block, [out, *inputs])
    for warp in range(1, block // 32):
        assert (out[32 * warp : 32 * warp + 32] == out[:32]).all()
    return matrix_of(out[:32], accumulator_place, BITS[d_type], (rows, columns))


def random_floats(rng, shape, kind):
    """Floats of a type: their bits, and their values as float64. Some are zero, subnormal or large."""
    values = rng.standard_normal(shape) * 2.0 ** rng.integers(-8, 8, shape)
    values[rng.random(shape) < 0.05] = 0
    if kind == "f16":
        values[rng.random(shape) < 0.1] *= 2.0**-20
        half = values.astype(np.float16)
        return half.view(np.uint16), half.astype(np.float64)
    if kind == "f64":
        return values.view(np.uint64), values
    single = values.astype(np.float32)
    low = {"bf16": 16, "tf32": 13, "f32": 0}[kind]
    bits = single.view(np.uint32) >> np.uint32(low) << np.uint32(low)
    exact = bits.view(np.float32).astype(np.float64)
    if kind == "bf16":
        return (bits >> np.uint32(16)).astype(np.uint16), exact
    # What is in the low bits of a tf32 counts for nothing.
    return (single.view(np.uint32) if kind == "tf32" else bits), exact


FLOAT_FORMS = [
    ("m16n8k8", "f16", "f16"),
    ("m16n8k16", "f16", "f16"),
    ("m16n8k8", "f32", "f16"),
    ("m16n8k16", "f32", "f16"),
    ("m16n8k8", "f32", "bf16"),
    ("m16n8k16", "f32", "bf16"),
    ("m16n8k4", "f32", "tf32"),
    ("m16n8k8", "f32", "tf32"),
]


@pytest.mark.parametrize(("shape", "d_type", "a_type"), FLOAT_FORMS)
def test_float_products_are_summed_and_rounded_once(kernel, shape, d_type, a_type):
    rng = np.random.default_rng(FLOAT_FORMS.index((shape, d_type, a_type)))
    rows, columns, depth = shape_of(shape)
    (a, exact_a), (b, exact_b) = (random_floats(rng, s, a_type) for s in ((rows, depth), (depth, columns)))
    c, exact_c = random_floats(rng, (rows, columns), d_type)
    d = multiply(kernel, shape, f".{d_type}.{a_type}.{a_type}.{d_type}", (d_type, a_type, a_type, d_type), a, b, c)
    result = d.view({"f16": np.float16, "f32": np.float32}[d_type]).astype(np.float64)
    precision = {"f16": 2.0**-11, "f32": 2.0**-24}[d_type]
    smallest = {"f16": 2.0**-25, "f32": 2.0**-150}[d_type]
    for row in range(rows):
        for column in range(columns):
            exact = Fraction(exact_c[row, column]) + sum(
                Fraction(exact_a[row, k]) * Fraction(exact_b[k, column]) for k in range(depth)
            )
            error = abs(Fraction(result[row, column]) - exact)
            assert error <= abs(exact) * Fraction(precision) * Fraction(1001, 1000) + Fraction(smallest)


@pytest.mark.parametrize("shape", ["m8n8k4", "m16n8k4", "m16n8k8", "m16n8k16"])
def test_doubles_are_a_chain_of_fused_multiply_adds(kernel, shape):
    rng = np.random.default_rng(5)
    rows, columns, depth = shape_of(shape)
    (a, exact_a), (b, exact_b) = (random_floats(rng, s, "f64") for s in ((rows, depth), (depth, columns)))
    c, d = random_floats(rng, (rows, columns), "f64")
    result = multiply(kernel, shape, ".f64.f64.f64.f64", ("f64",) * 4, a, b, c).view(np.float64)
    for row in range(rows):
        for column in range(columns):
            value = Fraction(d[row, column])
            for k in range(depth):
                value = Fraction(float(value + Fraction(exact_a[row, k]) * Fraction(exact_b[k, column])))
            assert result[row, column] == float(value)


INTEGER_FORMS = [
    (shape, a_type, b_type)
    for shapes, kinds in (
        (("m8n8k16", "m16n8k16", "m16n8k32"), "s8 u8"),
        (("m8n8k32", "m16n8k32", "m16n8k64"), "s4 u4"),
    )
    for shape in shapes
    for a_type in kinds.split()
    for b_type in kinds.split()
]


@pytest.mark.parametrize(("shape", "a_type", "b_type"), INTEGER_FORMS)
@pytest.mark.parametrize("satfinite", ["", ".satfinite"])
def test_integers_are_exact_and_wrap_or_saturate(kernel, shape, a_type, b_type, satfinite):
    rng = np.random.default_rng(7)
    rows, columns, depth = shape_of(shape)

    def random_integers(size, kind):
        low, high = (-(1 << BITS[kind] - 1), 1 << BITS[kind] - 1) if kind[0] == "s" else (0, 1 << BITS[kind])
        values = rng.integers(low, high, size)
        return values & (1 << BITS[kind]) - 1, values

    (a, exact_a), (b, exact_b) = random_integers((rows, depth), a_type), random_integers((depth, columns), b_type)
    exact_c = rng.integers(-(2**31), 2**31, (rows, columns))
    exact_c[:, :4] = rng.choice([2**31 - 1, -(2**31)], (rows, 4))
    kinds = ("s32", a_type, b_type, "s32")
    result = multiply(kernel, shape, f"{satfinite}.{'.'.join(kinds)}", kinds, a, b, exact_c & 0xFFFFFFFF)
    exact = exact_c + exact_a @ exact_b
    expected = np.clip(exact, -(2**31), 2**31 - 1) if satfinite else exact
    assert ((expected & 0xFFFFFFFF) == result).all()


@pytest.mark.parametrize("shape", ["m8n8k128", "m16n8k128", "m16n8k256"])
@pytest.mark.parametrize("operation", ["and", "xor"])
def test_single_bits_are_counted(kernel, shape, operation):
    rng = np.random.default_rng(9)
    rows, columns, depth = shape_of(shape)
    a, b = rng.integers(0, 2, (rows, depth)), rng.integers(0, 2, (depth, columns))
    c = rng.integers(0, 1000, (rows, columns))
    kinds = ("s32", "b1", "b1", "s32")
    result = multiply(kernel, shape, f".{'.'.join(kinds)}.{operation}.popc", kinds, a, b, c)
    combined = a[:, :, None] & b[None] if operation == "and" else a[:, :, None] ^ b[None]
    assert (result == c + combined.sum(axis=1)).all()


def test_infinities_and_nans(kernel):
    a, b, c = np.zeros((16, 8), np.float16), np.zeros((8, 8), np.float16), np.ones((16, 8), np.float32)
    a[0, 0], a[1, 1], a[2, 2], b[1, :] = np.inf, np.inf, np.nan, 1
    kinds = ("f32", "f16", "f16", "f32")
    d = multiply(kernel, "m16n8k8", ".f32.f16.f16.f32", kinds, a.view("u2"), b.view("u2"), c.view("u4"), block=96)
    assert (d[0] == 0x7FFFFFFF).all() and (d[1] == 0x7F800000).all() and (d[2] == 0x7FFFFFFF).all()
    assert (d[3:] == 0x3F800000).all()


# Matrices in shared memory


@pytest.mark.parametrize(("number", "count"), [("x1", 1), ("x2", 2), ("x4", 4)])
@pytest.mark.parametrize("trans", ["", ".trans"])
@pytest.mark.parametrize("space", [".shared", ".shared::cta", ""])
def test_ldmatrix_gives_each_lane_two_elements_of_a_row(kernel, number, count, trans, space):
    """The rows lie in shared memory in reverse order, 48 bytes apart."""
    names = ", ".join(f"%r{10 + i}" for i in range(count))
    generic = "mov.u64 %rd5, tile; cvta.shared.u64 %rd5, %rd5; cvt.u64.u32 %rd6, %r7; add.u64 %rd5, %rd5, %rd6;"
    body = f""".shared .align 16 .b8 tile[1536]; mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [a];
        mad.wide.u32 %rd3, %r1, 16, %rd2; ld.global.v2.u64 {{%rd7, %rd8}}, [%rd3];
        sub.u32 %r6, 31, %r1; mul.lo.u32 %r7, %r6, 48; mov.u32 %r8, tile; add.u32 %r8, %r8, %r7;
        st.shared.v2.u64 [%r8], {{%rd7, %rd8}}; bar.sync 0; {generic if not space else ""}
        ldmatrix.sync.aligned.m8n8.{number}{trans}{space}.b16 {{{names}}}, [{"%rd5" if not space else "%r8"}];
        mad.wide.u32 %rd4, %r1, {4 * count}, %rd1;"""
    body += " ".join(f"st.global.u32 [%rd4+{4 * i}], %r{10 + i};" for i in range(count)) + " ret;"
    matrices = np.random.default_rng(3).integers(0, 1 << 16, (4, 8, 8)).astype(np.uint16)
    out = np.zeros((32, count), np.uint32)
    kernel(body, ["u64 out", "u64 a"]).launch("k", 1, 32, [out, matrices])
    for lane in range(32):
        for i in range(count):
            matrix = matrices[i].T if trans else matrices[i]
            low, high = (int(value) for value in matrix[lane // 4, 2 * (lane % 4) : 2 * (lane % 4) + 2])
            assert out[lane, i] == low | high << 16


@pytest.mark.parametrize(("number", "count"), [("x1", 1), ("x2", 2), ("x4", 4)])
@pytest.mark.parametrize("trans", ["", ".trans"])
def test_stmatrix_is_the_reverse_of_ldmatrix(kernel, number, count, trans):
    names = ", ".join(f"%r{10 + i}" for i in range(count))
    loads = " ".join(f"ld.global.u32 %r{10 + i}, [%rd3+{4 * i}];" for i in range(count))
    body = f""".shared .align 16 .b8 tile[512]; mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [a];
        mad.wide.u32 %rd3, %r1, {4 * count}, %rd2; {loads} mov.u32 %r8, tile; mad.lo.u32 %r8, %r1, 16, %r8;
        stmatrix.sync.aligned.m8n8.{number}{trans}.shared.b16 [%r8], {{{names}}}; bar.sync 0;
        mad.wide.u32 %rd4, %r1, 16, %rd1; setp.ge.u32 %p1, %r1, {8 * count}; @%p1 ret;
        ld.shared.v4.u32 {{%r20, %r21, %r22, %r23}}, [%r8]; st.global.v4.u32 [%rd4], {{%r20, %r21, %r22, %r23}}; ret;"""
    registers = np.random.default_rng(3).integers(0, 1 << 32, (32, count)).astype(np.uint32)
    out = np.zeros((count, 8, 8), np.uint16)
    kernel(body, ["u64 out", "u64 a"]).launch("k", 1, 32, [out, registers])
    for lane in range(32):
        for i in range(count):
            matrix = out[i].T if trans else out[i]
            low, high = (int(value) for value in matrix[lane // 4, 2 * (lane % 4) : 2 * (lane % 4) + 2])
            assert registers[lane, i] == low | high << 16


def test_movmatrix_transposes_in_registers(kernel):
    body = """mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [a]; mad.wide.u32 %rd2, %r1, 4, %rd2;
        ld.global.u32 %r2, [%rd2]; movmatrix.sync.aligned.m8n8.trans.b16 %r3, %r2;
        mad.wide.u32 %rd1, %r1, 4, %rd1; st.global.u32 [%rd1], %r3; ret;"""
    matrix = np.random.default_rng(3).integers(0, 1 << 16, (2, 8, 8)).astype(np.uint16)
    out = np.zeros_like(matrix)
    kernel(body, ["u64 out", "u64 a"]).launch("k", 1, 64, [out, matrix])
    assert (out == matrix.transpose(0, 2, 1)).all()


def test_only_the_addresses_of_rows_are_used(kernel):
    """x1 reads through lanes 0 to 7: the addresses of the others may be anything, those of the rows may not."""
    body = """.shared .align 16 .b8 tile[128]; mov.u32 %r1, %tid.x; mov.u32 %r2, tile; mad.lo.u32 %r2, %r1, 16, %r2;
        {} ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r3}}, [%r2]; ret;"""
    kernel(body.format("")).launch("k", 1, 32, [np.zeros(1, np.uint32)])
    for code, message in [("add.u32 %r2, %r2, 8;", "multiple of 16"), ("add.u32 %r2, %r2, 16;", "past the end")]:
        with pytest.raises(MemoryFault, match=f"Invalid shared load of 16 bytes .*{message}"):
            kernel(body.format(code)).launch("k", 1, 32, [np.zeros(1, np.uint32)])


MMA = "mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%r1, %r2}, {%r3, %r4}, {%r5}, {%r6, %r7};"


def test_a_warp_waits_until_all_its_lanes_are_there(kernel):
    """Odd lanes take another way to the multiplication, and what they compute on it counts."""
    body = f"""mov.u32 %r10, %tid.x; and.b32 %r11, %r10, 1; setp.eq.u32 %p1, %r11, 0; mov.b32 %r3, 0x3C003C00;
        mov.b32 %r4, %r3; mov.b32 %r6, 0; mov.b32 %r7, 0; mov.b32 %r5, 0x3C003C00; @%p1 bra MEET;
        mov.b32 %r5, 0x40004000; MEET: {MMA} ld.param.u64 %rd1, [out]; mad.wide.u32 %rd1, %r10, 4, %rd1;
        st.global.u32 [%rd1], %r1; ret;"""
    out = np.zeros(64, np.uint32)
    kernel(body).launch("k", 1, 64, [out])
    # Each column of B has the rows of four lanes: two of them hold ones and two hold twos.
    assert (out.view(np.float16) == 12).all()


@pytest.mark.parametrize(("block", "leave"), [(48, ""), (64, "setp.eq.u32 %p1, %r10, 40; @%p1 ret;")])
def test_a_warp_must_be_complete(kernel, block, leave):
    with pytest.raises(
        IncompleteWarp, match=r"only \d+ threads of the warp of thread \(32, 0, 0\) of block \(0, 0, 0\)"
    ):
        kernel(f"mov.u32 %r10, %tid.x; {leave} {MMA} ret;").launch("k", 1, block, [np.zeros(1, np.uint32)])


@pytest.mark.parametrize(
    "code",
    [
        "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%f1}, {%r1}, {%r2}, {%f2};",
        "mma.sync.aligned.m16n8k16.row.row.f16.f16.f16.f16 {%r1, %r2}, {%r3, %r4}, {%r5}, {%r6, %r7};",
        "mma.sp.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r1, %r2}, {%r3, %r4}, {%r5}, {%r6, %r7}, %r8, 0;",
        "wgmma.fence.sync.aligned;",
        "@%p1 " + MMA,
    ],
)
def test_other_matrix_instructions_are_refused(kernel, code):
    with pytest.raises(UnsupportedPTX, match="softgpu does not support"):
        kernel(code + " ret;").launch("k", 1, 32, [np.zeros(1, np.uint32)])
