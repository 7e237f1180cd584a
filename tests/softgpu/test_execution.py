"""Divergence, barriers, warps, atomics, and kernels that must be stopped."""

import time

import numpy as np
import pytest

from softgpu import (
    BarrierDeadlock,
    IllegalInstruction,
    InstructionBudgetExceeded,
    Module,
    PTXSyntaxError,
    TrapError,
    UnsupportedPTX,
    scheduler,
)

OUT = """
ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;
mad.lo.u32 %r4, %r2, %r3, %r1; mad.wide.u32 %rd1, %r4, 4, %rd1;
"""


def test_lanes_of_a_loop_leave_one_by_one_and_meet_again(kernel):
    """Each thread adds 1 to tid; after the loop all lanes of the warp run together."""
    module = kernel(
        OUT
        + """
        mov.u32 %r5, 0; mov.u32 %r6, 0;
        LOOP: setp.ge.u32 %p1, %r5, %r1;
        @%p1 bra DONE;
        add.u32 %r5, %r5, 1; add.u32 %r6, %r6, %r5;
        bra LOOP;
        DONE: activemask.b32 %r7;
        popc.b32 %r7, %r7;
        mad.lo.u32 %r6, %r7, 10000, %r6;
        st.global.u32 [%rd1], %r6;
        ret;"""
    )
    out = np.zeros(64, np.uint32)
    module.launch("k", 1, 64, [out])
    assert out.tolist() == [320000 + n * (n + 1) // 2 for n in range(64)]


def test_nested_divergence_meets_at_the_innermost_join(kernel):
    module = kernel(
        OUT
        + """
        and.b32 %r5, %r1, 1; setp.eq.u32 %p1, %r5, 0; and.b32 %r6, %r1, 2; setp.eq.u32 %p2, %r6, 0;
        @%p1 bra EVEN;
        mov.u32 %r7, 100; bra JOIN;
        EVEN: mov.u32 %r7, 200; @%p2 bra INNER; add.u32 %r7, %r7, 7; INNER: activemask.b32 %r8;
        add.u32 %r7, %r7, 1;
        popc.b32 %r8, %r8; add.u32 %r7, %r7, %r8;
        JOIN: st.global.u32 [%rd1], %r7; ret;"""
    )
    out = np.zeros(32, np.uint32)
    module.launch("k", 1, 32, [out])
    assert out.tolist() == [100 if n % 2 else 217 + (0 if n & 2 == 0 else 7) for n in range(32)]


@pytest.mark.parametrize("block", [15, 64, 100, (8, 4, 2)])
@pytest.mark.parametrize("chunk_threads", [1, 100, 16384])
def test_special_registers_do_not_depend_on_how_blocks_are_batched(kernel, monkeypatch, block, chunk_threads):
    monkeypatch.setattr(scheduler, "CHUNK_THREADS", chunk_threads)
    module = kernel(
        """
        mov.u32 %r1, %tid.x; mov.u32 %r2, %tid.y; mov.u32 %r3, %tid.z; mov.u32 %r4, %ntid.x;
        mov.u32 %r5, %ntid.y;
        mov.u32 %r6, %ntid.z; mov.u32 %r7, %ctaid.x; mov.u32 %r8, %ctaid.y; mov.u32 %r9, %nctaid.x;
        mad.lo.u32 %r10, %r3, %r5, %r2; mad.lo.u32 %r10, %r10, %r4, %r1;
        mad.lo.u32 %r11, %r8, %r9, %r7; mul.lo.u32 %r12, %r4, %r5; mul.lo.u32 %r12, %r12, %r6;
        mad.lo.u32 %r13, %r11, %r12, %r10; ld.param.u64 %rd1, [out]; mad.wide.u32 %rd1, %r13, 8, %rd1;
        mov.u32 %r14, %laneid; mov.u32 %r15, %warpid;
        st.global.v2.u32 [%rd1], {%r14, %r15}; ret;"""
    )
    threads = int(np.prod(block))
    out = np.zeros((6, threads, 2), np.uint32)
    module.launch("k", (3, 2), block, [out])
    assert (out[:, :, 0] == np.arange(threads) % 32).all() and (out[:, :, 1] == np.arange(threads) // 32).all()


def test_special_registers_of_other_kinds(kernel):
    module = kernel(
        """ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; mad.wide.u32 %rd1, %r1, 32, %rd1;
        mov.u16 %h1, %tid.x; mov.u16 %h2, %ntid.x; cvt.u32.u16 %r2, %h1; cvt.u32.u16 %r3, %h2; mov.u32 %r4, %nwarpid;
        mov.u32 %r5, %smid; mov.u32 %r6, %nsmid; setp.lt.u32 %p1, %r5, %r6; selp.u32 %r5, 1, 0, %p1;
        mov.u32 %r6, %lanemask_eq; mov.u32 %r7, %lanemask_le; mov.u32 %r8, %lanemask_lt; mov.u32 %r9, %lanemask_ge;
        mov.u32 %r10, %lanemask_gt; st.global.v4.u32 [%rd1], {%r2, %r3, %r4, %r5};
        or.b32 %r8, %r8, %r6; xor.b32 %r8, %r8, %r7; or.b32 %r10, %r10, %r6; xor.b32 %r9, %r9, %r10;
        st.global.v4.u32 [%rd1+16], {%r6, %r8, %r9, %r7}; ret;"""
    )
    out = np.zeros((70, 8), np.uint32)
    module.launch("k", 1, 70, [out])
    for n in range(70):
        assert out[n].tolist() == [n, 70, 3, 1, 1 << n % 32, 0, 0, (2 << n % 32) - 1]


def test_grids_are_numbered(kernel):
    code = "ld.param.u64 %rd1, [out]; mov.u64 %rd2, %gridid; mov.u32 %r1, %gridid;"
    module = kernel(f"{code} cvt.u64.u32 %rd3, %r1; st.global.v2.u64 [%rd1], {{%rd2, %rd3}}; ret;")
    for number in (1, 2, 3):
        out = np.zeros(2, np.uint64)
        module.launch("k", 1, 1, [out])
        assert out.tolist() == [number, number]


def test_clocks_go_on(kernel):
    module = kernel(
        """ld.param.u64 %rd1, [out]; mov.u64 %rd2, %clock64; mov.u32 %r1, %clock; mov.u64 %rd3, %globaltimer;
        mov.u32 %r5, 0; LOOP: add.u32 %r5, %r5, 1; setp.lt.u32 %p1, %r5, 100; @%p1 bra LOOP;
        mov.u64 %rd4, %clock64; mov.u32 %r2, %clock; mov.u64 %rd5, %globaltimer; mov.u64 %rd6, %clock64;
        sub.u64 %rd2, %rd4, %rd2; sub.u32 %r2, %r2, %r1; cvt.u64.u32 %rd7, %r2; sub.u64 %rd8, %rd5, %rd3;
        sub.u64 %rd6, %rd6, %rd4; st.global.v2.u64 [%rd1], {%rd2, %rd7}; st.global.v2.u64 [%rd1+16], {%rd8, %rd6};
        st.global.u64 [%rd1+32], %rd3; ret;"""
    )
    out = np.zeros(5, np.uint64)
    before = time.time_ns()
    module.launch("k", 1, 1, [out])
    cycles, low, nanoseconds, step, started = out.tolist()
    assert 300 <= cycles < 1000 and 300 <= low < 1000 and 0 < step < 20
    assert before <= started <= started + nanoseconds <= time.time_ns() and nanoseconds > 0


@pytest.mark.parametrize(
    "code", ["mov.u64 %rd1, %tid.x", "mov.u32 %r1, %clock64", "mov.f32 %f1, %tid.x", "mov.u16 %h1, %laneid"]
)
def test_special_registers_have_types(kernel, code):
    with pytest.raises(PTXSyntaxError, match="cannot be read as"):
        kernel(f"{code}; ret;").program("k")


@pytest.mark.parametrize("code", ["mov.u32 %r1, %envreg0", "mov.u32 %r1, %pm0", "mov.u32 %r1, %clusterid.x", "brkpt"])
def test_what_is_refused_by_name(kernel, code):
    with pytest.raises(UnsupportedPTX, match=code.split("%")[-1]):
        kernel(f"{code}; ret;").program("k")


def test_hints_change_nothing(kernel):
    module = kernel(
        """ld.param.u64 %rd1, [out]; mov.u32 %r1, 20; nanosleep.u32 %r1; nanosleep.u32 100; pmevent 3; pmevent.mask 7;
        griddepcontrol.wait; griddepcontrol.launch_dependents; setmaxnreg.inc.sync.aligned.u32 240;
        .pragma "nounroll"; st.global.u32 [%rd1], %r1; exit;"""
    )
    module.ptx.target = "sm_90a"
    out = np.zeros(1, np.uint32)
    module.launch("k", 1, 1, [out])
    assert out[0] == 20


def test_an_early_exit_does_not_block_a_barrier(kernel):
    module = kernel(
        OUT
        + """
        setp.ge.u32 %p1, %r1, 40; @%p1 ret;
        bar.sync 0; st.global.u32 [%rd1], 7; ret;"""
    )
    out = np.zeros(128, np.uint32)
    module.launch("k", 2, 64, [out])
    assert out.reshape(2, 64).sum(axis=1).tolist() == [280, 280]


def test_a_barrier_below_a_divergent_branch_waits_for_the_other_warp(kernel):
    """Warp 0 takes a long way to the barrier, and warp 1 reads what it wrote."""
    module = kernel(
        ".shared .align 4 .u32 flag;"
        + OUT
        + """
        setp.lt.u32 %p1, %r1, 32; @%p1 bra WRITER;
        bar.sync 0; ld.shared.u32 %r5, [flag]; st.global.u32 [%rd1], %r5; ret;
        WRITER: mov.u32 %r6, 0;
        COUNT: add.u32 %r6, %r6, 1; setp.lt.u32 %p2, %r6, 50; @%p2 bra COUNT;
        st.shared.u32 [flag], %r6; bar.sync 0; ret;"""
    )
    out = np.zeros(64, np.uint32)
    module.launch("k", 1, 64, [out])
    assert out[32:].tolist() == [50] * 32


def test_producers_arrive_without_waiting(kernel):
    module = kernel(
        ".shared .align 4 .b8 tile[128];"
        + OUT
        + """
        mov.u32 %r5, tile; and.b32 %r6, %r1, 31; shl.b32 %r6, %r6, 2; add.u32 %r5, %r5, %r6;
        setp.ge.u32 %p1, %r1, 32; @%p1 bra CONSUMER;
        st.shared.u32 [%r5], %r1; bar.arrive 3, 64; st.global.u32 [%rd1], 1; ret;
        CONSUMER: bar.sync 3, 64; ld.shared.u32 %r7, [%r5]; st.global.u32 [%rd1], %r7; ret;"""
    )
    out = np.zeros(64, np.uint32)
    module.launch("k", 1, 64, [out])
    assert out[32:].tolist() == list(range(32)) and (out[:32] == 1).all()


def test_a_barrier_that_not_all_threads_reach_is_a_deadlock(kernel):
    module = kernel(
        """
        mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 32; @%p1 bra OTHER;
        bar.sync 0; ret;
        OTHER: bar.sync 1; ret;"""
    )
    with pytest.raises(BarrierDeadlock) as caught:
        module.launch("k", (2, 2), 64, [np.zeros(1, np.uint32)])
    error = caught.value
    assert error.arrived == 32 and error.expected == 64 and error.block == (0, 0, 0) and error.barrier in (0, 1)
    assert "only 32 of 64 threads of block (0, 0, 0) arrived" in str(error)
    assert len(error.lines) == 2


@pytest.mark.parametrize(
    "code", ["bar.sync 16;", "bar.sync 0, 33;", "bar.arrive 0, 0;", "bar.sync -1;", "barrier.cta.sync 0, 2048;"]
)
def test_barriers_that_no_gpu_has(kernel, code):
    with pytest.raises(UnsupportedPTX, match=r"barriers are numbered|thread counts are multiples"):
        kernel(code + " ret;").program("k")


@pytest.mark.parametrize(
    "code, reason", [("bar.sync %r1;", "is number 16"), ("bar.sync 1, %r2;", "thread count is 17")]
)
def test_barriers_in_registers_that_no_gpu_has(kernel, code, reason):
    module = kernel(
        "mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 4; add.u32 %r2, %r2, %r1; add.u32 %r1, %r1, 15;\n" + code + " ret;"
    )
    with pytest.raises(IllegalInstruction, match=reason) as caught:
        module.launch("k", 1, 32, [np.zeros(1, np.uint32)])
    assert caught.value.thread == (1, 0, 0) and caught.value.line == 9


BARRIER_REDUCTIONS = """
and.b32 %r5, %r1, 3; setp.eq.u32 %p1, %r5, %r2; setp.lt.u32 %p2, %r2, 4; setp.eq.u32 %p7, %r5, 3; @%p7 bra OTHER;
bar.red.popc.u32 %r6, 2, %p1; barrier.cta.red.and.pred %p3, 3, %p2; bar.red.or.pred %p4, 4, !%p2; bra DONE;
OTHER: barrier.red.popc.aligned.u32 %r6, 2, %p1; bar.red.and.pred %p3, 3, %p2; barrier.red.or.pred %p4, 4, !%p2;
DONE: selp.u32 %r7, 1000, 0, %p3; add.u32 %r6, %r6, %r7; selp.u32 %r7, 2000, 0, %p4; add.u32 %r6, %r6, %r7;
st.global.u32 [%rd1], %r6; ret;
"""


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_barriers_that_reduce(kernel, seed):
    """In block b, every fourth thread (b < 4) votes; threads arrive at different instructions."""
    out = np.zeros((6, 72), np.uint32)
    kernel(OUT + BARRIER_REDUCTIONS).launch("k", 6, 72, [out], shuffle_seed=seed)
    expected = [18 + 1000 if block < 4 else 2000 for block in range(6)]
    assert out.tolist() == [[one] * 72 for one in expected]


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_some_warps_reduce_at_a_barrier_of_their_own(kernel, seed):
    """Exited threads neither count nor are waited for."""
    module = kernel(
        OUT
        + """setp.ge.u32 %p1, %r1, 90; @%p1 ret; setp.lt.u32 %p2, %r1, 32; mov.u32 %r6, 0; @%p2 bra DONE;
        setp.ge.u32 %p3, %r1, 40; mov.u32 %r7, 5; bar.red.popc.u32 %r6, %r7, 64, %p3;
        DONE: st.global.u32 [%rd1], %r6; ret;"""
    )
    out = np.zeros(96, np.uint32)
    module.launch("k", 1, 96, [out], shuffle_seed=seed)
    assert out.tolist() == [0] * 32 + [50] * 58 + [0] * 6


def test_a_warp_that_arrives_twice_counts_twice(kernel):
    """Warp 0 arrives twice, without waiting: that makes 64 threads, and the waiting warp the third 32."""
    module = kernel(
        OUT
        + """setp.ge.u32 %p1, %r1, 32; @%p1 bra WAIT; bar.arrive 1, 96; bar.arrive 1, 96; ret;
        WAIT: bar.sync 1, 96; st.global.u32 [%rd1], 3; ret;"""
    )
    out = np.zeros(64, np.uint32)
    module.launch("k", 1, 64, [out])
    assert out.tolist() == [0] * 32 + [3] * 32


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_a_guarded_barrier_is_for_those_who_take_it(kernel, seed):
    module = kernel(
        ".shared .align 4 .u32 cell;"
        + OUT
        + """setp.lt.u32 %p1, %r1, 64; setp.eq.u32 %p2, %r1, 0; @%p2 st.shared.u32 [cell], 9; mov.u32 %r5, 1;
        @%p1 barrier.sync 7, 64; @%p1 ld.shared.u32 %r5, [cell]; st.global.u32 [%rd1], %r5; ret;"""
    )
    out = np.zeros(96, np.uint32)
    module.launch("k", 1, 96, [out], shuffle_seed=seed)
    assert out.tolist() == [9] * 64 + [1] * 32


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_a_cluster_of_one_block_has_a_split_barrier(kernel, seed):
    module = kernel(
        ".shared .align 4 .b8 cells[256];"
        + OUT
        + """mov.u32 %r5, cells; shl.b32 %r6, %r1, 2; add.u32 %r5, %r5, %r6; st.shared.u32 [%r5], %r1;
        barrier.cluster.arrive.release.aligned; mov.u32 %r7, 3; barrier.cluster.wait.acquire.aligned;
        xor.b32 %r6, %r6, 252; mov.u32 %r5, cells; add.u32 %r5, %r5, %r6; ld.shared.u32 %r7, [%r5];
        barrier.cluster.arrive; barrier.cluster.wait; mov.u32 %r8, %cluster_nctarank; mov.u32 %r9, %clusterid.x;
        mad.lo.u32 %r7, %r9, 100, %r7; add.u32 %r7, %r7, %r8; st.global.u32 [%rd1], %r7; ret;"""
    )
    out = np.zeros((3, 64), np.uint32)
    with pytest.raises(UnsupportedPTX, match="sm_90"):
        module.program("k")
    module.ptx.target = "sm_90a"
    module.launch("k", 3, 64, [out], shuffle_seed=seed)
    assert out.tolist() == [[100 * block + (63 - n) + 1 for n in range(64)] for block in range(3)]


@pytest.mark.parametrize("order", [1, -1])
def test_the_wait_of_a_split_barrier_waits(kernel, order):
    """One warp reads what the other writes after a long loop, whichever comes first in the text."""
    reader = "READER: barrier.cluster.arrive; barrier.cluster.wait; ld.shared.u32 %r6, [cell]; bra DONE;"
    writer = """WRITER: add.u32 %r6, %r6, 1; setp.lt.u32 %p2, %r6, 50; @%p2 bra WRITER; st.shared.u32 [cell], %r6;
        barrier.cluster.arrive; barrier.cluster.wait; bra DONE;"""
    first, second = [reader, writer][::order]
    module = kernel(
        f""".shared .align 4 .u32 cell;
        {OUT} setp.lt.u32 %p1, %r1, 32; mov.u32 %r6, 0; st.shared.u32 [cell], %r6; bar.sync 0;
        @!%p1 bra {second[:6]}; {first} {second} DONE: st.global.u32 [%rd1], %r6; ret;""",
        target="sm_90",
    )
    out = np.zeros(64, np.uint32)
    module.launch("k", 1, 64, [out])
    assert out.tolist() == [50] * 64


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_votes_of_threads_that_have_exited_are_forgotten(kernel, seed):
    """All vote, then the upper half exits, then the others vote again while other blocks are behind."""
    module = kernel(
        OUT
        + """setp.ge.u32 %p2, %r1, 32; mov.u32 %r6, 0; LOOP: add.u32 %r6, %r6, 1; setp.le.u32 %p1, %r6, %r2;
        @%p1 bra LOOP; setp.ge.u32 %p3, %r1, 0; bar.red.popc.u32 %r5, 0, %p3; @%p2 ret; bar.red.popc.u32 %r7, 0, %p3;
        mad.lo.u32 %r5, %r5, 100, %r7; st.global.u32 [%rd1], %r5; ret;"""
    )
    out = np.zeros((9, 64), np.uint32)
    module.launch("k", 9, 64, [out], shuffle_seed=seed)
    assert out.tolist() == [[6432] * 32 + [0] * 32] * 9


@pytest.mark.parametrize("seed", [None, 0])
def test_an_indexed_branch(kernel, seed):
    module = kernel(
        OUT
        + """{ rem.u32 %r5, %r1, 5; setp.lt.u32 %p1, %r5, 4; mov.u32 %r6, 7; targets: .branchtargets ONE, TWO, ONE, END;
        @%p1 brx.idx %r5, targets; bra.uni END;
        ONE: add.u32 %r6, %r6, 100; bra END; TWO: mov.u32 %r6, 200; END: activemask.b32 %r7; popc.b32 %r7, %r7; }
        mad.lo.u32 %r6, %r7, 1000, %r6; st.global.u32 [%rd1], %r6; ret;"""
    )
    out = np.zeros(32, np.uint32)
    module.launch("k", 1, 32, [out], shuffle_seed=seed)
    assert (out % 1000).tolist() == [[107, 200, 107, 7, 7][n % 5] for n in range(32)]
    assert seed is not None or (out // 1000 == 32).all()


def test_an_indexed_branch_beyond_its_list(kernel):
    module = kernel("mov.u32 %r1, %tid.x;\nT: .branchtargets A, A;\nbrx.idx.uni %r1, T; A: ret;")
    with pytest.raises(IllegalInstruction, match="the index 2 is beyond the 2 labels") as caught:
        module.launch("k", 1, 8, [np.zeros(1, np.uint32)])
    assert caught.value.thread == (2, 0, 0) and caught.value.line == 10


def test_a_missing_member_of_a_warp_synchronisation_is_a_deadlock(kernel):
    module = kernel(
        """
        mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 16; @%p1 bra OTHER;
        bar.warp.sync 0xffffffff; ret;
        OTHER: bar.sync 0; ret;"""
    )
    with pytest.raises(BarrierDeadlock):
        module.launch("k", 1, 32, [np.zeros(1, np.uint32)])


def test_warp_synchronisation_waits_for_diverged_lanes(kernel):
    """Lanes that branch away must come back before the shuffle reads from them."""
    module = kernel(
        OUT
        + """
        mov.u32 %r5, 1; and.b32 %r6, %r1, 1; setp.eq.u32 %p1, %r6, 0; @%p1 bra READ;
        mov.u32 %r5, 100;
        READ: shfl.sync.bfly.b32 %r7, %r5, 1, 31, -1; st.global.u32 [%rd1], %r7; ret;"""
    )
    out = np.zeros(70, np.uint32)
    module.launch("k", 1, 70, [out])
    assert out.tolist() == [1 if n % 2 else 100 for n in range(70)]


def test_a_spinning_lane_does_not_starve_the_one_it_waits_for(kernel):
    module = kernel(
        ".shared .align 4 .u32 flag;"
        + OUT
        + """
        setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [flag], 0; bar.sync 0;
        setp.eq.u32 %p2, %r1, 40; @%p2 bra SETTER;
        SPIN: ld.volatile.shared.u32 %r5, [flag]; setp.eq.u32 %p3, %r5, 0; @%p3 bra SPIN;
        st.global.u32 [%rd1], %r5; ret;
        SETTER: mov.u32 %r6, 9; st.shared.u32 [flag], %r6; st.global.u32 [%rd1], %r6; ret;"""
    )
    out = np.zeros(64, np.uint32)
    module.launch("k", 1, 64, [out])
    assert (out == 9).all()


def test_an_endless_loop_is_stopped_and_located(kernel):
    module = kernel("mov.u32 %r1, 0;\nAGAIN: add.u32 %r1, %r1, 1;\nbra AGAIN;")
    with pytest.raises(InstructionBudgetExceeded) as caught:
        module.launch("k", 1, 32, [np.zeros(1, np.uint32)], instruction_budget=5000)
    assert caught.value.lines == (9, 10) and caught.value.budget == 5000


def test_an_endless_loop_is_located_in_the_source_too(kernel):
    module = kernel(
        """.loc 1 7 1\nmov.u32 %r1, 0;\n.loc 1 12 3\nAGAIN: add.u32 %r1, %r1, 1;\n.loc 1 14 3\nbra AGAIN;""",
        module='.file 1 "loop.mojo"',
    )
    for seed in (None, 1):
        with pytest.raises(InstructionBudgetExceeded, match=r"loop.mojo:12 to 14\)"):
            module.launch("k", 1, 32, [np.zeros(1, np.uint32)], instruction_budget=5000, shuffle_seed=seed)


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("grid, block", [(1, 48), (40, 1), (4, 16)])
def test_a_spin_lock_lets_everyone_through(kernel, seed, grid, block):
    """Lanes of one warp, warps and blocks compete for one lock, and add to a counter without atomics."""
    module = kernel(
        OUT
        + """ld.param.u64 %rd2, [lock]; mov.u32 %r9, 0;
        TRY: atom.acquire.gpu.global.cas.b32 %r5, [%rd2], 0, 1; setp.ne.u32 %p1, %r5, 0; @%p1 bra TRY;
        ld.volatile.global.u32 %r6, [%rd2+4]; st.global.u32 [%rd1], %r6; add.u32 %r6, %r6, 1;
        st.volatile.global.u32 [%rd2+4], %r6; membar.gl; atom.global.exch.b32 %r7, [%rd2], 0; ret;""",
        ["u64 out", "u64 lock"],
    )
    out, lock = np.zeros(grid * block, np.uint32), np.zeros(2, np.uint32)
    module.launch("k", grid, block, [out, lock], shuffle_seed=seed)
    assert lock.tolist() == [0, grid * block] and sorted(out.tolist()) == list(range(grid * block))


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_blocks_wait_for_each_other_by_a_flag(kernel, seed):
    """Block n adds its part when block n - 1 has: they draw their numbers, so that the order of blocks is free."""
    module = kernel(
        """.shared .align 4 .u32 number; mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [flags]; setp.ne.u32 %p1, %r1, 0;
        @%p1 bra READ; atom.global.add.u32 %r2, [%rd1], 1; st.shared.u32 [number], %r2;
        READ: bar.sync 0; ld.shared.u32 %r2, [number]; @%p1 ret;
        WAIT: ld.acquire.gpu.global.u32 %r3, [%rd1+4]; setp.ne.u32 %p2, %r3, %r2; @%p2 bra WAIT;
        ld.global.u32 %r4, [%rd1+8]; mad.lo.u32 %r4, %r4, 3, %r2; st.global.u32 [%rd1+8], %r4; add.u32 %r3, %r3, 1;
        st.release.gpu.global.u32 [%rd1+4], %r3; ret;""",
        ["u64 flags"],
    )
    flags = np.zeros(3, np.uint32)
    module.launch("k", 20, 33, [flags], shuffle_seed=seed)
    expected = 0
    for number in range(20):
        expected = expected * 3 + number
    assert flags.tolist() == [20, 20, expected % 2**32]


def test_shuffling_shows_that_a_result_depends_on_the_order(kernel):
    """The last writer wins: which one that is differs from seed to seed, but not from run to run."""
    module = kernel("ld.param.u64 %rd1, [out]; mov.u32 %r1, %ctaid.x; st.global.u32 [%rd1], %r1; ret;")

    def result(seed):
        out = np.zeros(1, np.uint32)
        module.launch("k", 40, 32, [out], shuffle_seed=seed)
        return int(out[0])

    results = [result(seed) for seed in range(12)]
    assert len(set(results)) > 3 and results == [result(seed) for seed in range(12)]
    assert result(None) == result(None)


def test_shuffling_shows_a_missing_barrier(kernel):
    """Each thread reads its neighbour's cell in another warp: without a barrier, it may be too early."""

    def results(barrier):
        module = kernel(
            ".shared .align 4 .b8 cells[512];"
            + OUT
            + f"""mov.u32 %r5, cells; shl.b32 %r6, %r1, 2; add.u32 %r5, %r5, %r6; st.shared.u32 [%r5], 0; bar.sync 0;
            setp.gt.u32 %p1, %r1, 99; @%p1 bra NEXT; NEXT: st.shared.u32 [%r5], %r1; {barrier} xor.b32 %r6, %r6, 128;
            mov.u32 %r5, cells; add.u32 %r5, %r5, %r6; @%p1 bra LAST; LAST: ld.shared.u32 %r7, [%r5];
            st.global.u32 [%rd1], %r7; ret;"""
        )
        outs = []
        for seed in range(8):
            outs.append(np.zeros(128, np.uint32))
            module.launch("k", 1, 128, [outs[-1]], shuffle_seed=seed)
        return {out.tobytes() for out in outs}

    assert results("bar.sync 0;") == {(np.arange(128, dtype=np.uint32) ^ 32).tobytes()}
    assert len(results("")) > 1


def test_trap_names_the_thread(kernel):
    module = kernel("mov.u32 %r1, %tid.x; setp.eq.u32 %p1, %r1, 5;\n@%p1 trap; ret;")
    with pytest.raises(TrapError) as caught:
        module.launch("k", (1, 3), (8, 2), [np.zeros(1, np.uint32)])
    assert caught.value.thread == (5, 0, 0) and caught.value.block == (0, 0, 0) and caught.value.line == 9


SHUFFLES = {
    "up": lambda lane, n, clamp, segment: (lane - n, lane - n >= (lane & segment | clamp & ~segment)),
    "down": lambda lane, n, clamp, segment: (lane + n, lane + n <= (lane & segment | clamp & ~segment)),
    "bfly": lambda lane, n, clamp, segment: (lane ^ n, lane ^ n <= (lane & segment | clamp & ~segment)),
    "idx": lambda lane, n, clamp, segment: (
        lane & segment | n & ~segment,
        (lane & segment | n & ~segment) <= (lane & segment | clamp & ~segment),
    ),
}


@pytest.mark.parametrize("mode", SHUFFLES)
@pytest.mark.parametrize("offset", [0, 1, 7, 16, 31])
@pytest.mark.parametrize("limits", [0x1F, 0x0, 0x181F, 0x1800, 0x100F])
def test_shuffles(kernel, mode, offset, limits):
    module = kernel(
        OUT
        + f"""
        shfl.sync.{mode}.b32 %r5|%p1, %r1, {offset}, {limits}, -1; selp.u32 %r6, 1000, 0, %p1;
        add.u32 %r5, %r5, %r6; st.global.u32 [%rd1], %r5; ret;"""
    )
    out = np.zeros(32, np.uint32)
    module.launch("k", 1, 32, [out])
    expected = []
    for lane in range(32):
        source, inside = SHUFFLES[mode](lane, offset, limits & 31, limits >> 8 & 31)
        expected.append(source + 1000 if inside else lane)
    assert out.tolist() == expected


def test_votes(kernel):
    module = kernel(
        OUT
        + """
        setp.lt.u32 %p1, %r1, 35; vote.sync.ballot.b32 %r5, %p1, -1; vote.sync.all.pred %p2, %p1, -1;
        vote.sync.any.pred %p3, %p1, -1; vote.sync.uni.pred %p4, %p1, -1;
        popc.b32 %r5, %r5; selp.u32 %r6, 100, 0, %p2; selp.u32 %r7, 1000, 0, %p3; selp.u32 %r8, 10000, 0, %p4;
        add.u32 %r5, %r5, %r6; add.u32 %r5, %r5, %r7; add.u32 %r5, %r5, %r8;
        st.global.u32 [%rd1], %r5; ret;"""
    )
    out = np.zeros(96, np.uint32)
    module.launch("k", 1, 96, [out])
    assert out.tolist() == [11132] * 32 + [1003] * 32 + [10000] * 32


def test_every_atomic_takes_its_turn(kernel):
    """All threads of all blocks draw tickets: the values before are all different."""
    module = kernel(
        OUT + "ld.param.u64 %rd2, [counter]; atom.global.add.u32 %r5, [%rd2], 1; st.global.u32 [%rd1], %r5; ret;",
        ["u64 out", "u64 counter"],
    )
    out, counter = np.zeros(500, np.uint32), np.zeros(1, np.uint32)
    module.launch("k", 5, 100, [out, counter])
    assert counter[0] == 500 and sorted(out.tolist()) == list(range(500))


@pytest.mark.parametrize(
    "operation, start, expected",
    [
        ("min.s32", 5, -40),
        ("max.s32", 5, 9),
        ("max.u32", 5, 2**32 - 1 - 2**32),
        ("and.b32", -1, 0),
        ("or.b32", 0, -1),
        ("xor.b32", 3, None),
        ("exch.b32", 3, None),
        ("inc.u32", 0, None),
        ("dec.u32", 0, None),
    ],
)
def test_atomics_in_shared_memory(kernel, operation, start, expected):
    value = np.arange(-40, 10, dtype=np.int32)
    body = f""".shared .align 4 .u32 cell;
        mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [values]; mad.wide.u32 %rd1, %r1, 4, %rd1;
        ld.global.u32 %r2, [%rd1];
        setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [cell], {start}; bar.sync 0;
        atom.shared.{operation} %r3, [cell], %r2; bar.sync 0;
        ld.param.u64 %rd2, [out]; ld.shared.u32 %r4, [cell]; st.global.u32 [%rd2], %r4; ret;"""
    out = np.zeros(1, np.int32)
    kernel(body, ["u64 out", "u64 values"]).launch("k", 1, 50, [out, value])
    if expected is None:
        cell = start
        for v in value.tolist():
            limit = v % 2**32
            cell = {
                "xor.b32": cell ^ v,
                "exch.b32": v,
                "inc.u32": 0 if cell >= limit else cell + 1,
                "dec.u32": limit if cell == 0 or cell > limit else cell - 1,
            }[operation]
        expected = int(np.int64(cell).astype(np.int32))
    assert out[0] == expected


def test_compare_and_swap_elects_one_thread(kernel):
    module = kernel(
        OUT
        + """ld.param.u64 %rd2, [lock]; atom.acq_rel.gpu.global.cas.b32 %r5, [%rd2], 0, 1;
        st.global.u32 [%rd1], %r5; red.relaxed.gpu.global.add.f32 [%rd2+4], 0f3F000000; ret;""",
        ["u64 out", "u64 lock"],
    )
    out, lock = np.zeros(64, np.uint32), np.zeros(2, np.uint32)
    module.launch("k", 1, 64, [out, lock])
    assert (out == 0).sum() == 1 and lock.view(np.float32)[1] == 32


def test_guarded_instructions_leave_other_lanes_alone(kernel):
    module = kernel(
        OUT
        + """mov.u32 %r5, 1; setp.gt.u32 %p1, %r1, 3; @%p1 mov.u32 %r5, 2; @!%p1 add.u32 %r5, %r5, 8;
        st.global.u32 [%rd1], %r5; ret;"""
    )
    out = np.zeros(8, np.uint32)
    module.launch("k", 1, 8, [out])
    assert out.tolist() == [9, 9, 9, 9, 2, 2, 2, 2]


# Kernels compiled by Mojo


def pointer_and_size(module: Module, grid: int, block: int, *arguments: np.ndarray) -> None:
    module.launch(module.kernels[0], grid, block, list(arguments))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 20, 64, 1000])
def test_compiled_convolution(compiled, size):
    a = np.random.default_rng(size).standard_normal(size).astype("f4")
    weights = np.array([1, -2, 3, 0.5], "f4")
    out = np.zeros(size, "f4")
    pointer_and_size(compiled("conv1d"), -(-size // 8), 8, out, a, weights, np.int32(size))
    padded = np.concatenate([a, np.zeros(3, "f4")])
    np.testing.assert_allclose(out, np.lib.stride_tricks.sliding_window_view(padded, 4) @ weights, rtol=1e-5)


def test_compiled_reduction(compiled):
    a = np.random.default_rng(0).random(1000).astype("f4")
    out = np.zeros(16, "f4")
    pointer_and_size(compiled("reduce"), 16, 64, out, a, np.int32(1000))
    sums = np.pad(a, (0, 24)).reshape(16, 64).sum(axis=1)
    np.testing.assert_allclose(out, sums, rtol=1e-6)


def test_compiled_warp_sum(compiled):
    a = np.random.default_rng(0).random(32).astype("f4")
    out = np.zeros(32, "f4")
    pointer_and_size(compiled("warp_sum"), 1, 32, out, a)
    np.testing.assert_allclose(out, np.full(32, a.sum()), rtol=1e-6)


def test_compiled_mathematics(compiled):
    x = np.linspace(0.01, 5, 100).astype("f4")
    out = np.zeros(100, "f4")
    pointer_and_size(compiled("math"), 4, 32, out, x, np.int32(100))
    wide = x.astype("f8")
    expected = np.exp(wide) / (1 + np.sqrt(wide)) + np.sin(wide) + np.log(wide + 1)
    np.testing.assert_allclose(out, expected, rtol=2e-6)
