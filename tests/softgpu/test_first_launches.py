"""A process runs its first small launches before it loads the native engine; nobody sees that in their results."""

import subprocess
import sys

PROGRAM = '''
import sys

import numpy as np

import softgpu

PTX = """
.version 8.0
.target sm_80
.address_size 64
.global .u32 total;
.visible .entry count(.param .u64 data, .param .u32 turns)
{
    .reg .pred %more;
    .reg .b32 %i, %turn, %turns, %x, %old;
    .reg .b64 %base, %offset, %address;
    ld.param.u64 %base, [data];
    ld.param.u32 %turns, [turns];
    mov.u32 %i, %tid.x;
    mul.wide.u32 %offset, %i, 4;
    add.s64 %address, %base, %offset;
    mov.u32 %turn, 0;
$more:
    ld.global.u32 %x, [%address];
    add.u32 %x, %x, 1;
    st.global.u32 [%address], %x;
    atom.global.add.u32 %old, [total], 1;
    add.u32 %turn, %turn, 1;
    setp.lt.u32 %more, %turn, %turns;
    @%more bra $more;
    ret;
}
"""
module = softgpu.Module(PTX)
data, expected = np.zeros(64, np.uint32), 0


def launch(turns):
    global expected
    module.launch("count", 1, 64, [data, np.uint32(turns)])
    expected += turns
    assert data.tolist() == [expected] * 64
    assert module.global_array("total", np.uint32).tolist() == [64 * expected % 2**32]
    return "numba" in sys.modules


'''


def run(program: str) -> str:
    result = subprocess.run([sys.executable, "-c", PROGRAM + program], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_native_engine_is_loaded_when_small_launches_have_become_many():
    loaded = run("print(*(launch(20) for _ in range(30)))").split()
    assert loaded[0] == "False" and loaded[-1] == "True"
    assert loaded == sorted(loaded)


def test_a_launch_that_is_not_small_happens_once():
    assert run("print(launch(2), launch(5000), launch(2))") == "False True True\n"


def test_an_early_launch_that_fails_says_why():
    program = """
try:
    module.launch("count", 1, 65, [data, np.uint32(1)])
except softgpu.MemoryFault as fault:
    print(fault.thread, "numba" in sys.modules)
"""
    assert run(program) == "(64, 0, 0) False\n"


def test_what_a_kernel_prints_is_printed_once():
    program = r'''
printing = softgpu.Module("""
.version 8.0
.target sm_80
.address_size 64
.extern .func (.param .b32 result) vprintf(.param .b64 format, .param .b64 values);
.const .align 1 .b8 line[3] = {46, 10, 0};
.visible .entry k()
{
    .reg .pred %more;
    .reg .b32 %turn;
    .reg .b64 %line;
    mov.u64 %line, line;
    cvta.const.u64 %line, %line;
    mov.u32 %turn, 0;
$more:
    {
        .param .b64 format; .param .b64 values; .param .b32 result;
        st.param.b64 [format], %line;
        st.param.b64 [values], 0;
        call.uni (result), vprintf, (format, values);
    }
    add.u32 %turn, %turn, 1;
    setp.lt.u32 %more, %turn, 1000;
    @%more bra $more;
    ret;
}
""")
printing.launch("k", 1, 1, [])
'''
    assert run(program) == ".\n" * 1000
