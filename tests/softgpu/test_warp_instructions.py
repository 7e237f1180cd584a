"""Warp-level instructions: under guards, in divergent code, with partial and wrong masks."""

import numpy as np
import pytest

from softgpu import BarrierDeadlock, PTXSyntaxError, UnsupportedPTX

OUT = "ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; mad.wide.u32 %rd1, %r1, 4, %rd1;"
STORE = "st.global.u32 [%rd1], %r2; ret;"
FULL = 0xFFFFFFFF
SEEDS = [None, 0, 1, 2]


def run(kernel, body, threads=32, seed=None, values=None):
    """The %r2 of each thread; %r3 has the thread's element of `values`."""
    out = np.zeros(threads, np.uint32)
    load = "ld.param.u64 %rd2, [in]; mad.wide.u32 %rd2, %r1, 4, %rd2; ld.global.u32 %r3, [%rd2];"
    values = np.zeros(threads, np.uint32) if values is None else values
    kernel(OUT + load + body + STORE, ["u64 out", "u64 in"]).launch("k", 1, threads, [out, values], shuffle_seed=seed)
    return out.tolist()


def random_words(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2**32, count, np.uint32)


@pytest.mark.parametrize("seed", SEEDS)
def test_guarded_lanes_alone_take_part_in_a_shuffle(kernel, seed):
    """The odd lanes rotate their values; the even ones pass by and keep what they have."""
    body = """and.b32 %r4, %r1, 1; setp.eq.u32 %p1, %r4, 1; mov.u32 %r2, 777; add.u32 %r5, %r1, 2;
        @%p1 shfl.sync.idx.b32 %r2, %r1, %r5, 31, 0xAAAAAAAA;"""
    expected = [(n + 2) % 32 + n // 32 * 32 if n % 2 else 777 for n in range(64)]
    assert run(kernel, body, 64, seed) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_each_half_of_a_diverged_warp_has_a_mask_of_its_own(kernel, seed):
    body = """setp.lt.u32 %p1, %r1, 16; @%p1 bra LOW;
        redux.sync.add.u32 %r2, %r1, 0xFFFF0000; bra DONE;
        LOW: redux.sync.add.u32 %r2, %r1, 0x0000FFFF; DONE:"""
    assert run(kernel, body, seed=seed) == [sum(range(16))] * 16 + [sum(range(16, 32))] * 16


@pytest.mark.parametrize("seed", SEEDS)
def test_lanes_at_the_same_instruction_with_different_masks_do_not_meet(kernel, seed):
    """Quarters of a warp execute the same shuffle at different times, each with its own mask in a register."""
    body = """shr.u32 %r4, %r1, 3; and.b32 %r4, %r4, 3; shl.b32 %r5, %r4, 3; mov.u32 %r6, 0xFF; shl.b32 %r6, %r6, %r5;
        mov.u32 %r7, 0; WAIT: setp.ge.u32 %p1, %r7, %r4; @%p1 bra GO; add.u32 %r7, %r7, 1; bra WAIT;
        GO: vote.sync.ballot.b32 %r2, 1, %r6; shfl.sync.bfly.b32 %r7, %r1, 4, 31, %r6; add.u32 %r2, %r2, %r7;"""
    assert run(kernel, body, seed=seed) == [((0xFF << n // 8 * 8) + (n ^ 4)) % 2**32 for n in range(32)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_loop_with_different_trip_counts(kernel, seed):
    """Lane n takes part in the first n + 1 rounds; the mask of a round comes from a ballot before it."""
    body = """mov.u32 %r2, 0; mov.u32 %r4, 0; mov.u32 %r5, -1;
        LOOP: setp.le.u32 %p1, %r4, %r1; vote.sync.ballot.b32 %r5, %p1, %r5; @!%p1 bra DONE;
        redux.sync.max.u32 %r6, %r1, %r5; redux.sync.min.u32 %r7, %r1, %r5; sub.u32 %r6, %r6, %r7;
        add.u32 %r2, %r2, %r6; add.u32 %r4, %r4, 1; bra LOOP; DONE:"""
    assert run(kernel, body, seed=seed) == [sum(31 - round_ for round_ in range(n + 1)) for n in range(32)]


@pytest.mark.parametrize("seed", SEEDS)
def test_warps_meet_at_different_barriers_of_their_own(kernel, seed):
    """bar.warp.sync names lanes, not a place: the two sides of a branch wait for each other."""
    body = """.shared .align 4 .b8 cells[128]; mov.u32 %r4, cells; shl.b32 %r5, %r1, 2; add.u32 %r4, %r4, %r5;
        setp.lt.u32 %p1, %r1, 16; @%p1 bra LOW;
        st.shared.u32 [%r4], %r1; bar.warp.sync -1; ld.shared.u32 %r2, [%r4+-64]; bra DONE;
        LOW: st.shared.u32 [%r4], %r1; bar.warp.sync 0xFFFFFFFF; ld.shared.u32 %r2, [%r4+64]; DONE:"""
    assert run(kernel, body, seed=seed) == [(n + 16) % 32 for n in range(32)]


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_waits_for_lanes_that_have_exited(kernel, seed):
    body = """mov.u32 %r2, 5; setp.lt.u32 %p1, %r1, 20; @%p1 st.global.u32 [%rd1], %r2; @%p1 ret;
        vote.sync.ballot.b32 %r2, 1, -1; bar.warp.sync -1;"""
    assert run(kernel, body, seed=seed) == [5] * 20 + [0xFFF00000] * 12


@pytest.mark.parametrize("threads", [1, 7, 33, 50])
def test_the_last_warp_may_be_partial(kernel, threads):
    body = "vote.sync.ballot.b32 %r2, 1, -1; redux.sync.or.b32 %r4, %r1, -1; add.u32 %r2, %r2, %r4;"
    expected = []
    for n in range(threads):
        lanes = [m for m in range(threads) if m // 32 == n // 32]
        either = 0
        for m in lanes:
            either |= m
        expected.append(((1 << len(lanes)) - 1 + either) % 2**32)
    assert run(kernel, body, threads) == expected


@pytest.mark.parametrize("mode", ["any", "all"])
@pytest.mark.parametrize("distinct", [1, 3, 32])
def test_match(kernel, mode, distinct):
    values = random_words(64) % distinct * 977
    body = f"""mov.u32 %r2, 0; setp.ge.u32 %p1, %r1, 4; @!%p1 bra DONE; mov.u32 %r5, 0xFFFFFFF0;
        setp.ge.u32 %p2, %r1, 32; @%p2 mov.u32 %r5, -1; match.{mode}.sync.b32 %r2, %r3, %r5; DONE:"""
    expected = [0] * 64
    for n in range(4, 64):
        lanes = [m for m in range(4, 64) if m // 32 == n // 32]
        same = [m for m in lanes if values[m] == values[n]]
        if mode == "any" or same == lanes:
            expected[n] = sum(1 << m % 32 for m in same)
    assert run(kernel, body, 64, values=values) == expected


def test_match_all_of_64_bits_says_whether_all_matched(kernel):
    """The two warps differ in the upper half of one value."""
    body = """shr.u32 %r4, %r1, 5; setp.eq.u32 %p3, %r1, 40; selp.u32 %r4, 9, %r4, %p3; mov.b64 %rd3, {7, %r4};
        match.all.sync.b64 %r2|%p1, %rd3, -1; @%p1 xor.b32 %r2, %r2, 0xF;"""
    assert run(kernel, body, 64) == [FULL ^ 0xF] * 32 + [0] * 32


REDUCTIONS = {
    "add.u32": lambda a, b: (a + b) % 2**32,
    "add.s32": lambda a, b: (a + b) % 2**32,
    "min.u32": min,
    "max.u32": max,
    "min.s32": lambda a, b: min(a, b, key=lambda x: x - (x >> 31 << 32)),
    "max.s32": lambda a, b: max(a, b, key=lambda x: x - (x >> 31 << 32)),
    "and.b32": lambda a, b: a & b,
    "or.b32": lambda a, b: a | b,
    "xor.b32": lambda a, b: a ^ b,
}


@pytest.mark.parametrize("operation", REDUCTIONS)
def test_reductions(kernel, operation):
    values = random_words(48, seed=len(operation))
    body = f"""mov.u32 %r2, 0; mov.u32 %r4, %laneid; and.b32 %r4, %r4, 1; setp.eq.u32 %p1, %r4, 0;
        @%p1 redux.sync.{operation} %r2, %r3, 0x55555555;"""
    expected = [0] * 48
    for n in range(0, 48, 2):
        result = None
        for m in range(n // 32 * 32, min(n // 32 * 32 + 32, 48), 2):
            result = int(values[m]) if result is None else REDUCTIONS[operation](result, int(values[m]))
        expected[n] = result
    assert run(kernel, body, 48, values=values) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_votes_with_a_negated_predicate(kernel, seed):
    body = """setp.lt.u32 %p1, %r1, 40; vote.sync.all.pred %p2, !%p1, -1; vote.sync.any.pred %p3, !%p1, -1;
        vote.sync.uni.pred %p4, !%p1, -1; vote.sync.ballot.b32 %r2, !%p1, -1; popc.b32 %r2, %r2;
        @%p2 add.u32 %r2, %r2, 100; @%p3 add.u32 %r2, %r2, 1000; @%p4 add.u32 %r2, %r2, 10000;"""
    assert run(kernel, body, 96, seed) == [10000] * 32 + [1024] * 32 + [11132] * 32


def test_active_lanes_of_a_branch(kernel):
    body = """setp.lt.u32 %p1, %r1, 5; mov.u32 %r2, 0; @%p1 activemask.b32 %r2; @%p1 bra DONE; activemask.b32 %r2;
        DONE:"""
    assert run(kernel, body) == [0x1F] * 5 + [FULL ^ 0x1F] * 27


def test_a_leader_is_elected(kernel):
    module = kernel(
        OUT
        + """setp.lt.u32 %p1, %r1, 3; mov.u32 %r2, 99; @%p1 bra DONE; mov.u32 %r5, -8; setp.ge.u32 %p3, %r1, 32;
        @%p3 mov.u32 %r5, -1; elect.sync %r2|%p2, %r5; @%p2 add.u32 %r2, %r2, 100; elect.sync _|%p2, %r5; DONE:"""
        + STORE
    )
    module.ptx.target = "sm_90"
    out = np.zeros(64, np.uint32)
    module.launch("k", 1, 64, [out])
    assert out.tolist() == [99] * 3 + [103] + [3] * 28 + [100] + [0] * 31


def test_a_lane_outside_its_own_mask_is_on_its_own(kernel):
    """Undefined, but it neither waits nor disturbs the others."""
    body = "mov.u32 %r4, %laneid; vote.sync.ballot.b32 %r2, 1, 0x0000FFFF; redux.sync.add.u32 %r5, %r4, 0xFFFF;"
    for seed in SEEDS:
        out = run(kernel, body + "add.u32 %r2, %r2, %r5;", seed=seed)
        assert out[:16] == [0xFFFF + sum(range(16))] * 16


# Lanes that wait in vain


def stuck(kernel, body, threads=32, seed=None):
    with pytest.raises(BarrierDeadlock) as caught:
        run(kernel, body, threads, seed)
    return caught.value


@pytest.mark.parametrize(
    "above, below, expected",
    [
        (
            "shfl.sync.bfly.b32 %r2, %r1, 16, 31, -1;",
            "mov.u32 %r5, %r1; shfl.sync.bfly.b32 %r6, %r5, 16, 31, -1; mov.u32 %r2, %r6;",
            [n ^ 16 for n in range(32)],
        ),
        (
            "shfl.sync.idx.b32 %r2|%p2, %r1, 3, 31, -1;",
            "shfl.sync.idx.b32 %r2, %r1, 30, 31, -1;",
            [30 if n < 12 else 3 for n in range(32)],
        ),
        ("vote.sync.ballot.b32 %r2, %p1, -1;", "vote.sync.ballot.b32 %r2, !%p1, -1;", [0] * 32),
        ("redux.sync.max.s32 %r2, %r1, -1;", "redux.sync.max.s32 %r2, 40, -1;", [40] * 32),
        (
            "match.any.sync.b32 %r2, %r1, -1;",
            "add.u32 %r5, %r1, 16; match.any.sync.b32 %r2, %r5, -1;",
            [1 << n | (1 << (n ^ 16) if n % 16 < 12 else 0) for n in range(32)],
        ),
    ],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_sides_of_a_branch_do_together_what_both_ask_for(kernel, above, below, expected, seed):
    """Lanes wait for those that execute an instruction with the same qualifiers, wherever it is."""
    body = f"setp.lt.u32 %p1, %r1, 12; @%p1 bra LOW; {above} bra DONE; LOW: {below} DONE:"
    assert run(kernel, body, seed=seed) == expected


@pytest.mark.parametrize(
    "above, below",
    [
        ("shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;", "shfl.sync.idx.b32 %r2, %r1, 1, 31, -1;"),
        ("shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;", "bar.warp.sync -1;"),
        ("redux.sync.max.s32 %r2, %r1, -1;", "redux.sync.max.u32 %r2, %r1, -1;"),
        ("match.any.sync.b32 %r2, %r1, -1;", "match.any.sync.b64 %r2, %rd1, -1;"),
    ],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_instructions_with_different_qualifiers_do_not_meet(kernel, above, below, seed):
    error = stuck(kernel, f"setp.lt.u32 %p1, %r1, 12; @%p1 bra LOW;\n{above} bra DONE;\nLOW: {below} DONE:", seed=seed)
    assert error.arrived in (12, 20) and error.expected == 32 and len(set(error.lines)) == 2
    assert f"only {error.arrived} of 32 threads of warp 0 of block (0, 0, 0) arrived" in str(error)


@pytest.mark.parametrize("seed", SEEDS)
def test_lanes_with_different_masks_wait_for_each_other_in_vain(kernel, seed):
    error = stuck(
        kernel, "mov.u32 %r4, 3; setp.eq.u32 %p1, %r1, 1; @%p1 mov.u32 %r4, 2; bar.warp.sync %r4; bar.sync 0;", 2, seed
    )
    assert (error.arrived, error.expected) == (1, 2)


def test_lanes_whose_guard_is_false_are_missed(kernel):
    """While the others wait at a block's barrier, the mask names lanes that passed by."""
    error = stuck(kernel, "setp.ne.u32 %p1, %r1, 4; @%p1 shfl.sync.idx.b32 %r2, %r1, 0, 31, -1; bar.sync 0;", 64)
    assert (error.arrived, error.expected) == (31, 32) and error.barrier is None


@pytest.mark.parametrize(
    "code",
    [
        "shfl.bfly.b32 %r2, %r1, 1, 31",
        "vote.all.pred %p1, %p2",
        "redux.sync.min.f32 %r2, %r1, -1",
        "redux.sync.add.b32 %r2, %r1, -1",
        "elect.sync %r2|%p1, -1",
        "match.any.sync.b16 %r2, %h1, -1",
        "bar.warp.arrive -1",
    ],
)
def test_forms_that_no_target_of_ours_has(kernel, code):
    with pytest.raises(UnsupportedPTX):
        kernel(f"{code}; ret;").program("k")


@pytest.mark.parametrize("code", ["match.any.sync.b32 %r2|%p1, %r1, -1", "shfl.sync.idx.b32 %r2, %rd1, 0, 31, -1"])
def test_operands_that_do_not_fit(kernel, code):
    with pytest.raises(PTXSyntaxError):
        kernel(f"{code}; ret;").program("k")
