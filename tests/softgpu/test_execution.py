"""Divergence, barriers, warps, atomics, and kernels that must be stopped."""

import numpy as np
import pytest

from softgpu import BarrierDeadlock, InstructionBudgetExceeded, Module, TrapError, UnsupportedPTX, scheduler

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


def test_barriers_that_no_gpu_has(kernel):
    for code in ("bar.sync 16;", "bar.sync 0, 33;"):
        with pytest.raises(UnsupportedPTX, match=r"barriers are|thread counts"):
            kernel(code + " ret;").launch("k", 1, 64, [np.zeros(1, np.uint32)])


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
