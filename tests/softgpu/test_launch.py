"""What a launch accepts, and what is refused before anything runs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softgpu import LaunchError, Memcheck, Module, PTXSyntaxError, SoftGPUError, UnsupportedPTX

VALID = """.version 8.1
.target sm_80
.address_size 64
.visible .entry k(.param .u64 out, .param .u32 n, .param .align 8 .b8 pair[12], .param .f32 x)
{
.reg .b32 %r<3>; .reg .b64 %rd<2>; .reg .f32 %f1; .reg .pred %p1;
ld.param.u64 %rd1, [out];
ld.param.u32 %r1, [n];
setp.eq.s32 %p1, %r1, 0;
@%p1 bra $L_end;
ld.param.u32 %r2, [pair+8];
add.s32 %r1, %r1, %r2;
st.global.u32 [%rd1], %r1;
ld.param.f32 %f1, [x];
st.global.f32 [%rd1+4], %f1;
$L_end: ret;
}
"""


def arguments() -> list:
    pair = np.array([(7, 35)], dtype=[("a", "u8"), ("b", "u4")])[0]
    return [np.zeros(2, np.uint32), np.int32(5), pair, np.float32(0.5)]


def test_arguments_of_every_kind():
    args = arguments()
    Module(VALID).launch("k", 1, 1, args)
    assert args[0].tolist() == [40, 0x3F000000]


@pytest.mark.parametrize(
    "grid, block, message",
    [
        (0, 1, "grid's x dimension is 0"),
        (1, 0, "block's x dimension is 0"),
        (1, 2048, "block's x dimension is 2048"),
        (1, (64, 32), "2048 threads, but a GPU allows at most 1024"),
        (1, (1, 1, 65), "block's z dimension is 65"),
        ((1, 65536), 1, "grid's y dimension is 65536"),
        ((1, 1, 1, 1), 1, "one to three integers"),
        (1.5, 1, "one to three integers"),
        (1, -3, "block's x dimension is -3"),
    ],
)
def test_impossible_grids_and_blocks(grid, block, message):
    with pytest.raises(LaunchError, match=message.replace("(", r"\(")):
        Module(VALID).launch("k", grid, block, arguments())


@pytest.mark.parametrize(
    "position, value, message",
    [
        (0, np.int64(3), None),
        (0, np.zeros((4, 4), "f4").T[:, 1:], "not C-contiguous"),
        (0, np.frombuffer(b"12345678", np.uint32), "read-only"),
        (1, 5, "such as np.int32"),
        (1, np.uint64(5), "is a uint64 of 8 bytes"),
        (1, np.float32(5), "float32"),
        (1, np.zeros(3), "not a pointer"),
        (3, np.int32(5), "f32"),
        (2, np.void(b"12345"), "struct of 12 bytes"),
    ],
)
def test_arguments_that_do_not_fit(position, value, message):
    args = arguments()
    args[position] = value
    if message is None:
        with pytest.raises(SoftGPUError, match="address 0x3"):
            Module(VALID).launch("k", 1, 1, args)
        return
    with pytest.raises(LaunchError, match=message):
        Module(VALID).launch("k", 1, 1, args)


def test_missing_arguments_and_kernels():
    with pytest.raises(LaunchError, match="takes 4 arguments, but 1 was given"):
        Module(VALID).launch("k", 1, 1, [np.zeros(1)])
    with pytest.raises(LaunchError, match="it has k"):
        Module(VALID).launch("other", 1, 1, arguments())
    with pytest.raises(LaunchError, match="shared memory"):
        Module(VALID).launch("k", 1, 1, arguments(), shared_bytes=1 << 20)


@pytest.mark.parametrize("observers", [[Memcheck], Memcheck(), None, [None]])
def test_what_is_no_list_of_observers(observers):
    with pytest.raises(LaunchError, match=r"must be a list of observers such as softgpu.Memcheck\(\), not "):
        Module(VALID).launch("k", 1, 1, arguments(), observers=observers)


def test_limits_that_the_kernel_sets():
    limited = VALID.replace("\n{", "\n.maxntid 64, 2, 1\n{")
    with pytest.raises(LaunchError, match="at most 128 threads"):
        Module(limited).launch("k", 1, 129, arguments())
    required = VALID.replace("\n{", "\n.reqntid 32\n{")
    with pytest.raises(LaunchError, match="must have blocks"):
        Module(required).launch("k", 1, 31, arguments())


@pytest.mark.parametrize(
    "instruction",
    [
        "add.s32.frobnicate %r1, %r1, %r2",
        "add.s8 %r1, %r1, %r2",
        "mov.u32 %r1, %envreg3",
        "wmma.load.a.sync.aligned.row.m16n16k16.f16 {%r1}, [%rd1]",
        "call.uni foo, ()",
        "ld.weird.u32 %r1, [%rd1]",
        "atom.global.add.bf16 %r1, [%rd1], %r2",
    ],
)
def test_unknown_instructions_are_refused_by_name_and_line_before_anything_runs(instruction):
    text = VALID.replace("$L_end: ret;", f"$L_end:\n{instruction};\nret;")
    args = arguments()
    with pytest.raises(UnsupportedPTX) as caught:
        Module(text).launch("k", 1, 1, args)
    assert caught.value.line == 17 and caught.value.instruction.startswith(instruction.split(",")[0][:8])
    assert "refuses the kernel rather than guess" in str(caught.value)
    assert not args[0].any()


@pytest.mark.parametrize(
    "old, new, line",
    [
        ("add.s32 %r1, %r1, %r2;", "add.s32 %r1, %r1;", 12),
        ("add.s32 %r1, %r1, %r2;", "add.s32 %r1, %rd1, %r2;", 12),
        ("add.s32 %r1, %r1, %r2;", "add.s32 %r1, %r9, %r2;", 12),
        ("add.s32 %r1, %r1, %r2;", "add.s32 4, %r1, %r2;", 12),
        ("add.s32 %r1, %r1, %r2;", "add.s32 %r1, 0f3F800000, %f1;", 12),
        ("bra $L_end", "bra $nowhere", 10),
        ("[out];", "[outer];", 7),
        ("$L_end: ret;\n}", "$L_end: ret;", 17),
        ("st.global.u32 [%rd1], %r1;", "st.global.u32 [%rd1, %r1;", 13),
        (".version 8.1\n", "", 1),
        ("@%p1 bra", "@%r1 bra", 10),
    ],
)
def test_malformed_text_is_reported_with_its_line(old, new, line):
    with pytest.raises(PTXSyntaxError) as caught:
        Module(VALID.replace(old, new)).launch("k", 1, 1, arguments())
    assert caught.value.line == line


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_text_never_fails_in_another_way(data):
    """Cut, repeat or replace a part: the answer is a result or an error of softgpu's own."""
    start = data.draw(st.integers(0, len(VALID)))
    end = data.draw(st.integers(start, min(start + 30, len(VALID))))
    middle = data.draw(
        st.one_of(
            st.just(""),
            st.text(max_size=6),
            st.sampled_from(["{", "}", "%r1", "[", "0x", "0f", ".reg", "@", ":", "-", ".loc", "%rd1", "99999999999"]),
            st.just(VALID[start:end] * 2),
        )
    )
    text = VALID[:start] + middle + VALID[end:]
    try:
        module = Module(text)
        for name in module.kernels:
            module.program(name)
    except SoftGPUError:
        pass


def test_names_in_inner_braces_hide_outer_ones():
    text = VALID.replace(
        "add.s32 %r1, %r1, %r2;",
        """{ .reg .b32 t; mov.u32 t, 1; bra.uni done; done: add.s32 %r1, %r1, t; }
           { .reg .b32 t; mov.u32 t, 34; bra.uni done; done: add.s32 %r1, %r1, t; }""",
    )
    args = arguments()
    Module(text).launch("k", 1, 1, args)
    assert args[0][0] == 40


def test_directives_do_not_swallow_what_follows_on_their_line():
    text = VALID.replace(
        "add.s32 %r1", '.pragma "nounroll"; .loc 1 2 3, function_name $L_end, inlined_at 1 9 9 add.s32 %r1'
    )
    args = arguments()
    Module(text).launch("k", 1, 1, args)
    assert args[0][0] == 40


def test_source_locations():
    text = VALID.replace("add.s32", ".loc 1 12 5\nadd.s32") + '\n.file 1 "kernel.mojo"\n'
    instructions = Module(text).ptx.kernels["k"].instructions
    addition = next(one for one in instructions if one.opcode == "add")
    assert (addition.location.file, addition.location.line, addition.location.column) == (
        "kernel.mojo",
        12,
        5,
    )
