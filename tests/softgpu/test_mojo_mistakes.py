"""Kernels compiled from Mojo, with and without mistakes, and what each check must say of them.

The sources are kernels/mistakes.mojo, whose comments mark the lines to be named, and kernels/near_misses.mojo.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import softgpu

KERNELS = Path(__file__).parent / "kernels"
CHECKS = ("memcheck", "racecheck", "initcheck", "synccheck")
N = 128


@cache
def module(name: str) -> softgpu.Module:
    return softgpu.Module((KERNELS / "ptx" / "sm_80" / f"{name}.ptx").read_text())


def reports_of(name: str, grid: int | tuple, block: int | tuple, args: list) -> dict[str, list]:
    """What each check reports of one launch with all four, also where it cannot go on to its end."""
    checks = {check: getattr(softgpu, check.capitalize())() for check in CHECKS}
    with contextlib.suppress(softgpu.MemoryFault, softgpu.BarrierDeadlock):
        module(name).launch(name, grid, block, args, observers=list(checks.values()))
    return {check: observer.reports for check, observer in checks.items()}


def marked(kernel: str, mark: str) -> int:
    """The line of a mark, such as `# (write)`, in the source of a kernel."""
    lines = (KERNELS / "mistakes.mojo").read_text().split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith(f"def {kernel}("))
    return next(number + 1 for number in range(start, len(lines)) if f"({mark})" in lines[number].split("#")[-1])


def out(n: int = N, dtype: type = np.float32) -> np.ndarray:
    return np.zeros(n, dtype)


def floats(n: int = N) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(n).astype(np.float32)


def ints(n: int = N) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, n, dtype=np.int32)


@dataclass(frozen=True)
class Mistake:
    """A launch, the check that must report, and what the reports together must name.

    `marks` are the marked lines, `says` a pattern in the text; other checks must be silent, but those in `also`.
    """

    kernel: str
    grid: int | tuple
    block: int | tuple
    args: Callable[[], list]
    check: str
    marks: tuple[str, ...]
    says: str
    severity: str = "Error"
    also: tuple[str, ...] = ()


MISTAKES = [
    Mistake(
        "missing_guard",
        2,
        64,
        lambda: [out(100), floats(100), np.int32(100)],
        "memcheck",
        ("read", "write"),
        r"Invalid __global__ (read|write) of size 4 bytes",
    ),
    Mistake(
        "guard_off_by_one",
        2,
        64,
        lambda: [out(100, np.int32), np.int32(100)],
        "memcheck",
        ("write",),
        r"thread \(36,0,0\) in block \(1,0,0\)[\s\S]*1 bytes? after the nearest allocation[\s\S]*of size 400 bytes",
    ),
    Mistake(
        "index_before_the_start",
        1,
        64,
        lambda: [out(64), floats(64), np.int32(64)],
        "memcheck",
        ("read",),
        r"thread \(0,0,0\) in block \(0,0,0\)[\s\S]*4 bytes before",
    ),
    Mistake(
        "swapped_dimensions",
        1,
        (16, 16),
        lambda: [out(60, np.int32), np.int32(5), np.int32(12)],
        "memcheck",
        ("write",),
        r"Invalid __global__ write",
    ),
    Mistake(
        "misaligned_vector",
        1,
        32,
        lambda: [out(32), floats(32), np.int32(32)],
        "memcheck",
        ("read",),
        r"Invalid __global__ read of size 16 bytes[\s\S]*misaligned",
    ),
    Mistake(
        "tile_too_small",
        1,
        64,
        lambda: [out(64), floats(128)],
        "memcheck",
        ("write",),
        r"Invalid __shared__ write of size 4 bytes",
    ),
    Mistake(
        "overrun_into_the_neighbour",
        1,
        64,
        lambda: [out(64), floats(64)],
        "memcheck",
        ("write",),
        r"Invalid __shared__ write of size 4 bytes",
    ),
    # Who reads before another has written also reads what nobody wrote, if it so happens in a run.
    Mistake(
        "missing_barrier",
        2,
        64,
        lambda: [out(), floats()],
        "racecheck",
        ("write", "read"),
        r"RAW hazard.*__shared__",
        also=("initcheck",),
    ),
    Mistake(
        "missing_barrier_in_a_warp",
        2,
        64,
        lambda: [out(), floats()],
        "racecheck",
        ("write", "read"),
        r"RAW hazard.*__shared__",
        severity="Warning",
        also=("initcheck",),
    ),
    Mistake(
        "missing_barrier_before_the_write",
        2,
        64,
        lambda: [out(), floats()],
        "racecheck",
        ("read", "write"),
        r"WAR hazard.*__shared__",
    ),
    Mistake(
        "missing_barrier_in_the_loop",
        1,
        64,
        lambda: [out(64), floats(192), np.int32(3)],
        "racecheck",
        ("read", "write"),
        r"WAR hazard.*__shared__",
    ),
    Mistake(
        "plain_histogram",
        2,
        64,
        lambda: [out(4, np.int32), ints()],
        "racecheck",
        ("read", "write"),
        r"hazard.*__shared__",
    ),
    Mistake(
        "blocks_share_a_sum",
        2,
        32,
        lambda: [out(1), floats(64)],
        "racecheck",
        ("read", "write"),
        r"hazard.*__global__[\s\S]*argument 0",
    ),
    Mistake(
        "shift_in_place",
        2,
        64,
        lambda: [floats(), np.int32(N)],
        "racecheck",
        ("read", "write"),
        r"WAR hazard.*__global__",
    ),
    Mistake(
        "last_block_without_fence",
        3,
        32,
        lambda: [out(1), out(3), out(1, np.int32), floats(96)],
        "racecheck",
        ("write", "read"),
        r"RAW hazard.*__global__[\s\S]*argument 1",
    ),
    Mistake(
        "copy_without_wait",
        2,
        64,
        lambda: [out(), floats()],
        "racecheck",
        ("read",),
        r"RAW hazard.*__shared__[\s\S]*asynchronous copy",
        also=("initcheck",),
    ),
    Mistake(
        "copy_without_barrier",
        2,
        64,
        lambda: [out(), floats()],
        "racecheck",
        ("read",),
        r"RAW hazard.*__shared__",
        also=("initcheck",),
    ),
    Mistake(
        "tile_not_filled",
        2,
        64,
        lambda: [out(100), floats(100), np.int32(100)],
        "initcheck",
        ("read",),
        r"Uninitialized __shared__ memory read of size 4 bytes",
    ),
    Mistake(
        "array_not_filled",
        1,
        32,
        lambda: [out(32, np.int32), ints(256), np.int32(5)],
        "initcheck",
        ("read",),
        r"Uninitialized __local__ memory read of size 4 bytes",
    ),
    Mistake(
        "barrier_in_a_branch",
        2,
        64,
        lambda: [out(), floats()],
        "synccheck",
        ("barrier",),
        r"Divergent thread\(s\) in (warp|block)[\s\S]*of 64 threads",
    ),
    Mistake(
        "barriers_in_both_branches",
        2,
        64,
        lambda: [out(), floats()],
        "synccheck",
        ("barrier",),
        r"Divergent thread\(s\) in warp",
    ),
    Mistake(
        "barrier_some_warps_skip",
        2,
        64,
        lambda: [out(), floats()],
        "synccheck",
        ("barrier",),
        r"Divergent thread\(s\) in block",
    ),
    Mistake(
        "return_before_the_barrier",
        2,
        64,
        lambda: [out(100), floats(100), np.int32(100)],
        "synccheck",
        ("barrier",),
        r"Divergent thread\(s\)",
    ),
    Mistake(
        "barrier_in_a_loop",
        1,
        64,
        lambda: [out(64, np.int32), np.arange(64, dtype=np.int32) % 7],
        "synccheck",
        ("barrier",),
        r"Divergent thread\(s\) in (warp|block)[\s\S]*of 64 threads",
    ),
    Mistake(
        "shuffle_in_a_branch",
        2,
        64,
        lambda: [out(), floats()],
        "synccheck",
        (),
        r"[Ww]arp",
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.kernel)
def test_a_mistake_is_reported_with_its_lines(mistake):
    found = reports_of(mistake.kernel, mistake.grid, mistake.block, mistake.args())
    reports = found.pop(mistake.check)
    text = "\n".join(report.text for report in reports)
    assert reports, f"{mistake.check} reports nothing"
    assert re.search(mistake.says, text), text
    assert str(max(report.severity for report in reports)) == mistake.severity, text
    for mark in mistake.marks:
        assert f"mistakes.mojo:{marked(mistake.kernel, mark)}" in text, f"the {mark} is not named: {text}"
    others = {check: list(map(str, texts)) for check, texts in found.items() if texts and check not in mistake.also}
    assert not others


def test_every_mistake_is_launched():
    source = (KERNELS / "mistakes.mojo").read_text()
    assert [mistake.kernel for mistake in MISTAKES] == re.findall(r"ctx\.enqueue_function\[(\w+)\]", source)


@dataclass(frozen=True)
class NearMiss:
    """A launch of a correct kernel, and the result of its first argument as a function of all of them before."""

    kernel: str
    grid: int
    block: int
    args: Callable[[], list]
    result: Callable[..., object]


def rows(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, 64)


NEAR_MISSES = [
    NearMiss(
        "bytes_of_one_word",
        2,
        64,
        lambda: [out(N, np.uint8), ints().astype(np.uint8)],
        lambda o, a: (rows(a)[:, ::-1] + np.uint8(1)).ravel(),
    ),
    NearMiss(
        "interleaved_blocks",
        4,
        32,
        lambda: [out(N, np.int32)],
        lambda o: np.arange(N).reshape(4, 32).T.ravel(),
    ),
    NearMiss("same_value_by_all", 2, 64, lambda: [out(1, np.int32), ints() - 50], lambda o, a: [1]),
    NearMiss(
        "barrier_in_a_uniform_branch",
        2,
        64,
        lambda: [out(), floats(), np.int32(3)],
        lambda o, a, rounds: np.stack([np.roll(rows(a)[0], -3), rows(a)[1]]).ravel(),
    ),
    NearMiss(
        "barriers_at_two_places",
        2,
        64,
        lambda: [out(N, np.int32), ints()],
        lambda o, a: np.hstack([rows(a)[:, 32:] * 3 - 1, rows(a)[:, :32] * 2 + 1]).ravel(),
    ),
    NearMiss(
        "return_after_the_last_barrier",
        2,
        64,
        lambda: [out(100), floats(100), np.int32(100)],
        lambda o, a, n: a + a[np.arange(100) ^ 1],
    ),
    NearMiss(
        "tile_used_in_part",
        2,
        64,
        lambda: [out(99), floats(99), np.int32(99)],
        lambda o, a, n: np.append(a, 0)[np.arange(99) ^ 1],
    ),
    NearMiss(
        "tile_used_twice",
        2,
        64,
        lambda: [out(), floats()],
        lambda o, a: (rows(a)[:, 63 - (np.arange(64) ^ 1)] * 2).ravel(),
    ),
    NearMiss(
        "ping_pong",
        2,
        64,
        lambda: [out(), ints().astype(np.float32), np.int32(2)],
        lambda o, a, n: (rows(a) + 2 * np.roll(rows(a), -1, 1) + np.roll(rows(a), -2, 1)).ravel(),
    ),
    NearMiss(
        "each_warp_its_own",
        2,
        64,
        lambda: [out(N, np.int32), ints()],
        lambda o, a: np.roll(a.reshape(-1, 32), -1, 1).ravel(),
    ),
    NearMiss(
        "first_warp_finishes",
        2,
        64,
        lambda: [out(2), ints().astype(np.float32)],
        lambda o, a: rows(a).sum(1),
    ),
    NearMiss(
        "half_warp_shuffle",
        2,
        64,
        lambda: [out(N, np.int32), ints()],
        lambda o, a: np.where(np.arange(N) % 32 < 16, a[np.arange(N) ^ 1], a),
    ),
    NearMiss("own_copy", 2, 64, lambda: [out(), floats()], lambda o, a: a * 2),
    NearMiss(
        "atomics_and_barrier",
        2,
        64,
        lambda: [out(N, np.int32), ints()],
        lambda o, a: np.repeat(rows(a).sum(1), 64),
    ),
    NearMiss("in_place_by_block", 2, 64, lambda: [floats()], lambda a: rows(a)[:, ::-1].ravel()),
    NearMiss(
        "two_elements_each",
        2,
        32,
        lambda: [floats(), np.int32(N)],
        lambda a, n: a.reshape(-1, 2)[:, ::-1].ravel(),
    ),
    NearMiss(
        "flag_between_blocks",
        3,
        32,
        lambda: [out(3), out(1), out(1, np.int32)],
        lambda o, data, flag: [0, 42, 42],
    ),
    NearMiss("exact_fit", 1, 32, lambda: [out(101), floats(101), np.int32(101)], lambda o, a, n: a),
]


@pytest.mark.parametrize("case", NEAR_MISSES, ids=lambda case: case.kernel)
def test_a_correct_kernel_is_not_accused(case):
    args = case.args()
    expected = case.result(*[np.copy(argument) for argument in args])
    found = reports_of(case.kernel, case.grid, case.block, args)
    np.testing.assert_array_equal(args[0], expected)
    # Equal values from all sides have no effect: compute-sanitizer gives that as information.
    accused = [str(report) for reports in found.values() for report in reports if str(report.severity) != "Info"]
    assert not accused


def test_every_near_miss_is_launched():
    source = (KERNELS / "near_misses.mojo").read_text()
    assert [case.kernel for case in NEAR_MISSES] == re.findall(r"ctx\.enqueue_function\[(\w+)\]", source)
