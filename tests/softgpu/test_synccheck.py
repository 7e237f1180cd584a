"""synccheck: barriers and warp-level instructions that are misused, and those that only look so."""

from __future__ import annotations

import numpy as np
import pytest

from softgpu import BarrierDeadlock, Severity, Synccheck

pytestmark = pytest.mark.usefixtures("every_engine")

BEGIN = """
mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [out]; and.b32 %r2, %r1, 31; setp.lt.u32 %p1, %r1, 40;
setp.lt.u32 %p2, %r2, 16; setp.lt.u32 %p3, %r1, 32;
"""


def check(module, grid=2, block=64):
    synccheck = Synccheck()
    module.launch("k", grid, block, [np.zeros(64, np.uint32)], observers=[synccheck])
    return synccheck.reports


BLOCK, WARP = "Divergent thread(s) in block", "Divergent thread(s) in warp"
MISUSES = {
    "threads that exited before": ("@!%p1 ret; bar.sync 0; ret;", BLOCK, "only 40 of 64 threads executed it", 2),
    "whole warps that exited before": ("@!%p3 ret; bar.sync 0; ret;", BLOCK, "only 32 of 64 threads", 2),
    "a barrier in a branch": ("@!%p1 bra done; bar.sync 0; done: ret;", BLOCK, "only 40 of 64 threads", 2),
    "a barrier of some warps": ("@%p2 ret; barrier.sync 1, 64; ret;", BLOCK, "only 32 of 64 threads", 2),
    "a barrier for each half of a warp": (
        "@%p2 bra other; bar.sync 0; ret; other: bar.sync 0; ret;",
        WARP,
        "other lanes of the warp execute the barrier at k (PTX line 12)",
        4,
    ),
    "a thread outside its own mask": ("bar.warp.sync 0xffff; ret;", "Invalid arguments", "mask 0x0000ffff", 64),
    "a shuffle between a thread outside its own mask and another": (
        "shfl.sync.bfly.b32 %r4, %r1, 8, 31, 0x7fffffff; ret;",
        "Invalid arguments",
        "mask 0x7fffffff",
        4,
    ),
    "a shuffle from a lane that exited": (
        "@!%p2 ret; shfl.sync.idx.b32 %r4, %r1, 20, 31, -1; ret;",
        "Read from an absent lane",
        "it read from lane 20",
        64,
    ),
}


@pytest.mark.parametrize("code, what, detail, count", MISUSES.values(), ids=MISUSES)
def test_misuses(kernel, code, what, detail, count):
    code = code.replace("; ", ";\n")  # a line of its own for each instruction
    (report,) = [report for report in check(kernel(BEGIN + code)) if report.severity == Severity.ERROR]
    assert what in report.what and report.count == count
    assert detail.partition(" (PTX line")[0] in str(report)


@pytest.mark.parametrize(
    "code",
    [
        "@!%p1 ret; st.global.u32 [%rd1], 1; ret;",
        "bar.sync 0; bar.sync 0; @!%p1 ret; st.global.u32 [%rd1], 1; ret;",
        "@%p3 bra other; bar.sync 0; ret; other: bar.sync 0; ret;",
        "@%p3 bra other; bar.sync 1, 64; ret; other: bar.arrive 1, 64; ret;",
        "@%p3 bra other; bar.sync 1, 32; ret; other: bar.sync 2, 32; ret;",
        "@%p2 bra other; barrier.sync 0; ret; other: barrier.sync 0; ret;",
        "@%p2 bra other; bar.warp.sync 0xffff0000; ret; other: bar.warp.sync 0xffff; ret;",
        "bar.warp.sync -1; shfl.sync.down.b32 %r4, %r1, 16, 31, -1; ret;",
        "@!%p2 bra done; shfl.sync.bfly.b32 %r4, %r1, 8, 31, 0xffff; done: ret;",
        "mov.u32 %r4, %ctaid.x; setp.eq.u32 %p4, %r4, 0; @%p4 bra done; bar.sync 0; done: ret;",
        "@!%p3 ret; bar.sync 1, 32; ret;",
    ],
)
def test_correct_kernels_are_not_accused(kernel, code):
    assert check(kernel(BEGIN + code)) == []


def test_blocks_with_an_incomplete_last_warp(kernel):
    assert check(kernel(BEGIN + "bar.sync 0; bar.warp.sync -1; ret;"), block=50) == []


def test_a_mask_that_names_exited_lanes_is_a_warning(kernel):
    (report,) = check(kernel(BEGIN + "@%p2 ret; vote.sync.ballot.b32 %r4, %p1, -1; ret;"))
    assert report.severity == Severity.WARNING and "0x0000ffff" in str(report) and report.count == 4


def test_a_barrier_that_never_opens(kernel):
    synccheck = Synccheck()
    module = kernel(BEGIN + "@%p1 bra other; bar.sync 0; ret; other: bar.sync 1; ret;")
    with pytest.raises(BarrierDeadlock):
        module.launch("k", 1, 64, [np.zeros(4, np.uint32)], observers=[synccheck])
    assert any("so that it can never open" in str(report) for report in synccheck.reports)


def test_the_thread_shown_is_one_that_executed_the_instruction(kernel):
    split = "and.b32 %r4, %r1, 1; setp.eq.u32 %p4, %r4, 0; @%p4 bra both; {}; both: {}; ret;"
    for barrier in ("bar.sync 0", "bar.sync 0, 64"):
        reports = check(kernel(BEGIN + split.format(barrier, "\n" + barrier)), grid=1)
        (report,) = [report for report in reports if "in warp" in report.what]
        assert report.threads[0].thread == (1, 0, 0) and report.count == 2

    synccheck = Synccheck()
    module = kernel(BEGIN + "@%p3 bra other; bar.sync 1, 64; ret; other: bar.arrive 2, 64; ret;")
    with pytest.raises(BarrierDeadlock) as failure:
        module.launch("k", 2, 64, [np.zeros(4, np.uint32)], observers=[synccheck])
    assert failure.value.thread == (32, 0, 0)
    (report,) = synccheck.reports
    assert report.threads[0].thread == (32, 0, 0)
    assert "only 32 of 64 threads executed it, so that it can never open: 32 have exited" in str(report)


def test_what_a_report_says(kernel):
    module = kernel(BEGIN + '.file 1 "sum.mojo"\n.loc 1 5 3\n@!%p1 ret;\n.loc 1 6 3\nbar.sync 0;\nret;')
    (report,) = check(module)
    assert str(report).splitlines() == [
        "Barrier error detected. Divergent thread(s) in block",
        "    at k (PTX line 15) in sum.mojo:6",
        "    by thread (40,0,0) in block (0,0,0)",
        "    only 40 of 64 threads executed it: thread (40,0,0) in block (0,0,0) had exited at k (PTX line 13) "
        "in sum.mojo:5",
        "    [2 times]",
    ]
