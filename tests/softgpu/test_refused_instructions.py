"""What the PTX ISA does not allow is refused before anything runs, by name and line."""

import pytest

from softgpu import Module, PTXSyntaxError, UnsupportedPTX

ILLEGAL = [
    "add.sat.u32 %r1, %r2, %r3;",
    "add.sat.s64 %rd1, %rd2, %rd3;",
    "add.s8 %r1, %r2, %r3;",
    "add.rni.f32 %f1, %f2, %f3;",
    "add.ftz.f64 %fd1, %fd2, %fd3;",
    "add.sat.f64 %fd1, %fd2, %fd3;",
    "add.rz.f16 %h1, %h2, %h3;",
    "add.cc.u16 %h1, %h2, %h3;",
    "add.f32 %f1, %f2, 1;",
    "sub.u16x2 %r1, %r2, %r3;",
    "mul.u32 %r1, %r2, %r3;",
    "mul.wide.u64 %rd1, %rd2, %rd3;",
    "mul.lo.f32 %f1, %f2, %f3;",
    "mad.f32 %f1, %f2, %f3, %f4;",
    "mad.hi.sat.u32 %r1, %r2, %r3, %r4;",
    "fma.f32 %f1, %f2, %f3, %f4;",
    "fma.rn.sat.f64 %fd1, %fd2, %fd3, %fd4;",
    "fma.rn.sat.relu.f16 %h1, %h2, %h3, %h4;",
    "fma.rn.ftz.bf16 %h1, %h2, %h3, %h4;",
    "fma.rn.s32 %r1, %r2, %r3, %r4;",
    "div.f32 %f1, %f2, %f3;",
    "div.approx.f64 %fd1, %fd2, %fd3;",
    "div.rn.f16 %h1, %h2, %h3;",
    "rem.f32 %f1, %f2, %f3;",
    "abs.u32 %r1, %r2;",
    "neg.u32 %r1, %r2;",
    "min.NaN.f64 %fd1, %fd2, %fd3;",
    "min.f32 %f1, %f2, %f3, %f4;",
    "min.abs.f32 %f1, %f2, %f3;",
    "min.relu.u32 %r1, %r2, %r3;",
    "sqrt.f32 %f1, %f2;",
    "rcp.approx.f64 %fd1, %fd2;",
    "rsqrt.rn.f32 %f1, %f2;",
    "sin.f32 %f1, %f2;",
    "sin.approx.f64 %fd1, %fd2;",
    "ex2.approx.ftz.f16 %h1, %h2;",
    "tanh.approx.ftz.f32 %f1, %f2;",
    "and.s32 %r1, %r2, %r3;",
    "shl.u32 %r1, %r2, %r3;",
    "shf.l.b32 %r1, %r2, %r3, %r4;",
    "popc.u32 %r1, %r2;",
    "bfe.b32 %r1, %r2, %r3, %r4;",
    "lop3.b32 %r1, %r2, %r3, %r4, 256;",
    "lop3.xor.b32 %r1|%p1, %r2, %r3, %r4, 1, %p2;",
    "setp.lo.s32 %p1, %r2, %r3;",
    "setp.lt.b32 %p1, %r2, %r3;",
    "setp.ltu.u32 %p1, %r2, %r3;",
    "setp.lt.ftz.f64 %p1, %fd2, %fd3;",
    "setp.lt.f16 %p1|%p2, %h2, %h3;",
    "selp.f16 %h1, %h2, %h3, %p1;",
    "selp.pred %p1, %p2, %p3, %p1;",
    "slct.f32.u32 %f1, %f2, %f3, %r4;",
    "slct.ftz.f32.s32 %f1, %f2, %f3, %r4;",
    "cvt.f32.s32 %f1, %r2;",
    "cvt.s32.f32 %r1, %f2;",
    "cvt.rn.s32.f32 %r1, %f2;",
    "cvt.rni.f32.f64 %f1, %fd2;",
    "cvt.f32.f64 %f1, %fd2;",
    "cvt.rn.f64.f32 %fd1, %f2;",
    "cvt.ftz.f64.f16 %fd1, %h2;",
    "cvt.rna.f32.f64 %f1, %fd2;",
    "cvt.rn.relu.f32.f64 %f1, %fd2;",
    "cvt.rn.bf16x2.f32 %r1, %f2;",
    "cvt.pack.u8.s32.b32 %r1, %r2, %r3, %r4;",
    "cvt.rn.satfinite.e4m3x2.f32 %h1, %f2, %f3;",
    "testp.zero.f32 %p1, %f2;",
    "testp.normal.f16 %p1, %h2;",
    "copysign.f16 %h1, %h2, %h3;",
    "add.u32 %h1, %r2, %r3;",
    "add.s32 %f1, %r2, %r3;",
    "add.f32 %r1, %f2;",
    "add.u32 %r1, %r2, %r3, %r4;",
    "add.f32x2 %rd1, %rd2, %rd3;",
]

LATER = {
    # The first target that has it (PTX ISA, "Target ISA Notes").
    "min.xorsign.abs.f32 %f1, %f2, %f3;": 86,
    "cvt.rn.satfinite.e5m2x2.f32 %h1, %f2, %f3;": 89,
    "add.bf16 %h1, %h2, %h3;": 90,
    "add.u16x2 %r1, %r2, %r3;": 90,
    "max.relu.s32 %r1, %r2, %r3;": 90,
    "setp.lt.bf16 %p1, %h2, %h3;": 90,
    "tanh.approx.bf16 %h1, %h2;": 90,
    "cvt.rn.bf16.s32 %h1, %r2;": 90,
    "cvt.rn.tf32.f32 %r1, %f2;": 90,
}


def module(instruction: str, target: int) -> Module:
    return Module(f""".version 8.6
.target sm_{target}
.address_size 64
.visible .entry k()
{{
.reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<8>; .reg .b64 %rd<8>; .reg .f32 %f<8>; .reg .f64 %fd<8>;
{instruction}
ret;
}}""")


@pytest.mark.parametrize("instruction", ILLEGAL)
def test_illegal_instructions_are_refused_by_name_and_line(instruction):
    with pytest.raises((UnsupportedPTX, PTXSyntaxError), match=r"line 7") as caught:
        module(instruction, 86).program("k")
    assert instruction.split()[0] in str(caught.value)


@pytest.mark.parametrize("instruction", LATER)
def test_instructions_wait_for_their_target(instruction):
    since = LATER[instruction]
    module(instruction, since).program("k")
    with pytest.raises(UnsupportedPTX, match=f"sm_{since} or later"):
        module(instruction, 80).program("k")


def test_an_architecture_specific_target_counts_by_its_number():
    body = ".visible .entry k() { .reg .b16 %h; add.bf16 %h, %h, %h; ret; }"
    Module(f".version 8.6\n.target sm_90a\n.address_size 64\n{body}").program("k")
