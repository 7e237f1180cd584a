"""Kernels that the Mojo compiler made, for two kinds of GPU, against NumPy. Their sources are in kernels/.

Results are compared exactly where they are exact by IEEE 754 or are integers; else the tolerance is stated, and it is
that of the instructions which Mojo's functions are made of.
"""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from softgpu import Module, UnsupportedPTX, engines
from softgpu.checks import CHECKS, Severity

KERNELS = Path(__file__).parent / "kernels"
TARGETS = ("sm_80", "sm_90")
SIZES = (1, 31, 32, 33, 100, 1000)
Launch = Callable[..., None]


@cache
def module(target: str, name: str) -> Module:
    return Module((KERNELS / "ptx" / target / f"{name}.ptx").read_text())


MODES = {
    "reference": ("sm_80", {"engine": "lockstep"}),
    "fastest": ("sm_90", {}),
    "shuffled": ("sm_80", {"engine": "lockstep", "shuffle_seed": 7}),
    "checked": ("sm_80", {}),
}


@pytest.fixture(params=MODES)
def launch(request, monkeypatch) -> Launch:
    """launch(name, grid, block, *arguments): on the reference engine, on the fastest one that can run the kernel, with
    the blocks and warps in another order, and with the four checks, which must be silent but for those in `accused_by`.
    """
    target, options = MODES[request.param]
    monkeypatch.setattr(engines, "default", None)

    def run(name: str, grid, block, *args, accused_by: tuple[str, ...] = (), **more) -> None:
        checks = [check() for check in CHECKS.values()] if request.param == "checked" else []
        module(target, name).launch(name, grid, block, args, observers=checks, **options, **more)
        for check in checks:
            reports = [report for report in check.reports if report.severity > Severity.INFO]
            assert not [str(report) for report in reports if report.check not in accused_by]

    return run


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return random(seed).standard_normal(shape).astype(np.float32)


def integers(low: int, high: int, shape, dtype=np.int32, seed: int = 0) -> np.ndarray:
    return random(seed).integers(low, high, shape, dtype=dtype)


def blocks(n: int, block: int) -> int:
    return -(-n // block)


def close(actual: np.ndarray, expected: np.ndarray, relative: float, absolute: float = 0) -> None:
    np.testing.assert_allclose(actual.astype(np.float64), expected, rtol=relative, atol=absolute)


# The corpus itself


@pytest.mark.parametrize("source", sorted(KERNELS.glob("*.mojo")), ids=lambda path: path.stem)
@pytest.mark.parametrize("target", TARGETS)
def test_the_ptx_belongs_to_its_source(source, target):
    generator = runpy.run_path(str(KERNELS / "compile.py"))
    expected = generator["header"](source, f"Mojo {version('mojo-compiler')}", target)
    headers = [path.read_text().split("\n", 1)[0] + "\n" for path in (KERNELS / "ptx" / target).glob("*.ptx")]
    made_from_it = [header for header in headers if header.startswith(f"// {source.name} ")]
    launched = source.read_text().count("ctx.enqueue_function[")
    assert made_from_it == [expected] * launched, f"run python tests/softgpu/kernels/compile.py {source.name}"


# Elementwise kernels


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("block", [32, 50])
def test_vector_add(launch, n, block):
    a, b, out = floats(n), floats(n, seed=1), np.zeros(n + 5, np.float32)
    launch("vector_add", blocks(n, block), block, out, a, b, np.int32(n))
    np.testing.assert_array_equal(out[:n], a + b)
    assert not out[n:].any()


def test_vector_add_in_a_large_grid(launch):
    n = 300_001
    a, b, out = floats(n), floats(n, seed=1), np.zeros(n, np.float32)
    launch("vector_add", blocks(n, 128), 128, out, a, b, np.int32(n))
    np.testing.assert_array_equal(out, a + b)


def test_map_guard(launch):
    a, out = floats(4), np.zeros(8, np.float32)
    launch("map_guard", 1, 8, out, a, np.int32(4))
    np.testing.assert_array_equal(out, np.append(a + np.float32(10), np.zeros(4)))


@pytest.mark.parametrize("n, grid", [(1, 3), (1000, 3), (1000, 100), (40_000, 7)])
def test_grid_stride(launch, n, grid):
    """The product and the sum are one fma, rounded once."""
    a, out, factor = floats(n), floats(n, seed=1), np.float32(0.7)
    expected = (np.float64(factor) * a + out).astype(np.float32)
    launch("grid_stride", grid, 64, out, a, factor, np.int32(n))
    np.testing.assert_allclose(out, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n", [1, 33, 100])
def test_vector_add_by_four(launch, n):
    a, b, out = floats(4 * n), floats(4 * n, seed=1), np.zeros(4 * n, np.float32)
    launch("vector_add_by_four", blocks(n, 32), 32, out, a, b, np.int32(n))
    np.testing.assert_array_equal(out, a + b)


@pytest.mark.parametrize("rows, columns", [(1, 1), (8, 16), (9, 33), (50, 70)])
def test_map_2d(launch, rows, columns):
    a, out = floats(rows, columns), np.zeros((rows, columns), np.float32)
    launch("map_2d", (blocks(columns, 16), blocks(rows, 8)), (16, 8), out, a, np.int32(rows), np.int32(columns))
    np.testing.assert_array_equal(out, a * 2 + np.arange(rows, dtype=np.float32)[:, None])


def test_map_3d(launch):
    nx, ny, nz = 7, 5, 9
    out = np.zeros((nz, ny, nx), np.int32)
    launch("map_3d", (2, 2, 3), (4, 3, 4), out, np.int32(nx), np.int32(ny), np.int32(nz))
    z, y, x = np.indices((nz, ny, nx))
    np.testing.assert_array_equal(out, x + 100 * y + 10000 * z)


@pytest.mark.parametrize("n", [1, 5, 40])
def test_broadcast_add(launch, n):
    row, column, out = floats(n), floats(n, seed=1), np.zeros((n, n), np.float32)
    launch("broadcast_add", (blocks(n, 8), blocks(n, 8)), (8, 8), out, row, column, np.int32(n))
    np.testing.assert_array_equal(out, row + column[:, None])


def test_tensor_add(launch):
    a, b, out = floats(20, 30), floats(20, 30, seed=1), np.zeros((20, 30), np.float32)
    launch("tensor_add", (4, 3), (8, 8), out, a, b)
    np.testing.assert_array_equal(out, a + b)


@pytest.mark.parametrize("n", SIZES)
def test_pooling(launch, n):
    a, out = floats(n), np.zeros(n, np.float32)
    launch("pooling", blocks(n, 32), 32, out, a, np.int32(n))
    padded = np.append(np.zeros(2, np.float32), a)
    np.testing.assert_array_equal(out, padded[:-2] + padded[1:-1] + padded[2:])


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("taps", [1, 4, 32])
def test_conv1d_block_boundary(launch, n, taps):
    a, weights, out = floats(n), floats(taps, seed=1), np.zeros(n, np.float32)
    launch("conv1d_block_boundary", blocks(n, 32), 32, out, a, weights, np.int32(n), np.int32(taps))
    padded = np.append(a, np.zeros(taps)).astype(np.float64)
    expected = np.array([padded[i : i + taps] @ weights for i in range(n)])
    close(out, expected, 1e-5, 1e-5)


@pytest.mark.parametrize("rows, columns", [(1, 1), (8, 16), (9, 17), (30, 50)])
def test_stencil_2d(launch, rows, columns):
    a, out = floats(rows, columns), np.zeros((rows, columns), np.float32)
    launch("stencil_2d", (blocks(columns, 16), blocks(rows, 8)), (16, 8), out, a, np.int32(rows), np.int32(columns))
    p = np.pad(a, 1).astype(np.float64)
    expected = p[1:-1, :-2] + p[1:-1, 2:] + p[:-2, 1:-1] + p[2:, 1:-1] - 4 * p[1:-1, 1:-1]
    close(out, expected, 1e-6, 1e-5)


@pytest.mark.parametrize("rows, columns", [(1, 1), (16, 16), (17, 40), (100, 33)])
def test_transpose(launch, rows, columns):
    a, out = floats(rows, columns), np.zeros((columns, rows), np.float32)
    launch("transpose", (blocks(columns, 16), blocks(rows, 16)), (16, 16), out, a, np.int32(rows), np.int32(columns))
    np.testing.assert_array_equal(out, a.T)


def test_embedding_gather(launch):
    table, indices = floats(10, 50), np.array([3, 9, -1, 0, 10, 3, 2**31 - 1], np.int32)
    out = np.full((7, 50), np.nan, np.float32)
    launch("embedding_gather", 9, 32, out, table, indices, np.int32(7), np.int32(50), np.int32(10))
    expected = np.stack([table[i] if 0 <= i < 10 else np.zeros(50) for i in indices])
    np.testing.assert_array_equal(out, expected)


def test_bytes_to_floats(launch):
    a, out = integers(0, 256, 4 * 77, np.uint8), np.zeros(4 * 77, np.float32)
    launch("bytes_to_floats", 3, 32, out, a, np.int32(77))
    close(out, a / 255.0, 2**-23)


def test_saturating_quantise(launch):
    a = np.append(floats(95) * 3, np.float32([0.5, -0.5, 1.5, 1e9, -1e9]))
    out = np.zeros(100, np.int8)
    launch("saturating_quantise", 4, 32, out, a, np.float32(40), np.int32(100))
    np.testing.assert_array_equal(out, np.clip(np.rint(a * np.float32(40)), -128, 127).astype(np.int8))


@pytest.mark.parametrize("grid", [1, 5])
def test_bitonic_sort(launch, grid):
    keys = integers(-50, 50, (grid, 256))
    expected = np.sort(keys, axis=1)
    launch("bitonic_sort", grid, 256, keys)
    np.testing.assert_array_equal(keys, expected)


def test_local_sort(launch):
    a, out = integers(-1000, 1000, (70, 8)), np.zeros((70, 8), np.int32)
    launch("local_sort", 3, 32, out, a, np.int32(70))
    np.testing.assert_array_equal(out, np.sort(a, axis=1))


# Reductions and scans


def exact(*shape: int, seed: int = 0) -> np.ndarray:
    """Small whole numbers as float32: their sums are exact in every order."""
    return integers(-100, 100, shape, seed=seed).astype(np.float32)


@pytest.mark.parametrize("n", [1, 127, 128, 129, 5000])
def test_block_reduction(launch, n):
    a, grid = exact(n), blocks(n, 128)
    out = np.full(grid, np.nan, np.float32)
    launch("block_reduction", grid, 128, out, a, np.int32(n))
    np.testing.assert_array_equal(out, np.pad(a, (0, grid * 128 - n)).reshape(grid, 128).sum(1))


@pytest.mark.parametrize("n, grid", [(1, 1), (1000, 3), (10_000, 20)])
def test_dot_product(launch, n, grid):
    a, b, out = exact(n), integers(-5, 5, n, seed=1).astype(np.float32), np.zeros(1, np.float32)
    launch("dot_product", grid, 128, out, a, b, np.int32(n))
    assert out[0] == a @ b


@pytest.mark.parametrize("columns", [1, 128, 200])
def test_axis_sum(launch, columns):
    a, out = exact(7, columns), np.zeros(7, np.float32)
    launch("axis_sum", 7, 128, out, a, np.int32(columns))
    np.testing.assert_array_equal(out, a.sum(1))


def test_block_primitives(launch):
    a, out = exact(3, 128), np.zeros((3, 5, 128), np.float32)
    # Mojo's block.prefix_sum reads the sums of 32 warps, also of those that the block does not have, and drops them.
    launch("block_primitives", 3, 128, out, a, accused_by=("initcheck",))
    sums = np.cumsum(a, 1)
    # The maximum and the minimum of a block are given to its first warp alone.
    np.testing.assert_array_equal(out[:, 0, 0], a.max(1))
    np.testing.assert_array_equal(out[:, 1, 0], a.min(1))
    np.testing.assert_array_equal(out[:, 2], sums)
    np.testing.assert_array_equal(out[:, 3], sums - a)
    np.testing.assert_array_equal(out[:, 4], np.broadcast_to(a[:, 3:4], (3, 128)))


def test_warp_primitives(launch):
    a, out = exact(6, 32), np.zeros((6, 10, 32), np.float32)
    launch("warp_primitives", 3, 64, out, a)
    lane, sums = np.arange(32), np.cumsum(a, 1)
    expected = [
        np.broadcast_to(a.sum(1)[:, None], a.shape),
        np.broadcast_to(a.max(1)[:, None], a.shape),
        np.broadcast_to(a.min(1)[:, None], a.shape),
        sums,
        sums - a,
        np.broadcast_to(a[:, :1], a.shape),
        a[:, np.where(lane + 3 < 32, lane + 3, lane)],
        a[:, np.where(lane >= 2, lane - 2, lane)],
        a[:, lane ^ 5],
        a[:, lane * 7 % 32],
    ]
    for row, values in enumerate(expected):
        np.testing.assert_array_equal(out[:, row], values, err_msg=f"row {row}")


def test_warp_integers(launch):
    a, out = integers(-(10**6), 10**6, (4, 32)), np.zeros((4, 6, 32), np.int32)
    launch("warp_integers", 2, 64, out, a)
    votes = ((a > 0) << np.arange(32, dtype=np.int64)).sum(1).astype(np.uint32).view(np.int32)
    expected = [a.sum(1)[:, None], a.max(1)[:, None], a.min(1)[:, None], np.cumsum(a, 1), votes[:, None]]
    for row, values in enumerate([*expected, a[:, np.arange(32) ^ 1]]):
        np.testing.assert_array_equal(out[:, row], np.broadcast_to(values, a.shape), err_msg=f"row {row}")


def test_warp_halves(launch):
    a = integers(-20, 20, (2, 32, 2)).astype(np.float16)
    out = np.zeros((2, 2, 32, 2), np.float16)
    launch("warp_halves", 2, 32, out, a)
    np.testing.assert_array_equal(out[0], a[:, [*range(1, 32), 31]])
    np.testing.assert_array_equal(out[1, :, :, 0], np.broadcast_to(a[:, :, 0].sum(1)[:, None], (2, 32)))
    np.testing.assert_array_equal(out[1, :, :, 1], np.broadcast_to(a[:, :, 1].max(1)[:, None], (2, 32)))


def test_warp_longs(launch):
    a, out = integers(-(2**61), 2**61, (4, 32), np.int64), np.zeros((2, 4, 32), np.int64)
    launch("warp_longs", 2, 64, out, a)
    np.testing.assert_array_equal(out[0], np.broadcast_to(a.sum(1)[:, None], a.shape))
    np.testing.assert_array_equal(out[1], a[:, ::-1])


def test_lane_group_sums(launch):
    a, out = exact(64), np.zeros(64, np.float32)
    launch("lane_group_sums", 1, 64, out, a)
    np.testing.assert_array_equal(out, np.repeat(a.reshape(8, 8).sum(1), 8))


def test_warp_synchronous(launch):
    a, out = integers(-99, 99, (2, 4, 32)), np.zeros((2, 4, 32), np.int32)
    launch("warp_synchronous", 2, 128, out, a)
    tile, total = a.copy(), np.zeros_like(a)
    for step in range(5):
        value = tile[..., (np.arange(32) + (1 << step)) % 32]
        total = total * 3 + value
        tile = value + 1
    np.testing.assert_array_equal(out, total)


@pytest.mark.parametrize("n", [1, 128, 129, 1000])
def test_hillis_steele_scan(launch, n):
    a, out, grid = exact(n), np.zeros(n, np.float32), blocks(n, 128)
    launch("hillis_steele_scan", grid, 128, out, a, np.int32(n))
    padded = np.pad(a, (0, grid * 128 - n)).reshape(grid, 128)
    np.testing.assert_array_equal(out, np.cumsum(padded, 1).ravel()[:n])


@pytest.mark.parametrize("n", [1, 256, 257, 1000])
def test_blelloch_scan(launch, n):
    a, out, grid = integers(-(2**31), 2**31, n, np.int64).astype(np.int32), np.zeros(n, np.int32), blocks(n, 256)
    totals = np.zeros(grid, np.int32)
    launch("blelloch_scan", grid, 128, out, totals, a, np.int32(n))
    padded = np.pad(a, (0, grid * 256 - n)).reshape(grid, 256)
    sums = np.cumsum(padded, 1, dtype=np.int32)
    np.testing.assert_array_equal(out, (sums - padded).ravel()[:n])
    np.testing.assert_array_equal(totals, sums[:, -1])


@pytest.mark.parametrize("n, grid", [(0, 1), (1000, 3), (50_000, 20)])
def test_histogram(launch, n, grid):
    a, out = integers(0, 256, max(n, 1), np.uint8), np.zeros(64, np.int32)
    launch("histogram", grid, 128, out, a, np.int32(n))
    np.testing.assert_array_equal(out, np.bincount(a[:n] & 63, minlength=64))


@pytest.mark.parametrize("columns", [1, 100, 1000])
def test_argmax(launch, columns):
    a = exact(9, columns)
    best, where = np.zeros(9, np.float32), np.zeros(9, np.int32)
    launch("argmax", 9, 128, best, where, a, np.int32(columns))
    np.testing.assert_array_equal(best, a.max(1))
    np.testing.assert_array_equal(where, a.argmax(1))


@pytest.mark.parametrize("columns", [1, 128, 300])
def test_online_softmax(launch, columns):
    a, out = floats(5, columns) * 10, np.zeros((5, columns), np.float32)
    launch("online_softmax", 5, 128, out, a, np.int32(columns))
    e = np.exp(a.astype(np.float64) - a.max(1, keepdims=True))
    close(out, e / e.sum(1, keepdims=True), 1e-5, 1e-30)


@pytest.mark.parametrize("columns", [1, 32, 100])
def test_layer_norm(launch, columns):
    a, gamma, beta = floats(8, columns), floats(columns, seed=1), floats(columns, seed=2)
    out = np.zeros((8, columns), np.float32)
    launch("layer_norm", 4, 64, out, a, gamma, beta, np.int32(columns), np.float32(1e-5))
    x = a.astype(np.float64)
    expected = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * gamma + beta
    close(out, expected, 1e-5, 1e-5)


# Matrices

SHAPES = [(1, 1, 1), (16, 16, 16), (17, 33, 5), (40, 50, 60)]


@pytest.mark.parametrize("m, n, k", SHAPES)
@pytest.mark.parametrize(
    "name, tile, block",
    [
        ("matmul_naive", 16, (16, 16)),
        ("matmul_tiled", 16, (16, 16)),
        ("matmul_register_tiled", 32, 64),
        ("matmul_double_buffered", 16, (16, 16)),
    ],
)
def test_matmul(launch, name, tile, block, m, n, k):
    a, b, c = floats(m, k), floats(k, n, seed=1), np.full((m, n), np.nan, np.float32)
    launch(name, (blocks(n, tile), blocks(m, tile)), block, c, a, b, np.int32(m), np.int32(n), np.int32(k))
    close(c, a.astype(np.float64) @ b, 1e-5, 1e-5)


@pytest.mark.parametrize("length", [1, 32, 77])
def test_attention(launch, length):
    q, k, v = (floats(length, 32, seed=seed) for seed in range(3))
    out = np.zeros((length, 32), np.float32)
    launch("attention", length, 32, out, q, k, v, np.int32(length))
    scores = q.astype(np.float64) @ k.T / math.sqrt(32)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    close(out, weights / weights.sum(1, keepdims=True) @ v, 1e-4, 1e-5)


@pytest.mark.parametrize("n", [256, 512, 1000])
def test_copy_by_16(launch, n):
    """Threads whose neighbour has nothing to copy write nothing."""
    a, out = floats(n), np.zeros(n, np.float32)
    launch("copy_by_16", blocks(n, 256), 64, out, a, np.int32(n))
    np.testing.assert_array_equal(out, a * 2)


@pytest.mark.parametrize("tiles", [1, 2, 7])
def test_stream_with_groups(launch, tiles):
    a, out = exact(tiles, 64), np.zeros(64, np.float32)
    launch("stream_with_groups", 1, 64, out, a, np.int32(tiles))
    expected = np.zeros(64, np.float32)
    for tile in a:
        expected = expected * np.float32(0.5) + np.roll(tile, -1)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", ["mma_f16", "mma_ldmatrix"])
def test_mma_f16(launch, name):
    a, b = integers(-30, 30, (16, 16)).astype(np.float16), integers(-30, 30, (16, 8), seed=1).astype(np.float16)
    c = np.zeros((16, 8), np.float32)
    launch(name, 1, 32, c, a, b)
    np.testing.assert_array_equal(c, a.astype(np.float32) @ b.astype(np.float32))


def bfloat16(values: np.ndarray) -> np.ndarray:
    """The bits of float32 values as bfloat16, rounded to nearest even."""
    u = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((u + 0x7FFF + (u >> 16 & 1)) >> 16).astype(np.uint16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def test_mma_bf16(launch):
    a, b = exact(16, 8), exact(8, 8, seed=1)
    c = np.zeros((16, 8), np.float32)
    launch("mma_bf16", 1, 32, c, bfloat16(a), bfloat16(b))
    np.testing.assert_array_equal(c, a @ b)


def test_mma_tf32(launch):
    a, b = exact(16, 8), exact(8, 8, seed=1)
    c = np.zeros((16, 8), np.float32)
    launch("mma_tf32", 1, 32, c, a, b)
    np.testing.assert_array_equal(c, a @ b)


# Arithmetic


def test_float_functions(launch):
    """Tolerances from the PTX ISA for the approximate instructions, plus roundings in Mojo's formulas."""
    n = 1000
    x = np.append(random().uniform(-3.1, 3.1, n - 3), [0.0, 1.0, -1.0]).astype(np.float32)
    out = np.zeros((17, n), np.float32)
    launch("float_functions", blocks(n, 128), 128, out, x, np.int32(n))
    wide = x.astype(np.float64)
    positive = (np.abs(x) + np.float32(0.25)).astype(np.float64)
    close(out[0], np.exp(wide), 2e-6)
    close(out[1], np.log(positive), 2e-7, 2**-21)
    close(out[2], np.sin(wide), 0, 2**-20.5)
    close(out[3], np.cos(wide), 0, 2**-20.5)
    close(out[4], np.tanh(wide), 2**-10.9)
    close(out[5], np.sqrt(positive), 2**-22)
    close(out[6], 1 / np.sqrt(positive), 2**-22)
    close(out[7], [math.erf(value) for value in wide], 1e-6, 1e-7)
    close(out[8], np.exp2(wide), 2**-22)
    close(out[9], np.log2(positive), 2e-7, 2**-21)
    np.testing.assert_array_equal(out[10], np.floor(x))
    np.testing.assert_array_equal(out[11], np.ceil(x))
    np.testing.assert_array_equal(out[12], np.trunc(x))
    np.testing.assert_array_equal(out[13], np.rint(x))
    close(out[14], np.log1p(positive), 1e-6)
    close(out[15], np.expm1(wide), 4e-6, 1e-7)
    close(out[16], 1 / positive, 2**-22)


def test_float_powers(launch):
    n = 500
    x = random().uniform(-4, 4, n).astype(np.float32)
    y = (random(1).uniform(0.5, 4, n) * random(2).choice([-1, 1], n)).astype(np.float32)
    out = np.zeros((12, n), np.float32)
    launch("float_powers", blocks(n, 64), 64, out, x, y, np.int32(n))
    a, b = x.astype(np.float64), y.astype(np.float64)
    close(out[0], (np.abs(x) + np.float32(0.25)).astype(np.float64) ** b, 1e-5)
    close(out[1], a**3, 2e-7)
    close(out[2], np.arctan2(a, b), 1e-6)
    close(out[3], np.hypot(a, b), 2e-7)
    np.testing.assert_array_equal(out[4], np.copysign(x, y))
    np.testing.assert_array_equal(out[5], (a * b + np.float64(np.float32(0.1))).astype(np.float32))
    np.testing.assert_array_equal(out[7], np.floor(x / y))
    close(out[6], a - np.floor(x / y) * b, 0, 1e-6)
    close(out[8], np.cbrt(a), 1e-5)
    np.testing.assert_array_equal(out[9], x / y)
    np.testing.assert_array_equal(out[10], np.minimum(x, y))
    np.testing.assert_array_equal(out[11], np.maximum(x, y))


def test_double_functions(launch):
    n = 300
    x = random().uniform(-20, 20, n)
    out = np.zeros((7, n))
    launch("double_functions", blocks(n, 64), 64, out, x, np.int32(n))
    # Mojo's exp subtracts multiples of a log 2 that is short of 2.8e-13 of itself.
    close(out[0], np.exp(x), 29 * 2.9e-13)
    np.testing.assert_array_equal(out[1], np.sqrt(np.abs(x)))
    np.testing.assert_array_equal(out[2], 1 / x)
    close(out[3], x * x + x, 1e-13)
    np.testing.assert_array_equal(out[4], np.floor(x))
    np.testing.assert_array_equal(out[5], x - np.trunc(x))
    np.testing.assert_array_equal(out[6], x.astype(np.float32))


def small_floats(n: int, seed: int) -> np.ndarray:
    """Values of both signs that float16 and bfloat16 hold exactly, with a NaN among them."""
    values = integers(-127, 128, n, np.int64, seed) * 2.0 ** integers(-4, 4, n, np.int64, seed + 10)
    values[7 + seed] = np.nan
    return values


def binary_results(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        return [x + y, x - y, x * y, x / y, np.fmin(x, y), np.fmax(x, y), x * y + x, -np.abs(x)]


def test_half_arithmetic(launch):
    n = 100
    x, y = small_floats(2 * n, 0), small_floats(2 * n, 1)
    y[y == 0] = 1
    out = np.zeros((8, 2 * n), np.float16)
    launch("half_arithmetic", 4, 32, out, x.astype(np.float16), y.astype(np.float16), np.int32(n))
    for row, expected in enumerate(binary_results(x, y)):
        with np.errstate(over="ignore"):
            rounded = expected.astype(np.float16)
        np.testing.assert_array_equal(out[row], rounded, err_msg=f"row {row}")


def bfloat16_of_double(values: np.ndarray) -> np.ndarray:
    """float64 rounded once to bfloat16, nearest even, as float32; for normal numbers and NaN."""
    bits = values.view(np.uint64)
    rounded = (bits + np.uint64(0xFFFFFFFFFFF) + (bits >> np.uint64(45) & np.uint64(1))) & ~np.uint64(0x1FFFFFFFFFFF)
    return np.where(np.isnan(values), values, rounded.view(np.float64)).astype(np.float32)


def test_bfloat_arithmetic(launch):
    n = 100
    x, y = small_floats(2 * n, 0), small_floats(2 * n, 1)
    y[y == 0] = 1
    out = np.zeros((8, 2 * n), np.uint16)
    launch("bfloat_arithmetic", 4, 32, out, bfloat16(x), bfloat16(y), np.int32(n))
    for row, expected in enumerate(binary_results(x, y)):
        np.testing.assert_array_equal(from_bfloat16(out[row]), bfloat16_of_double(expected), err_msg=f"row {row}")


def test_half_functions(launch):
    n = 200
    x = random().uniform(-3, 3, n).astype(np.float16)
    out = np.zeros((7, n), np.float16)
    launch("half_functions", blocks(n, 64), 64, out, x, np.int32(n))
    wide = x.astype(np.float64)
    positive = (np.abs(x) + np.float16(0.25)).astype(np.float64)
    # ex2.approx.f16 takes a product that is already rounded to float16: 3 * log2(e) has an error of up to 2^-9.
    close(out[0], np.exp(wide), 2**-8.5)
    close(out[1], np.tanh(wide), 2**-10)
    close(out[2], np.sqrt(positive), 2**-10.9)
    close(out[3], 1 / np.sqrt(positive), 2**-10.9)
    close(out[4], np.log(positive), 2**-10.9, 2**-20)
    close(out[5], np.sin(wide), 2**-10.9, 2**-20)
    np.testing.assert_array_equal(out[6], (wide * wide).astype(np.float16))


def test_mixed_axpy(launch):
    n = 40
    x, y = integers(-50, 50, 8 * n).astype(np.float16), integers(-50, 50, 8 * n, seed=1).astype(np.float32)
    out = np.zeros(8 * n, np.uint16)
    launch("mixed_axpy", 2, 32, out, x, y, np.int32(n))
    np.testing.assert_array_equal(out, bfloat16(x.astype(np.float32) * np.float32(1.5) + y))


def test_conversions(launch):
    n = 200
    a = random().uniform(-127.9, 127.9, n).astype(np.float32)
    b = integers(-(2**63), 2**63 - 1, n, np.int64)
    to_ints, to_floats, to_halves = np.zeros((6, n), np.int64), np.zeros((2, n), np.float32), np.zeros(n, np.float16)
    launch("conversions", 4, 64, to_ints, to_floats, to_halves, a, b, np.int32(n))
    factors = (1, 1, 100, 1e6, 1e7, 1e15)
    for row, (factor, signed) in enumerate(zip(factors, (True, False, True, True, False, True), strict=True)):
        scaled = (a if signed else np.abs(a)) * np.float32(factor)
        np.testing.assert_array_equal(to_ints[row], scaled.astype(np.int64), err_msg=f"row {row}")
    np.testing.assert_array_equal(to_floats[0], b.astype(np.float32))
    np.testing.assert_array_equal(to_floats[1], b.view(np.uint64).astype(np.float32))
    np.testing.assert_array_equal(to_halves, (b >> 48).astype(np.float16))


def divisors(n: int, low: int, high: int, dtype) -> np.ndarray:
    values = integers(low, high, n, dtype, 1)
    values[: n // 2] >>= np.dtype(dtype).type(np.dtype(dtype).itemsize * 6)
    values[values == 0] = 3
    return values


def test_int_division(launch):
    n = 300
    a, b = integers(-(2**31), 2**31 - 1, n), divisors(n, -(2**31), 2**31 - 1, np.int32)
    a[0], b[0] = -(2**31), 7
    out = np.zeros((10, n), np.int32)
    launch("int_division", blocks(n, 64), 64, out, a, b, np.int32(n))
    x, y = a.astype(np.int64), b.astype(np.int64)
    expected = [
        x // y,
        x % y,
        -(-x // y),
        x // 7,
        x % 10,
        x // 16,
        x * y,
        np.abs(x),
        np.minimum(x, y),
        np.maximum(x, y),
    ]
    for row, values in enumerate(expected):
        np.testing.assert_array_equal(out[row], values.astype(np.int32), err_msg=f"row {row}")


def test_uint_division(launch):
    n = 300
    a, b = integers(0, 2**32 - 1, n, np.uint32), divisors(n, 0, 2**32 - 1, np.uint32)
    out = np.zeros((5, n), np.uint32)
    launch("uint_division", blocks(n, 64), 64, out, a, b, np.int32(n))
    high = (a.astype(np.uint64) * b.astype(np.uint64)) >> np.uint64(32)
    for row, values in enumerate([a // b, a % b, a // 10, a % 1000003, high]):
        np.testing.assert_array_equal(out[row], values, err_msg=f"row {row}")


def test_long_arithmetic(launch):
    n = 300
    a, b = integers(-(2**63), 2**63 - 1, n, np.int64), divisors(n, -(2**63), 2**63 - 1, np.int64)
    out = np.zeros((9, n), np.int64)
    launch("long_arithmetic", blocks(n, 64), 64, out, a, b, np.int32(n))
    shift = b & 63
    with np.errstate(over="ignore"):
        expected = [a + b, a * b, a // b, a % b, a >> shift, a << shift, a ^ b, a // 1000, np.minimum(a, b)]
    for row, values in enumerate(expected):
        np.testing.assert_array_equal(out[row], values, err_msg=f"row {row}")


def test_ulong_arithmetic(launch):
    n = 200
    a, b = integers(0, 2**64 - 1, n, np.uint64), divisors(n, 0, 2**64 - 1, np.uint64)
    out = np.zeros((4, n), np.uint64)
    launch("ulong_arithmetic", blocks(n, 64), 64, out, a, b, np.int32(n))
    np.testing.assert_array_equal(out[0], a // b)
    np.testing.assert_array_equal(out[1], a % b)
    assert out[2].tolist() == [x * y >> 64 for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert out[3].tolist() == [(x << 13 | x >> 51) & (2**64 - 1) for x in a.tolist()]


def test_bits(launch):
    n = 200
    a = integers(0, 2**32 - 1, n, np.uint32)
    a[:3] = 0, 1, 2**32 - 1
    out = np.zeros((9, n), np.uint32)
    launch("bits", blocks(n, 64), 64, out, a, np.int32(n))
    for i, x in enumerate(a.tolist()):
        text = f"{x:032b}"
        expected = [
            text.count("1"),
            32 - len(text.lstrip("0")),
            32 - len(text.rstrip("0")),
            int(text[::-1], 2),
            int.from_bytes(x.to_bytes(4, "little"), "big"),
            (x << 7 | x >> 25) & (2**32 - 1),
            x >> 11 & 0x1FF,
            text.count("1") % 2,
            x & 0xF0F0F0F0 | ~x & 0x0F0F0F0F,
        ]
        assert out[:, i].tolist() == expected


def test_small_integers(launch):
    n = 70
    a, out = integers(-128, 128, (n, 4), np.int16).astype(np.int8), np.zeros((5, n, 4), np.int8)
    launch("small_integers", blocks(n, 32), 32, out, a, np.int32(n))
    with np.errstate(over="ignore"):
        expected = [a + a[:, ::-1], a * a[:, ::-1], a // 3, a >> 1, np.maximum(a, 0)]
    for row, values in enumerate(expected):
        np.testing.assert_array_equal(out[row], values, err_msg=f"row {row}")


def test_shorts(launch):
    n = 100
    a, out = integers(0, 2**16, n, np.uint32).astype(np.uint16), np.zeros((4, n), np.uint16)
    launch("shorts", blocks(n, 32), 32, out, a, np.int32(n))
    for row, values in enumerate([a * a + 1, a // 10, a >> 3, ~a]):
        np.testing.assert_array_equal(out[row], values.astype(np.uint16), err_msg=f"row {row}")


def test_fast_inverse_root(launch):
    a, out = np.abs(floats(100)) + np.float32(0.01), np.zeros(100, np.float32)
    launch("fast_inverse_root", 4, 32, out, a, np.int32(100))
    close(out, 1 / np.sqrt(a.astype(np.float64)), 5e-6)


def philox(seed: int, subsequence: int, offset: int) -> list[int]:
    """Philox 4x32 with ten rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011)."""
    mask = 2**32 - 1
    counter = [offset & mask, offset >> 32, subsequence & mask, subsequence >> 32]
    key = [seed & mask, seed >> 32]
    for _ in range(10):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [second >> 32 ^ counter[1] ^ key[0], second & mask, first >> 32 ^ counter[3] ^ key[1], first & mask]
        key = [key[0] + 0x9E3779B9 & mask, key[1] + 0xBB67AE85 & mask]
    return counter


def test_random_numbers(launch):
    n, seed = 50, 0x123456789ABCDEF
    out, uniform = np.zeros((n, 4), np.uint32), np.zeros((n, 4), np.float32)
    launch("random_numbers", 2, 32, out, uniform, np.uint64(seed), np.int32(n))
    assert out.tolist() == [philox(seed, i, 0) for i in range(n)]
    second = np.array([philox(seed, i, 1) for i in range(n)])
    close(uniform, (second & 0x7FFFFFFF) / 2.0**31, 1e-6)


def test_mandelbrot(launch):
    width, height, limit = 60, 40, 50
    out = np.zeros((height, width), np.int32)
    launch("mandelbrot", 20, 128, out, np.int32(width), np.int32(height), np.int32(limit))
    i, j = np.indices((height, width))
    c = j * 3.0 / width - 2 + 1j * (i * 2.0 / height - 1)
    z, count, inside = np.zeros_like(c), np.zeros(c.shape, int), np.ones(c.shape, bool)
    for _ in range(limit):
        inside &= np.abs(z) ** 2 <= 4
        count[inside] += 1
        z[inside] = z[inside] ** 2 + c[inside]
    # A point at the edge may escape a step earlier or later, for fma rounds once.
    assert (out == count).mean() > 0.99


def test_collatz(launch):
    n = 300
    out = np.zeros(n, np.int32)
    launch("collatz", blocks(n, 64), 64, out, np.int32(n))

    def steps(x: int) -> int:
        return 0 if x == 1 else 1 + steps(x // 2 if x % 2 == 0 else 3 * x + 1)

    assert out.tolist() == [steps(i + 1) for i in range(n)]


# Control flow and co-operation


def test_device_functions(launch):
    n = 200
    a, degrees, out = floats(n), integers(0, 8, n), np.zeros(n, np.float32)
    launch("device_functions", blocks(n, 64), 64, out, a, degrees, np.int32(n))
    x = a.astype(np.float64)
    positive = [sum(v**p for p in range(d + 1)) for v, d in zip(x, degrees, strict=True)]
    close(out, np.where(a > 0, positive, 1 - x + x * x + 1), 1e-6)


def test_bubble_sort_by_calls(launch):
    n = 100
    data, swaps = integers(0, 6, (n, 4)), np.zeros(n, np.int32)
    before = data.copy()
    launch("bubble_sort_by_calls", 4, 32, data, swaps, np.int32(n))
    np.testing.assert_array_equal(data, np.sort(before, axis=1))
    inversions = [sum(row[i] > row[j] for i in range(4) for j in range(i + 1, 4)) for row in before]
    np.testing.assert_array_equal(swaps, inversions)


def test_recursive_gcd(launch):
    a, b, out = integers(1, 10**6, 100), integers(1, 10**6, 100, seed=1), np.zeros(100, np.int32)
    launch("recursive_gcd", 4, 32, out, a, b, np.int32(100))
    np.testing.assert_array_equal(out, np.gcd(a, b))


def interpreted(thread: int, program: int, x: int) -> int:
    while program:
        match program & 7:
            case 0:
                x += 1
            case 1:
                x *= 3
            case 2:
                x ^= 0x55
            case 3:
                x = -x
            case 4:
                x >>= 1
            case 5:
                x += thread
            case 6:
                x = x if x > 100 else x + 100
            case 7:
                break
        program >>= 3
    return x


def test_interpreter(launch):
    codes, a, out = integers(0, 2**24, 200), integers(-1000, 1000, 200, seed=1), np.zeros(200, np.int32)
    launch("interpreter", 4, 64, out, codes, a, np.int32(200))
    expected = [interpreted(i, code, x) for i, (code, x) in enumerate(zip(codes.tolist(), a.tolist(), strict=True))]
    assert out.tolist() == expected


def test_nested_loops(launch):
    n = 60
    out = np.zeros(n, np.int32)
    launch("nested_loops", 2, 32, out, np.int32(n))
    assert out.tolist() == [sum(j * k == i - 1 for j in range(1, i) for k in range(j, i)) for i in range(n)]


@pytest.mark.parametrize("n", [1, 33, 64, 131])
def test_early_returns(launch, n):
    a, out = integers(-5, 20, n), np.zeros(n, np.int32)
    launch("early_returns", blocks(n, 64), 64, out, a, np.int32(n), accused_by=("synccheck",))
    expected = [-1 if a[i] < 0 else -2 if i ^ 1 >= n else a[i ^ 1] for i in range(n)]
    assert out.tolist() == expected


def test_binary_search(launch):
    keys, wanted, out = np.sort(integers(0, 500, 100)), integers(-5, 505, 200, seed=1), np.zeros(200, np.int32)
    launch("binary_search", 4, 64, out, keys, wanted, np.int32(100), np.int32(200))
    np.testing.assert_array_equal(out, np.searchsorted(keys, wanted))


@pytest.mark.parametrize("block", [1, 40, 256])
def test_dynamic_shared(launch, block):
    a, out = floats(3, block), np.zeros((3, block), np.float32)
    launch("dynamic_shared", 3, block, out, a, shared_bytes=4 * block)
    np.testing.assert_array_equal(out, a[:, ::-1])


def test_lookup_table(launch):
    a, out = integers(-1000, 1000, 100), np.zeros(100, np.int32)
    launch("lookup_table", 2, 64, out, a, np.int32(100))
    np.testing.assert_array_equal(out, np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3])[a & 15])


def test_atomics(launch):
    n = 500
    a, out = integers(-1000, 1000, n), np.zeros(5, np.int32)
    launch("atomics", blocks(n, 128), 128, out, a, np.int32(n))
    assert out.tolist() == [a.sum(), a.max(), a.min(), n, (a * a).sum()]


@pytest.mark.parametrize("sign", [1, -1])
def test_float_atomics(launch, sign):
    n = 300
    a = sign * np.abs(exact(n)) - 1
    out, wide = np.array([0, -(2.0**40)], np.float32), np.zeros(1)
    launch("float_atomics", blocks(n, 128), 128, out, wide, a, np.int32(n))
    assert (out[0], out[1], wide[0]) == (a.sum(), a.max(), a.sum())


@pytest.mark.parametrize("n", [1, 64, 1000])
def test_last_block_sums(launch, n):
    a, grid = exact(n), blocks(n, 64)
    out, partial, counter = np.zeros(1, np.float32), np.zeros(grid, np.float32), np.zeros(1, np.int32)
    launch("last_block_sums", grid, 64, out, partial, counter, a, np.int32(n))
    assert out[0] == a.sum() and counter[0] == grid


def test_spin_lock(launch):
    lock, data = np.zeros(1, np.int32), np.zeros(2, np.int32)
    launch("spin_lock", 6, 64, lock, data)
    assert (lock[0], data[0]) == (0, 6)
    digits = np.base_repr(data[1], 3).zfill(6)
    assert sorted(digits) == list("000111")


def test_semaphore_chain(launch):
    out, lock = np.zeros(1, np.int32), np.zeros(1, np.int32)
    launch("semaphore_chain", 7, 64, out, lock)
    assert (out[0], lock[0]) == (1234567, 7)


def test_producer_consumer(launch):
    a, out = integers(0, 100, (3, 64)), np.zeros((3, 64), np.int32)
    launch("producer_consumer", 3, 128, out, a)
    np.testing.assert_array_equal(out, 2 * a[:, ::-1])


def test_printing(launch, capfd):
    a, out = np.array([41], np.int32), np.zeros(64, np.int32)
    launch("printing", 2, 32, out, a)
    assert (out == 42).all()
    assert sorted(capfd.readouterr().out.splitlines()) == ["block 0 has 41", "block 1 has 41"]


def test_asserting(launch):
    a, out = integers(0, 100, 50), np.zeros(50, np.int32)
    launch("asserting", 2, 32, out, a, np.int32(50))
    np.testing.assert_array_equal(out, 2 * a)


# What single generations of GPUs brought


def test_recursion_is_refused_by_name(launch):
    with pytest.raises(UnsupportedPTX, match=r"recursion: .*fibonacci.* calls .*fibonacci"):
        launch("recursion", 1, 32, np.zeros(32, np.int32), np.int32(32))


def test_several_results(launch):
    a, out = exact(50, 4), np.zeros((3, 50), np.float32)
    launch("several_results", 2, 32, out, a, np.int32(50))
    np.testing.assert_array_equal(out, [a.sum(1), a.max(1), (a < 0).sum(1)])


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_mbarrier_phases(launch, rounds):
    a, out = integers(0, 100, (2, 64)), np.zeros((2, 64), np.int32)
    launch("mbarrier_phases", 2, 64, out, a, np.int32(rounds))
    np.testing.assert_array_equal(out, np.roll(a, -rounds, 1) + rounds)


def test_mbarrier_copies(launch):
    a, out = floats(2, 64), np.zeros((2, 64), np.float32)
    launch("mbarrier_copies", 2, 64, out, a)
    np.testing.assert_array_equal(out, a[:, ::-1])


def test_cache_control(launch):
    a, out = floats(70), np.zeros(70, np.float32)
    launch("cache_control", 3, 32, out, a, np.int32(70))
    np.testing.assert_array_equal(out, a + a + a)


def test_acquire_release(launch):
    out, flags = np.zeros(9, np.int32), np.zeros(9, np.int32)
    launch("acquire_release", 9, 32, out, flags)
    np.testing.assert_array_equal(out, np.cumsum(np.arange(9)))


def test_mma_f16_accumulate_f16(launch):
    a, b = integers(-9, 9, (16, 8)).astype(np.float16), integers(-9, 9, (8, 8), seed=1).astype(np.float16)
    c = np.zeros((16, 8), np.float16)
    launch("mma_f16_accumulate_f16", 1, 32, c, a, b)
    np.testing.assert_array_equal(c, a @ b)


def test_mma_bf16_k16(launch):
    a, b, c = exact(16, 16), exact(16, 8, seed=1), exact(16, 8, seed=2)
    expected = a @ b + c
    launch("mma_bf16_k16", 1, 32, c, bfloat16(a), bfloat16(b))
    np.testing.assert_array_equal(c, expected)


def test_mma_tf32_k4(launch):
    a, b, c = exact(16, 4), exact(4, 8, seed=1), np.zeros((16, 8), np.float32)
    launch("mma_tf32_k4", 1, 32, c, a, b)
    np.testing.assert_array_equal(c, a @ b)


@pytest.mark.parametrize("m, n, k", [(16, 8, 16), (32, 24, 64)])
def test_matmul_mma(launch, m, n, k):
    a, b = floats(m, k).astype(np.float16), floats(k, n, seed=1).astype(np.float16)
    c = np.zeros((m, n), np.float32)
    launch("matmul_mma", (n // 8, m // 16), 32, c, a, b, np.int32(n), np.int32(k))
    close(c, a.astype(np.float64) @ b, 1e-5, 1e-5)
