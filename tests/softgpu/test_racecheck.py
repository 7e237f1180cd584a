"""racecheck: kernels with one race each, and kernels that only look as if they had one."""

from __future__ import annotations

import numpy as np
import pytest

from softgpu import Module
from softgpu.checks import Racecheck, Report, Severity

pytestmark = pytest.mark.usefixtures("every_engine")

# %r1 tid, %r2 ctaid, %r3 &tile[tid], %rd1 out, %rd2 &out[tid], %rd3 &out[global thread], %r4 global thread
BEGIN = """
.shared .align 16 .b8 tile[4096];
mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r5, %ntid.x; mad.lo.u32 %r4, %r2, %r5, %r1;
mov.u32 %r3, tile; mad.lo.u32 %r3, %r1, 4, %r3;
ld.param.u64 %rd1, [out]; mad.wide.u32 %rd2, %r1, 4, %rd1; mad.wide.u32 %rd3, %r4, 4, %rd1;
setp.eq.u32 %p1, %r1, 0;
"""


def check(module: Module, grid: int = 1, block: int = 64, **options) -> list[Report]:
    racecheck = Racecheck()
    module.launch("k", grid, block, [np.zeros(1 << 14, np.uint32)], observers=[racecheck], **options)
    return racecheck.reports


WARP_SUM = """and.b32 %r8, %r1, 96; mad.lo.u32 %r3, %r8, 4, %r3; st.shared.u32 [%r3], %r1;
ld.shared.u32 %r6, [%r3]; {sync}
ld.shared.u32 %r7, [%r3+64]; add.u32 %r6, %r6, %r7; {sync} st.shared.u32 [%r3], %r6; {sync}
ld.shared.u32 %r7, [%r3+32]; add.u32 %r6, %r6, %r7; {sync} st.shared.u32 [%r3], %r6; {sync}
ld.shared.u32 %r7, [%r3+16]; st.global.u32 [%rd3], %r7; ret;"""

LOOP = """mov.u32 %r6, 0;
again: st.shared.u32 [%r3], %r6;
bar.sync 0;
ld.shared.u32 %r7, [%r3+4];
{second_barrier}
add.u32 %r6, %r6, 1; setp.lt.u32 %p2, %r6, 4; @%p2 bra again; ret;"""

DOUBLE_BUFFER = """mov.u32 %r6, 0; mov.u32 %r8, 0;
again: add.u32 %r9, %r3, %r8;
st.shared.u32 [%r9], %r6; bar.sync 0; ld.shared.u32 %r7, [%r9+4];
{swap}
add.u32 %r6, %r6, 1; setp.lt.u32 %p2, %r6, 6; @%p2 bra again; ret;"""

# Each block writes a partial result; the last one to count itself adds them up.
LAST_BLOCK = """.shared .align 4 .b8 last[4];
mad.wide.u32 %rd4, %r2, 4, %rd1;
@!%p1 bra wait;
st.global.u32 [%rd4+64], %r2;
{fence}
atom.global.inc.u32 %r6, [%rd1], 1000;
setp.eq.u32 %p2, %r6, 3; selp.u32 %r7, 1, 0, %p2; st.shared.u32 [last], %r7;
wait: bar.sync 0;
ld.shared.u32 %r7, [last]; setp.eq.u32 %p3, %r7, 0; @%p3 bra done;
ld.global.u32 %r8, [%rd2+64]; st.global.u32 [%rd2+8192], %r8;
done: ret;"""

# Block i waits for the flag of block i - 1, reads its data, writes its own and sets its flag.
LOOK_BACK = """@!%p1 bra done;
mad.wide.u32 %rd4, %r2, 4, %rd1; setp.eq.u32 %p2, %r2, 0; mov.u32 %r8, 0; @%p2 bra publish;
spin: {load} %r7, [%rd4+1020]; setp.eq.u32 %p3, %r7, 0; @%p3 bra spin;
{acquire}
ld.global.u32 %r8, [%rd4+2044];
publish: add.u32 %r8, %r8, 1; st.global.u32 [%rd4+2048], %r8;
{release}
{store} [%rd4+1024], 1;
done: ret;"""

SPIN_LOCK = """@!%p1 bra done;
spin: atom.global.cas.b32 %r6, [%rd1], 0, 1; setp.ne.u32 %p2, %r6, 0; @%p2 bra spin;
{acquire}
ld.global.u32 %r7, [%rd1+4]; add.u32 %r7, %r7, 1; st.global.u32 [%rd1+4], %r7;
{release}
{unlock}
done: ret;"""

# Warp 0 produces, warp 1 consumes; both go on without the other two.
PRODUCER = """setp.ge.u32 %p2, %r1, 64; @%p2 bra done; setp.ge.u32 %p3, %r1, 32; @%p3 bra consume;
st.shared.u32 [%r3], %r1; {produced} {reused} st.shared.u32 [%r3], 5; bra done;
consume: {consumed} ld.shared.u32 %r6, [%r3+-128]; {free}
done: ret;"""

GRID_BARRIER = """st.global.u32 [%rd3+64], %r4;
bar.sync 0;
@!%p1 bra wait;
{fence}
atom.global.add.u32 %r6, [%rd1], 1;
spin: ld.volatile.global.u32 %r7, [%rd1]; mov.u32 %r8, %nctaid.x; setp.lt.u32 %p2, %r7, %r8; @%p2 bra spin;
{fence}
wait: bar.sync 0; mov.u32 %r8, %nctaid.x;
mul.lo.u32 %r8, %r8, %r5; sub.u32 %r8, %r8, %r4; mad.wide.u32 %rd4, %r8, 4, %rd1; ld.global.u32 %r9, [%rd4+60]; ret;"""

# All threads of block 0 write and fence, then they meet and one sets the flag that the others wait for.
ALL_FENCE = """setp.ne.u32 %p2, %r2, 0; @%p2 bra other;
{before} st.global.u32 [%rd2+64], %r1; {fence} {meet} @%p1 st.volatile.global.u32 [%rd1], 1; ret;
other: @!%p1 bra met;
spin: ld.volatile.global.u32 %r6, [%rd1]; setp.eq.u32 %p3, %r6, 0; @%p3 bra spin; membar.gl;
met: bar.sync 0; ld.global.u32 %r7, [%rd2+64]; ret;"""

ASYNC = """cvta.global.u64 %rd4, %rd1;
cp.async.ca.shared.global [%r3], [%rd2], 4; {wait} {barrier}
ld.shared.u32 %r6, [%r3{offset}]; st.global.u32 [%rd3+4096], %r6; ret;"""

MBARRIER = """.shared .align 8 .b64 ready; mov.u32 %r10, ready;
@%p1 mbarrier.init.shared.b64 [%r10], %r5; bar.sync 0;
st.shared.u32 [%r3], %r1;
mbarrier.arrive.shared.b64 %rd5, [%r10];
{spin}
add.u32 %r6, %r1, 1; rem.u32 %r6, %r6, %r5; mov.u32 %r7, tile; mad.lo.u32 %r7, %r6, 4, %r7; ld.shared.u32 %r8, [%r7];
st.global.u32 [%rd3], %r8; ret;"""

CLEAN = {
    "a tile and a barrier": "st.shared.u32 [%r3], %r1; bar.sync 0; ld.shared.u32 %r6, [%r3+4]; ret;",
    "a thread's own data": "st.shared.u32 [%r3], %r1; ld.shared.u32 %r6, [%r3]; st.shared.u32 [%r3], %r6; ret;",
    "barriers between the passes of a loop": LOOP.format(second_barrier="bar.sync 0;"),
    "double buffering": DOUBLE_BUFFER.format(swap="xor.b32 %r8, %r8, 1024;"),
    "a barrier in a uniform branch": """setp.lt.u32 %p2, %r2, 1; st.shared.u32 [%r3], %r1; @!%p2 bra other;
        bar.sync 0; ld.shared.u32 %r6, [%r3+4]; bra done;
        other: bar.sync 0; ld.shared.u32 %r6, [%r3+4]; done: ret;""",
    "threads that exited before": """setp.ge.u32 %p2, %r1, 50; st.shared.u32 [%r3], %r1; @%p2 ret;
        bar.sync 0; ld.shared.u32 %r6, [%r3+8]; ret;""",
    "bytes of one word": """mov.u32 %r6, tile; add.u32 %r6, %r6, %r1; st.shared.u8 [%r6], %r1; ld.shared.u8 %r7, [%r6];
        add.u64 %rd4, %rd1, 64; cvt.u64.u32 %rd5, %r4; add.u64 %rd4, %rd4, %rd5; st.global.u8 [%rd4], %r1; ret;""",
    "bytes beside words that were words": """st.shared.u32 [%r3], %r1; st.global.u32 [%rd3+4096], %r1; bar.sync 0;
        mov.u32 %r6, tile; add.u32 %r6, %r6, %r1; st.shared.u8 [%r6], %r1; st.global.u8 [%rd3+4097], %r1; ret;""",
    "reads alone": "ld.global.u32 %r6, [%rd1]; ld.shared.u32 %r7, [tile]; ret;",
    "atomics alone": """red.global.add.u32 [%rd1], 1; atom.shared.add.u32 %r6, [tile], 1;
        atom.global.exch.b32 %r7, [%rd1+4], %r1;
        ret;""",
    "an atomic result after a barrier": """atom.shared.add.u32 %r6, [tile], 1; bar.sync 0; ld.shared.u32 %r7, [tile];
        st.global.u32 [%rd3], %r7; ret;""",
    "atomics after an initialisation": """@%p1 st.shared.u32 [tile], 0; bar.sync 0;
        atom.shared.add.u32 %r6, [tile], 1; ret;""",
    "blocks apart": "st.global.u32 [%rd3], %r1; ld.global.u32 %r6, [%rd3]; st.shared.u32 [%r3], %r2; ret;",
    "a warp's sum": WARP_SUM.format(sync="bar.warp.sync -1;"),
    "half a warp's sum": """and.b32 %r9, %r1, 16; mov.b32 %r8, 0xffff; shl.b32 %r8, %r8, %r9;
        st.shared.u32 [%r3], %r1; bar.warp.sync %r8; xor.b32 %r6, %r1, 8; shl.b32 %r6, %r6, 2;
        mov.u32 %r7, tile; add.u32 %r6, %r6, %r7; ld.shared.u32 %r7, [%r6]; ret;""",
    "the last block": LAST_BLOCK.format(fence="membar.gl;"),
    "the last block, with fence.acq_rel": LAST_BLOCK.format(fence="fence.acq_rel.gpu;"),
    "look-back": LOOK_BACK.format(
        load="ld.volatile.global.u32", acquire="membar.gl;", release="membar.gl;", store="st.volatile.global.u32"
    ),
    "look-back with acquire and release": LOOK_BACK.format(
        load="ld.acquire.gpu.global.u32", acquire="", release="", store="st.release.gpu.global.u32"
    ),
    "look-back with relaxed flags": LOOK_BACK.format(
        load="ld.relaxed.gpu.global.u32",
        acquire="fence.acq_rel.gpu;",
        release="fence.acq_rel.gpu;",
        store="st.relaxed.gpu.global.u32",
    ),
    "a spin lock": SPIN_LOCK.format(
        acquire="membar.gl;", release="membar.gl;", unlock="atom.global.exch.b32 %r8, [%rd1], 0;"
    ),
    "a spin lock that a volatile store opens": SPIN_LOCK.format(
        acquire="membar.gl;", release="membar.gl;", unlock="st.volatile.global.u32 [%rd1], 0;"
    ),
    "a producer and a consumer": PRODUCER.format(
        produced="bar.arrive 1, 64;", consumed="bar.sync 1, 64;", reused="bar.sync 2, 64;", free="bar.arrive 2, 64;"
    ),
    "two warps at a barrier of their own": PRODUCER.format(
        produced="bar.sync 1, 64;", consumed="bar.sync 1, 64;", reused="bar.sync 2, 64;", free="bar.sync 2, 64;"
    ),
    "a barrier of the grid": GRID_BARRIER.format(fence="membar.gl;"),
    "a fence of each thread and a barrier before the flag": ALL_FENCE.format(
        before="", fence="membar.gl;", meet="bar.sync 0;"
    ),
    "a fence of each thread and a barrier of some threads": ALL_FENCE.format(
        before="", fence="fence.acq_rel.gpu;", meet="mov.u32 %r8, 96; min.u32 %r8, %r8, %r5; bar.sync 1, %r8;"
    ),
    "an asynchronous copy": ASYNC.format(wait="cp.async.wait_all;", barrier="bar.sync 0;", offset="+4"),
    "a thread's own asynchronous copy": ASYNC.format(wait="cp.async.wait_all;", barrier="", offset=""),
    "an mbarrier": MBARRIER.format(
        spin="spin: mbarrier.test_wait.shared.b64 %p4, [%r10], %rd5; @!%p4 bra spin;",
    ),
    "what another launch wrote": "ld.global.u32 %r6, [%rd1]; ret;",
}


@pytest.mark.parametrize("body", CLEAN.values(), ids=CLEAN)
@pytest.mark.parametrize("block", [64, 96])
def test_correct_kernels_are_not_accused(kernel, body, block):
    reports = check(kernel(BEGIN + body), grid=4, block=block)
    assert reports == [], "\n".join(map(str, reports))


RACES = {
    "no barrier before the read": ("st.shared.u32 [%r3], %r1; ld.shared.u32 %r6, [%r3+4]; ret;", "RAW", "shared"),
    "no barrier after the read": (LOOP.format(second_barrier=""), "WAR", "shared"),
    "a barrier in the wrong place": (
        "bar.sync 0; st.shared.u32 [%r3], %r1; ld.shared.u32 %r6, [%r3+4]; bar.sync 0; ret;",
        "RAW",
        "shared",
    ),
    "one buffer where two are needed": (DOUBLE_BUFFER.format(swap=""), "WAR", "shared"),
    "no barrier between the steps of a reduction": (
        """st.shared.u32 [%r3], %r1; bar.sync 0; mov.u32 %r6, 1;
        step: mad.lo.u32 %r7, %r6, 2, -1; and.b32 %r7, %r7, %r1; setp.ne.u32 %p2, %r7, 0; @%p2 bra added;
        mad.lo.u32 %r7, %r6, 4, %r3; ld.shared.u32 %r8, [%r7]; ld.shared.u32 %r9, [%r3];
        add.u32 %r9, %r9, %r8; st.shared.u32 [%r3], %r9;
        added: shl.b32 %r6, %r6, 1; setp.le.u32 %p2, %r6, 32; @%p2 bra step; ret;""",
        "RAW",
        "shared",
    ),
    "overlapping bytes": (
        """mov.u32 %r6, tile; add.u32 %r6, %r6, %r1; st.shared.u8 [%r6], %r1;
        @%p1 ld.shared.u32 %r7, [tile+60]; ret;""",
        "RAW",
        "shared",
    ),
    "words, then bytes, with no barrier between": (
        """setp.ge.u32 %p2, %r1, 32; @%p2 bra bytes; st.shared.u32 [%r3], %r1; ret;
        bytes: ld.shared.u8 %r6, [%r3+-127]; ret;""",
        "RAW",
        "shared",
    ),
    "the halves of eight bytes": (
        """setp.eq.u32 %p2, %r1, 40; @%p1 st.shared.u64 [tile+64], 0; @%p2 ld.shared.u32 %r6, [tile+68]; ret;""",
        "RAW",
        "shared",
    ),
    "a histogram without atomics": (
        "ld.shared.u32 %r6, [tile+4]; add.u32 %r6, %r6, 1; st.shared.u32 [tile+4], %r6; ret;",
        "WAR",
        "shared",
    ),
    "an atomic and a store": (
        "@%p1 st.shared.u32 [tile], 0; atom.shared.add.u32 %r6, [tile], 1; ret;",
        "WAW",
        "shared",
    ),
    "an atomic and a load": ("red.global.add.u32 [%rd1], 1; ld.global.u32 %r6, [%rd1]; ret;", "RAW", "global"),
    "atomics that reach only their block": ("red.cta.global.add.u32 [%rd1], 1; ret;", "WAW", "global"),
    "two blocks, one cell": ("st.global.u32 [%rd2], %r4; ret;", "WAW", "global"),
    "another block's output": (
        """st.global.u32 [%rd3], %r1; bar.sync 0; add.u32 %r6, %r4, %r5; mad.wide.u32 %rd4, %r6, 4, %rd1;
        ld.global.u32 %r7, [%rd4]; ret;""",
        "RAW",
        "global",
    ),
    "a neighbour's cell in place": (
        "ld.global.u32 %r6, [%rd3+4]; st.global.u32 [%rd3], %r6; ret;",
        "WAR",
        "global",
    ),
    "a barrier that only one branch has": (
        """setp.lt.u32 %p2, %r1, 32; st.shared.u32 [%r3], %r1; @!%p2 bra read; bar.sync 1, 32;
        read: xor.b32 %r6, %r1, 32; mov.u32 %r7, tile; mad.lo.u32 %r7, %r6, 4, %r7; ld.shared.u32 %r8, [%r7]; ret;""",
        "RAW",
        "shared",
    ),
    "the last block without a fence": (LAST_BLOCK.format(fence=""), "RAW", "global"),
    "the last block with a fence of its own block": (LAST_BLOCK.format(fence="membar.cta;"), "RAW", "global"),
    "look-back without a fence before the flag": (
        LOOK_BACK.format(
            load="ld.volatile.global.u32", acquire="membar.gl;", release="", store="st.volatile.global.u32"
        ),
        "WAR",
        "global",
    ),
    "look-back without a fence after the flag": (
        LOOK_BACK.format(
            load="ld.volatile.global.u32", acquire="", release="membar.gl;", store="st.volatile.global.u32"
        ),
        "WAR",
        "global",
    ),
    "look-back with a plain flag": (
        LOOK_BACK.format(load="ld.global.u32", acquire="membar.gl;", release="membar.gl;", store="st.global.u32"),
        "WAR",
        "global",
    ),
    "look-back with a fence after the flag is set": (
        LOOK_BACK.format(
            load="ld.volatile.global.u32",
            acquire="membar.gl;",
            release="st.volatile.global.u32 [%rd4+1024], 1;",
            store="membar.gl; st.global.u32 ",
        ).replace("st.global.u32  [%rd4+1024], 1;", ""),
        "WAR",
        "global",
    ),
    "a spin lock without a fence": (
        SPIN_LOCK.format(acquire="", release="", unlock="atom.global.exch.b32 %r8, [%rd1], 0;"),
        "WAR",
        "global",
    ),
    "a spin lock opened before the fence": (
        SPIN_LOCK.format(acquire="membar.gl;", release="", unlock="atom.global.exch.b32 %r8, [%rd1], 0; membar.gl;"),
        "WAR",
        "global",
    ),
    "no lock": ("@%p1 ld.global.u32 %r7, [%rd1]; @%p1 st.global.u32 [%rd1], %r2; ret;", "WAR", "global"),
    "a consumer that does not wait": (
        PRODUCER.format(produced="bar.arrive 1, 64;", consumed="bar.arrive 1, 64;", reused="", free=""),
        "RAW",
        "shared",
    ),
    "a producer that does not wait for its buffer": (
        PRODUCER.format(produced="bar.arrive 1, 64;", consumed="bar.sync 1, 64;", reused="", free=""),
        "RAW",
        "shared",
    ),
    "a barrier of the grid without fences": (GRID_BARRIER.format(fence=""), "RAW", "global"),
    "a barrier, but no fence, before the flag": (
        ALL_FENCE.format(before="", fence="@%p1 membar.gl;", meet="bar.sync 0;"),
        "RAW",
        "global",
    ),
    "a fence of the block before the flag": (
        ALL_FENCE.format(before="", fence="membar.cta;", meet="bar.sync 0;"),
        "RAW",
        "global",
    ),
    "a fence before the data": (ALL_FENCE.format(before="membar.gl;", fence="", meet="bar.sync 0;"), "RAW", "global"),
    "fences, but no barrier, before the flag": (
        ALL_FENCE.format(before="", fence="membar.gl;", meet=""),
        "RAW",
        "global",
    ),
    "a barrier that a warp passes alone": (
        "st.shared.u32 [%r3], %r1; bar.sync 1, 32; ld.shared.u32 %r6, [%r3+128]; ret;",
        "RAW",
        "shared",
    ),
    "a barrier that is passed every other time": (
        """mov.u32 %r6, 0;
        again: and.b32 %r7, %r6, 1; setp.eq.u32 %p2, %r7, 0; shl.b32 %r7, %r7, 10; add.u32 %r8, %r3, %r7;
        st.shared.u32 [%r8], %r6; @%p2 bar.sync 0; ld.shared.u32 %r9, [%r8+4];
        add.u32 %r6, %r6, 1; setp.lt.u32 %p3, %r6, 4; @%p3 bra again; ret;""",
        "RAW",
        "shared",
    ),
    "an asynchronous copy before its wait": (ASYNC.format(wait="", barrier="", offset=""), "RAW", "shared"),
    "an asynchronous copy with a barrier, but no wait": (
        ASYNC.format(wait="", barrier="bar.sync 0;", offset="+4"),
        "RAW",
        "shared",
    ),
    "a neighbour's asynchronous copy without a barrier": (
        ASYNC.format(wait="cp.async.wait_all;", barrier="", offset="+4"),
        "RAW",
        "shared",
    ),
    "an mbarrier that nobody waits for": (MBARRIER.format(spin=""), "RAW", "shared"),
}


@pytest.mark.parametrize("body, hazard, space", RACES.values(), ids=RACES)
@pytest.mark.parametrize("block", [64, 96])
def test_races_are_found(kernel, body, hazard, space, block):
    reports = check(kernel(BEGIN + body), grid=4, block=block)
    assert [r.hazard for r in reports if r.severity == Severity.ERROR and r.space == space][:1] == [hazard], "\n".join(
        map(str, reports)
    )
    assert {r.space for r in reports} == {space}


def test_all_threads_of_a_warp_without_a_warp_barrier(kernel):
    reports = check(kernel(BEGIN + WARP_SUM.format(sync="")), block=64)
    assert {report.severity for report in reports} == {Severity.WARNING}
    assert "RAW" in {report.hazard for report in reports}


def test_a_warp_barrier_of_some_lanes_orders_only_those(kernel):
    body = "st.shared.u32 [%r3], %r1; bar.warp.sync {}; xor.b32 %r6, %r1, 8; shl.b32 %r6, %r6, 2;"
    read = "mov.u32 %r7, tile; add.u32 %r6, %r6, %r7; ld.shared.u32 %r7, [%r6]; ret;"
    halves = "and.b32 %r9, %r1, 8; mov.b32 %r8, 0x00ff00ff; shl.b32 %r8, %r8, %r9;"
    assert check(kernel(BEGIN + body.format("-1") + read), block=32) == []
    (report,) = check(kernel(BEGIN + halves + body.format("%r8") + read), block=32)
    assert report.severity == Severity.WARNING and report.count == 32


def test_a_warp_barrier_does_not_order_those_who_exited_without_it(kernel):
    body = "setp.lt.u32 %p2, %r1, 16; st.shared.u32 [%r3], %r1; @!%p2 ret; bar.warp.sync 0xffff; "
    (report,) = check(kernel(BEGIN + body + "ld.shared.u32 %r6, [%r3+64]; ret;"), block=32)
    assert report.severity == Severity.WARNING and report.count == 16
    assert check(kernel(BEGIN + body + "xor.b32 %r6, %r1, 8; ld.shared.u32 %r6, [%r3]; ret;"), block=32) == []


def test_a_fence_of_each_lane_and_a_warp_barrier_before_the_flag(kernel):
    for fence, races in (("membar.gl;", 0), ("@%p1 membar.gl;", 1)):
        body = ALL_FENCE.format(before="", fence=fence, meet="bar.warp.sync -1;")
        assert len(check(kernel(BEGIN + body), grid=2, block=32)) == races


def test_equal_values_are_no_error(kernel):
    (report,) = check(kernel(BEGIN + "st.global.u32 [%rd1], 7; ret;"), grid=2)
    assert report.severity == Severity.INFO and "no effect" in str(report)
    (report,) = check(kernel(BEGIN + "shr.u32 %r6, %r1, 5; st.shared.u32 [tile], %r6; ret;"))
    assert report.severity == Severity.ERROR


def test_a_barrier_of_the_cluster():
    ptx = """.version 8.1\n.target sm_90\n.address_size 64
    .visible .entry k(.param .u64 out) {{ .reg .b32 %r<12>; .reg .b64 %rd<8>; .reg .pred %p<4>;
    {begin} st.shared.u32 [%r3], %r1; {barrier} ld.shared.u32 %r6, [%r3+4]; ret; }}"""
    assert check(Module(ptx.format(begin=BEGIN, barrier="barrier.cluster.arrive; barrier.cluster.wait;"))) == []
    assert len(check(Module(ptx.format(begin=BEGIN, barrier="")))) == 1


def test_what_a_report_says(kernel):
    location = '.file 1 "halo.mojo"\n.loc 1 12 5\n'
    module = kernel(
        BEGIN.replace("4096", "260")
        + location
        + "st.shared.u32 [%r3], %r1;\n.loc 1 13 5\nld.shared.u32 %r6, [%r3+4]; ret;"
    )
    (report,) = check(module, grid=(2, 2), block=64)
    assert str(report).splitlines() == [
        "Error: Race reported between Write access at k (PTX line 16) in halo.mojo:12",
        "    and Read access at k (PTX line 18) in halo.mojo:13 [252 hazards]",
        "    RAW hazard on 4 bytes of __shared__ memory at 0x4, tile[1]",
        "    Write by thread (1,0,0) in block (0,0,0)",
        "    Read by thread (0,0,0) in block (0,0,0)",
    ]
    assert (report.variable, report.index, report.address, report.count) == ("tile", 1, 4, 252)
    assert [thread.thread for thread in report.threads] == [(1, 0, 0), (0, 0, 0)]


def test_a_launch_orders_what_the_one_before_it_did(kernel):
    racecheck, out = Racecheck(), np.zeros(64, np.uint32)
    module = kernel(BEGIN + "st.global.u32 [%rd2], %r1; ret;")
    for _ in range(2):
        module.launch("k", 1, 64, [out], observers=[racecheck])
    assert racecheck.reports == []


def test_blocks_of_different_chunks(kernel):
    (report,) = check(kernel(BEGIN + "shr.u32 %r6, %r2, 6; st.global.u32 [%rd1], %r6; ret;"), grid=128, block=512)
    assert report.severity == Severity.ERROR and report.hazard == "WAW"
