"""Access metrics: cases whose numbers can be read off by hand, and any other counted as sets of sectors and words."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softgpu import KernelError, Metrics, Module, Trace
from softgpu.metrics import metrics_of_trace

OFF = 0xFFFFFFFF
ACCESSES = {
    ("load", 1): "ld.{0}.u8 %r10, [%rd3]",
    ("load", 2): "ld.{0}.u16 %r10, [%rd3]",
    ("load", 4): "ld.{0}.b32 %r10, [%rd3]",
    ("load", 8): "ld.{0}.b64 %rd10, [%rd3]",
    ("load", 16): "ld.{0}.v4.b32 {{%r10, %r11, %r12, %r13}}, [%rd3]",
    ("store", 1): "st.{0}.u8 [%rd3], %r1",
    ("store", 2): "st.{0}.u16 [%rd3], %r1",
    ("store", 4): "st.{0}.b32 [%rd3], %r1",
    ("store", 8): "st.{0}.v2.b32 [%rd3], {{%r1, %r2}}",
    ("store", 16): "st.{0}.v2.b64 [%rd3], {{%rd1, %rd2}}",
    ("atomic", 4): "atom.{0}.add.u32 %r10, [%rd3], 1",
    ("atomic", 8): "atom.{0}.add.u64 %rd10, [%rd3], 1",
}
BASES = {
    "global": "ld.param.u64 %rd4, [data];",
    "shared": ".shared .align 16 .b8 tile[32768]; mov.u64 %rd4, tile;",
    "local": ".local .align 16 .b8 frame[256]; mov.u64 %rd4, frame;",
}


def measure(space, kind, nbytes, offsets, block=None, grid=1):
    """The metrics of one access in which thread i of the launch uses byte `offsets[i]`, or none if that is OFF."""
    offsets = np.asarray(offsets, np.uint32)
    block = len(offsets) if block is None else block
    access = ACCESSES[kind, nbytes].format(space)
    module = Module(f"""
.version 8.1
.target sm_80
.address_size 64
.visible .entry k(.param .u64 data, .param .u64 where)
{{
    .reg .pred %p<2>; .reg .b32 %r<20>; .reg .b64 %rd<20>;
    {BASES[space]}
    mov.u32 %r1, %tid.z; mov.u32 %r2, %ntid.y; mov.u32 %r3, %tid.y; mad.lo.u32 %r1, %r1, %r2, %r3;
    mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x; mad.lo.u32 %r1, %r1, %r2, %r3;
    mov.u32 %r2, {int(np.prod(block))}; mov.u32 %r3, %ctaid.x; mad.lo.u32 %r1, %r2, %r3, %r1;
    ld.param.u64 %rd1, [where]; mad.wide.u32 %rd1, %r1, 4, %rd1; ld.global.u32 %r4, [%rd1];
    cvt.u64.u32 %rd2, %r4; add.u64 %rd3, %rd4, %rd2;
    setp.ne.u32 %p1, %r4, {OFF};
    @%p1 {access};
    ret;
}}""")
    metrics, trace = Metrics(), Trace()
    module.launch("k", grid, block, [np.zeros(1 << 16, np.uint8), offsets], observers=[metrics, trace])
    (launch,) = metrics.launches
    assert metrics_of_trace(trace.launches[0]).accesses == launch.accesses
    found = [one for one in launch.accesses if one.text == f"@%p1 {access}"]
    assert len(found) <= 1 and all(one.space == space and one.kind == kind and one.nbytes == nbytes for one in found)
    return found[0] if found else None


def sectors(result):
    return result.sectors, result.ideal_sectors, result.excess_sectors


def wavefronts(result):
    return result.wavefronts, result.ideal_wavefronts, result.bank_conflicts


LANE = np.arange(32)


@pytest.mark.parametrize("kind", ["load", "store"])
@pytest.mark.parametrize(
    ("nbytes", "offsets", "expected"),
    [
        (4, LANE * 4, (4, 4, 0)),
        (4, LANE[::-1] * 4, (4, 4, 0)),
        (4, (LANE ^ 21) * 4, (4, 4, 0)),
        (4, LANE * 8, (8, 4, 4)),
        (4, LANE * 128, (32, 4, 28)),
        (4, LANE * 4 + 4, (5, 4, 1)),
        (4, LANE * 4 + 32, (4, 4, 0)),
        (4, LANE * 0 + 400, (1, 4, 0)),
        (4, LANE // 2 * 64, (16, 4, 12)),
        (1, LANE, (1, 1, 0)),
        (1, LANE + 1, (2, 1, 1)),
        (2, LANE * 2, (2, 2, 0)),
        (8, LANE * 8, (8, 8, 0)),
        (8, LANE * 8 + 8, (9, 8, 1)),
        (16, LANE * 16, (16, 16, 0)),
        (16, LANE * 32, (32, 16, 16)),
        (16, LANE * 16 + 16, (17, 16, 1)),
    ],
)
def test_sectors_of_a_full_warp(kind, nbytes, offsets, expected):
    result = measure("global", kind, nbytes, offsets)
    assert sectors(result) == expected
    assert result.requests == 1 and result.lanes == 32
    assert result.sectors_per_request == expected[0] and result.ideal_sectors_per_request == expected[1]
    assert result.bytes_moved == 32 * expected[0] and result.requested_bytes == 32 * nbytes


def test_bytes_that_lanes_share_are_needed_once():
    assert measure("global", "load", 4, LANE * 4).needed_bytes == 128
    assert measure("global", "load", 4, LANE // 2 * 4).needed_bytes == 64
    broadcast = measure("global", "load", 8, LANE * 0)
    assert (broadcast.needed_bytes, broadcast.requested_bytes, broadcast.bytes_moved) == (8, 256, 32)


def test_a_block_that_does_not_fill_its_last_warp():
    result = measure("global", "load", 4, np.arange(40) * 4)
    assert (result.requests, result.lanes) == (2, 40)
    assert sectors(result) == (5, 5, 0)
    assert sectors(measure("global", "load", 4, [96])) == (1, 1, 0)


def test_predicated_lanes_have_no_part_in_a_request():
    assert measure("global", "load", 4, LANE * 0 + OFF) is None
    half = np.where(LANE % 2 == 0, LANE * 4, OFF)
    assert sectors(measure("global", "load", 4, half)) == (4, 2, 2)
    one_of_two_warps = np.concatenate([LANE * 0 + OFF, LANE * 4])
    result = measure("global", "load", 4, one_of_two_warps)
    assert (result.requests, result.lanes, result.sectors) == (1, 32, 4)


def test_requests_are_those_of_warps_whatever_the_shape_of_the_block():
    # Rows of 8 threads, each 512 bytes from the next: a warp is 4 rows, of one sector each.
    rows = np.arange(64) // 8 * 512 + np.arange(64) % 8 * 4
    result = measure("global", "load", 4, rows, block=(8, 4, 2))
    assert result.requests == 2 and sectors(result) == (8, 8, 0)


def test_requests_of_several_blocks_add_up():
    offsets = np.tile(np.concatenate([LANE * 4, LANE * 128]), 3)
    result = measure("global", "load", 4, offsets, block=64, grid=3)
    assert result.requests == 6 and sectors(result) == (3 * 36, 3 * 8, 3 * 28)


@pytest.mark.parametrize("kind", ["load", "store"])
@pytest.mark.parametrize(
    ("nbytes", "offsets", "expected"),
    [
        (4, LANE * 4, (1, 1, 0)),
        (4, LANE * 8, (2, 1, 1)),
        (4, LANE * 12, (1, 1, 0)),
        (4, LANE * 0, (1, 1, 0)),
        (4, LANE // 8 * 128, (4, 1, 3)),
        (4, LANE * 4 + LANE % 2 * 128, (1, 1, 0)),
        (4, LANE * 32 * 4, (32, 1, 31)),
        (4, LANE * 33 * 4, (1, 1, 0)),
        (1, LANE, (1, 1, 0)),
        (1, LANE * 4, (1, 1, 0)),
        (2, LANE * 2, (1, 1, 0)),
        (1, LANE * 128, (32, 1, 31)),
        (8, LANE * 8, (2, 2, 0)),
        (8, LANE * 16, (4, 2, 2)),
        (8, LANE * 0, (2, 2, 0)),
        # Lanes 0 and 16 use one bank, but not at the same time.
        (8, LANE % 16 * 8 + LANE // 16 * 128, (2, 2, 0)),
        (16, LANE * 16, (4, 4, 0)),
        (16, LANE * 32, (8, 4, 4)),
        (16, LANE * 0, (4, 4, 0)),
        (16, LANE % 8 * 128 * 8, (32, 4, 28)),
    ],
)
def test_bank_conflicts_of_a_full_warp(kind, nbytes, offsets, expected):
    result = measure("shared", kind, nbytes, offsets)
    assert wavefronts(result) == expected
    assert result.wavefronts_per_request == expected[0] and result.ideal_wavefronts_per_request == expected[1]
    assert result.sectors == 0


def test_a_column_of_a_tile_and_of_a_padded_tile():
    row, column = np.divmod(np.arange(1024), 32)
    for width, conflicts in ((32, 31), (33, 0)):
        result = measure("shared", "load", 4, (column * width + row) * 4, block=(32, 32))
        assert result.requests == 32 and result.bank_conflicts == 32 * conflicts


@pytest.mark.parametrize(("nbytes", "active", "ideal"), [(8, 16, 1), (8, 17, 2), (16, 8, 1), (16, 9, 2), (4, 1, 1)])
def test_only_the_parts_of_a_warp_with_active_lanes_need_a_wavefront(nbytes, active, ideal):
    offsets = np.where(active > LANE, LANE * nbytes, OFF)
    assert wavefronts(measure("shared", "load", nbytes, offsets)) == (ideal, ideal, 0)


def test_shared_atomics_on_one_word_take_turns():
    assert wavefronts(measure("shared", "atomic", 4, LANE * 0)) == (32, 1, 31)
    assert wavefronts(measure("shared", "atomic", 4, LANE * 4)) == (1, 1, 0)
    assert wavefronts(measure("shared", "atomic", 4, LANE % 8 * 4)) == (4, 1, 3)
    assert wavefronts(measure("shared", "atomic", 8, LANE * 0)) == (32, 2, 30)
    assert sectors(measure("global", "atomic", 4, LANE * 0)) == (1, 4, 0)


def test_local_memory_is_interleaved_by_words():
    assert sectors(measure("local", "load", 4, LANE * 0 + 8)) == (4, 4, 0)
    assert sectors(measure("local", "store", 16, LANE * 0 + 16)) == (16, 16, 0)
    assert sectors(measure("local", "load", 1, LANE * 0 + 3)) == (4, 4, 0)
    assert sectors(measure("local", "load", 4, LANE * 4)) == (32, 4, 28)
    assert measure("local", "load", 4, LANE * 0).needed_bytes == 128


def copied(kernel, code):
    """The accesses of an asynchronous copy by 32 threads: from global memory, and to shared."""
    metrics, trace = Metrics(), Trace()
    module = kernel(f"""
    .shared .align 128 .b8 tile[4096];
    mov.u32 %r1, %tid.x; mov.u32 %r2, tile; mad.lo.u32 %r3, %r1, 16, %r2;
    ld.param.u64 %rd1, [out]; mad.wide.u32 %rd2, %r1, 16, %rd1;
    {code}""")
    module.launch("k", 1, 32, [np.zeros(1024, "u4")], observers=[metrics, trace])
    (launch,) = metrics.launches
    assert metrics_of_trace(trace.launches[0]).accesses == launch.accesses
    return [one for one in launch.accesses if one.text.startswith("cp")]


def test_an_asynchronous_copy_is_counted_once(kernel):
    source, target = copied(kernel, "cp.async.ca.shared.global [%r3], [%rd2], 16; cp.async.wait_all;")
    assert (source.space, source.kind, source.requests, *sectors(source)) == ("global", "load", 1, 16, 16, 0)
    assert (target.space, target.kind, target.requests, *wavefronts(target)) == ("shared", "store", 1, 4, 4, 0)


def test_an_asynchronous_copy_reads_no_more_than_it_is_told(kernel):
    """Of 16 bytes a thread, the last has only 7 to read, and fills up with zeros."""
    code = "setp.eq.u32 %p1, %r1, 31; selp.u32 %r4, 7, 16, %p1;"
    source, target = copied(kernel, code + "cp.async.ca.shared.global [%r3], [%rd2], 16, %r4; cp.async.wait_all;")
    assert (source.requests, source.lanes, source.requested_bytes, source.needed_bytes) == (1, 32, 503, 503)
    assert (target.requests, target.lanes, target.requested_bytes) == (1, 32, 512)


def counted(space, kind, nbytes, warps):
    """Requests, lanes, sectors, ideal, excess, wavefronts, ideal and needed bytes; a warp maps lanes to offsets."""
    total = Counter()
    for warp in filter(None, warps):
        touched = defaultdict(set)
        for lane, offset in warp.items():
            for byte in range(offset, offset + nbytes):
                place = byte // 4 * 128 + lane * 4 + byte % 4 if space == "local" else byte
                touched[lane].add(place)
        total["requests"] += 1
        total["lanes"] += len(warp)
        total["needed_bytes"] += len(set.union(*touched.values()))
        if space != "shared":
            found = len({byte // 32 for places in touched.values() for byte in places})
            ideal = -(-len(warp) * (max(nbytes, 4) if space == "local" else nbytes) // 32)
            total["sectors"] += found
            total["ideal_sectors"] += ideal
            total["excess_sectors"] += max(found - ideal, 0)
            continue
        at_once = {8: 16, 16: 8}.get(nbytes, 32)
        for first in range(0, 32, at_once):
            of_bank = defaultdict(list)
            for lane in range(first, first + at_once):
                for word in {byte // 4 for byte in touched.get(lane, ())}:
                    of_bank[word % 32].append(word)
            if of_bank:
                total["wavefronts"] += max(len(w if kind == "atomic" else set(w)) for w in of_bank.values())
                total["ideal_wavefronts"] += 1
    return total


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_any_pattern_is_counted_right(data):
    space = data.draw(st.sampled_from(["global", "shared", "local"]))
    kind, nbytes = data.draw(st.sampled_from([one for one in ACCESSES if space != "local" or one[0] != "atomic"]))
    block = data.draw(st.sampled_from([(1,), (31,), (32,), (50,), (8, 8), (7, 3, 4)]))
    grid = data.draw(st.integers(1, 3))
    threads = int(np.prod(block))
    room = 256 if space == "local" else data.draw(st.sampled_from([64, 512, 4096, 32768]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    offsets = rng.integers(0, room // nbytes, grid * threads) * nbytes
    offsets[rng.random(len(offsets)) < data.draw(st.sampled_from([0, 0.3, 0.9, 1]))] = OFF
    warps = [
        {lane: int(of_block[start + lane]) for lane in range(min(32, threads - start)) if of_block[start + lane] != OFF}
        for of_block in offsets.reshape(grid, threads)
        for start in range(0, threads, 32)
    ]
    expected = counted(space, kind, nbytes, warps)
    result = measure(space, kind, nbytes, offsets, block, grid)
    if result is None:
        assert not expected
    else:
        assert {name: getattr(result, name) for name in expected} == expected


def test_generic_accesses_are_counted_where_they_go(kernel):
    module = kernel(
        """
    .shared .align 4 .b32 tile[32];
    mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 1; setp.eq.u32 %p1, %r2, 0;
    mov.u64 %rd1, tile; cvta.shared.u64 %rd1, %rd1; ld.param.u64 %rd2, [out];
    selp.b64 %rd3, %rd1, %rd2, %p1; mad.wide.u32 %rd3, %r1, 4, %rd3;
    st.b32 [%rd3], %r1;
"""
    )
    metrics = Metrics()
    module.launch("k", 1, 32, [np.zeros(32, "u4")], observers=[metrics])
    first, second = metrics.launches[0].accesses
    assert (first.space, first.requests, first.lanes, *sectors(first)) == ("global", 1, 16, 4, 2, 2)
    assert (second.space, second.requests, second.lanes, *wavefronts(second)) == ("shared", 1, 16, 1, 1, 0)


def test_constant_memory_takes_a_pass_for_each_address(kernel):
    module = kernel(
        """
    mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 3; shl.b32 %r2, %r2, 2;
    mov.u64 %rd1, table; cvt.u64.u32 %rd2, %r2; add.u64 %rd1, %rd1, %rd2;
    ld.const.u32 %r3, [table]; ld.const.u32 %r3, [%rd1];
""",
        module=".const .align 4 .b32 table[4] = {1, 2, 3, 4};\n",
    )
    metrics = Metrics()
    module.launch("k", 1, 64, [np.zeros(1, "u4")], observers=[metrics])
    assert [wavefronts(one) for one in metrics.launches[0].accesses] == [(2, 2, 0), (8, 2, 6)]


DIVERGES = """
    mov.u32 %r1, %tid.x;
    setp.lt.u32 %p1, %r1, 48;
    @!%p1 bra $else;
    mov.u32 %r2, 1;
    bra.uni $end;
$else:
    mov.u32 %r2, 2;
    mov.u32 %r2, 2;
$end:
    @%p1 mov.u32 %r3, 3;
    ret;
"""


def test_divergence(kernel):
    """Two warps; of the second, half goes each way."""
    metrics = Metrics()
    kernel(DIVERGES).launch("k", 1, 64, [np.zeros(1)], observers=[metrics])
    (launch,) = metrics.launches
    counts = [(one.issued, one.active_lanes, one.executed_lanes) for one in launch.instructions]
    assert counts == [
        (2, 64, 64),
        (2, 64, 64),
        (2, 64, 16),
        (2, 48, 48),
        (2, 48, 48),
        (1, 16, 16),
        (1, 16, 16),
        (2, 64, 48),  # The lanes have met again; a lane that is predicated off stays active.
        (2, 64, 64),
    ]
    assert launch.warp_instructions == 16 and launch.thread_instructions == sum(count[1] for count in counts)
    assert launch.executed_thread_instructions == sum(count[2] for count in counts)
    assert launch.lanes_per_issue == launch.thread_instructions / 16
    (branch,) = launch.branches
    assert branch.text == "@!%p1 bra $else" and (branch.issued, branch.divergent) == (2, 1)
    assert branch.lanes_per_issue == 32


@pytest.mark.parametrize(("limit", "divergent"), [(32, 0), (64, 0), (0, 0), (33, 1), (1, 1)])
def test_a_branch_is_divergent_only_where_lanes_of_one_warp_part(kernel, limit, divergent):
    metrics = Metrics()
    kernel(DIVERGES.replace("48", str(limit))).launch("k", 1, 64, [np.zeros(1)], observers=[metrics])
    assert [one.divergent for one in metrics.launches[0].branches] == [divergent]


@pytest.mark.parametrize(
    ("index", "divergent"),
    [
        ("mov.u32 %r2, 2;", 0),
        ("shr.u32 %r2, %r1, 5;", 0),
        ("and.b32 %r2, %r1, 1;", 3),
        ("setp.eq.u32 %p1, %r1, 70; selp.u32 %r2, 1, 0, %p1;", 1),
        ("and.b32 %r2, %r1, 1; mul.lo.u32 %r2, %r2, 3;", 0),  # The first label and the last are the same.
    ],
)
def test_indexed_branches_are_divergent_where_the_labels_differ(kernel, index, divergent):
    module = kernel(
        f"""
    mov.u32 %r1, %tid.x; {index}
$list: .branchtargets $a, $b, $c, $a;
    brx.idx %r2, $list;
$a: mov.u32 %r3, 1;
$b: mov.u32 %r3, 2;
$c: mov.u32 %r3, 3;
"""
    )
    metrics = Metrics()
    module.launch("k", 1, 80, [np.zeros(1)], observers=[metrics])
    (branch,) = metrics.launches[0].branches
    assert (branch.issued, branch.divergent) == (3, divergent)


def test_a_loop_counts_each_turn(kernel):
    module = kernel(
        """
    mov.u32 %r1, %tid.x;
$loop:
    sub.s32 %r1, %r1, 1;
    setp.ge.s32 %p1, %r1, 0;
    @%p1 bra $loop;
"""
    )
    metrics = Metrics()
    module.launch("k", 2, 32, [np.zeros(1)], observers=[metrics])
    (branch,) = metrics.launches[0].branches
    assert (branch.issued, branch.active_lanes, branch.divergent) == (2 * 32, 2 * sum(range(1, 33)), 2 * 31)
    assert metrics.launches[0].warp_instructions == 2 * (1 + 3 * 32) + 2  # and one to end


def test_barriers_per_block(kernel):
    module = kernel(
        """
    mov.u32 %r1, %ctaid.x;
    bar.sync 0;
    setp.eq.u32 %p1, %r1, 0;
    @%p1 bra $end;
    bar.sync 0;
$loop:
    bar.sync 1;
    sub.u32 %r1, %r1, 1;
    setp.ne.u32 %p1, %r1, 0;
    @%p1 bra $loop;
$end:
    ret;
"""
    )
    metrics, trace = Metrics(), Trace()
    module.launch("k", 4, 64, [np.zeros(1)], observers=[metrics, trace])
    (launch,) = metrics.launches
    assert launch.barriers_per_block == (1, 5) == metrics_of_trace(trace.launches[0]).barriers_per_block
    assert [one.barriers for one in launch.instructions if one.text.startswith("bar")] == [4, 3, 1 + 2 + 3]


def test_launches_in_several_chunks_add_up(kernel):
    module = kernel(
        "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %tid.x; mad.lo.u32 %r1, %r1, 1024, %r2;"
        "ld.param.u64 %rd1, [out]; mad.wide.u32 %rd1, %r1, 4, %rd1; st.global.u32 [%rd1], %r1; bar.sync 0;"
    )
    metrics = Metrics()
    module.launch("k", 40, 1024, [np.zeros(40 * 1024, "u4")], observers=[metrics])
    (launch,) = metrics.launches
    (store,) = launch.accesses
    assert store.requests == 40 * 32 and sectors(store) == (40 * 128, 40 * 128, 0)
    assert launch.barriers_per_block == (1, 1) and launch.total("global").bytes_moved == 40 * 4096


def test_totals_of_a_space(compiled):
    module = compiled("conv1d")
    metrics = Metrics()
    arguments = [np.zeros(20, "f4"), np.ones(20, "f4"), np.ones(4, "f4"), np.int32(20)]
    module.launch(module.kernels[0], 3, 8, arguments, observers=[metrics])
    (launch,) = metrics.launches
    for space in ("global", "shared"):
        total, parts = launch.total(space), [one for one in launch.accesses if one.space == space]
        assert total.requests == sum(one.requests for one in parts) > 0
        assert total.bytes_moved == sum(one.bytes_moved for one in parts)
        assert total.requested_bytes == sum(one.lanes * one.nbytes for one in parts)


def test_a_launch_that_fails_keeps_what_was_counted(kernel):
    metrics = Metrics()
    module = kernel("mov.u64 %rd1, 0; bar.sync 0; ld.global.u32 %r1, [%rd1];")
    with pytest.raises(KernelError):
        module.launch("k", 1, 32, [np.zeros(1)], observers=[metrics])
    (launch,) = metrics.launches
    assert launch.warp_instructions == 3 and launch.accesses == ()
    assert "ld.global" not in launch.table()


def test_the_table_puts_the_worst_first(kernel):
    module = kernel(
        """
    .shared .align 4 .b32 tile[1024];
    mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [out]; mov.u64 %rd3, tile;
    mad.wide.u32 %rd2, %r1, 4, %rd1; st.global.u32 [%rd2], %r1;
    mad.wide.u32 %rd2, %r1, 128, %rd1; st.global.u32 [%rd2], %r2;
    mad.wide.u32 %rd4, %r1, 4, %rd3; st.shared.u32 [%rd4], %r1;
    mad.wide.u32 %rd4, %r1, 128, %rd3; st.shared.u32 [%rd4], %r2;
"""
    )
    metrics = Metrics()
    for _ in range(2):
        module.launch("k", 1, 32, [np.zeros(1024, "u4")], observers=[metrics])
    text = metrics.launches[0].table()
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "k: 1 block of 32 threads" in lines[0]
    first = next(number for number, line in enumerate(lines) if line.endswith("st.global.u32 [%rd2], %r2"))
    second = next(number for number, line in enumerate(lines) if line.endswith("st.global.u32 [%rd2], %r1"))
    assert second == first + 1
    assert "global 1 32.0 32.00 4.00 28 1,024 12%" in lines[first]
    worst = next(line for line in lines if line.endswith("st.shared.u32 [%rd4], %r2"))
    assert "shared 1 32.0 32.00 1.00 31" in worst
    assert "… and 1 more" in metrics.launches[0].table(rows=1)
    assert metrics.table() == text + "\n\n" + text


def test_source_lines_are_named_where_the_ptx_has_them():
    module = Module("""
.version 8.1
.target sm_80
.address_size 64
.visible .entry k(.param .u64 out)
{
    .reg .b64 %rd<2>; .reg .b32 %r<2>;
    ld.param.u64 %rd1, [out];
    .loc 1 17 5
    st.global.u32 [%rd1], %r1;
    ret;
}
.file 1 "kernels/tile.mojo"
""")
    metrics = Metrics()
    module.launch("k", 1, 1, [np.zeros(1, "u4")], observers=[metrics])
    (store,) = metrics.launches[0].accesses
    assert store.location is not None and (store.location.file, store.location.line) == ("kernels/tile.mojo", 17)
    assert store.line == 10 and "kernels/tile.mojo:17" in metrics.table()
