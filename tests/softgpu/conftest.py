"""Running a few instructions of PTX on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softgpu import Module, engines, native
from softgpu.ptx import TYPE_BITS


@pytest.fixture(autouse=True)
def checkout() -> None:
    """softgpu knows nothing of the learner's files: its tests need no copy of them."""


HEADER = ".version 8.6\n.target sm_80\n.address_size 64\n"


def _kernel(
    body: str, parameters: Sequence[str] = ("u64 out",), name: str = "k", module: str = "", target: str = "sm_80"
) -> Module:
    """A module with one kernel. A parameter is "type name"; registers of all types are declared."""
    declared = ", ".join(f".param .{kind} {label}" for kind, label in map(str.split, parameters))
    return Module(f"""{HEADER.replace("sm_80", target)}{module}
.visible .entry {name}({declared})
{{
.reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<32>; .reg .b64 %rd<32>; .reg .f32 %f<8>; .reg .f64 %fd<8>;
{body}
}}""")


ON_BOTH_ENGINES = {
    "test_atomics",
    "test_calls",
    "test_carry",
    "test_every_form",
    "test_execution",
    "test_float_instructions",
    "test_integer_instructions",
    "test_launch",
    "test_memory",
    "test_module_scope",
    "test_mojo_kernels",
    "test_movement",
    "test_refused_instructions",
    "test_rounding",
    "test_warp_instructions",
}
"""Every test of these files runs once on each engine."""

LOCKSTEP_OPCODES = set("activemask call cp ldmatrix mbarrier mma movmatrix stmatrix".split())
"""Instructions that may be missing in native code. All others must be there: what has no translation runs in
lock-step, and a test of both engines would test one of them twice."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__ in ON_BOTH_ENGINES:
        metafunc.parametrize("engine", engines.ENGINES, indirect=True)


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For the files above: launches run on one engine, then the test is run again on the other."""
    chosen = getattr(request, "param", None)
    missing = []
    translation = native.translation

    def observed(*arguments: Any) -> object:
        result = translation(*arguments)
        if isinstance(result, native.NotTranslated):
            missing.append(result.instruction)
        return result

    if chosen == "lockstep":
        monkeypatch.setattr(engines, "default", "lockstep")
    elif chosen == "native":
        monkeypatch.setattr(native, "translation", observed)
    yield
    for one in missing:
        assert one.opcode in LOCKSTEP_OPCODES, f"`{one.text}` has no native translation"


@pytest.fixture
def kernel() -> Callable[..., Module]:
    return _kernel


@pytest.fixture
def evaluate() -> Callable[..., np.ndarray]:
    """evaluate("add.s32 %d, %a, %b;", "b32", ("b32", x), ("b32", y)): the result for each element of x and y.

    Types are those of the registers; arrays hold their bits. `%p` may be used as a predicate.
    """

    def run(code: str, result: str, *operands: tuple[str, np.ndarray]) -> np.ndarray:
        count = len(operands[0][1])
        lines = [".reg .pred %p; .reg .pred %q;", f".reg .{result} %d;", "mov.u32 %r1, %tid.x;"]
        for letter, (kind, _) in zip("abc", operands, strict=False):
            size = TYPE_BITS[kind] // 8
            lines += [
                f".reg .{kind} %{letter};",
                f"ld.param.u64 %rd1, [{letter}];",
                f"mad.wide.u32 %rd1, %r1, {size}, %rd1;",
                f"ld.global.{_memory_type(kind)} %{letter}, [%rd1];",
            ]
        lines += [
            code,
            "ld.param.u64 %rd1, [out];",
            f"mad.wide.u32 %rd1, %r1, {TYPE_BITS[result] // 8}, %rd1;",
            f"st.global.{_memory_type(result)} [%rd1], %d;",
            "ret;",
        ]
        names = ["u64 out", *(f"u64 {letter}" for letter, _ in zip("abc", operands, strict=False))]
        out = np.zeros(count, f"u{TYPE_BITS[result] // 8}")
        buffers = [np.ascontiguousarray(values) for _, values in operands]
        _kernel("\n".join(lines), names).launch("k", 1, count, [out, *buffers])
        return out

    return run


def _memory_type(kind: str) -> str:
    return f"b{TYPE_BITS[kind]}"


@pytest.fixture
def compiled() -> Callable[[str], Module]:
    """A kernel that the Mojo compiler made, by the name of its file."""
    return lambda name: Module((Path(__file__).parent / "ptx" / f"{name}.ptx").read_text())


@pytest.fixture(params=["lockstep", None], ids=["lockstep", "native"])
def every_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs once on each engine."""
    monkeypatch.setattr(engines, "default", request.param)
