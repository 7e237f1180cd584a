"""State spaces, vector accesses, and the faults that name who did what where."""

import numpy as np
import pytest

from softgpu import Memory, MemoryFault, Observer, PTXSyntaxError, UnsupportedPTX
from softgpu.events import EventFlag


def faulting(module, *args, grid=1, block=32, **options) -> MemoryFault:
    with pytest.raises(MemoryFault) as caught:
        module.launch("k", grid, block, list(args), **options)
    return caught.value


STORE = """ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;
mad.lo.u32 %r4, %r2, %r3, %r1; mad.wide.u32 %rd1, %r4, 4, %rd1;
st.global.u32 [%rd1], %r4; ret;"""


def test_a_store_past_the_end_names_thread_block_and_distance(kernel):
    out = np.zeros(20, np.uint32)
    error = faulting(kernel(STORE), out, grid=3, block=8)
    assert (error.access, error.space, error.size) == ("store", "global", 4)
    assert error.block == (2, 0, 0) and error.thread == (4, 0, 0)
    assert error.line == 10
    assert "it is 1 byte after argument 0 (80 bytes at " in str(error)


def test_neighbouring_buffers_are_far_enough_apart(kernel):
    first, second = np.zeros(4, np.uint32), np.zeros(400, np.uint32)
    error = faulting(kernel(STORE, ["u64 out", "u64 other"]), first, second)
    assert "after argument 0" in str(error) and not second.any()


@pytest.mark.parametrize(
    "code, message",
    [
        ("ld.global.u32 %r1, [%rd1+2];", "multiple of 4"),
        ("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1+8];", "multiple of 16"),
        ("ld.global.u32 %r1, [%rd1+-4];", "4 bytes before argument 0"),
        ("ld.global.u64 %rd2, [%rd1+40];", "reaches 4 bytes past the end of argument 0"),
        ("mov.u64 %rd1, 0; ld.global.u32 %r1, [%rd1];", "null"),
        ("ld.shared.u32 %r1, [tile+64];", "past the end of the 64 bytes of the block's shared memory"),
        ("mov.u32 %r1, -4; ld.shared.u32 %r1, [%r1];", "past the end of the 64 bytes"),
        ("ld.local.u32 %r1, [8];", "thread's local memory"),
        ("ld.param.u64 %rd2, [out+8];", "kernel's parameters"),
    ],
)
def test_what_is_wrong_with_an_access(kernel, code, message):
    body = f".shared .align 16 .b8 tile[64]; .local .align 8 .b8 stack[8]; ld.param.u64 %rd1, [out]; {code} ret;"
    error = faulting(kernel(body), np.zeros(11, np.uint32))
    assert message in str(error) and error.access == "load" and error.thread == (0, 0, 0)


def test_only_active_lanes_access_memory(kernel):
    module = kernel(
        """ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 4;
        mad.wide.u32 %rd1, %r1, 4, %rd1;
        @%p1 st.global.u32 [%rd1], %r1; ret;"""
    )
    out = np.full(4, 9, np.uint32)
    module.launch("k", 1, 64, [out])
    assert out.tolist() == [0, 1, 2, 3]


def test_vectors_and_narrow_types(kernel):
    module = kernel(
        """ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [out];
        ld.global.v4.u8 {%h1, %h2, %h3, %h4}, [%rd1]; ld.global.s8 %r1, [%rd1+3]; ld.global.u8 %r2, [%rd1+3];
        ld.global.s16 %rd3, [%rd1+2]; cvt.u32.u16 %r3, %h1; st.global.v2.u32 [%rd2], {%r1, %r2};
        st.global.u64 [%rd2+8], %rd3; st.global.u8 [%rd2+16], %r3;
        st.global.v2.b16 [%rd2+20], {%h4, %h2}; ret;""",
        ["u64 out", "u64 a"],
    )
    a, out = np.array([0x11, 0x22, 0x33, 0xF4], np.uint8), np.zeros(24, np.uint8)
    module.launch("k", 1, 1, [out, a])
    assert out[:8].view("i4").tolist() == [-12, 0xF4]
    assert out[8:16].view("i8")[0] == np.array([0xF433], np.uint16).view(np.int16)[0]
    assert out[16:].tolist() == [0x11, 0, 0, 0, 0xF4, 0, 0x22, 0]


def test_generic_addresses_reach_every_memory(kernel):
    """Even lanes point to shared memory, odd ones to their own local memory, and all read through one ld."""
    module = kernel(
        """.shared .align 4 .u32 cell; .local .align 4 .u32 mine;
        mov.u32 %r1, %tid.x; st.local.u32 [mine], %r1; setp.eq.u32 %p2, %r1, 0; @%p2 st.shared.u32 [cell], 77;
        bar.sync 0; mov.u64 %rd1, cell; cvta.shared.u64 %rd1, %rd1; mov.u64 %rd2, mine;
        cvta.local.u64 %rd2, %rd2;
        and.b32 %r2, %r1, 1; setp.eq.u32 %p1, %r2, 0; selp.b64 %rd3, %rd1, %rd2, %p1; ld.u32 %r3, [%rd3];
        isspacep.shared %p3, %rd3; selp.u32 %r4, 1000, 0, %p3; add.u32 %r3, %r3, %r4;
        ld.param.u64 %rd4, [out]; mad.wide.u32 %rd4, %r1, 4, %rd4; st.u32 [%rd4], %r3; ret;"""
    )
    out = np.zeros(40, np.uint32)
    module.launch("k", 1, 40, [out])
    assert out.tolist() == [n if n % 2 else 1077 for n in range(40)]


def test_fresh_shared_memory_is_nan(kernel):
    body = """.shared .align 4 .f32 x; ld.shared.f32 %f1, [x]; ld.param.u64 %rd1, [out];
        st.global.f32 [%rd1], %f1; ret;"""
    out = np.zeros(1, np.float32)
    kernel(body).launch("k", 1, 1, [out])
    assert np.isnan(out[0])


def test_dynamic_shared_memory_follows_static(kernel):
    module = kernel(
        """.shared .align 4 .b8 fixed[20]; mov.u32 %r1, dynamic; mov.u32 %r2, %tid.x; shl.b32 %r3, %r2, 2;
        add.u32 %r1, %r1, %r3; st.shared.u32 [%r1], %r2; bar.sync 0; xor.b32 %r3, %r3, 4;
        mov.u32 %r4, dynamic;
        add.u32 %r4, %r4, %r3; ld.shared.u32 %r5, [%r4]; ld.param.u64 %rd1, [out];
        mad.wide.u32 %rd1, %r2, 4, %rd1;
        st.global.u32 [%rd1], %r5; ret;""",
        module=".extern .shared .align 16 .b8 dynamic[];",
    )
    out = np.zeros(16, np.uint32)
    module.launch("k", 1, 16, [out], shared_bytes=64)
    assert out.tolist() == [n ^ 1 for n in range(16)]
    assert faulting(module, out, block=16, shared_bytes=60).thread == (15, 0, 0)


def test_module_variables_keep_their_values_between_launches(kernel):
    module = kernel(
        """ld.global.u32 %r1, [counter]; add.u32 %r1, %r1, 1; st.global.u32 [counter], %r1;
        ld.const.f32 %f1, [table+4]; ld.param.u64 %rd1, [out]; st.global.u32 [%rd1], %r1;
        st.global.f32 [%rd1+4], %f1;
        ret;""",
        module=".global .align 4 .u32 counter = 5;\n.const .align 4 .f32 table[3] = {0f3F800000, 2.5};",
    )
    out = np.zeros(2, np.uint32)
    module.launch("k", 1, 1, [out])
    module.launch("k", 1, 1, [out])
    assert out[0] == 7 and out.view("f4")[1] == 2.5


def test_a_stored_collision_is_the_same_every_time(kernel):
    module = kernel("ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; st.global.u32 [%rd1], %r1; ret;")
    out = np.zeros(1, np.uint32)
    results = set()
    for _ in range(3):
        module.launch("k", 4, 96, [out])
        results.add(int(out[0]))
    assert len(results) == 1 and results.pop() < 96


def test_host_memory_can_be_used_at_its_own_address(kernel):
    memory, out = Memory(), np.zeros(32, np.uint32)
    memory.adopt(out.ctypes.data, out.nbytes, "output")
    module = kernel(STORE)
    address = np.uint64(out.ctypes.data).tobytes()
    module.launch_raw("k", 1, 32, [address], memory)
    assert out.tolist() == list(range(32))
    memory.free(out.ctypes.data)
    with pytest.raises(MemoryFault, match=r"inside output .*, which was freed"):
        module.launch_raw("k", 1, 32, [address], memory)


def test_allocations_may_not_overlap():
    memory = Memory()
    first = memory.allocate(100, "first")
    with pytest.raises(ValueError, match="overlaps first"):
        memory._insert(type(first)(first.base + 50, np.zeros(10, np.uint8), "second"))
    with pytest.raises(KeyError):
        memory.free(first.base + 4)


def test_a_32_bit_address_wraps_around_with_its_offset(kernel):
    """o[t] = s[63 - t], as it is compiled: the register holds a negative number until the offset is added."""
    code = """
        .shared .align 4 .b8 s[256];
        mov.u32 %r1, %tid.x;
        shl.b32 %r2, %r1, 2;
        mov.b32 %r3, s;
        add.s32 %r4, %r3, %r2;
        st.shared.u32 [%r4], %r1;
        bar.sync 0;
        sub.s32 %r5, %r3, %r2;
        ld.shared.u32 %r6, [%r5+252];
        ld.param.u64 %rd1, [out];
        mul.wide.u32 %rd2, %r1, 4;
        add.s64 %rd3, %rd1, %rd2;
        st.global.u32 [%rd3], %r6;
        ret;
    """
    out = np.zeros(64, np.uint32)
    kernel(code).launch("k", 1, 64, [out])
    assert out.tolist() == list(range(63, -1, -1))


INTEGER_TYPES = [f"{kind}{bits}" for kind in "bus" for bits in (8, 16, 32, 64)]


@pytest.mark.parametrize(
    "kind, register", [(kind, size) for kind in INTEGER_TYPES for size in (16, 32, 64) if size >= int(kind[1:])]
)
def test_a_load_extends_to_the_register_and_a_store_takes_the_low_bits(kernel, kind, register):
    size = int(kind[1:]) // 8
    name = {16: "%h1", 32: "%r1", 64: "%rd3"}[register]
    module = kernel(
        f"""ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [a]; ld.global.{kind} {name}, [%rd2];
        st.global.b{register} [%rd1], {name}; st.global.{kind} [%rd1+8], {name}; ret;""",
        ["u64 out", "u64 a"],
    )
    for value in (0, 1, (1 << 8 * size - 1) - 1, 1 << 8 * size - 1, (1 << 8 * size) - 1, 0xA5B6C7D8E9FA0B1C):
        value &= (1 << 8 * size) - 1
        out, a = np.full(16, 0x77, np.uint8), np.frombuffer(value.to_bytes(size, "little"), np.uint8).copy()
        module.launch("k", 1, 1, [out, a])
        signed = value - (1 << 8 * size) if kind[0] == "s" and value >> 8 * size - 1 else value
        assert int.from_bytes(out[: register // 8], "little") == signed & (1 << register) - 1
        assert int.from_bytes(out[8 : 8 + size], "little") == value
        assert (out[8 + size :] == 0x77).all()


@pytest.mark.parametrize("kind", [*INTEGER_TYPES, "f32", "f64"])
@pytest.mark.parametrize("vector", [2, 4])
@pytest.mark.parametrize("space", ["global", "shared", "local", "generic"])
def test_vectors_of_every_type_go_through_every_memory(kernel, kind, vector, space):
    bits = int(kind[1:])
    prefix = {8: "%h", 16: "%h", 32: "%f" if kind == "f32" else "%r", 64: "%fd" if kind == "f64" else "%rd"}[bits]
    names = "{" + ", ".join(f"{prefix}{4 + i}" for i in range(vector)) + "}"
    total = bits // 8 * vector
    place, dot = (
        ("cell", f".{space}") if space in ("shared", "local") else ("%rd3", ".global" if space == "global" else "")
    )
    variable = f".{space} .align 16 .b8 cell[64];" if space in ("shared", "local") else ""
    code = f"""{variable} ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [a]; add.u64 %rd3, %rd1, 16;
        ld.global.v{vector}.{kind} {names}, [%rd2]; st{dot}.v{vector}.{kind} [{place}], {names};
        ld{dot}.v{vector}.{kind} {names}, [{place}]; st.global.v{vector}.{kind} [%rd1], {names}; ret;"""
    module, out = kernel(code, ["u64 out", "u64 a"]), np.zeros(32, np.uint8)
    a = np.random.default_rng(1).integers(0, 256, 16).astype(np.uint8)
    if total > 16:
        with pytest.raises(UnsupportedPTX, match="vectors of more than 16 bytes"):
            module.launch("k", 1, 1, [out, a])
        return
    module.launch("k", 1, 1, [out, a])
    assert (out[:total] == a[:total]).all() and not out[total:16].any()
    offset = np.arange(33).astype(np.uint8)
    off = code.replace("[%rd2]", f"[%rd2+{total // 2}]")
    error = faulting(kernel(off, ["u64 out", "u64 a"]), out, offset, block=1)
    assert f"multiple of {total}" in str(error) and error.size == total


def test_elements_that_nobody_wants(kernel):
    code = """ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [a]; mov.u32 %r2, 9;
        ld.global.v4.u32 {%r1, _, %r3, _}, [%rd2]; st.global.v2.u32 [%rd1], {%r1, %r3}; ret;"""
    out = np.zeros(2, np.uint32)
    kernel(code, ["u64 out", "u64 a"]).launch("k", 1, 1, [out, np.arange(5, 9, dtype=np.uint32)])
    assert out.tolist() == [5, 7]


@pytest.mark.parametrize(
    "load",
    [
        "ld.u32 %r1, [%rd2]",
        "ld.weak.global.u32 %r1, [%rd2]",
        "ld.weak.u32 %r1, [%rd2].unified",
        "ld.global.u32 %r1, [%rd2].unified, %rd9",
        "ld.global.ca.u32 %r1, [%rd2]",
        "ld.global.cv.u32 %r1, [%rd2]",
        "ld.global.lu.u32 %r1, [%rd2]",
        "ld.global.nc.u32 %r1, [%rd2]",
        "ld.global.cg.nc.u32 %r1, [%rd2]",
        "ld.global.nc.L1::no_allocate.L2::128B.u32 %r1, [%rd2]",
        "ld.global.nc.L1::evict_last.L2::cache_hint.L2::256B.u32 %r1, [%rd2], %rd9",
        "ld.global.L1::evict_first.L2::64B.u32 %r1, [%rd2]",
        "ld.global.L2::cache_hint.u32 %r1, [%rd2], %rd9",
        "ld.volatile.u32 %r1, [%rd2]",
        "ld.volatile.global.L2::64B.u32 %r1, [%rd2]",
        "ld.relaxed.cta.global.u32 %r1, [%rd2]",
        "ld.relaxed.gpu.global.L1::evict_first.u32 %r1, [%rd2]",
        "ld.acquire.sys.u32 %r1, [%rd2]",
        "ld.acquire.cluster.global.u32 %r1, [%rd2]",
        "ld.mmio.relaxed.sys.global.u32 %r1, [%rd2]",
        "ldu.global.u32 %r1, [%rd2]",
        "ldu.u32 %r1, [%rd2]",
    ],
)
def test_every_spelling_of_a_load(kernel, load):
    policies = "createpolicy.fractional.L2::evict_last.L2::evict_unchanged.b64 %rd9, 0.5;"
    code = f"ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [a]; {policies} {load}; st.global.u32 [%rd1], %r1; ret;"
    out = np.zeros(1, np.uint32)
    if load.endswith("unified, %rd9"):
        with pytest.raises(PTXSyntaxError, match="expected 2 operands, found 3"):
            kernel(code, ["u64 out", "u64 a"]).launch("k", 1, 1, [out, np.array([41], np.uint32)])
        return
    target = "sm_90" if ".cluster" in load else "sm_80"
    kernel(code, ["u64 out", "u64 a"], target=target).launch("k", 1, 1, [out, np.array([41], np.uint32)])
    assert out[0] == 41


@pytest.mark.parametrize(
    "store",
    [
        "st.u32 [%rd1], 41",
        "st.weak.global.u32 [%rd1], 41",
        "st.global.wb.u32 [%rd1], 41",
        "st.global.cs.u32 [%rd1], 41",
        "st.global.wt.u32 [%rd1], 41",
        "st.global.L1::no_allocate.u32 [%rd1], 41",
        "st.global.L1::evict_last.L2::cache_hint.u32 [%rd1], 41, %rd9",
        "st.volatile.global.u32 [%rd1], 41",
        "st.relaxed.gpu.u32 [%rd1], 41",
        "st.release.cta.global.u32 [%rd1], 41",
        "st.release.sys.global.L2::cache_hint.u32 [%rd1], 41, %rd9",
        "st.mmio.relaxed.sys.global.u32 [%rd1], 41",
    ],
)
def test_every_spelling_of_a_store(kernel, store):
    code = f"ld.param.u64 %rd1, [out]; createpolicy.cvt.L2.b64 %rd9, %rd1; {store}; ret;"
    out = np.zeros(1, np.uint32)
    kernel(code).launch("k", 1, 1, [out])
    assert out[0] == 41


@pytest.mark.parametrize("space", ["shared::cta", "shared::cluster"])
def test_a_block_is_a_cluster_of_its_own(kernel, space):
    code = f""".shared .align 4 .u32 cell; ld.param.u64 %rd1, [out]; st.{space}.u32 [cell], 41;
        atom.{space}.add.u32 %r1, [cell], 1; ld.{space}.u32 %r1, [cell]; st.global.u32 [%rd1], %r1; ret;"""
    out = np.zeros(1, np.uint32)
    kernel(code, target="sm_90").launch("k", 1, 1, [out])
    assert out[0] == 42


def test_addresses_within_a_cluster(kernel):
    code = """.shared .align 4 .u32 cell; mov.u32 %r1, cell; mapa.shared::cluster.u32 %r2, %r1, 0; mov.u64 %rd2, cell;
        cvta.shared.u64 %rd2, %rd2; mapa.u64 %rd3, %rd2, 0; st.shared::cluster.u32 [%r2], 41; ld.u32 %r3, [%rd3];
        getctarank.u64 %r4, %rd3; getctarank.shared::cluster.u32 %r5, %r2; ld.param.u64 %rd1, [out];
        st.global.u32 [%rd1], %r3; st.global.u32 [%rd1+4], %r4; st.global.u32 [%rd1+8], %r5; ret;"""
    out = np.full(3, 9, np.uint32)
    kernel(code, target="sm_90").launch("k", 1, 1, [out])
    assert out.tolist() == [41, 0, 0]


@pytest.mark.parametrize(
    "code",
    [
        "ld.relaxed.global.u32 %r1, [%rd1]",
        "ld.acquire.gpu.const.u32 %r1, [%rd1]",
        "ld.release.gpu.global.u32 %r1, [%rd1]",
        "ld.volatile.local.u32 %r1, [%rd1]",
        "ld.shared.nc.u32 %r1, [%rd1]",
        "ld.global.pred %p1, [%rd1]",
        "ld.global.v8.b32 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%rd1]",
        "st.acquire.gpu.global.u32 [%rd1], %r1",
        "st.const.u32 [%rd1], %r1",
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%rd1], %r1, [%rd2]",
        "red.async.relaxed.cluster.global.add.u32 [%rd1], %r1, [%rd2]",
        "multimem.ld_reduce.global.add.u32 %r1, [%rd1]",
        "red.acquire.gpu.global.add.u32 [%rd1], %r1",
        "red.global.exch.b32 [%rd1], %r1",
        "atom.global.add.f16 %h1, [%rd1], %h2",
        "atom.global.add.b32 %r1, [%rd1], %r2",
        "atom.shared.add.v2.f32 {%f1, %f2}, [%rd1], {%f3, %f4}",
        "atom.global.exch.b128 %r1, [%rd1], %r2",
        "atom.local.add.u32 %r1, [%rd1], %r2",
    ],
)
def test_what_is_no_load_or_store_is_refused_by_name(kernel, code):
    with pytest.raises(UnsupportedPTX) as caught:
        kernel(f"ld.param.u64 %rd1, [out]; {code}; ret;").launch("k", 1, 1, [np.zeros(8, np.uint32)])
    assert caught.value.instruction == code


@pytest.mark.parametrize(
    "code",
    [
        "prefetch.global.L1 [%rd1]",
        "prefetch.L2 [%rd1]",
        "prefetch.global.L2::evict_last [%rd1]",
        "prefetchu.L1 [%rd1]",
        "applypriority.global.L2::evict_normal [%rd1], 128",
        "discard.global.L2 [%rd1], 128",
        "createpolicy.range.global.L2::evict_last.L2::evict_first.b64 %rd2, [%rd1], 64, 128",
        "createpolicy.fractional.L2::evict_first.b64 %rd2",
    ],
)
def test_what_steers_the_caches_changes_nothing(kernel, code):
    out = np.array([41], np.uint32)
    kernel(f"ld.param.u64 %rd1, [out]; {code}; ret;").launch("k", 1, 1, [out])
    assert out[0] == 41


class Accesses(Observer):
    def __init__(self):
        self.seen = []

    def access(self, launch, access):
        self.seen.append(access)


def test_the_valid_accesses_of_a_faulting_instruction_are_reported_and_done(kernel):
    """Of 8 threads, three store outside and one is misaligned; the others have stored before the launch fails."""
    code = """ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; mad.wide.u32 %rd2, %r1, 4, %rd1;
        setp.eq.u32 %p1, %r1, 2; @%p1 add.u64 %rd2, %rd2, 1; add.u32 %r2, %r1, 100; st.global.u32 [%rd2], %r2; ret;"""
    seen, out = Accesses(), np.zeros(5, np.uint32)
    error = faulting(kernel(code), out, block=8, observers=[seen])
    assert error.thread == (2, 0, 0)
    assert out.tolist() == [100, 101, 0, 103, 104]
    assert [(one.thread.tolist(), one.flags) for one in seen.seen] == [
        ([0, 1, 3, 4], 0),
        ([2], EventFlag.INVALID),
        ([5, 6, 7], EventFlag.INVALID),
    ]


@pytest.mark.parametrize(
    ("code", "flags"),
    [
        ("ld.global.u32 %r1, [%rd1]", 0),
        ("ld.volatile.global.u32 %r1, [%rd1]", EventFlag.STRONG),
        ("ld.relaxed.gpu.global.u32 %r1, [%rd1]", EventFlag.STRONG),
        ("ld.acquire.gpu.u32 %r1, [%rd1]", EventFlag.STRONG | EventFlag.ACQUIRE),
        ("st.global.u32 [%rd1], %r1", 0),
        ("st.release.gpu.global.u32 [%rd1], %r1", EventFlag.STRONG | EventFlag.RELEASE),
        ("st.mmio.relaxed.sys.global.u32 [%rd1], %r1", EventFlag.STRONG),
        ("atom.global.add.u32 %r1, [%rd1], 1", EventFlag.STRONG),
        ("atom.acq_rel.gpu.global.add.u32 %r1, [%rd1], 1", EventFlag.STRONG | EventFlag.ACQUIRE | EventFlag.RELEASE),
        ("red.release.gpu.global.add.u32 [%rd1], 1", EventFlag.STRONG | EventFlag.RELEASE),
    ],
)
def test_observers_hear_how_an_access_is_ordered(kernel, code, flags):
    seen = Accesses()
    kernel(f"ld.param.u64 %rd1, [out]; {code}; ret;").launch("k", 1, 1, [np.zeros(1, np.uint32)], observers=[seen])
    assert [one.flags for one in seen.seen] == [flags]


def test_a_variable_that_an_access_without_a_space_names(kernel):
    """The address is generic then, though the name alone would be one within shared or local memory."""
    code = """.shared .align 8 .b32 cells[4]; .local .align 4 .b32 own[2]; ld.param.u64 %rd1, [out];
        st.shared.u32 [cells+4], 41; st.u32 [own+4], 5; st.u32 [cells+8], 6; atom.add.u32 %r1, [cells+4], 1;
        ld.u32 %r2, [cells+4]; ld.local.u32 %r3, [own+4]; ld.shared.u32 %r4, [cells+8]; ld.u32 %r5, [number];
        st.global.v4.u32 [%rd1], {%r2, %r3, %r4, %r5}; ret;"""
    out = np.zeros(4, np.uint32)
    kernel(code, module=".global .u32 number = 7;").launch("k", 1, 1, [out])
    assert out.tolist() == [42, 5, 6, 7]


@pytest.mark.parametrize(
    "instruction, reason",
    [
        ("ld.global.u32 %r1, [cells];", "cells is in .shared, not in .global"),
        ("st.local.u32 [cells], %r1;", "cells is in .shared, not in .local"),
        ("ld.shared.u32 %r1, [number];", "number is in .global, not in .shared"),
        ("atom.global.add.u32 %r1, [cells], 1;", "cells is in .shared, not in .global"),
        ("ld.const.u64 %rd1, [out];", "out is in .param, not in .const"),
        ("add.u32 %r1, %r1, %tid.x;", "%tid.x can be read by mov and cvt alone"),
        ("st.shared.u32 [cells], %laneid;", "%laneid can be read by mov and cvt alone"),
    ],
)
def test_operands_that_an_instruction_cannot_have(kernel, instruction, reason):
    with pytest.raises(PTXSyntaxError) as caught:
        kernel(f".shared .align 4 .b32 cells[4];\n{instruction} ret;", module=".global .u32 number;").program("k")
    assert reason in str(caught.value) and caught.value.line == 9


@pytest.mark.parametrize(
    "instruction",
    [
        "ld.relaxed.cluster.global.u32 %r1, [%rd1]",
        "st.shared::cluster.u32 [%r1], %r2",
        "red.release.cluster.global.add.u32 [%rd1], %r1",
        "fence.acq_rel.cluster",
        "atom.global.add.noftz.bf16x2 %r1, [%rd1], %r2",
        "red.shared.add.noftz.bf16 [%r1], %h1",
        "griddepcontrol.wait",
        "fence.proxy.async",
        "mbarrier.arrive.shared.b64 %rd2, [%r1], 2",
    ],
)
def test_what_sm_80_does_not_have_yet(kernel, instruction):
    kernel(f"{instruction}; ret;", target="sm_90").program("k")
    with pytest.raises(UnsupportedPTX, match="needs the target sm_90 or later"):
        kernel(f"{instruction}; ret;").program("k")
