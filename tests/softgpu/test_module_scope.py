"""Variables of a module: what they hold at first, where they lie, and that they keep their values."""

import struct

import numpy as np
import pytest

from softgpu import Module, PTXSyntaxError, UnsupportedPTX

HEADER = ".version 8.1\n.target sm_80\n.address_size 64\n"


def initial(declaration, dtype=np.uint8, name="x"):
    return Module(f"{HEADER}{declaration}\n.visible .entry k() {{ ret; }}").global_array(name, dtype).tolist()


@pytest.mark.parametrize(
    "declaration, dtype, expected",
    [
        (".global .u32 x = 7;", np.uint32, [7]),
        (".global .s32 x = -7;", np.int32, [-7]),
        (".global .b8 x[4] = {1, 0xFF, -1};", np.uint8, [1, 255, 255, 0]),
        (".global .u8 x[] = {104, 105, 0};", np.uint8, [104, 105, 0]),
        (".const .align 8 .b8 x[3] = {1};", np.uint8, [1, 0, 0]),
        (".global .f32 x[3] = {0f3F800000, -1.5, 2};", np.float32, [1, -1.5, 2]),
        (".global .f64 x[2] = {0d4000000000000000, 0f40400000};", np.float64, [2, 3]),
        (".global .f32 x = 0fFFC00001;", np.uint32, [0xFFC00001]),
        (".global .b32 x = 0f3F800000;", np.uint32, [0x3F800000]),
        (".global .s32 x[2][3] = {{1, 2}, {-4, 5, 6}};", np.int32, [1, 2, 0, -4, 5, 6]),
        (".global .s32 x[2][2][2] = {{{1}, {2}}, {{3, 4}}};", np.int32, [1, 0, 2, 0, 3, 4, 0, 0]),
        (".global .u16 x[][2] = {{1, 2}, {3}};", np.uint16, [1, 2, 3, 0]),
        (".global .u32 x[4][4] = {1, 2, 3};", np.uint32, [1, 2, 3] + [0] * 13),
        (".global .u32 x[3][2] = {1, 2, {3}, 5};", np.uint32, [1, 2, 3, 0, 5, 0]),
        (".global .align 16 .v4 .f32 x = {1.0, 2.0, 3.0, 4.0};", np.float32, [1, 2, 3, 4]),
        (".global .v2 .u32 x[2] = {{1, 2}, {3, 4}};", np.uint32, [1, 2, 3, 4]),
        (".global .attribute(.managed) .u32 x = 3;", np.uint32, [3]),
        (".weak .global .u32 x = 3;", np.uint32, [3]),
        (".common .global .u32 x[2];", np.uint32, [0, 0]),
        (".extern .global .u32 x; .visible .global .u32 x = 4;", np.uint32, [4]),
        (".visible .global .u32 x = 4; .extern .global .u32 x;", np.uint32, [4]),
        (".global .u64 x = 18446744073709551615;", np.uint64, [2**64 - 1]),
        (".global .u32 y = 1, x = 2;", np.uint32, [2]),
    ],
)
def test_initial_values(declaration, dtype, expected):
    assert initial(declaration, dtype) == expected


def test_initial_addresses(kernel):
    """A table of pointers, to variables that come later too, is followed by the kernel."""
    module = kernel(
        """ld.param.u64 %rd1, [out]; mov.u64 %rd2, table; ld.global.u64 %rd3, [%rd2]; ld.u32 %r1, [%rd3];
        ld.global.u64 %rd4, [%rd2+8]; ld.global.u32 %r2, [%rd4]; ld.global.u64 %rd5, [%rd2+16];
        ld.const.u32 %r3, [%rd5];
        st.global.u32 [%rd1], %r1; st.global.u32 [%rd1+4], %r2; st.global.u32 [%rd1+8], %r3; ret;""",
        module=""".global .u64 table[4] = {generic(later), generic(later)+8, fixed+4};
        .global .u32 later[3] = {10, 20, 30}; .const .u32 fixed[2] = {40, 50};""",
    )
    out = np.zeros(3, np.uint32)
    module.launch("k", 1, 1, [out])
    assert out.tolist() == [10, 30, 50] and module.global_array("table", np.uint64)[3] == 0


def test_variables_keep_their_values_between_launches(kernel):
    module = kernel(
        "mov.u64 %rd1, count; atom.global.add.u32 %r1, [%rd1], 1; ret;", [], module=".global .u32 count = 100;"
    )
    count = module.global_array("count", np.uint32)
    module.launch("k", 2, 64, [])
    assert count.tolist() == [228]
    count[0] = 5
    module.launch("k", 1, 1, [])
    assert module.global_array("count", np.uint32).tolist() == [6]


def test_static_and_dynamic_shared_memory(kernel):
    """Dynamic shared memory follows the static variables, and all its names are the same bytes."""
    module = kernel(
        """.shared .align 8 .b8 local_tile[2][4]; ld.param.u64 %rd1, [out]; mov.u32 %r1, tile; mov.u32 %r2, first;
        mov.u32 %r3, second; mov.u32 %r4, local_tile; st.shared.u32 [second+4], 77; ld.shared.u32 %r5, [first+4];
        st.global.v4.u32 [%rd1], {%r1, %r2, %r3, %r4}; mov.u32 %r6, %dynamic_smem_size; mov.u32 %r7, %total_smem_size;
        st.global.u32 [%rd1+16], %r5; st.global.v2.u32 [%rd1+24], {%r6, %r7}; ret;""",
        module=""".shared .align 4 .f32 tile[4][4]; .extern .shared .align 16 .b8 first[];
        .extern .shared .b32 second[];""",
    )
    out = np.zeros(8, np.uint32)
    module.launch("k", 1, 1, [out], shared_bytes=12)
    tile, first, second, local_tile, seen, _, dynamic, total = out.tolist()
    assert first == second == 80 and {tile, local_tile} == {0, 64} and seen == 77 and (dynamic, total) == (12, 92)


@pytest.mark.parametrize(
    "declaration, kind, message",
    [
        (".global .u32 x[2] = {1, 2, 3};", PTXSyntaxError, "more initialisers than elements"),
        (".global .u32 x[2] = {{1}, 2};", PTXSyntaxError, "a brace in its initialiser where no array begins"),
        (".global .u32 x[2][2] = {1, {2}};", PTXSyntaxError, "a brace in its initialiser where no array begins"),
        (".global .u32 x[];", PTXSyntaxError, "needs a size"),
        (".global .u32 x[2][];", PTXSyntaxError, "expected a number"),
        (".global .u32 x = 1.5;", PTXSyntaxError, "cannot initialise x"),
        (".global .u64 x = 0f3F800000;", PTXSyntaxError, "cannot initialise x"),
        (".global .u32 x = nowhere;", UnsupportedPTX, "the address of what is no"),
        (".shared .u32 s; .global .u64 x = s;", UnsupportedPTX, "the address of what is no"),
        (".global .u32 y; .global .u32 x = y;", UnsupportedPTX, "an address in 32 bits"),
        (".global .u8 y; .global .u8 x[2] = {0xff(y), 0xff00(y)};", UnsupportedPTX, "parts of an address"),
        (".global .u32 x; .global .u32 x;", PTXSyntaxError, "declared twice"),
        (".param .u32 x;", PTXSyntaxError, "expected .entry"),
    ],
)
def test_declarations_that_are_refused(declaration, kind, message):
    with pytest.raises(kind, match=message):
        initial(declaration)


def test_a_variable_of_another_module_is_refused_where_it_is_used(kernel):
    elsewhere = ".extern .global .u32 elsewhere;"
    kernel("ret;", [], module=elsewhere).launch("k", 1, 1, [])
    with pytest.raises(UnsupportedPTX, match="elsewhere is a variable of another module"):
        kernel("mov.u64 %rd1, elsewhere; ret;", module=elsewhere).program("k")


def test_locations_of_inlined_code():
    text = f"""{HEADER}.file 1 "kernel.mojo"
    .file 2 "tile.mojo"
    .visible .entry k() {{ .reg .b32 r;
    .loc 1 30 2
    .loc 2 7 1, function_name $info, inlined_at 1 30 2
    .loc 2 9 4, function_name $info+4, inlined_at 2 7 1
    mov.u32 r, 1;
    .loc 2 0 0, function_name $info, inlined_at 1 30 2
    ret; }}"""
    load, end = Module(text).ptx.kernels["k"].instructions
    places = []
    location = load.location
    while location is not None:
        places.append((location.file, location.line, location.column))
        location = location.inlined_at
    assert places == [("tile.mojo", 9, 4), ("tile.mojo", 7, 1), ("kernel.mojo", 30, 2)] and end.location is None


def test_a_kernel_takes_the_address_of_its_parameter():
    module = Module(f"""{HEADER}.visible .entry k(.param .u64 out, .param .align 8 .b8 pair[12])
    {{ .reg .b32 %r1; .reg .b64 %rd<3>; ld.param.u64 %rd1, [out]; mov.b64 %rd2, pair; ld.param.u32 %r1, [%rd2+8];
    st.global.u32 [%rd1], %r1; ret; }}""")
    out = np.zeros(1, np.uint32)
    module.launch("k", 1, 1, [out, np.void(struct.pack("<QI", 7, 35))])
    assert out[0] == 35
