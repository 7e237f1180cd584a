"""Device functions, what they are passed, and the functions of the driver: printf and assertions."""

import numpy as np
import pytest

from softgpu import AssertionFailed, MemoryFault, Module, PTXSyntaxError, TrapError, UnsupportedPTX

OUT = "ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; mad.wide.u32 %rd1, %r1, 4, %rd1;"

SQUARE = """
.visible .func (.param .b32 square_result) square(.param .b32 square_value)
{
.reg .b32 %r<4>;
ld.param.u32 %r1, [square_value];
mul.lo.u32 %r2, %r1, %r1;
st.param.b32 [square_result+0], %r2;
ret;
}
"""


def call(function, value="%r1", result="%r2"):
    return f"""{{ .param .b32 param0; st.param.b32 [param0+0], {value}; .param .b32 retval0;
        call.uni (retval0), {function}, (param0); ld.param.b32 {result}, [retval0+0]; }}"""


def run(kernel, body, module, threads=40, dtype=np.uint32):
    out = np.zeros(threads, dtype)
    kernel(OUT + body, module=module).launch("k", 1, threads, [out])
    return out.tolist()


def test_a_call_returns_a_value(kernel):
    assert run(kernel, call("square") + "st.global.u32 [%rd1], %r2; ret;", SQUARE) == [n * n for n in range(40)]


def test_every_call_has_registers_and_labels_of_its_own(kernel):
    """A function with a loop and a local array, called twice, by threads that take different numbers of turns."""
    module = """
    .func (.param .b32 result) sum(.param .b32 last)
    {
    .local .align 4 .b8 buffer[32]; .reg .b32 %r<8>; .reg .pred %p1; .reg .b64 %rd<4>;
    ld.param.b32 %r1, [last]; mov.u32 %r2, 0; mov.u32 %r3, 0; mov.u64 %rd1, buffer;
    LOOP: setp.gt.u32 %p1, %r2, %r1; @%p1 bra DONE;
    st.local.u32 [%rd1], %r3; add.u32 %r3, %r3, %r2; add.u32 %r2, %r2, 1; bra LOOP;
    DONE: ld.local.u32 %r4, [%rd1]; mad.lo.u32 %r4, %r4, 1000, %r3; st.param.b32 [result], %r4; ret;
    }"""
    body = call("sum") + call("sum", "3", "%r3") + "mad.lo.u32 %r2, %r2, 100, %r3; st.global.u32 [%rd1], %r2; ret;"
    triangle = [n * (n + 1) // 2 for n in range(40)]
    before = [0, *triangle]
    three = 3 * 1000 + 6
    assert run(kernel, body, module) == [(before[n] * 1000 + triangle[n]) * 100 + three for n in range(40)]


def test_calls_within_calls_and_forward_declarations(kernel):
    module = (
        """.func (.param .b32 r) square(.param .b32 v);
        .func (.param .b32 r) fourth(.param .b32 v) .noinline
        { .reg .b32 %r<4>; ld.param.b32 %r1, [v]; """
        + call("square")
        + """{ .param .b32 p; st.param.b32 [p], %r2; .param .b32 q; call (q), square, (p);
            ld.param.b32 %r3, [q]; } st.param.b32 [r], %r3; }"""
        + SQUARE
    )
    body = call("fourth") + "st.global.u32 [%rd1], %r2; ret;"
    assert run(kernel, body, module) == [n**4 for n in range(40)]


def test_values_in_registers(kernel):
    """The form without `.param`: registers, constants and predicates go straight in and out."""
    module = """
    .func (.reg .u32 low, .reg .pred odd) halve(.reg .u32 a, .reg .f32 scale)
    { .reg .f32 t; .reg .u32 b; and.b32 b, a, 1; setp.eq.u32 odd, b, 1; cvt.rn.f32.u32 t, a; mul.f32 t, t, scale;
      cvt.rzi.u32.f32 low, t; ret; }"""
    body = """call (%r2, %p1), halve, (%r1, 0f3F000000); selp.u32 %r3, 1000, 0, %p1; add.u32 %r2, %r2, %r3;
    st.global.u32 [%rd1], %r2; ret;"""
    assert run(kernel, body, module) == [n // 2 + n % 2 * 1000 for n in range(40)]


def test_registers_and_param_variables_may_be_mixed(kernel):
    module = SQUARE + ".func (.reg .b32 r) increment(.reg .b32 a) { add.u32 r, a, 1; ret; }"
    body = """call (%r2), square, (%r1);
    { .param .b32 p; st.param.b32 [p], %r2; .param .b32 q; call (q), increment, (p); ld.param.b32 %r3, [q]; }
    st.global.u32 [%rd1], %r3; ret;"""
    assert run(kernel, body, module) == [n * n + 1 for n in range(40)]


def test_structs_pass_through_memory(kernel):
    """Fields are written in one size and read in others, and one of the reads goes through the address."""
    module = """
    .func (.param .align 8 .b8 result[16]) mix(.param .align 8 .b8 pair[16])
    { .reg .b32 %r<8>; .reg .b64 %rd<4>; .reg .b16 %h<3>;
      ld.param.b64 %rd1, [pair]; ld.param.b8 %h1, [pair+9]; ld.param.u16 %r2, [pair+12]; mov.u64 %rd2, pair;
      ld.local.u32 %r3, [%rd2+8]; cvt.u32.u16 %r1, %h1; add.u32 %r1, %r1, %r2;
      st.param.v2.b32 [result], {%r1, %r3}; st.param.b64 [result+8], %rd1; ret; }"""
    body = """{ .param .align 8 .b8 p[16]; cvt.u64.u32 %rd2, %r1; mul.lo.u64 %rd2, %rd2, 4294967297;
      st.param.b64 [p], %rd2; mad.lo.u32 %r2, %r1, 256, 7; st.param.v2.b32 [p+8], {%r2, %r1};
      .param .align 8 .b8 q[16]; call.uni (q), mix, (p); ld.param.b32 %r3, [q]; ld.param.b32 %r4, [q+4];
      ld.param.v2.b32 {%r5, %r6}, [q+8]; }
      ld.param.u64 %rd3, [out]; mad.wide.u32 %rd3, %r1, 16, %rd3; st.global.v4.u32 [%rd3], {%r3, %r4, %r5, %r6}; ret;"""
    out = np.zeros((40, 4), np.uint32)
    kernel(OUT + body, module=module).launch("k", 1, 40, [out])
    for n in range(40):
        assert out[n].tolist() == [n % 256 + n, n * 256 + 7, n, n]


def test_values_of_every_width_arrive_whole(kernel):
    module = """
    .func (.param .b64 r) twice(.param .b64 v) { .reg .f64 %fd<3>; ld.param.f64 %fd1, [v]; add.f64 %fd1, %fd1, %fd1;
      st.param.f64 [r], %fd1; }
    .func (.param .b32 r) narrow(.param .b32 v) { .reg .b16 %h1; .reg .b32 %r1; ld.param.s8 %h1, [v];
      cvt.s32.s16 %r1, %h1; st.param.b32 [r], %r1; ret; }"""
    body = """cvt.rn.f64.u32 %fd1, %r1; { .param .b64 p; st.param.f64 [p], %fd1; .param .b64 q; call (q), twice, (p);
      ld.param.f64 %fd2, [q]; } cvt.rzi.s32.f64 %r2, %fd2; sub.u32 %r2, %r2, 200;""" + call("narrow", "%r2", "%r3")
    out = run(kernel, body + "st.global.u32 [%rd1], %r3; ret;", module, dtype=np.int32)
    assert out == [int(np.int64(2 * n - 200).astype(np.int8)) for n in range(40)]


def test_values_of_less_than_a_word(kernel):
    module = """.func (.param .b8 r) low(.param .b8 v) { .reg .b16 %h1; ld.param.u8 %h1, [v]; add.u16 %h1, %h1, 200;
      st.param.b8 [r], %h1; ret; }
    .func (.param .b16 r) half(.param .b16 v) { .reg .b32 %r1; ld.param.s16 %r1, [v]; neg.s32 %r1, %r1;
      st.param.b16 [r], %r1; ret; }"""
    body = """mov.b32 {%h1, %h2}, %r1; { .param .b8 p; .param .b8 q; st.param.b8 [p], %h1; call (q), low, (p);
      ld.param.u8 %r2, [q]; } { .param .b16 p; .param .b16 q; st.param.b16 [p], %h1; call (q), half, (p);
      ld.param.s16 %r3, [q]; } mad.lo.s32 %r2, %r3, 1000, %r2; st.global.u32 [%rd1], %r2; ret;"""
    assert run(kernel, body, module, 80, np.int32) == [(n + 200) % 256 - 1000 * n for n in range(80)]


def test_a_predicated_call_is_made_by_some_threads(kernel):
    body = """mov.u32 %r2, 7; setp.gt.u32 %p1, %r1, 20; .param .b32 p; .param .b32 q; st.param.b32 [p], %r1;
      st.param.b32 [q], 5; @!%p1 call (q), square, (p); ld.param.b32 %r2, [q]; st.global.u32 [%rd1], %r2; ret;
"""
    assert run(kernel, body, SQUARE) == [n * n if n <= 20 else 5 for n in range(40)]


def test_returns_under_a_predicate_meet_after_the_call(kernel):
    module = """
    .func (.param .b32 r) clamp(.param .b32 v)
    { .reg .b32 %r<3>; .reg .pred %p1; ld.param.b32 %r1, [v]; st.param.b32 [r], %r1; setp.lt.u32 %p1, %r1, 10;
      @%p1 ret; st.param.b32 [r], 10; ret.uni; }"""
    body = call("clamp") + "activemask.b32 %r3; popc.b32 %r3, %r3; mad.lo.u32 %r2, %r3, 100, %r2;"
    out = run(kernel, body + "st.global.u32 [%rd1], %r2; ret;", module, threads=32)
    assert out == [3200 + min(n, 10) for n in range(32)]


def test_exit_in_a_function_ends_the_thread_and_barriers_work_there(kernel):
    module = """
    .func meet(.param .b32 v)
    { .reg .b32 %r<3>; .reg .pred %p1; .shared .align 4 .b32 count; ld.param.b32 %r1, [v];
      setp.gt.u32 %p1, %r1, 50; @%p1 exit; atom.shared.add.u32 %r2, [count], 1; bar.sync 0; ret; }
    .func (.param .b32 r) total() { .reg .b32 %r1; .shared .align 4 .b32 zero; mov.u32 %r1, 5;
      st.param.b32 [r], %r1; }"""
    body = """.shared .align 4 .b32 mine; st.shared.u32 [mine], 1;
      { .param .b32 p; st.param.b32 [p], %r1; call meet, (p); }
      { .param .b32 p; st.param.b32 [p], %r1; call meet, (p); }
      { .param .b32 q; call (q), total; ld.param.b32 %r2, [q]; }
      ld.shared.u32 %r3, [mine]; add.u32 %r2, %r2, %r3; st.global.u32 [%rd1], %r2; ret;"""
    assert run(kernel, body, module, threads=64) == [6] * 51 + [0] * 13


def test_a_shared_variable_of_a_function_is_the_same_in_every_call(kernel):
    module = """.func (.param .b32 r) next() { .shared .align 4 .b32 count; .reg .b32 %r1;
      atom.shared.add.u32 %r1, [count], 1; st.param.b32 [r], %r1; ret; }"""
    body = """{ .param .b32 q; call (q), next; ld.param.b32 %r2, [q]; } bar.sync 0;
      { .param .b32 q; call (q), next; ld.param.b32 %r3, [q]; } sub.u32 %r3, %r3, %r2;
      st.global.u32 [%rd1], %r3; ret;"""
    # The warps' order is free, but the second round of draws begins where the first of 32 ended.
    assert run(kernel, body, module, threads=32) == [32] * 32


def test_functions_use_variables_of_the_module_that_the_kernel_hides(kernel):
    module = """.global .u32 level = 3;
      .func (.param .b32 r) read() { .reg .b32 %r1; ld.global.u32 %r1, [level]; st.param.b32 [r], %r1; ret; }"""
    body = """.shared .align 4 .b32 level; st.shared.u32 [level], 40; { .param .b32 q; call (q), read;
      ld.param.b32 %r2, [q]; } ld.shared.u32 %r3, [level]; add.u32 %r2, %r2, %r3; st.global.u32 [%rd1], %r2; ret;"""
    assert run(kernel, body, module, threads=2) == [43, 43]


def test_an_alias_is_another_name_of_a_function(kernel):
    body = call("carre") + "st.global.u32 [%rd1], %r2; ret;"
    assert run(kernel, body, SQUARE + ".func (.param .b32 r) carre(.param .b32 v); .alias carre, square;") == [
        n * n for n in range(40)
    ]


def test_shuffles_work_in_functions(kernel):
    module = """.func (.param .b32 r) neighbour(.param .b32 v) { .reg .b32 %r<3>; ld.param.b32 %r1, [v];
      shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1; st.param.b32 [r], %r2; ret; }"""
    assert run(kernel, call("neighbour") + "st.global.u32 [%rd1], %r2; ret;", module, 32) == [n ^ 1 for n in range(32)]


@pytest.mark.parametrize(
    "module, code, reason",
    [
        (".func f() { call f; }", "call f;", "recursion: f calls f"),
        (".func g(); .func f() { call g; } .func g() { call f; }", "call f;", "recursion: f calls g calls f"),
        (".func f() { ret; }", "mov.u64 %rd2, 0; call %rd2, (), proto;", "an indirect call"),
        (".extern .func f();", "call f;", "it calls the function f, which this module only declares"),
        (".extern .func (.param .b64 r) malloc(.param .b64 n);", "call (%rd2), malloc, (8);", "cannot allocate memory"),
        ("", "call f;", "there is no function f"),
    ],
)
def test_calls_that_are_refused(kernel, module, code, reason):
    with pytest.raises(UnsupportedPTX, match=reason.replace("(", r"\(")) as caught:
        kernel(code + " ret;", module=module).program("k")
    assert caught.value.instruction.startswith("call")


@pytest.mark.parametrize(
    "code, reason",
    [
        ("call square;", "passes 0 and returns 0 values, but square takes 1 and returns 1"),
        ("call (%rd1), square, (%r1);", "register %rd1 is b64"),
        (".param .b64 p; call (%r1), square, (p);", "no .param variable of 4 bytes"),
        ("call (%r1), square, (out);", "no .param variable of 4 bytes"),
        (".param .b32 p; st.param.b64 [p], %rd1; ret;", "reaches past the 4 bytes of p"),
    ],
)
def test_calls_that_do_not_fit_their_function(kernel, code, reason):
    with pytest.raises(PTXSyntaxError, match=reason):
        kernel(code + " ret;", module=SQUARE).program("k")


# What the driver provides


def text(name, content):
    data = content.encode() + b"\0"
    return f".global .align 1 .b8 {name}[{len(data)}] = {{{', '.join(map(str, data))}}};\n"


PRINTF = ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 v);\n"


def printing(stores):
    """Call vprintf with `message` and a buffer that `stores` has filled."""
    return f""".local .align 8 .b8 buffer[64]; mov.u64 %rd2, buffer; cvta.local.u64 %rd3, %rd2; {stores}
        mov.u64 %rd4, message; cvta.global.u64 %rd5, %rd4;
        {{ .param .b64 param0; st.param.b64 [param0], %rd5; .param .b64 param1; st.param.b64 [param1], %rd3;
        .param .b32 retval0; call.uni (retval0), vprintf, (param0, param1); ld.param.b32 %r9, [retval0]; }}
        st.global.u32 [%rd1], %r9; ret;"""


def test_printf_prints_thread_by_thread(kernel, capsys):
    body = printing(
        "st.local.u32 [%rd2], %r1; cvt.rn.f64.u32 %fd1, %r1; mul.f64 %fd1, %fd1, 0d3FF8000000000000; "
        "st.local.f64 [%rd2+8], %fd1;"
    )
    assert run(kernel, body, PRINTF + text("message", "thread %d: %.2f\n"), threads=35) == [2] * 35
    assert capsys.readouterr().out == "".join(f"thread {n}: {1.5 * n:.2f}\n" for n in range(35))


def test_printf_converts_as_c_does(kernel, capsys):
    stores = """st.local.u32 [%rd2], -5; st.local.u32 [%rd2+4], -5; st.local.u32 [%rd2+8], 48879;
    st.local.u32 [%rd2+12], 65;
    st.local.u64 [%rd2+16], -7; st.local.u64 [%rd2+24], -7; st.local.f64 [%rd2+32], 0d3F50624DD2F1A9FC;
    mov.u64 %rd6, name; cvta.global.u64 %rd7, %rd6; st.local.u64 [%rd2+40], %rd7; st.local.u32 [%rd2+48], 3;"""
    module = PRINTF + text("message", "%d|%u|%#06X|%c|%lld|%llu|%e|%-6s|%*d%% %y\n") + text("name", "tile")
    run(kernel, printing(stores + "st.local.u32 [%rd2+52], 9;"), module, 1)
    assert capsys.readouterr().out == "-5|4294967291|0XBEEF|A|-7|18446744073709551609|1.000000e-03|tile  |  9% %y\n"


def test_printf_of_a_string_that_is_nowhere(kernel):
    with pytest.raises(MemoryFault, match="by thread \\(0, 0, 0\\)"):
        run(kernel, printing("st.local.u64 [%rd2], 4096;"), PRINTF + text("message", "%s"), 1)


def test_printf_of_a_null_format(kernel):
    body = printing("").replace("cvta.global.u64 %rd5, %rd4", "mov.u64 %rd5, 0")
    assert run(kernel, body, PRINTF + text("message", ""), 1, np.int32) == [-1]


def test_a_failed_assertion_names_message_place_and_thread(kernel):
    module = (
        ".extern .func __assertfail(.param .b64 m, .param .b64 f, .param .b32 l, .param .b64 n, .param .b64 s);\n"
        + text("message", "i < n")
        + text("file", "kernel.cu")
        + text("function", "add")
    )
    body = """setp.lt.u32 %p1, %r1, 5; @%p1 ret; mov.u64 %rd2, message; cvta.global.u64 %rd2, %rd2; mov.u64 %rd3, file;
      cvta.global.u64 %rd3, %rd3; mov.u64 %rd4, function; cvta.global.u64 %rd4, %rd4;
      call __assertfail, (%rd2, %rd3, 12, %rd4, 1); trap;"""
    with pytest.raises(AssertionFailed) as caught:
        run(kernel, body, module)
    error = caught.value
    assert isinstance(error, TrapError) and error.thread == (5, 0, 0) and error.message == "i < n"
    assert "kernel.cu:12 in add: assertion failed in thread (5, 0, 0) of block (0, 0, 0)" in str(error)


def test_a_module_may_hold_functions_that_no_kernel_calls():
    module = Module(f".version 8.1\n.target sm_80\n.address_size 64\n{SQUARE}\n.visible .entry k() {{ ret; }}")
    module.launch("k", 1, 1, [])
