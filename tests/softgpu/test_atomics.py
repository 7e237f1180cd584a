"""Atomics: every operation on every type, thread after thread, against a loop in Python."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest


@pytest.fixture
def kernel(kernel):
    return partial(kernel, target="sm_90")


THREADS, CELLS = 70, 6
ARGUMENTS = ["u64 out", "u64 cells", "u64 values", "u64 expected"]


def run(kernel, instruction, size, space, cells, values, expected=None, red=False):
    """Thread t applies the instruction to cell t % CELLS, with value t. Returns the cells and what each thread got."""
    register = {2: "%w", 4: "%r", 8: "%rd"}[size]
    old, value, other = f"{register}10", f"{register}11", f"{register}12"
    destination = "" if red else f"{old}, "
    operands = f"{other}, {value}" if expected is not None else value
    place = {"global": "%rd6", "shared": "%r7", "generic": "%rd7", "generic shared": "%rd7"}[space]
    shared = "shared" in space
    code = f""".reg .b16 %w<16>; .shared .align 16 .b8 tile[256]; mov.u32 %r1, %tid.x; rem.u32 %r2, %r1, {CELLS};
        ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [cells]; ld.param.u64 %rd3, [values];
        mad.wide.u32 %rd6, %r2, {size}, %rd2; mov.u32 %r7, tile; mad.lo.u32 %r7, %r2, {size}, %r7;
        mad.wide.u32 %rd8, %r1, {size}, %rd3; ld.global.b{8 * size} {value}, [%rd8];
        ld.param.u64 %rd4, [expected]; mad.wide.u32 %rd9, %r1, {size}, %rd4; ld.global.b{8 * size} {other}, [%rd9];
        mov.b{8 * size} {register}13, 0;
        ld.global.b{8 * size} {register}14, [%rd6]; st.shared.b{8 * size} [%r7], {register}14;
        {"cvt.u64.u32 %rd7, %r7; cvta.shared.u64 %rd7, %rd7;" if shared else "mov.u64 %rd7, %rd6;"} bar.sync 0;
        {instruction} {destination}[{place}], {operands}; bar.sync 0;
        mad.wide.u32 %rd5, %r1, {size}, %rd1; st.global.b{8 * size} [%rd5], {old if not red else register + "13"};
        {f"ld.shared.b{8 * size} {value}, [%r7]; st.global.b{8 * size} [%rd6], {value};" if shared else ""} ret;"""
    kind = f"u{size}"
    cells, out = cells.view(kind).copy(), np.zeros(THREADS, kind)
    expected = values if expected is None else expected
    arguments = [out, cells, values.view(kind).copy(), expected.view(kind).copy()]
    kernel(code, ARGUMENTS).launch("k", 1, THREADS, arguments)
    return cells, out


def sequential(update, cells, *operands):
    """What a loop over the threads leaves in the cells, and what each thread finds."""
    cells, found = list(cells), []
    for thread in range(THREADS):
        found.append(cells[thread % CELLS])
        cells[thread % CELLS] = update(cells[thread % CELLS], *(operand[thread] for operand in operands))
    return cells, found


SPACES = ["global", "shared", "generic", "generic shared"]
INTEGERS = {
    "add": (lambda a, b: a + b, "u32 s32 u64"),
    "min": (min, "u32 s32 u64 s64"),
    "max": (max, "u32 s32 u64 s64"),
    "and": (lambda a, b: a & b, "b32 b64"),
    "or": (lambda a, b: a | b, "b32 b64"),
    "xor": (lambda a, b: a ^ b, "b32 b64"),
    "inc": (lambda a, b: 0 if a >= b else a + 1, "u32"),
    "dec": (lambda a, b: b if a == 0 or a > b else a - 1, "u32"),
    "exch": (lambda a, b: b, "b32 b64"),
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("operation", "kind"), [(name, kind) for name, (_, kinds) in INTEGERS.items() for kind in kinds.split()]
)
def test_integers(kernel, operation, kind, space):
    rng = np.random.default_rng(11)
    size = int(kind[1:]) // 8
    dtype = np.dtype(f"{'i' if kind[0] == 's' else 'u'}{size}")
    limits = np.iinfo(dtype)
    draw = (
        (lambda n: rng.integers(0, 5, n))
        if operation in ("inc", "dec")
        else (lambda n: rng.integers(limits.min, limits.max, n, dtype, endpoint=True))
    )
    cells, values = draw(CELLS).astype(dtype), draw(THREADS).astype(dtype)
    where = "" if "generic" in space else f".{space}"

    def wrapped(number):
        return number & (1 << 8 * size) - 1

    update = INTEGERS[operation][0]
    if operation == "add":
        expected_cells, expected_found = sequential(lambda a, b: wrapped(a + b), map(int, cells), values.tolist())
    else:
        expected_cells, expected_found = sequential(update, map(int, cells), values.tolist())
    left, found = run(kernel, f"atom{where}.{operation}.{kind}", size, space, cells, values)
    assert left.tolist() == [wrapped(value) for value in expected_cells]
    assert found.tolist() == [wrapped(value) for value in expected_found]
    if operation != "exch":
        left, _ = run(kernel, f"red{where}.{operation}.{kind}", size, space, cells, values, red=True)
        assert left.tolist() == [wrapped(value) for value in expected_cells]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", ["b16", "b32", "b64"])
def test_compare_and_swap(kernel, kind, space):
    rng = np.random.default_rng(12)
    size = int(kind[1:]) // 8
    cells, values, expected = (rng.integers(0, 3, count).astype(f"u{size}") for count in (CELLS, THREADS, THREADS))
    where = "" if "generic" in space else f".{space}"
    oracle = sequential(lambda a, b, c: c if a == b else a, cells.tolist(), expected.tolist(), values.tolist())
    left, found = run(kernel, f"atom{where}.cas.{kind}", size, space, cells, values, expected)
    assert (left.tolist(), found.tolist()) == oracle


def rounded(exact: Fraction, precision: int, smallest: int) -> Fraction:
    """The nearest number with so many bits, ties to even, that is a multiple of 2**smallest."""
    if exact == 0:
        return exact
    exponent = abs(exact).numerator.bit_length() - abs(exact).denominator.bit_length()
    exponent += abs(exact) >= Fraction(2) ** exponent
    unit = Fraction(2) ** max(exponent - precision, smallest)
    return round(exact / unit) * unit


FLOATS = {"f16": (2, 11, -24), "bf16": (2, 8, -133), "f32": (4, 24, -149), "f64": (8, 53, -1074)}


def bits_of(values, kind):
    if kind == "bf16":
        return (np.asarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return np.asarray(values, f"f{FLOATS[kind][0]}").view(f"u{FLOATS[kind][0]}")


def value_of(bits, kind):
    if kind == "bf16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    return bits.view(f"f{FLOATS[kind][0]}").astype(np.float64)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", FLOATS)
def test_floats_are_added_in_order_and_rounded_each_time(kernel, kind, space):
    rng = np.random.default_rng(13)
    size, precision, smallest = FLOATS[kind]
    values, cells = (bits_of(rng.standard_normal(n) * 2.0 ** rng.integers(-6, 6, n), kind) for n in (THREADS, CELLS))
    suffix = ".noftz" if kind in ("f16", "bf16") else ""
    where = "" if "generic" in space else f".{space}"
    exact_values, exact_cells = ([Fraction(x) for x in value_of(bits, kind)] for bits in (values, cells))
    expected = sequential(lambda a, b: rounded(a + b, precision, smallest), exact_cells, exact_values)
    left, found = run(kernel, f"atom{where}.add{suffix}.{kind}", size, space, cells, values)
    assert [Fraction(x) for x in value_of(left, kind)] == expected[0]
    assert [Fraction(x) for x in value_of(found, kind)] == expected[1]
    left, _ = run(kernel, f"red{where}.add{suffix}.{kind}", size, space, cells, values, red=True)
    assert [Fraction(x) for x in value_of(left, kind)] == expected[0]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_both_halves_are_added(kernel, kind, space):
    rng = np.random.default_rng(14)
    _, precision, smallest = FLOATS[kind]
    values, cells = (bits_of(rng.standard_normal(2 * n), kind) for n in (THREADS, CELLS))
    where = "" if "generic" in space else f".{space}"
    left, found = run(kernel, f"atom{where}.add.noftz.{kind}x2", 4, space, cells, values)
    for half in (0, 1):
        exact_values, exact_cells = ([Fraction(x) for x in value_of(b[half::2], kind)] for b in (values, cells))
        expected = sequential(lambda a, b: rounded(a + b, precision, smallest), exact_cells, exact_values)
        assert [Fraction(x) for x in value_of(left.view("u2")[half::2].copy(), kind)] == expected[0]
        assert [Fraction(x) for x in value_of(found.view("u2")[half::2].copy(), kind)] == expected[1]


@pytest.mark.parametrize("space", SPACES)
def test_only_global_memory_flushes_subnormals(kernel, space):
    """PTX ISA, `atom`: add.f32 flushes subnormal inputs and results in global memory, not in shared memory."""
    tiny = float(np.finfo(np.float32).tiny)
    cells = bits_of([tiny, -tiny, tiny / 2, -tiny / 4, 1.5 * tiny, 0.0], "f32")
    values = bits_of([-tiny / 2, tiny / 2, tiny, -tiny / 4, -tiny, tiny / 8] * 12, "f32")[:THREADS]
    values[CELLS:] = bits_of(-0.0, "f32")
    where = "" if "generic" in space else f".{space}"
    left, _ = run(kernel, f"atom{where}.add.f32", 4, space, cells, values)
    flushed = "shared" not in space
    expected = (
        [tiny, -tiny, tiny, -0.0, 0.0, 0.0]
        if flushed
        else ([tiny / 2, -tiny / 2, 1.5 * tiny, -tiny / 2, tiny / 2, tiny / 8])
    )
    assert left.tolist() == bits_of(expected, "f32").tolist()


@pytest.mark.parametrize(("kind", "nan"), [("f16", 0x7FFF), ("bf16", 0x7FFF), ("f32", 0x7FFFFFFF)])
def test_a_sum_that_is_no_number_is_the_canonical_nan(kernel, kind, nan):
    cells = bits_of([np.inf, -np.inf, np.nan, 1, np.inf, 1], kind)
    values = np.zeros(THREADS, cells.dtype)
    values[:CELLS] = bits_of([-np.inf, np.inf, 1, np.nan, 1, 1], kind)
    suffix = ".noftz" if kind != "f32" else ""
    left, _ = run(kernel, f"atom.global.add{suffix}.{kind}", FLOATS[kind][0], "global", cells, values)
    assert left[:4].tolist() == [nan] * 4 and value_of(left[4:], kind).tolist() == [np.inf, 2]


@pytest.mark.parametrize("operation", ["min", "max"])
@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_the_extremum_of_two_nans_is_the_canonical_nan(kernel, operation, kind):
    cells, value = bits_of([np.nan, np.nan, 1, np.nan], kind), bits_of([-np.nan, 2, np.nan, -np.nan], kind)
    names = "{%h0, %h1, %h2, %h3}"
    code = f"""ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [cells]; ld.global.v4.b16 {names}, [%rd1];
        red.global.{operation}.noftz.v4.{kind} [%rd2], {names}; ret;"""
    kernel(code, ARGUMENTS[:2]).launch("k", 1, 1, [value, cells])
    assert cells.tolist() == [0x7FFF, *bits_of([2, 1], kind).tolist(), 0x7FFF]


VECTORS = [
    ("add", "f32", 2),
    ("add", "f32", 4),
    *((operation, kind, size) for operation in ("add", "min", "max") for kind in ("f16", "bf16") for size in (2, 4, 8)),
]


@pytest.mark.parametrize(("operation", "kind", "size"), VECTORS)
@pytest.mark.parametrize("red", [False, True])
def test_vectors(kernel, operation, kind, size, red):
    """40 threads work on one vector; each of its elements is an atomic of its own."""
    rng = np.random.default_rng(15)
    nbytes, precision, smallest = FLOATS[kind]
    values = bits_of(rng.standard_normal(40 * size), kind).reshape(40, size)
    cells = bits_of(rng.standard_normal(size), kind)
    register = "%f" if kind == "f32" else "%w"
    names = "{" + ", ".join(f"{register}{i}" for i in range(size)) + "}"
    suffix = "" if kind == "f32" else ".noftz"
    opcode = "red" if red else "atom"
    loads = " ".join(f"ld.global.b{8 * nbytes} {register}{i}, [%rd3+{nbytes * i}];" for i in range(size))
    stores = " ".join(f"st.global.b{8 * nbytes} [%rd4+{nbytes * i}], {register}{i};" for i in range(size))
    code = f""".reg .b16 %w<16>; mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [cells];
        ld.param.u64 %rd3, [values]; mad.wide.u32 %rd3, %r1, {size * nbytes}, %rd3;
        mad.wide.u32 %rd4, %r1, {size * nbytes}, %rd1; {loads}
        {opcode}.global.{operation}{suffix}.v{size}.{kind} {"" if red else names + ","} [%rd2], {names};
        {stores} ret;"""
    found, left = np.zeros_like(values), cells.copy()
    kernel(code, ARGUMENTS[:3]).launch("k", 1, 40, [found, left, values.copy()])
    exact = {"add": lambda a, b: rounded(a + b, precision, smallest), "min": min, "max": max}[operation]
    for element in range(size):
        cell = Fraction(value_of(cells[element : element + 1], kind)[0])
        for thread, value in enumerate(value_of(values[:, element].copy(), kind)):
            if not red:
                assert Fraction(value_of(found[thread, element : element + 1], kind)[0]) == cell
            cell = exact(cell, Fraction(value))
        assert Fraction(value_of(left[element : element + 1], kind)[0]) == cell


@pytest.mark.parametrize(
    "order", ["", ".relaxed", ".acquire.gpu", ".release.sys", ".acq_rel.cta", ".relaxed.cluster", ".gpu"]
)
def test_orders_scopes_hints_and_sinks(kernel, order):
    code = f"""ld.param.u64 %rd1, [out]; createpolicy.fractional.L2::evict_last.b64 %rd2, 1.0;
        atom{order}.global.add.u32 _, [%rd1], 1; atom{order}.global.max.L2::cache_hint.s32 _, [%rd1+4], 7, %rd2; ret;"""
    out = np.zeros(2, np.uint32)
    kernel(code).launch("k", 3, 50, [out])
    assert out.tolist() == [150, 7]


def test_a_lock_made_of_compare_and_swap_and_exchange(kernel):
    """Each thread adds to an ordinary variable under a lock; threads of one warp wait for each other's turn."""
    code = """ld.param.u64 %rd1, [out];
        AGAIN: atom.acquire.gpu.global.cas.b32 %r1, [%rd1], 0, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra AGAIN;
        ld.global.u32 %r2, [%rd1+4]; add.u32 %r2, %r2, 1; st.global.u32 [%rd1+4], %r2;
        atom.release.gpu.global.exch.b32 %r3, [%rd1], 0; ret;"""
    out = np.zeros(2, np.uint32)
    kernel(code).launch("k", 2, 20, [out])
    assert out.tolist() == [0, 40]


@pytest.mark.parametrize("kind", ["f32", "u32", "s32", "f64"])
def test_many_threads_at_one_word(kernel, kind):
    """A sum over thousands of threads in their order, and the sum that each of them found."""
    size = int(kind[1:]) // 8
    code = f"""ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [cells]; ld.param.u64 %rd3, [values]; mov.u32 %r1, %tid.x;
        mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.u32 %r1, %r2, %r3, %r1;
        mad.wide.u32 %rd4, %r1, {size}, %rd1; mad.wide.u32 %rd3, %r1, {size}, %rd3; ld.global.b{8 * size} %x, [%rd3];
        atom.global.add.{kind} %y, [%rd2], %x; st.global.b{8 * size} [%rd4], %y; ret;"""
    code = f".reg .b{8 * size} %x; .reg .b{8 * size} %y;" + code
    rng = np.random.default_rng(16)
    if kind[0] == "f":
        values = rng.standard_normal(3000).astype(f"f{size}")
        # Sums of f32 that come near zero are subnormal, and count as zero.
        values[1000:1003] = -values[:1000].cumsum(dtype=values.dtype)[-1], 1e-39, 2e-38
    else:
        values = rng.integers(-(2**31), 2**31, 3000).astype("i4").view(f"{'i' if kind[0] == 's' else 'u'}4")
    expected, total = [], values.dtype.type(0)
    with np.errstate(over="ignore"):
        for value in values:
            expected.append(total)
            tiny = kind == "f32" and abs(value) < np.finfo("f4").tiny
            total = total if tiny else total + value
    out, cell = np.zeros_like(values), np.zeros(1, values.dtype)
    kernel(code, ARGUMENTS[:3]).launch("k", 30, 100, [out, cell, values])
    assert out.tolist() == expected and cell[0] == total
