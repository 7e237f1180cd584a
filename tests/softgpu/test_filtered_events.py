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

SIZES = {
    "u32": (4, "%r10"),
    "u64": (8, "%rd4"),
    "v2.u32": (8, "{%r10, %r11}"),
    "u16": (2, "%r10"),
    "u8": (1, "%r10"),
    "v4.u8": (4, "{%r10, %r11, %r10, %r11}"),
}
STRONG = (
    "atom{space}.add.u32 %r8, {place}, 1;",
    "atom{space}.add.u32 %r8, {place}, %r1;",
    "red{space}.max.u32 {place}, %r11;",
    "atom.cta{space}.exch.b32 %r8, {place}, %r1;",
    "ld.volatile{space}.u32 %r8, {place};",
    "st.volatile{space}.u32 {place}, %r11;",
    "ld.relaxed.cta{space}.u32 %r8, {place};",
    "st.relaxed.gpu{space}.u32 {place}, %r1;",
)
RELEASING = (
    "fence.sc.sys; atom.acquire.sys{space}.add.u32 %r8, {place}, 1;",
    "atom.acq_rel.gpu{space}.add.u32 %r8, {place}, 1;",
    "ld.acquire.gpu{space}.u32 %r8, {place};",
    "st.release.gpu{space}.u32 {place}, %r10;",
)
MEETINGS = (
    "bar.warp.sync -1;",
    "bar.warp.sync -1;",
    "bar.sync 1;",
    "and.b32 %r21, %r1, 16; mov.b32 %r22, 65535; shl.b32 %r22, %r22, %r21; bar.warp.sync %r22;",
    "setp.lt.u32 %p2, %r1, 64; @%p2 bar.sync 2, 64;",
    "setp.lt.u32 %p2, %r1, 32; setp.ge.u32 %p3, %r1, 64; or.pred %p3, %p2, %p3; @%p2 bar.sync 3, 64; "
    "@!%p3 bar.arrive 3, 64;",
)


class Everything(Observer):
    """Needs all rows, so that they are written."""

    def events(self, launch, events):
        pass


def random_kernel(random: np.random.Generator) -> str:
    """Accesses at places that threads share or not, barriers, atomics, branches and loops."""
    sizes = ["u32", "u32", "u32", "u64", "v2.u32"]
    narrow = random.random()
    sizes += ["u16", "u16"] if narrow < 0.3 else ["u8", "u8", "v4.u8"] if narrow < 0.5 else []
    meets, is_crowded = random.random() < 0.4, random.random() < 0.4
    how_strong, releases = random.choice([0.1, 0.3, 0.7]), random.random() < 0.5

    def pick(*choices):
        return choices[random.integers(len(choices))]

    def access() -> str:
        size = pick(*sizes)
        nbytes, register = SIZES[size]
        other = f"xor.b32 %r6, %r1, {pick(1, 16, 32)};", "shr.u32 %r6, %r1, 1;", "and.b32 %r6, %r1, 31;"
        index = pick(*["mov.b32 %r6, %r1;"] * 2, f"add.u32 %r6, %r1, {random.integers(40)};", *other)
        if is_crowded:
            index = pick("and.b32 %r6, %r1, 3;", "and.b32 %r6, %r1, 3;", "shr.u32 %r6, %r1, 4;", "mov.b32 %r6, 0;")
        if random.random() < 0.6:
            place = f"{index} mad.lo.u32 %r7, %r6, {nbytes}, {pick('%r30', '%r30', '%r31')};"
            place += pick(*[""] * 20, "add.u32 %r7, %r7, 1016;")
            if nbytes == 4 and random.random() < how_strong:
                return place + strong(".shared", "[%r7]")
            return place + pick(f"st.shared.{size} [%r7], {register};", f"ld.shared.{size} {register}, [%r7];")
        index = pick(*[] if is_crowded else ["mov.b32 %r6, %r4;"] * 2, index)
        place = f"{index} mul.wide.u32 %rd5, %r6, {nbytes}; add.u64 %rd6, {pick('%rd2', '%rd3')}, %rd5;"
        place += "add.u64 %rd7, %rd1, %rd5;"
        if nbytes == 4 and random.random() < how_strong:
            return place + strong(pick("", ".global"), "[%rd6]")
        forms = [f"{pick('st', 'st.global')}.{size} [%rd6], {register};", f"ld.global.{size} {register}, [%rd6];"] * 2
        return place + pick(f"ld.global.{size} {register}, [%rd7];", *forms)

    def strong(space: str, place: str) -> str:
        return pick(*STRONG, *(RELEASING if releases else ())).format(space=space, place=place)

    def statement(number: int) -> str:
        body = "\n".join(access() for _ in range(random.integers(1, 4)))
        return pick(
            *[access()] * 5,
            *["bar.sync 0;"] * 3,
            pick(*MEETINGS[: 3 + 3 * meets], *(["membar.gl;", "fence.acq_rel.gpu;"] if releases else [])),
            f"setp.lt.u32 %p2, %r1, {pick(1, 16, 32, 40)};\n@!%p2 bra skip{number};\n{body}\nskip{number}:",
            f"mov.u32 %r20, 0;\nloop{number}:\n{body}\nbar.sync 0;\n{access()}\nadd.u32 %r20, %r20, 1;\n"
            f"setp.lt.u32 %p3, %r20, 3;\n@%p3 bra loop{number};",
            pick(*["bar.sync 0;"] * 8, "setp.ge.u32 %p2, %r1, 40; @%p2 ret;"),
        )

    statements = "\n".join(statement(number) for number in range(random.integers(3, 12)))
    head = ".version 8.3\n.target sm_80\n.address_size 64\n"
    parameters = ".param .u64 source, .param .u64 out, .param .u64 both"
    return f"{head}.visible .entry k({parameters})\n{{{BEGIN}{statements}\nret;\n}}"


@pytest.mark.parametrize("seed", range(100))
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
        # What threads that race leave behind depends on where they stop to have their rows read.
        results = [] if checks[1].reports else [array.tobytes() for array in arrays]
        outcomes.append((reports, failure, results))
    assert outcomes[0] == outcomes[1]


LAST_SUMS = """.version 8.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 data, .param .u64 count, .param .u64 total) {{
.reg .b64 %rd<5>; .reg .b32 %r<6>; .reg .pred %p;
ld.param.u64 %rd1, [data]; ld.param.u64 %rd2, [count]; ld.param.u64 %rd3, [total];
mov.u32 %r1, %ctaid.x; mul.wide.u32 %rd4, %r1, 4; add.u64 %rd4, %rd1, %rd4;
ld.global.u32 %r2, [%rd4]; add.u32 %r2, %r2, 1; st.global.u32 [%rd4], %r2;
{fence}
atom.global.add.u32 %r3, [%rd2], 1;
setp.ne.u32 %p, %r3, 3;
@%p ret;
{fence}
ld.global.u32 %r4, [%rd1]; ld.global.u32 %r5, [%rd1+4]; add.u32 %r4, %r4, %r5;
st.global.u32 [%rd3], %r4;
ret;
}}"""


@pytest.mark.parametrize("fence, races", [("membar.gl;", 0), ("", 2)])
def test_a_launch_whose_releases_matter_happens_once(fence, races):
    """The last block reads what others wrote: whether that is a race is up to the fences."""
    module = Module(LAST_SUMS.format(fence=fence))
    for _ in range(2):
        data, count, total = (np.zeros(n, np.uint32) for n in (4, 1, 1))
        checks = [Memcheck(), Racecheck(), Initcheck(), Synccheck()]
        module.launch("k", 4, 1, [data, count, total], observers=checks, engine="native")
        assert [data.tolist(), count[0], total[0]] == [[1, 1, 1, 1], 4, 2]
        assert [len(check.reports) for check in checks] == [0, races, 0, 0]
