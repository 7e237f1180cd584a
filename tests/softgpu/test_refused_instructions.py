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
    # Types that an instruction does not have, and modifiers where they mean nothing.
    "atom.global.exch.u32 %r1, [%rd1], %r2;",
    "atom.global.exch.f32 %f1, [%rd1], %f2;",
    "atom.global.cas.s32 %r1, [%rd1], %r2, %r3;",
    "atom.global.cas.L2::cache_hint.b32 %r1, [%rd1], %r2, %r3, %rd2;",
    "atom.shared.add.L2::cache_hint.u32 %r1, [%rd1], %r2, %rd2;",
    "cvt.sat.u32.u8 %r1, %r2;",
    "cvt.sat.s64.u32 %rd1, %r2;",
    "ld.shared.L1::evict_last.u32 %r1, [tile];",
    "ld.const.L2::cache_hint.u32 %r1, [table], %rd2;",
    "ld.local.L2::64B.u32 %r1, [%rd1];",
    "ld.global.ca.L1::evict_last.u32 %r1, [%rd1];",
    "ld.global.L2::evict_last.u32 %r1, [%rd1];",
    "ld.mmio.relaxed.sys.global.v2.u32 {%r1, %r2}, [%rd1];",
    "st.global.wb.L1::no_allocate.u32 [%rd1], %r1;",
    "mbarrier.arrive.release.shared.b64 %rd1, [tile];",
    "mbarrier.test_wait.cta.shared.b64 %p1, [tile], %rd1;",
    # Addresses.
    "ld.global.u32 %r1, [16];",
    "ld.shared.u32 %r1, [0];",
    "ld.u32 %r1, [table];",
    "ld.global.u32 %r1, [tile];",
    "cvta.shared.u64 %rd1, data;",
    "cvta.to.shared.u64 %rd1, tile;",
    "cp.async.ca.shared.global [data], [data], 4;",
    "cp.async.ca.shared.global [tile], [tile], 4;",
    "mbarrier.init.shared.b64 [data], 1;",
    "mbarrier.init.b64 [data], 1;",
    "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r1}, [data];",
    "prefetch.global.L1 [tile];",
    # The name of a variable is no value.
    "add.u64 %rd1, %rd2, tile;",
    "st.global.u64 [%rd1], tile;",
    "setp.eq.u64 %p1, %rd1, data;",
    "selp.b64 %rd1, data, tile, %p1;",
    # Constants.
    "add.f16 %h1, %h2, 1.5;",
    "add.f16 %h1, %h2, 0x3C00;",
    "fma.rn.f16x2 %r1, %r2, %r3, 0;",
    "setp.eq.f16 %p1, %h1, 0;",
    "mov.pred %p1, 1.5;",
    "lop3.b32 %r1, %r2, %r3, %r4, 1.0;",
    "cp.async.ca.shared.global [tile], [data], 4, 8;",
    "mbarrier.init.shared.b64 [tile], 0;",
    "mbarrier.test_wait.parity.shared.b64 %p1, [tile], 2;",
    "movmatrix.sync.aligned.m8n8.trans.b16 %r1, 1;",
    "cvt.rn.f32.u32 %f1, %tid.x;",
    # Results that cannot be dropped.
    "mov.u32 _, %r1;",
    "ld.global.u32 _, [%rd1];",
    "ld.global.v2.u32 {_, _}, [%rd1];",
    "shfl.sync.idx.b32 _|%p1, %r2, %r3, %r4, %r5;",
    "lop3.or.b32 %r1|_, %r2, %r3, %r4, 1, %p2;",
    "vote.sync.ballot.b32 _, %p1, %r2;",
    # Registers of the wrong type or width, and operands that are too many.
    "fma.rn.f16x2 %f1, %r2, %r3, %r4;",
    "add.f32 %f1, %f2, %pair;",
    "dp4a.s32.s32 %f1, %r2, %r3, %r4;",
    "ld.global.v2.u32 {%r1, %rd2}, [%rd1];",
    "st.f32 [%rd1], %fd1;",
    "cvt.rn.bf16.f32 %r1, %f2;",
    "cvt.rna.tf32.f32 %rd1, %f2;",
    "membar.gl %r1;",
    "ldmatrix.sync.aligned.m8n8.x1.shared.b16 %r1, [tile];",
]

UNREADABLE = [
    "add.u32 %r1, %r2, %r3;;",
    "ld.global.u32 %r1, [%rd1-8];",
    "mov.u64 %rd1, tile-4;",
    "mov.f32 %f1, -0f3F800000;",
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
    "fence.acquire.gpu;": 90,
    "ld.relaxed.cluster.global.u32 %r1, [%rd1];": 90,
}

YOUNGER = {
    # The first version of PTX that has it (PTX ISA, "PTX ISA Notes").
    "ld.global.L1::evict_last.u32 %r1, [%rd1];": "7.4",
    "bmsk.clamp.b32 %r1, %r2, %r3;": "7.6",
    "ld.shared::cta.u32 %r1, [tile];": "7.8",
    "cvt.rn.satfinite.f16.f32 %h1, %f2;": "8.1",
    "lop3.or.b32 %r1|%p1, %r2, %r3, %r4, 1, %p2;": "8.2",
    "ld.mmio.relaxed.sys.global.u32 %r1, [%rd1];": "8.2",
    "cvta.param::entry.u64 %rd1, %rd2;": "8.3",
}


def module(instruction: str, target: int, version: str = "8.6") -> Module:
    return Module(f""".version {version}
.target sm_{target}
.address_size 64 .global .align 16 .b8 data[16]; .const .align 16 .b8 table[16];
.visible .entry k()
{{ .shared .align 16 .b8 tile[16]; .reg .f16x2 %pair;
.reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<8>; .reg .b64 %rd<8>; .reg .f32 %f<8>; .reg .f64 %fd<8>;
{instruction}
ret;
}}""")


@pytest.mark.parametrize("instruction", ILLEGAL)
def test_illegal_instructions_are_refused_by_name_and_line(instruction):
    with pytest.raises((UnsupportedPTX, PTXSyntaxError), match=r"line 7") as caught:
        module(instruction, 86).program("k")
    assert instruction.split()[0] in str(caught.value)


@pytest.mark.parametrize("instruction", UNREADABLE)
def test_what_cannot_be_read_is_refused_by_line(instruction):
    with pytest.raises(PTXSyntaxError, match="line 7"):
        module(instruction, 86)


@pytest.mark.parametrize("instruction", YOUNGER)
def test_instructions_wait_for_their_version(instruction):
    first = YOUNGER[instruction]
    module(instruction, 80, first).program("k")
    major, minor = map(int, first.split("."))
    before = f"{major}.{minor - 1}"
    with pytest.raises(
        UnsupportedPTX, match=rf"line 7.* needs \.version {first} or later, and this module has {before}"
    ):
        module(instruction, 80, before).program("k")


@pytest.mark.parametrize(
    "header, message",
    [
        (".version 7.0\n.target sm_90\n", "line 2: the target sm_90 needs .version 7.8 or later"),
        (".version 8.0\n", "line 2: expected '.target'"),
        (".target sm_80\n.version 8.0\n", "line 1: expected a .version"),
        (".version 8\n.target sm_80\n", "line 1: expected a version"),
        (".version 8.0\n.target gpu\n", "line 2: expected a target"),
    ],
)
def test_headers_that_no_module_has(header, message):
    with pytest.raises(PTXSyntaxError, match=message):
        Module(header + ".visible .entry k() { ret; }")


@pytest.mark.parametrize("instruction", LATER)
def test_instructions_wait_for_their_target(instruction):
    since = LATER[instruction]
    module(instruction, since).program("k")
    with pytest.raises(UnsupportedPTX, match=f"sm_{since} or later"):
        module(instruction, 80).program("k")


def test_an_architecture_specific_target_counts_by_its_number():
    body = ".visible .entry k() { .reg .b16 %h; add.bf16 %h, %h, %h; ret; }"
    Module(f".version 8.6\n.target sm_90a\n.address_size 64\n{body}").program("k")
