"""The trace tells what the threads of a launch really did."""

import numpy as np
import pytest

from softgpu import KernelError, Observer, Trace
from softgpu.trace import Kind, Origin, Space


def traced_convolution(compiled, size, **options):
    """Block size 8, 4 weights: tiles of 8 own and 3 halo elements."""
    module = compiled("conv1d")
    a = np.arange(1, size + 1, dtype="f4")
    trace = Trace(**options)
    arguments = [np.zeros(size, "f4"), a, np.ones(4, "f4"), np.int32(size)]
    module.launch(module.kernels[0], -(-size // 8), 8, arguments, observers=[trace])
    (launch,) = trace.launches
    return launch


def tile_stores(launch):
    tile = launch.shared_variables[0]
    rows = launch.accesses
    in_tile = (rows["space"] == Space.SHARED) & (rows["kind"] == Kind.STORE) & (rows["address"] < tile.nbytes)
    return rows[in_tile]


def test_own_loads_halo_loads_and_zero_fills_are_told_apart(compiled):
    launch = traced_convolution(compiled, 20)
    source = launch.buffers[1]
    stores = tile_stores(launch)
    assert len(stores) == 3 * 11
    for row in stores:
        element = row["block"] * 8 + row["address"] // 4
        if element < 20:
            assert row["origin"] == Origin.LOADED
            assert row["origin_address"] == source.address + 4 * element
            assert row["bits"] == np.float32(element + 1).view(np.uint32)
        else:
            assert row["origin"] == Origin.CONSTANT and row["origin_address"] == 0 and row["bits"] == 0
    halo = stores[stores["address"] >= 32]
    assert sorted(set(halo["thread"].tolist())) == [0, 1, 2]


def test_results_are_computed_and_shared_loads_keep_their_origin(compiled):
    launch = traced_convolution(compiled, 20)
    rows = launch.accesses
    results = rows[(rows["space"] == Space.GLOBAL) & (rows["kind"] == Kind.STORE)]
    assert len(results) == 20 and (results["origin"] == Origin.COMPUTED).all()
    shared_loads = rows[(rows["space"] == Space.SHARED) & (rows["kind"] == Kind.LOAD)]
    assert set(shared_loads["origin"].tolist()) == {Origin.LOADED, Origin.CONSTANT}


def test_barriers_and_order(compiled):
    launch = traced_convolution(compiled, 20)
    assert [(one.block, one.barrier, one.threads.tolist()) for one in launch.barriers] == [
        (block, 0, list(range(8))) for block in range(3)
    ]
    barrier_step = launch.barriers[0].step
    rows = launch.accesses
    stores, loads = (rows[(rows["space"] == Space.SHARED) & (rows["kind"] == kind)] for kind in (Kind.STORE, Kind.LOAD))
    assert (stores["step"] < barrier_step).all() and (loads["step"] > barrier_step).all()
    assert (np.diff(rows["step"]) >= 0).all()
    assert launch.instructions[int(stores["pc"][0])].line == stores["line"][0]
    assert launch.threads_ran == {0: 8, 1: 8, 2: 8}
    assert (launch.grid, launch.block) == ((3, 1, 1), (8, 1, 1))


def test_only_chosen_blocks_are_recorded(compiled):
    launch = traced_convolution(compiled, 100, blocks=[2, 5])
    assert set(launch.accesses["block"].tolist()) == {2, 5} == set(launch.threads_ran)
    assert [one.block for one in launch.barriers] == [2, 5]


@pytest.mark.parametrize(
    "code, origins",
    [
        ("ld.global.u32 %r2, [%rd1];", [Origin.LOADED] * 4),
        ("mov.u32 %r2, 7;", [Origin.CONSTANT] * 4),
        ("ld.global.u32 %r3, [%rd1]; mov.u32 %r2, %r3;", [Origin.LOADED] * 4),
        ("ld.global.u32 %r3, [%rd1]; add.u32 %r2, %r3, 0;", [Origin.COMPUTED] * 4),
        (
            "ld.global.u32 %r3, [%rd1]; selp.u32 %r2, %r3, 0, %p1;",
            [Origin.LOADED] * 2 + [Origin.CONSTANT] * 2,
        ),
        ("mov.u32 %r2, 0; @%p1 ld.global.u32 %r2, [%rd1];", [Origin.LOADED] * 2 + [Origin.CONSTANT] * 2),
        (
            "mov.u32 %r2, 0; @!%p1 bra SKIP; ld.global.u32 %r2, [%rd1]; SKIP:",
            [Origin.LOADED] * 2 + [Origin.CONSTANT] * 2,
        ),
        (
            "ld.global.u32 %r3, [%rd1]; mov.u32 %r2, 1; @%p1 mov.u32 %r2, %tid.x;",
            [Origin.COMPUTED] * 2 + [Origin.CONSTANT] * 2,
        ),
        (
            "ld.global.u32 %r3, [%rd1]; st.local.u32 [slot], %r3; ld.local.u32 %r2, [slot];",
            [Origin.LOADED] * 4,
        ),
        (
            "ld.global.u32 %r3, [%rd1]; st.local.u32 [slot], %r3; st.local.u8 [slot+1], 3; ld.local.u32 %r2, [slot];",
            [Origin.COMPUTED] * 4,
        ),
    ],
)
def test_origins_follow_the_dataflow_of_each_lane(kernel, code, origins):
    module = kernel(
        f""".shared .align 4 .b8 tile[16]; .local .align 4 .u32 slot;
        mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [out]; mad.wide.u32 %rd1, %r1, 4, %rd1;
        setp.lt.u32 %p1, %r1, 2;
        {code}
        shl.b32 %r4, %r1, 2; mov.u32 %r5, tile; add.u32 %r5, %r5, %r4; st.shared.u32 [%r5], %r2; ret;"""
    )
    trace, values = Trace(), np.arange(4, dtype=np.uint32)
    module.launch("k", 1, 4, [values], observers=[trace])
    rows = trace.launches[0].accesses
    stores = rows[(rows["space"] == Space.SHARED) & (rows["kind"] == Kind.STORE)]
    assert stores["origin"].tolist() == origins
    base = trace.launches[0].buffers[0].address
    expected = [base + 4 * lane if origin == Origin.LOADED else 0 for lane, origin in enumerate(origins)]
    assert stores["origin_address"].tolist() == expected


def test_vector_accesses_have_a_row_an_element(kernel):
    module = kernel(
        """.shared .align 16 .b8 tile[16]; ld.param.u64 %rd1, [out];
        ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1]; st.shared.v2.u32 [tile+8], {%r4, 5}; ret;"""
    )
    trace = Trace()
    module.launch("k", 1, 1, [np.arange(10, 14, dtype=np.uint32)], observers=[trace])
    rows, base = trace.launches[0].accesses, trace.launches[0].buffers[0].address
    assert rows["bits"].tolist() == [10, 11, 12, 13, 13, 5]
    assert rows["address"][:4].tolist() == [base, base + 4, base + 8, base + 12]
    assert rows["address"][4:].tolist() == [8, 12] and (rows["nbytes"] == 4).all()
    assert rows["origin"][4:].tolist() == [Origin.LOADED, Origin.CONSTANT]
    assert rows["origin_address"][4] == base + 12


def test_a_failed_launch_is_recorded_up_to_its_failure(kernel):
    module = kernel("ld.param.u64 %rd1, [out]; ld.global.u32 %r1, [%rd1]; ld.global.u32 %r2, [%rd1+4]; ret;")
    trace = Trace()
    with pytest.raises(KernelError):
        module.launch("k", 1, 2, [np.zeros(1, np.uint32)], observers=[trace])
    assert len(trace.launches[0].accesses) == 2


def test_observers_see_every_active_lane_once(compiled):
    class Counter(Observer):
        def __init__(self):
            self.executed = {}
            self.events = []

        def launch_begin(self, launch):
            self.events.append("begin")

        def launch_end(self, launch):
            self.events.append("end")

        def instruction(self, launch, instruction, lanes):
            count = lanes.stop - lanes.start if isinstance(lanes, slice) else len(lanes)
            self.executed[instruction.index] = self.executed.get(instruction.index, 0) + count

    module, counter = compiled("conv1d"), Counter()
    arguments = [np.zeros(20, "f4"), np.zeros(20, "f4"), np.zeros(4, "f4"), np.int32(20)]
    module.launch(module.kernels[0], 3, 8, arguments, observers=[counter])
    assert counter.events == ["begin", "end"]
    instructions = module.ptx.kernels[module.kernels[0]].instructions
    executed = {one.opcode: counter.executed[one.index] for one in instructions}
    assert executed["bar"] == 24 and executed["fma"] == 80 and executed["ret"] == 24


def test_an_asynchronous_copy_keeps_the_origin_of_what_it_brings(kernel):
    """Thread 1 copies nothing but zeros. Before the wait the old value is there, which was a constant."""
    module = kernel(
        """.shared .align 4 .b8 tile[8]; ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; shl.b32 %r4, %r1, 2;
        mov.u32 %r5, tile; add.u32 %r5, %r5, %r4; st.shared.u32 [%r5], 7; sub.u32 %r6, 4, %r4;
        cp.async.ca.shared.global [%r5], [%rd1], 4, %r6; ld.shared.u32 %r7, [%r5]; cp.async.wait_all;
        ld.shared.u32 %r7, [%r5]; ret;"""
    )
    trace = Trace()
    module.launch("k", 1, 2, [np.array([10], np.uint32)], observers=[trace])
    rows, base = trace.launches[0].accesses, trace.launches[0].buffers[0].address
    of_threads = [rows[rows["thread"] == thread] for thread in (0, 1)]
    assert of_threads[0]["bits"].tolist() == [7, 10, 10, 7, 10] and of_threads[1]["bits"].tolist() == [7, 0, 7, 0]
    constant, loaded = Origin.CONSTANT, Origin.LOADED
    assert of_threads[0]["origin"].tolist() == [constant, loaded, loaded, constant, loaded]
    assert of_threads[0]["origin_address"].tolist() == [0, base, base, 0, base]
    assert (of_threads[1]["origin"] == constant).all()
