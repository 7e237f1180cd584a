"""memcheck: invalid accesses, one kernel each, and accesses that only look invalid."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from softgpu import Memcheck, Memory, MemoryFault, Severity

pytestmark = pytest.mark.usefixtures("every_engine")

# %r1 tid, %rd1 out, %rd2 &out[tid], %r3 &tile[tid]
BEGIN = """
.shared .align 4 .b8 head[16]; .shared .align 4 .b8 tile[256]; .shared .align 4 .b8 tail[64];
.local .align 4 .b8 stack[16];
mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [out]; mad.wide.u32 %rd2, %r1, 4, %rd1;
mov.u32 %r3, tile; mad.lo.u32 %r3, %r1, 4, %r3;
"""


def check(module, grid=1, block=64, faults=True, **options):
    memcheck, out = Memcheck(), np.zeros(64, np.uint32)
    if faults:
        with pytest.raises(MemoryFault):
            module.launch("k", grid, block, [out], observers=[memcheck], **options)
    else:
        module.launch("k", grid, block, [out], observers=[memcheck], **options)
    return memcheck.reports


@pytest.mark.parametrize(
    "code, what, where, count",
    [
        ("st.global.u32 [%rd2+8], 1;", "__global__ write of size 4", "1 byte after the nearest allocation", 2),
        ("ld.global.u32 %r4, [%rd2+-8];", "__global__ read of size 4", "8 bytes before the nearest allocation", 2),
        ("ld.global.u64 %rd4, [%rd1+256];", "__global__ read of size 8", "1 byte after", 64),
        ("red.global.add.u32 [%rd2+16], 1;", "__global__ atomic of size 4", "1 byte after", 4),
        ("ld.global.u32 %r4, [%rd1+6];", "__global__ read of size 4", "misaligned", 64),
        ("ld.global.v2.u32 {%r4, %r5}, [%rd1+4];", "__global__ read of size 8", "misaligned", 64),
        ("st.global.v4.u32 [%rd1+256], {%r1, %r1, %r1, %r1};", "__global__ write of size 16", "1 byte after", 64),
        ("mov.u64 %rd4, 0; ld.global.u32 %r4, [%rd4];", "__global__ read of size 4", "Address 0x0 is null", 64),
        (
            "mad.lo.u32 %r4, %r1, 4, 144; ld.shared.u32 %r4, [%r4];",
            "__shared__ read of size 4",
            "the block's shared memory",
            16,
        ),
        ("ld.shared.u32 %r4, [tile+2];", "__shared__ read of size 4", "misaligned", 64),
        ("st.local.u32 [stack+16], 1;", "__local__ write of size 4", "1 byte after the thread's local memory", 64),
    ],
)
def test_what_memory_does_not_allow(kernel, code, what, where, count):
    body = BEGIN + code + " ret;"
    (report,) = check(kernel(body))
    assert report.what == f"Invalid {what} bytes" and where in str(report) and report.count == count
    assert report.severity == Severity.ERROR and f"[{count} accesses" in str(report)


def test_what_a_report_says(kernel):
    body = BEGIN + '.file 1 "add.mojo"\n.loc 1 7 3\nst.global.u32 [%rd2+40], 1; ret;'
    (report,) = check(kernel(body))
    assert str(report).splitlines() == [
        "Invalid __global__ write of size 4 bytes",
        "    at k (PTX line 15) in add.mojo:7",
        "    by thread (54,0,0) in block (0,0,0)",
        "    Address 0x1000000100 is out of bounds",
        "    and is 1 byte after the nearest allocation, argument 0, at 0x1000000000 of size 256 bytes",
        "    that is element 64 of argument 0, counted in elements of 4 bytes",
        "    [10 accesses by this instruction]",
    ]


def test_the_index_of_what_is_outside(kernel):
    (report,) = check(kernel(BEGIN + "ld.global.u32 %r4, [%rd2+-8]; ret;"))
    assert report.index == -2 and "that is element -2 of argument 0" in str(report)
    (report,) = check(kernel(BEGIN + "ld.shared.u32 %r4, [%r3+4]; ret;"), faults=False)
    assert (report.variable, report.index) == ("tile", 64) and "that is tile[64], counted in elements" in str(report)


def test_a_misaligned_access_is_inside_a_named_buffer(kernel):
    (report,) = check(kernel(BEGIN + "ld.global.u32 %r4, [%rd1+6]; ret;"))
    assert "and is inside the nearest allocation, argument 0, at" in str(report) and report.variable == "argument 0"
    (report,) = check(kernel(BEGIN + "st.shared.v4.u32 [%r3], {%r1, %r1, %r1, %r1}; ret;"))
    assert report.what == "Invalid __shared__ write of size 16 bytes" and report.variable == "tile"
    assert "misaligned: it is no multiple of 16" in str(report)


def test_a_vector_that_is_partly_outside_its_variable(kernel):
    store = "st.shared.v2.u32 [tile+{}], {{%r1, %r1}};"
    (report,) = check(kernel(BEGIN.replace("256", "260") + store.format(256) + " ret;"), faults=False)
    assert report.what == "Invalid __shared__ write of size 8 bytes" and report.count == 64
    assert "4 bytes past the end of the shared variable tile" in str(report)


def test_both_sides_of_an_asynchronous_copy(kernel):
    body = BEGIN.replace("align 4 .b8 tile[256]", "align 16 .b8 tile[192]")
    body += "and.b32 %r4, %r3, -16; and.b64 %rd4, %rd2, -16; setp.lt.u32 %p1, %r1, 40;"
    code = "@!%p1 cp.async.cg.shared.global [%r4], [%rd4{}], 16; cp.async.wait_all; ret;"
    (write,) = check(kernel(body + code.format("")), faults=False)
    assert write.what == "Invalid __shared__ write of size 16 bytes" and write.count == 16 and write.index == 12
    read, write = check(kernel(body + code.format("+128")))
    assert read.what == "Invalid __global__ read of size 16 bytes" and read.count == 24 and read.index == 18
    assert write.what == "Invalid __shared__ write of size 16 bytes" and write.count == 16


def test_the_launch_goes_on_and_then_raises_the_first_fault(kernel):
    body = BEGIN + "ld.global.u32 %r4, [%rd2+8]; st.global.u32 [%rd2], %r4; st.global.u32 [%rd2+4096], 1; ret;"
    memcheck, out = Memcheck(), np.arange(64, dtype=np.uint32)
    with pytest.raises(MemoryFault) as caught:
        kernel(body).launch("k", 1, 64, [out], observers=[memcheck])
    # Which is the first depends on the order of the threads.
    assert (caught.value.access, caught.value.thread[0]) in (("load", 62), ("store", 0))
    assert out.tolist() == [*range(2, 64), 0, 0]
    assert [report.count for report in memcheck.reports] == [2, 64]


def test_memory_without_a_name(kernel):
    memory, memcheck, storage = Memory(), Memcheck(), np.zeros(64, np.uint32)
    address = memory.adopt(storage.ctypes.data, storage.nbytes).base
    with pytest.raises(MemoryFault, match="1 byte after an unnamed buffer"):
        kernel("ld.param.u64 %rd1, [out]; ld.global.u32 %r1, [%rd1+256]; ret;").launch_raw(
            "k", 1, 1, [np.uint64(address).tobytes()], memory, observers=[memcheck]
        )
    assert "that is element 64 of an unnamed buffer, counted in elements of 4 bytes" in str(memcheck.reports[0])


def test_freed_memory(kernel):
    memory, memcheck = Memory(), Memcheck()
    allocation = memory.allocate(64, "scratch")
    memory.free(allocation.base)
    module = kernel(BEGIN + "st.global.u32 [%rd1+4], 1; ret;")
    with pytest.raises(MemoryFault):
        module.launch_raw("k", 1, 1, [np.uint64(allocation.base).tobytes()], memory, observers=[memcheck])
    (report,) = memcheck.reports
    assert "was freed: scratch" in str(report)


VARIABLES = {
    "past the end": ("st.shared.u32 [%r3+4], 1;", "1 byte after the shared variable tile", "tail[0]", 1),
    "before the beginning": ("ld.shared.u32 %r4, [%r3+-4];", "4 bytes before the shared variable tile", "head[3]", 1),
    "by name": ("st.shared.u32 [head+16], 1;", "1 byte after the shared variable head", "tile[0]", 64),
    "through a generic address": (
        "cvt.u64.u32 %rd4, %r3; cvta.shared.u64 %rd4, %rd4; st.u32 [%rd4+4], 1;",
        "1 byte after the shared variable tile",
        "tail[0]",
        1,
    ),
    "in a loop": (
        """mov.u32 %r4, tile; mov.u32 %r5, 0;
        again: st.shared.u32 [%r4], 1; add.u32 %r4, %r4, 4; add.u32 %r5, %r5, 1; setp.le.u32 %p1, %r5, 64;
        @%p1 bra again;""",
        "1 byte after the shared variable tile",
        "tail[0]",
        64,
    ),
}


@pytest.mark.parametrize("code, where, inside, count", VARIABLES.values(), ids=VARIABLES)
def test_out_of_bounds_of_a_shared_variable(kernel, code, where, inside, count):
    (report,) = check(kernel(BEGIN + code + " ret;"), faults=False)
    assert where in str(report) and inside in str(report) and report.count == count


@pytest.mark.parametrize(
    "code",
    [
        "st.shared.u32 [%r3], 1; ld.shared.u32 %r4, [tile+252]; st.shared.u32 [tail+60], 1;",
        # Compilers fold a constant into the base, and come back inside by the index.
        "mov.u32 %r4, tile+1024; mad.lo.u32 %r4, %r1, 4, %r4; st.shared.u32 [%r4+-1024], 1;",
        # One of two variables, or an address from memory: nothing is known.
        "mov.u32 %r4, tile; mov.u32 %r5, head; setp.lt.u32 %p1, %r1, 8; selp.u32 %r4, %r4, %r5, %p1;"
        "ld.shared.u32 %r6, [%r4+16];",
        "mov.u32 %r4, tile; st.shared.u32 [head], %r4; ld.shared.u32 %r4, [head]; ld.shared.u32 %r5, [%r4+256];",
        "mov.u32 %r4, head; setp.lt.u32 %p1, %r1, 8; @%p1 bra on; mov.u32 %r4, tile; on: ld.shared.u32 %r5, [%r4+16];",
        "mov.u32 %r4, head; setp.lt.u32 %p1, %r1, 8; @%p1 mov.u32 %r4, tile; ld.shared.u32 %r5, [%r4+16];",
        # The distance between two variables is a number.
        "mov.u32 %r4, tile; mov.u32 %r5, tail; sub.u32 %r4, %r5, %r4; ld.shared.u32 %r6, [%r4];",
        "mov.u32 %r4, 276; ld.shared.u32 %r4, [%r4];",
    ],
)
def test_accesses_that_stay_inside_or_of_which_nothing_is_known(kernel, code):
    assert check(kernel(BEGIN + code + " ret;"), faults=False) == []


def test_dynamic_shared_memory_has_the_size_of_the_launch(kernel):
    body = "mov.u32 %r1, %tid.x; mov.u32 %r3, dynamic; mad.lo.u32 %r3, %r1, 4, %r3; st.shared.u32 [%r3], 1; ret;"
    module = kernel(body, module=".extern .shared .align 4 .b8 dynamic[];\n")
    assert check(module, faults=False, shared_bytes=256) == []
    (report,) = check(module, shared_bytes=128)
    assert "after the shared variable dynamic" in str(report) and report.count == 32


def test_checks_follow_a_program(tmp_path):
    """The command's own part: a stand-in for the driver attaches nothing but the observers."""
    program = tmp_path / "program.py"
    program.write_text(
        """
import sys, types
import numpy as np
import softgpu
ptx = '''.version 8.1
.target sm_80
.address_size 64
.visible .entry k(.param .u64 out) { .reg .b64 %rd<4>; .reg .b32 %r<4>;
ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; st.global.u32 [%rd1], %r1;
ld.global.u32 %r2, [%rd1+OFFSET]; ret; }'''
for offset in sys.argv[1:]:
    try:
        softgpu.Module(ptx.replace("OFFSET", offset)).launch(
            "k", 1, 2, [np.zeros(4, np.uint32)], observers=softgpu.install().observers)
    except softgpu.MemoryFault:
        pass
"""
    )
    command = (
        "import softgpu, types; launcher = types.SimpleNamespace(observers=[]); softgpu.install = lambda: launcher;"
        "import sys; from softgpu import cli; sys.exit(cli.main())"
    )

    def run(*arguments):
        return subprocess.run([sys.executable, "-c", command, "run", *arguments], capture_output=True, text=True)

    racing = run("--check", "all", str(program), "4")
    assert racing.returncode == 1, racing.stderr
    assert "========= Warning: Race reported between Write access at k (PTX line 5)" in racing.stdout
    assert "========= RACECHECK SUMMARY: 1 hazard displayed (0 errors, 1 warning)" in racing.stdout
    failing = run("--check", "memcheck,synccheck", str(program), "4", "400")
    assert failing.returncode == 1 and "RACECHECK" not in failing.stdout
    assert "========= Invalid __global__ read of size 4 bytes" in failing.stdout
    assert failing.stdout.endswith("========= ERROR SUMMARY: 1 error\n")
    assert run("--check", "leaks", str(program)).returncode == 2
    assert run(str(program), "400").returncode == 0
    assert run("--check", "memcheck,initcheck,synccheck", str(program), "4").returncode == 0
