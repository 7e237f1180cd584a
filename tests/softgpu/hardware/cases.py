"""Collects launches for a real GPU to repeat: `python tests/softgpu/hardware/cases.py`, which writes results/cases.npz.

A case is one launch: PTX, grid, block, and the bytes of its arguments. The cases are the launches that the tests of
instructions and the Mojo kernels make, as the tests make them, and a few of atomics. Those whose result may differ from
one run to the next on one GPU are left out. The same tests give the same file.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softgpu
from softgpu.instructions import FORMS
from softgpu.instructions.table import Form

TESTS = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
FILES = (
    "every_form carry float_instructions integer_instructions rounding movement warp_instructions matrix mojo_kernels"
).split()

LEFT_OUT = {
    "test_a_generic_address_reaches_its_variable": "gives an address",
    "test_lanes_at_the_same_instruction_with_different_masks_do_not_meet": "is undefined by the manual",
    "test_a_lane_outside_its_own_mask_is_on_its_own": "is undefined by the manual",
    "test_active_lanes_of_a_branch": "depends on the assembler",
    "test_a_leader_is_elected": "changes the target after parsing",
    "test_spin_lock": "gives the order of the blocks",
    "test_printing": "prints",
}
"""Tests whose launches a GPU need not repeat in the same way."""

VARIES = re.compile(r"%(clock|globaltimer|smid|nsmid|warpid|nwarpid|gridid|total_smem_size|pm\d)|\bvprintf\b")
"""What is not the same on every run or every GPU."""

MOST_BYTES = 100_000
"""Of a case's buffers: larger ones show nothing that smaller ones do not."""

RANGES = {
    f"{sign}{bits}": (-(1 << bits - 1), (1 << bits - 1) - 1) if sign == "s" else (0, (1 << bits) - 1)
    for sign in "us"
    for bits in (8, 16, 32, 64)
}


def is_legal(instruction: str) -> bool:
    """False for what softgpu executes, but NVIDIA's assembler refuses."""
    opcode, *words = instruction.split(".")
    kinds = words[-2:]
    if opcode == "cvt" and "sat" in words and all(kind in RANGES for kind in kinds):
        (low, high), (least, most) = RANGES[kinds[0]], RANGES[kinds[1]]
        return not low <= least <= most <= high
    if opcode == "cvt" and "bf16" in kinds:
        return not {"u8", "s8"} & set(kinds)
    if opcode == "atom" and {"exch", "cas"} & set(words):
        return words[-1][0] == "b"
    return True


@dataclass
class Case:
    """One launch. An argument is the bytes of a scalar, or the number of a buffer."""

    name: str
    ptx: str
    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    arguments: list[bytes | int]
    buffers: list[bytes]
    compared: list[bool] = field(default_factory=list)
    """Which buffers must be the same; empty: all of them."""

    @property
    def digest(self) -> str:
        hashed = hashlib.sha256()
        for part in (self.ptx, self.kernel, self.grid, self.block, self.shared_bytes, self.arguments, self.buffers):
            hashed.update(repr(part).encode())
        return hashed.hexdigest()[:16]


class Blobs:
    """Byte strings, each kept once, in one array."""

    def __init__(self) -> None:
        self._places: dict[bytes, tuple[int, int]] = {}
        self._size = 0

    def place(self, data: bytes) -> tuple[int, int]:
        """Where the bytes are: first and number."""
        if data not in self._places:
            self._places[data] = self._size, len(data)
            self._size += len(data)
        return self._places[data]

    def array(self) -> np.ndarray:
        return np.frombuffer(b"".join(self._places), np.uint8)


def save(cases: Sequence[Case], path: Path) -> None:
    """The cases as run_on_gpu.py reads them: a list of JSON objects and the bytes that they refer to."""
    blobs = Blobs()
    rows = [
        {
            "digest": case.digest,
            "name": case.name,
            "ptx": blobs.place(case.ptx.encode()),
            "kernel": case.kernel,
            "grid": case.grid,
            "block": case.block,
            "shared_bytes": case.shared_bytes,
            "arguments": [one if isinstance(one, int) else one.hex() for one in case.arguments],
            "buffers": [blobs.place(data) for data in case.buffers],
            "compared": case.compared,
        }
        for case in cases
    ]
    np.savez_compressed(path, index=np.frombuffer(json.dumps(rows).encode(), np.uint8), data=blobs.array())


def load(path: Path) -> list[Case]:
    with np.load(path) as file:
        rows, data = json.loads(file["index"].tobytes()), file["data"].tobytes()

    def part(place: Sequence[int]) -> bytes:
        first, count = place
        return data[first : first + count]

    return [
        Case(
            row["name"],
            part(row["ptx"]).decode(),
            row["kernel"],
            tuple(row["grid"]),
            tuple(row["block"]),
            row["shared_bytes"],
            [one if isinstance(one, int) else bytes.fromhex(one) for one in row["arguments"]],
            [part(place) for place in row["buffers"]],
            row["compared"],
        )
        for row in rows
    ]


class Collector:
    """A pytest plugin: notes every launch of the tests that goes well.

    With `answers`, from compare.recorded, the launches that are in there get what the GPU made of them instead.
    """

    def __init__(self, answers: Mapping[str, list[bytes] | str] | None = None) -> None:
        self.cases: dict[str, Case] = {}
        self.answered = 0
        self._answers = answers or {}
        self._test = ""
        self._texts: dict[softgpu.Module, str] = {}
        self._launched: set[softgpu.Module] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if self._chosen(item)]

    @staticmethod
    def _chosen(item: Any) -> bool:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        repeated = parameters.get("engine") == "lockstep" or parameters.get("launch") in (
            "reference",
            "shuffled",
            "checked",
        )
        drawn = hasattr(item.obj, "hypothesis")
        return not repeated and not drawn and item.originalname not in LEFT_OUT

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._test = item.nodeid.rpartition("/")[2]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it, modules and their launches are noted."""
        import test_every_form

        make, launch = softgpu.Module.__init__, softgpu.Module.launch

        def noted_module(module: softgpu.Module, ptx: str) -> None:
            make(module, ptx)
            self._texts[module] = ptx

        def noted_launch(
            module: softgpu.Module, kernel: str, grid: Any, block: Any, args: Any, *more: Any, **named: Any
        ):
            shared = named.get("shared_bytes", more[0] if more else 0)
            case = case_of(self._test, self._texts[module], kernel, grid, block, args, shared)
            # Variables of a module keep what a launch wrote: only the first launch can be repeated by itself.
            repeatable = module not in self._launched or not module.ptx.variables
            self._launched.add(module)
            answer = self._answers.get(case.digest)
            if repeatable and isinstance(answer, list):
                self.answered += 1
                for argument, number in zip(args, case.arguments, strict=True):
                    if isinstance(number, int):
                        argument.reshape(-1).view(np.uint8)[:] = np.frombuffer(answer[number], np.uint8)
                return
            launch(module, kernel, grid, block, args, *more, **named)
            if repeatable and _is_case(case):
                self.cases.setdefault(case.digest, case)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(softgpu.Module, "__init__", noted_module)
            patch.setattr(softgpu.Module, "launch", noted_launch)
            patch.setattr(test_every_form, "choices", _legal_choices(test_every_form.choices))
            yield


def _legal_choices(choices: Callable) -> Callable:
    """`test_every_form.choices` without what the assembler refuses, which would take the rest of a kernel with it."""

    def legal(form: Form) -> list:
        opcode = form.text.split()[0]
        return [choice for choice in choices(form) if is_legal(".".join([opcode, *choice[1]]))]

    return legal


def _is_case(case: Case) -> bool:
    small = sum(map(len, case.buffers)) <= MOST_BYTES
    return small and not VARIES.search(case.ptx) and all(map(is_legal, re.findall(r"\bcvt\.[\w.]+", case.ptx)))


def case_of(name: str, ptx: str, kernel: str, grid: Any, block: Any, args: Sequence, shared_bytes: int = 0) -> Case:
    """The case of a launch as softgpu.Module makes it. Arrays that are the same memory are one buffer."""
    ptx = ptx.replace(".version 8.1", ".version 8.6")  # some of what the tests use is younger
    places: dict[tuple[int, int], int] = {}
    arguments: list[bytes | int] = []
    buffers: list[bytes] = []
    for argument in args:
        if isinstance(argument, np.ndarray):
            key = (argument.ctypes.data, argument.nbytes)
            if key not in places:
                places[key] = len(buffers)
                buffers.append(argument.tobytes())
            arguments.append(places[key])
        else:
            arguments.append(argument.tobytes())
    return Case(name, ptx, kernel, _extent(grid), _extent(block), shared_bytes, arguments, buffers)


def _extent(extent: Any) -> tuple[int, int, int]:
    x, y, z = (*(extent if isinstance(extent, tuple) else (extent,)), 1, 1)[:3]
    return int(x), int(y), int(z)


HEADER = ".version 8.1\n.target sm_90\n.address_size 64\n"


def atomics() -> Iterator[Case]:
    """Each form of `atom`: on cells that each thread has for itself, with edge values, where what was found counts too;
    and in global and shared cells that many threads share, for operations whose order does not show."""
    from test_every_form import LANES, columns

    for form in FORMS["atom"]:
        slots = {name: words for name, words, _ in form.slots}
        for operation, kind, vector in itertools.product(slots["operation"], slots["type"], slots.get("vector", [""])):
            size, count = int(re.sub(r"x2|\D", "", kind)) // 8 * (2 if "x2" in kind else 1), int(vector[1:] or 1)
            words = [operation, *(["noftz"] if "noftz" in slots else []), *([vector] if vector else []), kind]
            sources = columns([kind] * 3, random.Random(form.text + kind + operation))
            cells, values, others = (np.repeat(np.array(x, f"u{size}")[:, None], count, 1) for x in sources)
            for space in ("global",) if vector else ("global", "shared"):
                instruction = ".".join(["atom", space, *words])
                if not is_legal(instruction):
                    continue
                ptx = _atomic(instruction, size, count, space, LANES, operation == "cas")
                found = np.zeros_like(cells)
                arguments = [found, cells, values, others]
                yield case_of(f"{instruction}, a cell for each thread", ptx, "k", 1, LANES, arguments)
                if kind[0] in "usb" and "f" not in kind and operation not in ("exch", "cas"):
                    shared_cells = np.zeros((7, 1), f"u{size}")
                    many = np.resize(values if operation not in ("inc", "dec") else np.uint32([1000]), (LANES, 1))
                    many = many.astype(f"u{size}")
                    ptx = _atomic(instruction, size, count, space, 7, False)
                    case = case_of(
                        f"{instruction}, seven cells", ptx, "k", 1, LANES, [found, shared_cells, many, others]
                    )
                    case.compared = [False, True, True, True]
                    yield case


def _atomic(instruction: str, size: int, count: int, space: str, cells: int, swaps: bool) -> str:
    """Thread t applies an instruction to cell t % cells, in global memory or in shared memory that is copied back."""
    bits, step = 8 * size, size * count

    def names(letter: str) -> list[str]:
        return [f"%{letter}{i}" for i in range(count)]

    def operand(letter: str) -> str:
        return "{" + ", ".join(names(letter)) + "}" if count > 1 else f"%{letter}0"

    def moves(template: str, letter: str) -> str:
        return " ".join(template.format(name, size * i) for i, name in enumerate(names(letter)))

    registers = " ".join(f".reg .b{bits} %{letter}<{count}>;" for letter in "ovcn")
    addresses = " ".join(
        f"ld.param.u64 %rd{i}, [p{i}]; mad.wide.u32 %rd{i}, {'%r2' if i == 1 else '%r1'}, {step}, %rd{i};"
        for i in range(4)
    )
    place = "%r3" if space == "shared" else "%rd1"
    operands = f"{operand('c')}, {operand('v')}" if swaps else operand("v")
    back = f"ld.shared.b{bits} %n0, [%r3]; st.global.b{bits} [%rd1], %n0;" if space == "shared" else ""
    return f"""{HEADER}
.visible .entry k(.param .u64 p0, .param .u64 p1, .param .u64 p2, .param .u64 p3)
{{
.reg .b32 %r<4>; .reg .b64 %rd<4>; {registers} .shared .align 16 .b8 tile[{cells * step}];
mov.u32 %r1, %tid.x; rem.u32 %r2, %r1, {cells}; {addresses}
mov.u32 %r3, tile; mad.lo.u32 %r3, %r2, {step}, %r3;
ld.global.b{bits} %n0, [%rd1]; st.shared.b{bits} [%r3], %n0; bar.sync 0;
{moves(f"ld.global.b{bits} {{}}, [%rd2+{{}}];", "v")} {moves(f"ld.global.b{bits} {{}}, [%rd3+{{}}];", "c")}
{instruction} {operand("o")}, [{place}], {operands}; bar.sync 0;
{moves(f"st.global.b{bits} [%rd0+{{1}}], {{0}};", "o")} {back}
ret;
}}"""


MASKS = (0xFFFFFFFF, 0x0000FFFF, 0xAAAAAAAA, 0x00010000)


def warps() -> Iterator[Case]:
    """Shuffles, votes, matches and reductions of two warps, whole and by the lanes of a mask alone."""
    generator = np.random.default_rng(3)
    wide = generator.integers(0, 1 << 64, 64, np.uint64)
    few = generator.integers(0, 3, 64).astype(np.uint64) * np.uint64(0x100000001)
    same = np.full(64, 0x8000000180000001, np.uint64)
    lanes = generator.integers(0, 40, 64).astype(np.uint64)
    for mask in MASKS:
        codes = [f"vote.sync.{mode}.pred %q, %p, {mask:#x};" for mode in ("all", "any", "uni")]
        codes += [f"vote.sync.ballot.b32 %d, %p, {mask:#x};"]
        codes += [f"match.any.sync.b{bits} %d, %{r}, {mask:#x};" for bits, r in ((32, "a"), (64, "w"))]
        codes += [f"match.all.sync.b{bits} %d|%q, %{r}, {mask:#x};" for bits, r in ((32, "a"), (64, "w"))]
        codes += [f"redux.sync.{name}.b32 %d, %a, {mask:#x};" for name in ("and", "or", "xor")]
        codes += [
            f"redux.sync.{name}.{kind} %d, %a, {mask:#x};" for name in ("add", "min", "max") for kind in ("u32", "s32")
        ]
        if mask == 0xFFFFFFFF:
            # What is got from a lane that does not take part is undefined: these read from any lane.
            for mode, segment in itertools.product(("up", "down", "bfly", "idx"), (0, 0x10, 0x18, 0x1C, 0x1E, 0x1F)):
                for clamp in (0, 5, 0x1F):
                    codes.append(f"shfl.sync.{mode}.b32 %d|%q, %a, %b, {segment << 8 | clamp}, {mask:#x};")
        elif mask == 0x0000FFFF:
            codes += [
                f"shfl.sync.{mode}.b32 %d|%q, %a, %b, {0x1000 | clamp}, {mask:#x};"
                for mode, clamp in (("up", 0), ("down", 0x1F), ("bfly", 0x1F), ("idx", 0x1F))
            ]
        for values in (wide, few, same):
            ptx, out = _warp(codes, mask), np.zeros((len(codes), 64, 2), np.uint32)
            yield case_of(f"warp instructions of mask {mask:#x}", ptx, "k", 1, 64, [out, values.copy(), lanes])


def _warp(codes: Sequence[str], mask: int) -> str:
    """Lanes of the mask execute each instruction on their word of the second array and number of the third."""
    body = "\n".join(
        f"mov.u32 %d, 77; setp.ne.u32 %q, 0, 0; @%in {code} selp.u32 %r, 1, 0, %q; "
        f"st.global.v2.u32 [%out+{512 * number}], {{%d, %r}};"
        for number, code in enumerate(codes)
    )
    return f"""{HEADER}
.visible .entry k(.param .u64 p0, .param .u64 p1, .param .u64 p2)
{{
.reg .pred %in; .reg .pred %p; .reg .pred %q; .reg .b32 %a; .reg .b32 %b; .reg .b32 %d; .reg .b32 %r; .reg .b32 %t;
.reg .b64 %out; .reg .b64 %w; .reg .b64 %n;
mov.u32 %t, %tid.x; ld.param.u64 %out, [p0]; mad.wide.u32 %out, %t, 8, %out;
ld.param.u64 %w, [p1]; mad.wide.u32 %w, %t, 8, %w; ld.global.u64 %w, [%w]; cvt.u32.u64 %a, %w;
ld.param.u64 %n, [p2]; mad.wide.u32 %n, %t, 8, %n; ld.global.u64 %n, [%n]; cvt.u32.u64 %b, %n;
and.b32 %r, %a, 1; setp.ne.u32 %p, %r, 0;
and.b32 %r, %t, 31; mov.u32 %d, {mask:#x}; shr.u32 %d, %d, %r; and.b32 %d, %d, 1; setp.ne.u32 %in, %d, 0;
{body}
ret;
}}"""


def run_tests(collector: Collector) -> int:
    """Run the tests that the cases come from. Returns pytest's status."""
    sys.path.insert(0, str(TESTS))
    files = [str(TESTS / f"test_{name}.py") for name in FILES]
    with collector.listening():
        return pytest.main(["-q", "-p", "no:cacheprovider", *files], plugins=[collector])


def collect() -> list[Case]:
    """All cases. Raises RuntimeError where the tests fail."""
    collector = Collector()
    if run_tests(collector):
        raise RuntimeError("the tests that the cases come from fail: repair them first")
    cases = collector.cases
    for case in itertools.chain(atomics(), warps()):
        cases.setdefault(case.digest, case)
    return list(cases.values())


if __name__ == "__main__":
    target = RESULTS / "cases.npz"
    collected = collect()
    save(collected, target)
    print(f"{len(collected)} cases in {target}, {target.stat().st_size / 1e6:.1f} MB")
