"""initcheck: reads of what nothing wrote, and reads of what something did."""

from __future__ import annotations

import numpy as np
import pytest

from softgpu import Initcheck, Memory, Module, Racecheck

pytestmark = pytest.mark.usefixtures("every_engine")

# %r1 tid, %rd1 out, %rd2 &out[tid], %r3 &tile[tid]
BEGIN = """
.shared .align 16 .b8 tile[1024]; .local .align 8 .b8 stack[16];
mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [out]; mad.wide.u32 %rd2, %r1, 4, %rd1;
mov.u32 %r3, tile; mad.lo.u32 %r3, %r1, 4, %r3; setp.eq.u32 %p1, %r1, 0;
"""


def check(module: Module, memory: Memory | None = None, address: int = 0, grid: int = 2):
    """Reports of a launch on an array, which is written, or on a memory."""
    initcheck = Initcheck()
    if memory is None:
        module.launch("k", grid, 64, [np.zeros(1024, np.uint32)], observers=[initcheck])
    else:
        module.launch_raw("k", grid, 64, [np.uint64(address).tobytes()], memory, observers=[initcheck])
    return initcheck.reports


@pytest.mark.parametrize(
    "code, where, count",
    [
        ("ld.shared.u32 %r4, [%r3];", "Address 0x0, tile[0] had not been written, or not all of its 4 bytes", 128),
        ("st.shared.u32 [%r3], 1; bar.sync 0; ld.shared.u32 %r4, [%r3+4];", "tile[64]", 2),
        ("ld.shared.u8 %r4, [%r3];", "Address 0x0, tile[0] had not been written\n", 128),
        ("st.shared.u16 [%r3], %r1; ld.shared.u32 %r4, [%r3];", "tile[0]", 128),
        ("st.shared.u32 [%r3], 1; bar.sync 0; @%p1 ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [tile+256];", "tile[64]", 8),
        ("atom.shared.add.u32 %r4, [tile+4], 1;", "tile[1]", 2),
        ("st.local.u32 [stack], 1; ld.local.u64 %rd4, [stack];", "__local__", 128),
        ("cp.async.ca.shared.global [%r3], [%rd2], 4; ld.shared.u32 %r4, [%r3];", "tile[0]", 128),
    ],
)
def test_what_nothing_wrote(kernel, code, where, count):
    reports = check(kernel(BEGIN + code + " ret;"))
    assert where in str(reports[0]) and sum(report.count for report in reports) == count


@pytest.mark.parametrize(
    "code",
    [
        "st.shared.u32 [%r3], 1; bar.sync 0; ld.shared.u32 %r4, [%r3];",
        "shl.b32 %r5, %r1, 3; st.shared.v2.u32 [%r5], {%r1, %r1}; ld.shared.u16 %r4, [%r5+6];",
        "st.shared.u8 [%r3], %r1; st.shared.u8 [%r3+1], %r1; st.shared.u16 [%r3+2], %r1; ld.shared.u32 %r4, [%r3];",
        "@%p1 st.shared.u32 [tile], 0; bar.sync 0; atom.shared.add.u32 %r4, [tile], 1;",
        "st.local.u64 [stack+8], 1; ld.local.u32 %r4, [stack+12];",
        "ld.global.u32 %r4, [%rd2]; ld.global.u32 %r5, [%rd1+2048];",
        "cp.async.ca.shared.global [%r3], [%rd2], 4; cp.async.wait_all; ld.shared.u32 %r4, [%r3];",
    ],
)
def test_what_something_wrote(kernel, code):
    assert check(kernel(BEGIN + code + " ret;")) == []


@pytest.mark.parametrize(
    "code, unwritten",
    [
        ("xor.b32 %r5, %r3, 128; ld.shared.u32 %r4, [%r5]; bar.sync 0; st.shared.u32 [%r3], 1;", 1),
        ("st.shared.u32 [%r3], 1; xor.b32 %r5, %r3, 128; ld.shared.u32 %r4, [%r5];", 0),
        ("@%p1 st.shared.u32 [tile], 1; atom.shared.add.u32 %r4, [tile], 1;", 0),
        ("cp.async.ca.shared.global [%r3], [%rd2], 4; ld.shared.u32 %r4, [%r3];", 0),
        ("ld.shared.u32 %r4, [%r3+4]; st.shared.u32 [%r3], 1;", 1),
        ("st.shared.u32 [%r3], 1; xor.b32 %r5, %r3, 128; ld.shared.u32 %r4, [%r5]; ld.shared.u32 %r4, [tile+512];", 1),
    ],
)
def test_a_read_that_races_with_the_write_before_it_is_told_once(kernel, code, unwritten):
    checks = Racecheck(), Initcheck()
    module = kernel(BEGIN + code.replace("; ", ";\n") + " ret;")
    for _ in range(2):
        module.launch("k", 2, 64, [np.zeros(1024, np.uint32)], observers=checks)
    assert len(checks[1].reports) == 2 * unwritten
    assert bool(checks[0].reports) == ("bar.sync" not in code)


def test_global_memory_over_several_launches(kernel):
    memory = Memory()
    address = memory.allocate(1024, "scratch").base
    read, write = kernel(BEGIN + "ld.global.u32 %r4, [%rd2]; ret;"), kernel(BEGIN + "st.global.u32 [%rd2], 1; ret;")
    (report,) = check(read, memory, address)
    assert (report.variable, report.index, report.count) == ("scratch", 0, 128)
    assert check(write, memory, address) == [] and check(read, memory, address) == []
    assert len(check(read, memory, address + 512)) == 1


def test_what_the_host_wrote_is_written(kernel):
    memory, storage = Memory(), np.zeros(256, np.uint8)
    read = kernel(BEGIN + "ld.global.u32 %r4, [%rd2]; ret;")
    memory.adopt(1 << 40, 256, storage=storage.ctypes.data, written=False)
    memory.host_wrote(1 << 40, 128)
    (report,) = check(read, memory, 1 << 40, grid=1)
    assert report.address == (1 << 40) + 128 and report.count == 32
    memory.host_wrote((1 << 40) + 128, 128)
    assert check(read, memory, 1 << 40) == []


def test_a_launch_that_is_not_followed_counts_as_having_written_everything(kernel):
    memory = Memory()
    address = memory.allocate(256, "scratch").base
    module = kernel(BEGIN + "ld.global.u32 %r4, [%rd2]; ret;")
    module.launch_raw("k", 1, 64, [np.uint64(address).tobytes()], memory)
    assert check(module, memory, address) == []


def test_variables_of_the_module_are_written(kernel):
    module = kernel(
        "ld.global.u32 %r1, [counter]; ld.const.u32 %r2, [size]; ret;",
        module=".global .u32 counter; .const .u32 size = 4;\n",
    )
    assert check(module) == []
