"""Native code does what the lock-step engine does, bit by bit and error by error; and it is what runs by default.

Further tests of the instructions run on both engines: see `engine` in conftest.py.
"""

import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from numba.core import caching

from softgpu import InstructionBudgetExceeded, LaunchError, MemoryFault, Module, Observer, Trace, engines, native
from softgpu.events import EVENT
from softgpu.jit import jit
from softgpu.native import compiler

OUT = """
ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;
mad.lo.u32 %r4, %r2, %r3, %r1; mul.wide.u32 %rd2, %r4, 4; add.u64 %rd1, %rd1, %rd2;
"""


def on_both(module: Module, grid: int, block: int, array: np.ndarray, **options) -> np.ndarray:
    """What a kernel leaves in its buffer, which must be the same with both engines."""
    results = []
    for engine in engines.ENGINES:
        results.append(array.copy())
        module.launch("k", grid, block, [results[-1]], engine=engine, **options)
    assert np.array_equal(*(result.view(np.uint8) for result in results))
    return results[0]


# Random kernels

_INTEGER = [
    "add.s32 {}, {}, {}",
    "mul.lo.s32 {}, {}, {}",
    "xor.b32 {}, {}, {}",
    "min.s32 {}, {}, {}",
    "sub.u32 {}, {}, {}",
]
_INTEGER += [
    "shr.u32 {}, {}, {}",
    "shl.b32 {}, {}, {}",
    "div.s32 {}, {}, {}",
    "rem.u32 {}, {}, {}",
    "max.u32 {}, {}, {}",
]
_INTEGER += ["lop3.b32 {}, {}, {}, %r1, 0x96", "shf.l.wrap.b32 {}, {}, {}, %r1", "prmt.b32 {}, {}, {}, 0x2735"]
_FLOAT = ["add.f32 {}, {}, {}", "mul.rn.f32 {}, {}, {}", "fma.rn.ftz.f32 {}, {}, {}, %f0", "max.f32 {}, {}, {}"]
_FLOAT += ["div.rn.f32 {}, {}, {}", "sub.ftz.f32 {}, {}, {}", "min.NaN.f32 {}, {}, {}", "add.sat.f32 {}, {}, {}"]


class Generator:
    """Writes a kernel at random: arithmetic, guards, diverging branches, loops that end, barriers and shuffles."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.labels = 0

    def integer(self) -> str:
        return f"%r{self.random.randrange(5, 12)}"

    def floating(self) -> str:
        return f"%f{self.random.randrange(0, 6)}"

    def arithmetic(self) -> str:
        guard = self.random.choice(["", "", "", "@%p1 ", "@!%p2 "])
        kind = self.random.randrange(4)
        if kind == 0:
            form = self.random.choice(_FLOAT)
            return guard + form.format(*(self.floating() for _ in range(3))) + ";"
        if kind == 1:
            comparison = self.random.choice(["lt.s32", "hi.u32", "ne.u32"])
            return f"{guard}setp.{comparison} %p{self.random.randrange(1, 3)}, {self.integer()}, {self.integer()};"
        if kind == 2 and self.random.random() < 0.4:
            return f"{guard}mov.b32 {self.floating()}, {self.integer()}; cvt.rzi.s32.f32 {self.integer()}, %f0;"
        form = self.random.choice(_INTEGER)
        return guard + form.format(*(self.integer() for _ in range(3))) + ";"

    def body(self, depth: int) -> str:
        parts = []
        for _ in range(self.random.randrange(2, 6)):
            choice = self.random.random()
            if depth and choice < 0.25:
                parts.append(self.branch(depth))
            elif depth and choice < 0.4:
                parts.append(self.loop(depth))
            else:
                parts.append(self.arithmetic())
        return "\n".join(parts)

    def label(self) -> str:
        self.labels += 1
        return f"L{self.labels}"

    def branch(self, depth: int) -> str:
        other, join = self.label(), self.label()
        return f"""setp.lt.s32 %p3, {self.integer()}, {self.integer()}; @%p3 bra {other};
            {self.body(depth - 1)}
            bra {join};
            {other}: {self.body(depth - 1)}
            {join}: xor.b32 %r5, %r5, {self.labels};"""

    def loop(self, depth: int) -> str:
        head, counter = self.label(), f"%r{20 + depth}"
        return f"""and.b32 {counter}, {self.integer()}, 7;
            {head}: {self.body(depth - 1)}
            sub.s32 {counter}, {counter}, 1; setp.ge.s32 %p4, {counter}, 0; @%p4 bra {head};"""

    def together(self) -> str:
        """What all threads do, with no divergence between them."""
        return self.random.choice(
            [
                "st.shared.b32 [%r15], %r6; bar.sync 0; ld.shared.b32 %r7, [%r16]; bar.sync 0;",
                "shfl.sync.bfly.b32 %r8|%p1, %r6, 5, 31, -1; vote.sync.ballot.b32 %r9, %p2, -1;",
                "bar.red.popc.u32 %r10, 0, %p1; redux.sync.add.s32 %r11, %r5, -1;",
            ]
        )

    def kernel(self) -> str:
        start = "\n".join(f"mad.lo.s32 %r{n}, %r4, {self.random.getrandbits(31)}, {n};" for n in range(5, 12))
        floats = "\n".join(f"mov.b32 %f{n}, %r{n + 5};" for n in range(6))
        middle = "\n".join(self.body(2) + "\n" + self.together() for _ in range(3))
        mix = "xor.b32 %r5, %r5, %r6; xor.b32 %r5, %r5, %r7; add.s32 %r5, %r5, %r8; xor.b32 %r5, %r5, %r9;"
        bits = "mov.b32 %r12, %f0; xor.b32 %r5, %r5, %r12; mov.b32 %r12, %f3; add.s32 %r5, %r5, %r12;"
        return f""".shared .align 4 .b8 tile[256];{OUT}
            shl.b32 %r15, %r1, 2; xor.b32 %r16, %r15, 84; mov.u32 %r17, tile; add.u32 %r15, %r15, %r17;
            add.u32 %r16, %r16, %r17; setp.eq.u32 %p1, %r1, %r1; setp.ne.u32 %p2, %r1, %r1;
            {start}
            {floats}
            {middle}
            {mix} {bits} add.s32 %r5, %r5, %r10; xor.b32 %r5, %r5, %r11; st.global.b32 [%rd1], %r5; ret;"""


@pytest.mark.parametrize("seed", range(12))
def test_random_kernels(kernel, seed):
    result = on_both(kernel(Generator(seed).kernel()), 3, 64, np.zeros(192, np.uint32))
    assert len(np.unique(result)) > 50, "the kernel hardly computes anything"


# Waiting for others


def test_blocks_that_wait_for_later_blocks(kernel):
    """Block 0 spins until the last block has raised a flag."""
    module = kernel(
        OUT
        + """
        ld.param.u64 %rd3, [out]; setp.eq.u32 %p1, %r2, 9; @%p1 bra LAST;
        SPIN: ld.volatile.global.u32 %r5, [%rd3+1280]; setp.eq.u32 %p2, %r5, 0; @%p2 bra SPIN;
        st.global.u32 [%rd1], %r5; ret;
        LAST: mov.u32 %r6, 7; st.volatile.global.u32 [%rd3+1280], %r6; st.global.u32 [%rd1], %r6; ret;"""
    )
    assert (on_both(module, 10, 32, np.zeros(321, np.uint32)) == 7).all()


def test_a_lock_between_all_threads(kernel):
    module = kernel(
        """
        ld.param.u64 %rd1, [out];
        TAKE: atom.global.cas.b32 %r1, [%rd1], 0, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra TAKE;
        ld.volatile.global.u32 %r2, [%rd1+4]; mov.u32 %r3, 0;
        WORK: add.u32 %r2, %r2, 1; add.u32 %r3, %r3, 1; setp.lt.u32 %p2, %r3, 5000; @%p2 bra WORK;
        st.volatile.global.u32 [%rd1+4], %r2; atom.global.exch.b32 %r1, [%rd1], 0; ret;"""
    )
    out = np.zeros(2, np.uint32)
    module.launch("k", 4, 32, [out], engine="native")
    assert out.tolist() == [0, 4 * 32 * 5000]


def test_many_threads_that_never_end_are_stopped_soon(kernel):
    module = kernel("setp.eq.u32 %p1, %r1, %r1;\nAGAIN: add.u32 %r1, %r1, 1;\n@%p1 bra AGAIN; ret;")
    start = time.perf_counter()
    with pytest.raises(InstructionBudgetExceeded) as caught:
        module.launch("k", 4, 256, [np.zeros(1, np.uint32)], engine="native")
    assert caught.value.lines == (9, 10) and time.perf_counter() - start < 30


SPIN = """ld.param.u64 %rd1, [out];
AGAIN: ld.volatile.global.u32 %r1, [%rd1]; setp.eq.u32 %p1, %r1, 0; @%p1 bra AGAIN; ret;"""


@pytest.mark.parametrize(("grid", "block"), [(1, 1), (64, 256)])
def test_threads_that_wait_for_nobody_are_stopped_soon(kernel, grid, block):
    start = time.perf_counter()
    with pytest.raises(InstructionBudgetExceeded):
        kernel(SPIN).launch("k", grid, block, [np.zeros(1, np.uint32)], engine="native")
    assert time.perf_counter() - start < 30


COUNT = """ld.param.u64 %rd1, [out]; mov.u32 %r3, %tid.x; mov.u32 %r2, 0;
AGAIN: add.u32 %r2, %r2, 1; ld.global.u32 %r1, [%rd1]; setp.ne.u32 %p1, %r2, LIMIT; @%p1 bra AGAIN;"""


def test_the_budget_is_what_one_thread_may_execute(kernel):
    for turns, fails in ((2400, False), (2600, True)):
        module = kernel(COUNT.replace("LIMIT", str(turns)) + "st.global.u32 [%rd1+4], %r2; ret;")
        for engine in engines.ENGINES:
            out = np.zeros(2, np.uint32)
            if fails:
                with pytest.raises(InstructionBudgetExceeded, match="after 10000 instructions"):
                    module.launch("k", 4, 256, [out], engine=engine, instruction_budget=10_000)
            else:
                module.launch("k", 4, 256, [out], engine=engine, instruction_budget=10_000)
                assert out[1] == turns


def test_long_kernels_are_not_stopped(kernel):
    """One thread with a hundred million instructions; and many that wait for the last, which has five million."""
    out = np.zeros(2, np.uint32)
    kernel(COUNT.replace("LIMIT", "25000000") + "st.global.u32 [%rd1+4], %r2; ret;").launch("k", 1, 1, [out])
    assert out[1] == 25_000_000
    wait = "setp.ne.u32 %p2, %r3, 255; @%p2 bra WAIT;" + COUNT.replace("LIMIT", "1250000")
    wait = "mov.u32 %r3, %tid.x; ld.param.u64 %rd1, [out];" + wait + "st.global.u32 [%rd1+4], %r2; ret;"
    wait += "WAIT: ld.volatile.global.u32 %r1, [%rd1+4]; setp.eq.u32 %p1, %r1, 0; @%p1 bra WAIT; ret;"
    out = np.zeros(2, np.uint32)
    kernel(wait).launch("k", 1, 256, [out])
    assert out[1] == 1_250_000


def test_an_interrupt_comes_through(kernel):
    module = kernel(SPIN)
    with pytest.raises(InstructionBudgetExceeded):
        module.launch("k", 1, 1, [np.zeros(1, np.uint32)], instruction_budget=100)
    threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        module.launch("k", 64, 256, [np.zeros(1, np.uint32)])
    assert time.perf_counter() - start < 2


def test_threads_of_python_launch_at_once(kernel):
    """Also the first time, when the kernel is compiled."""
    module = kernel(OUT + "mul.lo.u32 %r5, %r4, %r4; st.global.u32 [%rd1], %r5; ret;")
    outs = [np.zeros(2000 * 32, np.uint32) for _ in range(8)]
    threads = [threading.Thread(target=module.launch, args=("k", 2000, 32, [out])) for out in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = np.arange(2000 * 32, dtype=np.uint32) ** 2
    assert all(np.array_equal(out, wanted) for out in outs)


def test_only_the_loop_that_never_ends_is_named(kernel):
    """The outer loop was entered once only."""
    module = kernel(
        """mov.u32 %r1, 0;
        OUTER: add.u32 %r1, %r1, 1;
        INNER: setp.lt.u32 %p1, %r1, 100;
        @%p1 bra INNER;
        setp.lt.u32 %p2, %r1, 200;
        @%p2 bra OUTER; ret;"""
    )
    for engine in engines.ENGINES:
        with pytest.raises(InstructionBudgetExceeded) as caught:
            module.launch("k", 1, 32, [np.zeros(1, np.uint32)], engine=engine, instruction_budget=10_000)
        assert caught.value.lines == (10, 11)


def test_long_kernels_are_compiled_soon(kernel):
    accesses = "ld.global.u32 %r1, [%rd1]; add.u32 %r1, %r1, 3; st.global.u32 [%rd1], %r1;" * 1000
    start, out = time.perf_counter(), np.zeros(64, np.uint32)
    kernel(OUT + accesses + "ret;").launch("k", 2, 32, [out], engine="native")
    assert (out == 3000).all() and time.perf_counter() - start < 30


def test_any_processor_gives_the_same_bits(kernel, monkeypatch):
    """As without fused multiply-add and rounding to integers: those are then functions of the C library."""
    module = kernel(
        OUT
        + """
        cvt.rn.f64.u32 %fd1, %r4; sqrt.rn.f64 %fd2, %fd1; fma.rp.f64 %fd3, %fd2, %fd2, 0dbff0000000000003;
        cvt.rz.f32.f64 %f1, %fd3; fma.rn.f32 %f2, %f1, %f1, 0fbf8ccccd; fma.rm.f32 %f2, %f2, %f1, %f2;
        cvt.rni.f32.f32 %f3, %f2; sub.f32 %f2, %f2, %f3; cvt.rn.f16.f32 %h1, %f2; fma.rn.f16 %h1, %h1, %h1, %h1;
        mov.b32 %r5, %f2; mov.b32 %r6, {%h1, %h1}; xor.b32 %r5, %r5, %r6; st.global.u32 [%rd1], %r5; ret;"""
    )
    results = [np.zeros(512, np.uint32) for _ in range(2)]
    module.launch("k", 16, 32, [results[0]], engine="lockstep")
    target = compiler._host()[0]
    monkeypatch.setattr(compiler, "_host", lambda: (target, "", ""))
    module.launch("k", 16, 32, [results[1]], engine="native")
    assert np.array_equal(*results) and len(np.unique(results[0])) > 50


# Choosing the engine


def test_a_forced_engine_says_why_it_cannot(kernel):
    module = kernel(OUT + "activemask.b32 %r5;\nst.global.u32 [%rd1], %r5; ret;")
    with pytest.raises(LaunchError, match=r"cannot run kernel k: .*`activemask.b32 %r5` \(PTX line"):
        module.launch("k", 1, 32, [np.zeros(32, np.uint32)], engine="native")
    out = np.zeros(32, np.uint32)
    module.launch("k", 1, 32, [out])
    assert (out == 0xFFFFFFFF).all()
    with pytest.raises(LaunchError, match="an observer must see it in lock-step"):
        module.launch("k", 1, 32, [out], engine="native", observers=[Trace()])
    with pytest.raises(LaunchError, match="there is no engine 'fast'"):
        module.launch("k", 1, 32, [out], engine="fast")


def test_native_code_is_the_default(kernel, monkeypatch):
    ran = []
    run = native.Execution.run
    monkeypatch.setattr(native.Execution, "run", lambda self, *blocks: (ran.append(blocks), run(self, *blocks)))
    kernel(OUT + "st.global.u32 [%rd1], %r4; ret;").launch("k", 4, 32, [np.zeros(128, np.uint32)])
    assert ran == [(0, 4)]


def test_without_numba_there_is_the_lock_step_engine(kernel, monkeypatch):
    monkeypatch.setitem(sys.modules, "softgpu.native", None)
    out = np.zeros(128, np.uint32)
    kernel(OUT + "st.global.u32 [%rd1], %r4; ret;").launch("k", 4, 32, [out])
    assert out.tolist() == list(range(128))


def test_only_the_blocks_that_are_traced_run_in_lock_step(kernel, monkeypatch):
    module = kernel(OUT + "ld.global.u32 %r5, [%rd1]; add.u32 %r5, %r5, %r4; st.global.u32 [%rd1], %r5; ret;")
    whole, part = Trace(), Trace(blocks=[150])
    first, second = (np.arange(200 * 256, dtype=np.uint32) for _ in range(2))
    module.launch("k", 200, 256, [first], observers=[whole])
    ran = []
    run = native.Execution.run
    monkeypatch.setattr(native.Execution, "run", lambda self, *blocks: (ran.append(blocks), run(self, *blocks)))
    module.launch("k", 200, 256, [second], observers=[part])
    assert np.array_equal(first, second) and sum(end - start for start, end in ran) == 136
    wanted = whole.launches[0].accesses
    wanted = wanted[wanted["block"] == 150]
    names = ["pc", "thread", "address", "bits", "kind", "origin"]
    assert np.array_equal(part.launches[0].accesses[names], wanted[names])


def test_importing_softgpu_does_not_import_a_compiler():
    code = "import sys, softgpu; sys.exit(any(name in sys.modules for name in ('numba', 'llvmlite')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_folder_for_the_cache_is_not_needed(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert jit(lambda x: x + 1)(2) == 3


# Events


class Log(Observer):
    """Keeps the rows of events, ordered by lane."""

    def __init__(self, continues: bool = False):
        self.continues_after_faults = continues
        self.batches = [np.zeros(0, EVENT)]

    def events(self, launch, events):
        rows = events.copy()
        rows["lane"] += launch.chunk.first_block * launch.threads_per_block
        self.batches.append(rows)

    @property
    def rows(self) -> np.ndarray:
        rows = np.concatenate(self.batches)
        return rows[np.argsort(rows["lane"], kind="stable")]


EVENTFUL = """
.shared .align 4 .b8 tile[256]; .local .align 8 .b8 own[16];
mov.u32 %r5, tile; shl.b32 %r6, %r1, 2; add.u32 %r5, %r5, %r6; st.shared.u32 [%r5], %r4; bar.sync 0;
shfl.sync.bfly.b32 %r8, %r4, 1, 31, -1; bar.warp.sync -1; fence.acq_rel.gpu; red.shared.add.u32 [%r5], %r1;
mov.u64 %rd5, own; st.local.v2.u32 [%rd5], {%r1, %r2}; cvta.local.u64 %rd6, %rd5; ld.u64 %rd7, [%rd6+8];
setp.lt.u32 %p1, %r1, 3; @%p1 ret; ld.shared.u32 %r9, [%r5+OFFSET]; bar.sync 1;
mov.u32 %r10, 0; LOOP: add.u32 %r10, %r10, 1; ld.volatile.shared.u32 %r11, [tile]; setp.lt.u32 %p2, %r10, 40;
@%p2 bra LOOP;
barrier.sync 2, 64; vote.sync.any.pred %p3, %p1, -1; st.global.u32 [%rd1], %r9; ret;"""


@pytest.mark.parametrize(("offset", "continues"), [(0, False), (0, True), (248, True)])
def test_events_are_the_same(kernel, offset, continues):
    module = kernel(OUT + EVENTFUL.replace("OFFSET", str(offset)))
    logs, errors = [Log(continues) for _ in engines.ENGINES], []
    for log, engine in zip(logs, engines.ENGINES, strict=True):
        try:
            module.launch("k", 40, 64, [np.zeros(40 * 64, np.uint32)], observers=[log], engine=engine)
        except MemoryFault as fault:
            errors.append(str(fault))
    assert len(errors) == (2 if offset else 0) and len(set(errors)) <= 1
    assert len(logs[0].rows) > 100_000 and np.array_equal(logs[0].rows, logs[1].rows)
