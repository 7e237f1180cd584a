"""cp.async, its groups and waits; mbarriers; bulk copies."""

from functools import partial

import numpy as np
import pytest

from softgpu import KernelError, MemoryFault, Module, Observer, PTXSyntaxError, UnsupportedPTX
from softgpu.errors import MbarrierError
from softgpu.events import EventFlag


@pytest.fixture
def kernel(kernel):
    return partial(kernel, target="sm_90")


SHARED = ".shared .align 16 .b8 tile[4096]; .shared .align 8 .b64 bar; .shared .align 8 .b64 other;"
THREAD = "mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [a]; mov.u32 %r2, tile;"
OUT_AND_A = ["u64 out", "u64 a"]


def launch(kernel, body, out, *arrays, block=1, grid=1, **options):
    names = ["u64 out", *(f"u64 {letter}" for letter, _ in zip("abc", arrays, strict=False))]
    kernel(SHARED + body + " ret;", names).launch("k", grid, block, [out, *arrays], **options)
    return out


@pytest.mark.parametrize(("cache", "nbytes"), [("ca", 4), ("ca", 8), ("ca", 16), ("cg", 16)])
@pytest.mark.parametrize("wait", ["cp.async.wait_all;", "cp.async.commit_group; cp.async.wait_group 0;"])
def test_data_arrives_with_the_wait_and_not_before(kernel, cache, nbytes, wait):
    """Every thread copies its share; shared memory holds the old bytes until the wait."""
    words = nbytes // 4
    body = f"""{THREAD} mad.lo.u32 %r3, %r1, {nbytes}, %r2; mad.wide.u32 %rd3, %r1, {nbytes}, %rd2;
        mov.u32 %r9, 7; st.shared.u32 [%r3], %r9; mad.wide.u32 %rd4, %r1, {nbytes + 4}, %rd1;
        cp.async.{cache}.shared.global [%r3], [%rd3], {nbytes};
        ld.shared.u32 %r4, [%r3]; st.global.u32 [%rd4], %r4; {wait}"""
    for word in range(words):
        body += f" ld.shared.u32 %r5, [%r3+{4 * word}]; st.global.u32 [%rd4+{4 + 4 * word}], %r5;"
    a = np.arange(1000, 1000 + 40 * words, dtype=np.uint32)
    out = launch(kernel, body, np.zeros((40, words + 1), np.uint32), a, block=40)
    assert (out[:, 0] == 7).all()
    assert (out[:, 1:] == a.reshape(40, words)).all()


def test_wait_group_leaves_the_last_groups_pending(kernel):
    """Four groups of one copy each; after each wait, what has arrived is looked at."""
    body = THREAD + "mov.u32 %r9, 0; st.shared.v4.u32 [tile], {%r9, %r9, %r9, %r9};"
    for group in range(4):
        body += f"cp.async.ca.shared.global [%r2+{4 * group}], [%rd2+{4 * group}], 4; cp.async.commit_group;"
    for step, allowed in enumerate((4, 3, 1, 0)):
        body += f"""cp.async.wait_group {allowed}; ld.shared.v4.u32 {{%r3, %r4, %r5, %r6}}, [tile];
            st.global.v4.u32 [%rd1+{16 * step}], {{%r3, %r4, %r5, %r6}};"""
    out = launch(kernel, body, np.zeros((4, 4), np.uint32), np.array([5, 6, 7, 8], np.uint32))
    assert out.tolist() == [[0, 0, 0, 0], [5, 0, 0, 0], [5, 6, 7, 0], [5, 6, 7, 8]]


def test_an_uncommitted_copy_is_in_no_group(kernel):
    body = f"""{THREAD} mov.u32 %r9, 0; st.shared.u32 [tile], %r9;
        cp.async.commit_group; cp.async.ca.shared.global [tile], [%rd2], 4; cp.async.wait_group 0;
        ld.shared.u32 %r3, [tile]; st.global.u32 [%rd1], %r3; cp.async.wait_all;
        ld.shared.u32 %r3, [tile]; st.global.u32 [%rd1+4], %r3;"""
    out = launch(kernel, body, np.zeros(2, np.uint32), np.array([5], np.uint32))
    assert out.tolist() == [0, 5]


def test_groups_belong_to_threads(kernel):
    """Odd threads commit and wait; the copies of the even ones stay pending, though they run in lock-step."""
    body = f"""{THREAD} mad.lo.u32 %r3, %r1, 4, %r2; mad.wide.u32 %rd3, %r1, 4, %rd2; mad.wide.u32 %rd4, %r1, 4, %rd1;
        mov.u32 %r9, 0; st.shared.u32 [%r3], %r9; cp.async.ca.shared.global [%r3], [%rd3], 4;
        and.b32 %r4, %r1, 1; setp.eq.u32 %p1, %r4, 1; @%p1 cp.async.commit_group; cp.async.wait_group 0;
        ld.shared.u32 %r5, [%r3]; st.global.u32 [%rd4], %r5;"""
    a = np.arange(100, 164, dtype=np.uint32)
    out = launch(kernel, body, np.zeros(64, np.uint32), a, block=64)
    assert (out == np.where(np.arange(64) % 2, a, 0)).all()


@pytest.mark.parametrize("nbytes", [4, 8, 16])
def test_src_size_fills_with_zeros_and_reads_no_further(kernel, nbytes):
    """Thread t copies t bytes, from a buffer that ends after them."""
    body = f"""{THREAD} mad.lo.u32 %r3, %r1, {nbytes}, %r2; sub.u32 %r4, {nbytes}, %r1;
        cp.async.ca.shared.global [%r3], [%rd2], {nbytes}, %r1; cp.async.wait_all;
        mad.wide.u32 %rd4, %r1, {nbytes}, %rd1;"""
    for byte in range(nbytes):
        body += f" ld.shared.u8 %r5, [%r3+{byte}]; st.global.u8 [%rd4+{byte}], %r5;"
    a = np.arange(1, nbytes + 1, dtype=np.uint8)
    out = launch(kernel, body, np.zeros((nbytes + 1, nbytes), np.uint8), a, block=nbytes + 1)
    assert (out == [[byte + 1 if byte < size else 0 for byte in range(nbytes)] for size in range(nbytes + 1)]).all()
    short = f"{THREAD} cp.async.ca.shared.global [tile], [%rd2], {nbytes}, 1; cp.async.wait_all;"
    launch(kernel, short, np.zeros(1, np.uint32), np.ones(1, np.uint8))
    with pytest.raises(MemoryFault, match="past the end of argument 1"):
        launch(kernel, short.replace(", 1;", ", 2;"), np.zeros(1, np.uint32), np.ones(1, np.uint8))


def test_ignore_src_copies_zeros_and_reads_nothing(kernel):
    body = f"""{THREAD} mad.lo.u32 %r3, %r1, 4, %r2; setp.ge.u32 %p1, %r1, 3; mad.wide.u32 %rd3, %r1, 4, %rd2;
        createpolicy.fractional.L2::evict_first.b64 %rd5, 1.0; mad.wide.u32 %rd4, %r1, 4, %rd1;
        cp.async.ca.shared::cta.global.L2::cache_hint.L2::128B [%r3], [%rd3], 4, %p1, %rd5;
        cp.async.wait_all; ld.shared.u32 %r5, [%r3]; st.global.u32 [%rd4], %r5;"""
    out = launch(kernel, body, np.full(8, 9, np.uint32), np.array([4, 5, 6], np.uint32), block=8)
    assert out.tolist() == [4, 5, 6, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("copy", "message"),
    [
        ("[tile+2], [%rd2], 4", "Invalid shared store of 4 bytes at address 0x2 .* multiple of 4"),
        ("[tile+4096], [%rd2], 4", r"Invalid shared store .* past the end"),
        ("[tile], [%rd2+2], 4", "Invalid global load of 4 bytes .* multiple of 4"),
        ("[tile], [%rd2+4], 16, 4", "Invalid global load of 16 bytes .* multiple of 16"),
        ("[tile], [%rd2+64], 16", "Invalid global load of 16 bytes .* after argument 1"),
    ],
)
def test_faults_name_the_side_of_the_copy(kernel, copy, message):
    body = f"{THREAD} cp.async.ca.shared.global {copy}; cp.async.wait_all;".replace("tile+4096", "%r2+4112")
    with pytest.raises(MemoryFault, match=message):
        launch(kernel, body, np.zeros(1, np.uint32), np.zeros(16, np.uint32))


@pytest.mark.parametrize("copy", ["ca.shared.global [tile], [%rd2], 12", "cg.shared.global [tile], [%rd2], 8"])
def test_other_sizes_are_no_ptx(kernel, copy):
    with pytest.raises(PTXSyntaxError, match="cannot be copied"):
        launch(kernel, f"{THREAD} cp.async.{copy};", np.zeros(1, np.uint32), np.zeros(16, np.uint32))


def test_a_longer_source_than_the_copy_is_refused(kernel):
    with pytest.raises(UnsupportedPTX, match="src-size is 9, but only 8 bytes are copied"):
        body = f"{THREAD} mov.u32 %r9, 9; cp.async.ca.shared.global [tile], [%rd2], 8, %r9;"
        launch(kernel, body, np.zeros(1, np.uint32), np.zeros(16, np.uint32))


class Accesses(Observer):
    def __init__(self):
        self.seen = []

    def access(self, launch, access):
        rows = zip(access.thread.tolist(), access.address.tolist(), access.bits[:, 0].tolist(), strict=True)
        self.seen += [(access.kind, access.space, access.flags, *row) for row in rows]


def test_observers_hear_of_the_issue_and_of_the_arrival(kernel):
    body = f"""{THREAD} cp.async.ca.shared.global [tile], [%rd2], 4; cp.async.wait_all;"""
    seen = Accesses()
    launch(kernel, body, np.zeros(1, np.uint32), np.array([5], np.uint32), observers=[seen])
    (load, store, done) = seen.seen
    assert load[:3] == ("load", "global", 0) and load[5] == 5
    assert store == ("store", "shared", EventFlag.ASYNC, 0, 0, 5)
    assert done == ("copy_done", "shared", 0, 0, 0, 5)


# mbarriers

WAIT = "mbarrier.{kind}.shared.b64 %p1, [bar], {what}; @!%p1 bra WAIT{n};"


def wait(parity: int, number: int, address: str = "bar") -> str:
    return f"WAIT{number}: mbarrier.try_wait.parity.shared.b64 %p1, [{address}], {parity}; @!%p1 bra WAIT{number};\n"


def init(count: int, name: str = "bar") -> str:
    return f"""setp.eq.u32 %p2, %r1, 0; @%p2 mbarrier.init.shared.b64 [{name}], {count}; bar.sync 0;\n"""


def test_a_producer_and_a_consumer_take_turns_through_two_mbarriers(kernel):
    """Warp 0 fills the tile for warp 1, which adds it up; then the tile is free again. Five rounds."""
    body = (
        THREAD
        + init(32)
        + init(32, "other")
        + """mov.u32 %r10, 0; mov.u32 %r11, 0; and.b32 %r12, %r1, 31; mad.lo.u32 %r3, %r12, 4, %r2;
        setp.ge.u32 %p3, %r1, 32; @%p3 bra CONSUMER;
        PRODUCER: and.b32 %r6, %r10, 1; xor.b32 %r6, %r6, 1;
        FREE: mbarrier.try_wait.parity.shared.b64 %p1, [other], %r6; @!%p1 bra FREE;
        mad.lo.u32 %r5, %r10, 1000, %r12; st.shared.u32 [%r3], %r5; mbarrier.arrive.shared.b64 _, [bar];
        add.u32 %r10, %r10, 1; setp.lt.u32 %p4, %r10, 5; @%p4 bra PRODUCER; ret;
        CONSUMER: and.b32 %r6, %r10, 1;
        FULL: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %p1, [bar], %r6, 1000; @!%p1 bra FULL;
        xor.b32 %r7, %r3, 4; ld.shared.u32 %r5, [%r7]; add.u32 %r11, %r11, %r5;
        mbarrier.arrive.release.cta.shared::cta.b64 %rd9, [other];
        add.u32 %r10, %r10, 1; setp.lt.u32 %p4, %r10, 5; @%p4 bra CONSUMER;
        mad.wide.u32 %rd4, %r12, 4, %rd1; st.global.u32 [%rd4], %r11;"""
    )
    out = launch(kernel, body, np.zeros(32, np.uint32), np.zeros(1, np.uint32), block=64)
    assert out.tolist() == [10000 + 5 * (n ^ 1) for n in range(32)]


def test_arrivals_count_and_the_state_names_the_phase(kernel):
    """One thread: what test_wait says before and after the arrivals that complete two phases."""
    body = THREAD + "mbarrier.init.shared.b64 [bar], 3;"
    asks = iter(range(100))

    def ask(what: str) -> str:
        return f"mbarrier.{what}; selp.u32 %r5, 1, 0, %p1; st.global.u32 [%rd1+{4 * next(asks)}], %r5;\n"

    def pending(state: str) -> str:
        return f"mbarrier.pending_count.b64 %r5, {state}; st.global.u32 [%rd1+{4 * next(asks)}], %r5;\n"

    body += "mbarrier.arrive.shared.b64 %rd3, [bar];" + pending("%rd3")
    body += ask("test_wait.shared.b64 %p1, [bar], %rd3") + ask("test_wait.parity.shared.b64 %p1, [bar], 0")
    body += ask("test_wait.parity.shared.b64 %p1, [bar], 1")
    body += "mbarrier.arrive.shared.b64 %rd4, [bar], 2;" + pending("%rd4")
    body += ask("test_wait.shared.b64 %p1, [bar], %rd3") + ask("test_wait.parity.shared.b64 %p1, [bar], 0")
    body += ask("test_wait.parity.shared.b64 %p1, [bar], 1")
    body += "mbarrier.arrive.noComplete.shared.b64 %rd5, [bar], 1;" + pending("%rd5")
    body += "mbarrier.arrive_drop.shared.b64 %rd5, [bar];" + pending("%rd5")
    body += "mbarrier.arrive.shared.b64 %rd5, [bar];" + pending("%rd5")
    body += ask("try_wait.shared.b64 %p1, [bar], %rd5")
    # One dropped for good: two arrivals are enough now.
    body += "mbarrier.arrive.shared.b64 %rd6, [bar], 2;" + pending("%rd6")
    body += ask("try_wait.shared.b64 %p1, [bar], %rd6")
    out = launch(kernel, body, np.full(14, 9, np.uint32), np.zeros(1, np.uint32))
    assert out.tolist() == [3, 0, 0, 1, 2, 1, 1, 0, 3, 2, 1, 1, 2, 1]


def test_a_phase_waits_for_the_expected_bytes(kernel):
    body = THREAD + "mbarrier.init.shared.b64 [bar], 1;"
    ask = "mbarrier.test_wait.parity.shared.b64 %p1, [bar], 0; selp.u32 %r5, 1, 0, %p1; st.global.u32 [%rd1+{}], %r5;"
    body += "mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 48;" + ask.format(0)
    body += "mbarrier.complete_tx.shared.b64 [bar], 40; mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 8;"
    body += ask.format(4) + "mbarrier.complete_tx.shared.b64 [bar], 16;" + ask.format(8)
    out = launch(kernel, body, np.full(3, 9, np.uint32), np.zeros(1, np.uint32))
    assert out.tolist() == [0, 0, 1]


def test_generic_addresses_reach_an_mbarrier(kernel):
    body = f"""{THREAD} mov.u64 %rd7, bar; cvta.shared.u64 %rd7, %rd7; mbarrier.init.b64 [%rd7], 1;
        mbarrier.arrive.b64 %rd8, [%rd7]; WAIT: mbarrier.try_wait.b64 %p1, [%rd7], %rd8; @!%p1 bra WAIT;
        mbarrier.inval.b64 [%rd7]; st.global.u32 [%rd1], 1;"""
    assert launch(kernel, body, np.zeros(1, np.uint32), np.zeros(1, np.uint32)).tolist() == [1]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("mbarrier.arrive.shared.b64 _, [bar];", "no mbarrier.init"),
        ("mbarrier.test_wait.parity.shared.b64 %p1, [bar], 0;", "no mbarrier.init"),
        (
            "mbarrier.init.shared.b64 [bar], 1; mbarrier.inval.shared.b64 [bar]; mbarrier.arrive.shared.b64 _, [bar];",
            "no mbarrier.init",
        ),
        ("mbarrier.init.shared.b64 [bar], 2; mbarrier.arrive.shared.b64 _, [bar], 3;", "more threads arrive"),
        ("mov.u32 %r9, 0; mbarrier.init.shared.b64 [bar], %r9;", "from 1 to 1048575"),
        ("mbarrier.init.shared.b64 [bar], 1; mbarrier.arrive.noComplete.shared.b64 _, [bar], 1;", "noComplete"),
    ],
)
def test_misuse_of_an_mbarrier(kernel, code, message):
    with pytest.raises(MbarrierError, match=message) as caught:
        launch(kernel, THREAD + code, np.zeros(1, np.uint32), np.zeros(1, np.uint32))
    assert caught.value.address == 4096 and caught.value.thread == (0, 0, 0)


def test_an_mbarrier_that_nobody_completes_is_stopped_by_the_budget(kernel):
    with pytest.raises(KernelError, match="stopped after"):
        body = THREAD + "mbarrier.init.shared.b64 [bar], 2; mbarrier.arrive.shared.b64 _, [bar];" + wait(0, 1)
        launch(kernel, body, np.zeros(1, np.uint32), np.zeros(1, np.uint32), instruction_budget=10_000)


def test_events_of_an_mbarrier(kernel):
    seen = Accesses()
    body = (
        THREAD
        + "mbarrier.init.shared.b64 [bar], 1; mbarrier.arrive.shared.b64 _, [bar];"
        + "mbarrier.test_wait.parity.shared.b64 %p1, [bar], 0; mbarrier.test_wait.parity.shared.b64 %p1, [bar], 1;"
    )
    launch(kernel, body, np.zeros(1, np.uint32), np.zeros(1, np.uint32), observers=[seen])
    strong, acquire, release = EventFlag.STRONG, EventFlag.ACQUIRE, EventFlag.RELEASE
    assert [(kind, flags) for kind, _, flags, *_ in seen.seen] == [
        ("store", 0),
        ("atomic", strong | release),
        ("load", strong),
        ("atomic", strong | acquire),
        ("load", strong),
    ]


@pytest.mark.parametrize("noinc", ["", ".noinc"])
def test_an_mbarrier_tracks_the_copies_of_each_thread(kernel, noinc):
    """All threads copy and let the mbarrier know; one thread waits for it and reads what the others copied."""
    count = 64 if noinc else 65
    body = (
        THREAD
        + init(count)
        + f"""mad.lo.u32 %r3, %r1, 4, %r2; mad.wide.u32 %rd3, %r1, 4, %rd2; mad.wide.u32 %rd4, %r1, 4, %rd1;
        mov.u32 %r9, 0; st.shared.u32 [%r3], %r9; bar.sync 0;
        cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.mbarrier.arrive{noinc}.shared.b64 [bar];
        bar.sync 0; xor.b32 %r4, %r3, 128; ld.shared.u32 %r5, [%r4]; st.global.u32 [%rd4+256], %r5;
        bar.sync 0; {"" if noinc else "mbarrier.arrive.shared.b64 _, [bar];"}
        """
        + ("setp.eq.u32 %p5, %r1, 0; @%p5 mbarrier.arrive.shared.b64 _, [bar];" if not noinc else "")
        + wait(0, 1)
        + "ld.shared.u32 %r5, [%r4]; st.global.u32 [%rd4], %r5;"
    )
    a = np.arange(100, 164, dtype=np.uint32)
    out = launch(kernel, body, np.full(128, 9, np.uint32), a, block=64)
    assert (out[:64] == a[np.arange(64) ^ 32]).all()
    assert (out[64:] == 0).all()


# Bulk copies


@pytest.mark.parametrize("destination", ["shared::cluster", "shared::cta"])
def test_a_bulk_copy_completes_its_mbarrier(kernel, destination):
    body = (
        THREAD
        + init(1)
        + f"""mov.u32 %r9, 3; mad.lo.u32 %r3, %r1, 4, %r2; mad.wide.u32 %rd4, %r1, 4, %rd1; st.shared.u32 [%r3], %r9;
        bar.sync 0; setp.ne.u32 %p3, %r1, 0; @%p3 bra COPIED;
        mbarrier.arrive.expect_tx.shared.b64 _, [bar], 256;
        cp.async.bulk.{destination}.global.mbarrier::complete_tx::bytes [tile], [%rd2], 192, [bar];
        cp.async.bulk.{destination}.global.mbarrier::complete_tx::bytes [tile+192], [%rd2+192], 64, [bar];
        COPIED: bar.sync 0; ld.shared.u32 %r5, [%r3]; st.global.u32 [%rd4+256], %r5; bar.sync 0;"""
        + wait(0, 1)
        + "ld.shared.u32 %r5, [%r3]; st.global.u32 [%rd4], %r5;"
    )
    a = np.arange(100, 164, dtype=np.uint32)
    out = launch(kernel, body, np.full(128, 9, np.uint32), a, block=64)
    assert (out[:64] == a).all() and (out[64:] == 3).all()


@pytest.mark.parametrize("waits", [True, False])
def test_a_bulk_copy_to_global_memory_arrives_with_its_group_or_in_the_end(kernel, waits):
    body = f"""{THREAD} mad.lo.u32 %r3, %r1, 4, %r2; st.shared.u32 [%r3], %r1; bar.sync 0;
        setp.ne.u32 %p3, %r1, 0; @%p3 ret; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [tile], 64;
        cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0; mov.u32 %r9, 77; st.shared.u32 [tile], %r9;
        {"cp.async.bulk.wait_group 0;" if waits else ""} ld.global.u32 %r5, [%rd1+4]; st.global.u32 [%rd2], %r5;"""
    a, out = np.zeros(1, np.uint32), np.full(16, 9, np.uint32)
    launch(kernel, body, out, a, block=16)
    assert out.tolist() == list(range(16))
    assert a[0] == (1 if waits else 9)


def test_a_bulk_copy_must_be_whole_and_aligned(kernel):
    copy = "cp.async.bulk.global.shared::cta.bulk_group [%rd1], [tile{}], %r9;"
    for offset, nbytes, error, message in [
        ("", 24, UnsupportedPTX, "no multiple of 16"),
        ("+8", 16, MemoryFault, "multiple of 16"),
        ("", 80, MemoryFault, "argument 0"),
    ]:
        with pytest.raises(error, match=message):
            body = f"{THREAD} mov.u32 %r9, {nbytes}; {copy.format(offset)}"
            launch(kernel, body, np.zeros(16, np.uint32), np.zeros(1, np.uint32))


@pytest.mark.parametrize(
    "code",
    [
        "cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [tile], [%rd1, {%r1}], [bar];",
        "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%rd1], [tile], 16;",
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [tile], %r1, [bar];",
    ],
)
def test_other_asynchronous_operations_are_refused_by_name(code):
    text = f""".version 8.1\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 out) {{
        .reg .b32 %r<4>; .reg .b64 %rd<4>; {SHARED}\n{code}\nret; }}"""
    with pytest.raises(UnsupportedPTX, match="PTX line 6: softgpu does not support"):
        Module(text).launch("k", 1, 1, [np.zeros(4, np.uint32)])


@pytest.mark.parametrize(
    "code",
    [
        "mbarrier.try_wait.parity.shared.b64 %p1, [bar], 0;",
        "mbarrier.arrive.expect_tx.shared.b64 _, [bar], 16;",
        "cp.async.bulk.commit_group;",
    ],
)
def test_what_came_with_sm_90_needs_that_target(kernel, code):
    with pytest.raises(UnsupportedPTX, match="needs the target sm_90"):
        kernel(SHARED + code + " ret;", target="sm_80").launch("k", 1, 1, [np.zeros(1, np.uint32)])


def test_a_thread_that_drops_out_with_the_last_arrival_is_not_expected_again(kernel):
    body = THREAD + "mbarrier.init.shared.b64 [bar], 2; mbarrier.arrive.shared.b64 _, [bar];"
    body += "mbarrier.arrive_drop.shared.b64 _, [bar]; mbarrier.arrive.shared.b64 %rd3, [bar];"
    body += "mbarrier.pending_count.b64 %r3, %rd3; st.global.u32 [%rd1], %r3;"
    body += "mbarrier.test_wait.shared.b64 %p1, [bar], %rd3; selp.u32 %r3, 1, 0, %p1; st.global.u32 [%rd1+4], %r3;"
    out = launch(kernel, body, np.full(2, 9, np.uint32), np.zeros(1, np.uint32))
    assert out.tolist() == [1, 1]


def test_each_mbarrier_tracks_its_own_bulk_copy(kernel):
    """The second copy has its own mbarrier: waiting for the first one does not bring it."""
    copy = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
    body = f"""{THREAD} mbarrier.init.shared.b64 [bar], 1; mbarrier.init.shared.b64 [other], 1;
        mov.u32 %r9, 3; st.shared.u32 [tile], %r9; st.shared.u32 [tile+16], %r9;
        mbarrier.arrive.expect_tx.shared.b64 _, [bar], 16; mbarrier.arrive.expect_tx.shared.b64 _, [other], 16;
        {copy} [tile], [%rd2], 16, [bar]; {copy} [tile+16], [%rd2+16], 16, [other]; {wait(0, 1)}
        ld.shared.u32 %r3, [tile]; ld.shared.u32 %r4, [tile+16]; {wait(0, 2, "other")} ld.shared.u32 %r5, [tile+16];
        st.global.u32 [%rd1], %r3; st.global.u32 [%rd1+4], %r4; st.global.u32 [%rd1+8], %r5;"""
    out = launch(kernel, body, np.zeros(3, np.uint32), np.arange(10, 18, dtype=np.uint32))
    assert out.tolist() == [10, 3, 14]
