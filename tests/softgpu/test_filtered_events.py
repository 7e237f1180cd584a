"""The checks report the same whether native code writes a row for every access or only for those that matter."""

from __future__ import annotations

import numpy as np
import pytest

from softgpu import Initcheck, Memcheck, Module, Observer, Racecheck, Synccheck
from softgpu.errors import KernelError

pytest.importorskip("llvmlite")

# %r1 tid, %r2 ctaid, %r4 global thread, %r30 tile, %r31 other; %rd1 only read, %rd2 and %rd3 written
BEGIN = """
.reg .b64 %rd<10>; .reg .b32 %r<40>; .reg .pred %p<4>;
.shared .align 16 .b8 tile[2048];
.shared .align 16 .b8 other[1024];
mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r5, %ntid.x; mad.lo.u32 %r4, %r2, %r5, %r1;
ld.param.u64 %rd1, [source]; ld.param.u64 %rd2, [out]; ld.param.u64 %rd3, [both];
mov.u32 %r30, tile; mov.u32 %r31, other; mov.u32 %r10, 1; mov.u64 %rd4, 5; mov.u32 %r11, 2; setp.eq.u32 %p1, %r1, 0;
"""

SIZES = {"u32": (4, "%r10"), "u64": (8, "%rd4"), "v2.u32": (8, "{%r10, %r11}"), "u16": (2, "%r10")}


class Everything(Observer):
    """Needs all rows, so that they are written."""

    def events(self, launch, events):
        pass


def random_kernel(random: np.random.Generator) -> str:
    """Accesses at places that threads share or not, barriers, atomics, branches and loops."""
    sizes = ["u32", "u32", "u32", "u64", "v2.u32"] + (["u16"] if random.random() < 0.2 else [])

    def pick(*choices):
        return choices[random.integers(len(choices))]

    def access() -> str:
        size = pick(*sizes)
        nbytes, register = SIZES[size]
        other = f"xor.b32 %r6, %r1, {pick(1, 16, 32)};", "shr.u32 %r6, %r1, 1;", "and.b32 %r6, %r1, 31;"
        index = pick(*["mov.b32 %r6, %r1;"] * 2, f"add.u32 %r6, %r1, {random.integers(40)};", *other)
        if random.random() < 0.6:
            place = f"{index} mad.lo.u32 %r7, %r6, {nbytes}, {pick('%r30', '%r30', '%r31')};"
            place += pick(*[""] * 20, "add.u32 %r7, %r7, 1016;")
            word = pick("atom.shared.add.u32 %r8, [%r7], 1;", "ld.volatile.shared.u32 %r8, [%r7];")
            forms = [f"st.shared.{size} [%r7], {register};", f"ld.shared.{size} {register}, [%r7];"] * 4
            return place + pick(*forms, *([word] if nbytes == 4 else []))
        index = pick("mov.b32 %r6, %r4;", "mov.b32 %r6, %r4;", index)
        place = f"{index} mul.wide.u32 %rd5, %r6, {nbytes}; add.u64 %rd6, {pick('%rd2', '%rd3')}, %rd5;"
        place += "add.u64 %rd7, %rd1, %rd5;"
        ordered = "ld.acquire.gpu.global.u32 %r8, [%rd6];", "st.release.gpu.global.u32 [%rd6], %r10;"
        word = pick("atom.global.add.u32 %r8, [%rd6], 1;", *ordered)
        forms = [f"{pick('st', 'st.global')}.{size} [%rd6], {register};", f"ld.global.{size} {register}, [%rd6];"] * 2
        return place + pick(f"ld.global.{size} {register}, [%rd7];", *forms, *([word] if nbytes == 4 else []))

    def statement(number: int) -> str:
        body = "\n".join(access() for _ in range(random.integers(1, 4)))
        return pick(
            *[access()] * 5,
            *["bar.sync 0;"] * 3,
            pick("bar.warp.sync -1;", "membar.gl;", "bar.sync 1;", "fence.acq_rel.gpu;"),
            f"setp.lt.u32 %p2, %r1, {pick(1, 16, 32, 40)};\n@!%p2 bra skip{number};\n{body}\nskip{number}:",
            f"mov.u32 %r20, 0;\nloop{number}:\n{body}\nbar.sync 0;\n{access()}\nadd.u32 %r20, %r20, 1;\n"
            f"setp.lt.u32 %p3, %r20, 3;\n@%p3 bra loop{number};",
            pick(*["bar.sync 0;"] * 8, "setp.ge.u32 %p2, %r1, 40; @%p2 ret;"),
        )

    statements = "\n".join(statement(number) for number in range(random.integers(3, 12)))
    head = ".version 8.3\n.target sm_80\n.address_size 64\n"
    parameters = ".param .u64 source, .param .u64 out, .param .u64 both"
    return f"{head}.visible .entry k({parameters})\n{{{BEGIN}{statements}\nret;\n}}"


@pytest.mark.parametrize("seed", range(40))
def test_reports_are_the_same(seed):
    random = np.random.default_rng(seed)
    module = Module(random_kernel(random))
    grid, block = int(random.choice([1, 2, 5])), int(random.choice([32, 64, 70, 96]))
    outcomes = []
    for others in ([Everything()], []):
        checks = [Memcheck(), Racecheck(), Initcheck(), Synccheck()]
        arrays = [np.arange(4096, dtype=np.uint32), np.zeros(4096, np.uint32), np.zeros(4096, np.uint32)]
        failure = None
        try:
            module.launch("k", grid, block, arrays, observers=[*checks, *others], engine="native")
        except KernelError as error:
            failure = type(error)
        # How often is left out: what a thread does again after the same accesses is not always counted.
        reports = [
            [(report.what, report.lines, report.severity, report.address, report.threads) for report in check.reports]
            for check in checks
        ]
        outcomes.append((reports, failure, [array.tobytes() for array in arrays]))
    assert outcomes[0] == outcomes[1]
