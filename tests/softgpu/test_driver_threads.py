"""Threads: no call of the driver waits for Python's global lock while its holder waits for the call, or the other way
round. Each program runs in a process of its own, so that a deadlock is a failure and not the end of the tests."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from softgpu.driver import build

PREAMBLE = '''
import ctypes, faulthandler, random, sys, threading, time
from pathlib import Path
import numpy as np
from softgpu.driver.build import built_driver, modular_lib_folder
from softgpu.driver.launcher import Launcher
faulthandler.dump_traceback_later(60, exit=True)
ctypes.CDLL(str(modular_lib_folder() / "libKGENCompilerRTShared.so"), ctypes.RTLD_GLOBAL)
library = str(built_driver() / "libcuda.so.1")
RELEASED, HELD = ctypes.CDLL(library), ctypes.PyDLL(library)  # without and with Python's lock during a call
launcher = Launcher(RELEASED)

PTX = b"""
.version 8.1
.target sm_80
.address_size 64
.visible .entry accumulate(.param .u64 data, .param .u32 value)
{
    .reg .b32 %r<4>; .reg .b64 %rd<4>;
    mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [data]; mad.wide.u32 %rd2, %r1, 4, %rd1;
    ld.param.u32 %r2, [value]; ld.global.u32 %r3, [%rd2]; add.u32 %r3, %r3, %r2; st.global.u32 [%rd2], %r3;
    ret;
}
"""

def call(library, name, *arguments):
    code = getattr(library, name)(*(ctypes.c_uint64(one) if isinstance(one, int) else one for one in arguments))
    if code:
        text = ctypes.c_char_p()
        RELEASED.cuGetErrorString(code, ctypes.byref(text))
        raise RuntimeError(f"{name}: {code} {text.value.decode()}")

def result(library, name, *arguments):
    place = ctypes.c_uint64()
    call(library, name, ctypes.byref(place), *arguments)
    return place.value

def launch(library, function, address, value):
    values = ctypes.c_uint64(address), ctypes.c_uint32(value)
    addresses = (ctypes.c_uint64 * 2)(*map(ctypes.addressof, values))
    call(library, "cuLaunchKernel", function, 1, 1, 1, 64, 1, 1, 0, 0, addresses, 0)

failures = []

def run(*bodies):
    """Run functions in threads, until all are done."""
    def guarded(body):
        try:
            body()
        except BaseException as error:
            failures.append(error)
            raise
    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
'''


NATIVE = '''
NAMES = "text", "launches", "callback", "result"

class Work(ctypes.Structure):
    """`Work` in threads.mojo."""
    _fields_ = *((name, ctypes.c_uint64) for name in NAMES), ("failure", ctypes.c_int32), ("ended", ctypes.c_int32)

ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
native = str(Path(__file__).with_name("threads.so"))
NATIVE_RELEASED, NATIVE_HELD = ctypes.CDLL(native), ctypes.PyDLL(native)
for one in NATIVE_RELEASED, NATIVE_HELD:
    one.start.restype = ctypes.c_uint64
text = ctypes.create_string_buffer(PTX)

def work(launches, callback=0):
    return Work(ctypes.addressof(text), launches, callback)

def address(work):
    return ctypes.c_uint64(ctypes.addressof(work))

def check(work):
    assert (work.failure, work.result, work.ended) == (0, 3 * work.launches, 1), (work.failure, work.result)

def start_and_join(native, *works):
    addresses = (ctypes.c_uint64 * len(works))(*(ctypes.addressof(work) for work in works))
    native.start_and_join(addresses, (ctypes.c_uint64 * len(works))(), ctypes.c_uint64(len(works)))
    for work in works:
        check(work)
'''


@pytest.fixture(scope="module")
def threads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("threads")
    build._link([build._compile(Path(__file__).parent / "threads.mojo", folder)], folder / "threads.so")
    return folder / "threads.so"


def run_native(tmp_path, threads, program, *command):
    """`run` with threads of no Python."""
    shutil.copy(threads, tmp_path)
    return run(tmp_path, PREAMBLE + NATIVE + textwrap.dedent(program), *command)


def run(tmp_path, program, *command):
    file = tmp_path / "program.py"
    file.write_text(program)
    done = subprocess.run([sys.executable, *command, str(file)], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_launches_copies_and_frees_of_many_threads(tmp_path):
    """Each thread knows what its own buffers must hold; some of them hold the lock in every call that they make."""
    program = """
    module = result(RELEASED, "cuModuleLoadData", PTX)
    function = result(RELEASED, "cuModuleGetFunction", module, b"accumulate")
    launch(RELEASED, function, result(RELEASED, "cuMemAlloc_v2", 256), 0)  # translated, once for all
    working = threading.Event()
    working.set()

    def work(library, seed):
        own = random.Random(seed)
        stream = result(library, "cuStreamCreate", 1)
        event = result(library, "cuEventCreate", 0)
        for _ in range(8):
            count = own.randrange(64, 200)
            array = np.arange(count, dtype=np.uint32)
            address = result(library, "cuMemAllocAsync", array.nbytes, stream)
            call(library, "cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, stream)
            values = [own.randrange(100) for _ in range(3)]
            for value in values:
                launch(library, function, address, value)
            call(library, "cuEventRecord", event, stream)
            call(library, "cuStreamWaitEvent", stream, event, 0)
            call(library, "cuStreamSynchronize", stream)
            back = np.empty_like(array)
            call(library, "cuMemcpyDtoHAsync_v2", back.ctypes.data, address, back.nbytes, stream)
            array[:64] += sum(values)
            np.testing.assert_array_equal(back, array)
            call(library, "cuMemFreeAsync", address, stream)

    def compute():  # a thread that lets go of the lock only when it must
        while working.is_set():
            sum(range(10_000))

    def sleep():  # and one that holds it while it waits
        clock = ctypes.PyDLL(None)
        while working.is_set():
            clock.usleep(20_000)
            time.sleep(0.02)

    others = [threading.Thread(target=body) for body in (compute, sleep)]
    for thread in others:
        thread.start()
    run(*(lambda n=n: work(HELD if n % 2 else RELEASED, n) for n in range(6)))
    working.clear()
    assert not launcher.errors
    print("right")
    """
    assert run(tmp_path, PREAMBLE + textwrap.dedent(program)) == "right\n"


def test_every_call_but_a_launch_is_answered_while_a_kernel_runs(tmp_path):
    """The kernel stands still, its thread waiting for the other one: a call that waited for it would never end."""
    program = """
    from softgpu import Observer
    module = result(RELEASED, "cuModuleLoadData", PTX)
    function = result(RELEASED, "cuModuleGetFunction", module, b"accumulate")
    address = result(RELEASED, "cuMemAlloc_v2", 256)
    inside, done = threading.Event(), threading.Event()

    class Wait(Observer):
        def launch_begin(self, launch):
            inside.set()
            assert done.wait(30)

    launcher.observers.append(Wait())

    def other(library):
        assert inside.wait(30)
        stream, event = result(library, "cuStreamCreate", 0), result(library, "cuEventCreate", 0)
        more = result(library, "cuMemAlloc_v2", 256)
        array = np.zeros(64, np.uint32)
        call(library, "cuMemcpyHtoD_v2", more, array.ctypes.data, 256)
        call(library, "cuMemcpyDtoD_v2", address, more, 256)
        call(library, "cuMemsetD32_v2", more, 1, 64)
        call(library, "cuEventRecord", event, stream)
        call(library, "cuEventSynchronize", event)
        call(library, "cuStreamSynchronize", stream)
        call(library, "cuCtxSynchronize")
        result(library, "cuModuleGetFunction", result(library, "cuModuleLoadData", PTX), b"accumulate")
        pinned = result(library, "cuMemHostAlloc", 256, 0)
        call(library, "cuMemFreeHost", pinned)
        call(library, "cuMemFree_v2", more)
        call(library, "cuMemFree_v2", address)  # the kernel's own
        call(library, "cuModuleUnload", module)
        call(library, "cuStreamDestroy_v2", stream)

    def both():
        other(RELEASED)
        done.set()

    run(lambda: launch(RELEASED, function, address, 1), both)
    print("answered")
    """
    assert run(tmp_path, PREAMBLE + textwrap.dedent(program)) == "answered\n"


def test_a_launch_of_a_thread_that_holds_the_lock_waits_its_turn(tmp_path):
    program = """
    from softgpu import Observer
    module = result(RELEASED, "cuModuleLoadData", PTX)
    function = result(RELEASED, "cuModuleGetFunction", module, b"accumulate")
    address = result(RELEASED, "cuMemAlloc_v2", 256)
    call(RELEASED, "cuMemsetD32_v2", address, 0, 64)
    running, most = [], []

    class Slow(Observer):
        def launch_begin(self, launch):
            running.append(1)
            time.sleep(0.05)
            most.append(len(running))
            running.pop()

    launcher.observers.append(Slow())
    run(*(lambda library=library: launch(library, function, address, 1) for library in (HELD, RELEASED) * 6))
    back = np.zeros(64, np.uint32)
    call(HELD, "cuMemcpyDtoH_v2", back.ctypes.data, address, 256)
    assert (back == 12).all() and max(most) == 1, (back, most)
    print("in turn")
    """
    assert run(tmp_path, PREAMBLE + textwrap.dedent(program)) == "in turn\n"


def test_host_functions_in_python_take_the_lock_on_any_thread(tmp_path):
    program = """
    seen = []
    function = ctypes.CFUNCTYPE(None, ctypes.c_uint64)(lambda data: seen.append((threading.get_ident(), data)))
    address = ctypes.cast(function, ctypes.c_void_p)

    def work(library, number):
        for n in range(200):
            call(library, "cuLaunchHostFunc", 0, address, 1000 * number + n)

    run(*(lambda n=n: work(HELD if n % 2 else RELEASED, n) for n in range(6)))
    assert sorted(data for _, data in seen) == sorted(1000 * a + b for a in range(6) for b in range(200))
    print("called")
    """
    assert run(tmp_path, PREAMBLE + textwrap.dedent(program)) == "called\n"


def test_threads_that_the_holder_of_the_lock_waits_for(tmp_path, threads):
    """As a Mojo function that joins its workers does. It holds the lock from before the first launch."""
    program = """
    for count in (1, 5):
        start_and_join(NATIVE_HELD, *(work(6) for _ in range(count)))
    assert not launcher.errors
    print("right")
    """
    assert run_native(tmp_path, threads, program) == "right\n"


def test_a_thread_whose_end_the_holder_of_the_lock_polls_for(tmp_path, threads):
    program = """
    polled = work(6)
    NATIVE_HELD.start_and_poll(address(polled))
    check(polled)
    print("right")
    """
    assert run_native(tmp_path, threads, program) == "right\n"


def test_a_launch_that_has_begun_when_the_lock_is_taken(tmp_path, threads):
    program = """
    from softgpu import Observer
    inside = threading.Event()

    class Slow(Observer):
        def launch_begin(self, launch):
            inside.set()
            for _ in range(20):
                time.sleep(0.001)

    launcher.observers.append(Slow())
    begun = work(3)
    thread = NATIVE_RELEASED.start(address(begun))
    assert inside.wait(30)
    NATIVE_HELD.join(ctypes.c_uint64(thread))
    check(begun)
    print("right")
    """
    assert run_native(tmp_path, threads, program) == "right\n"


def test_host_functions_in_python_of_threads_that_the_holder_of_the_lock_waits_for(tmp_path, threads):
    program = """
    called = []
    function = ctypes.CFUNCTYPE(None, ctypes.c_uint64)(called.append)
    works = [work(4, ctypes.cast(function, ctypes.c_void_p).value) for _ in range(3)]
    start_and_join(NATIVE_HELD, *works)
    assert sorted(called) == sorted(4 * [ctypes.addressof(work) for work in works])
    print("called")
    """
    assert run_native(tmp_path, threads, program) == "called\n"


def test_every_kind_of_thread_at_once(tmp_path, threads):
    """Threads of Python and others launch, allocate, free and synchronise; some who wait for them hold the lock."""
    program = """
    module = result(RELEASED, "cuModuleLoadData", PTX)
    function = result(RELEASED, "cuModuleGetFunction", module, b"accumulate")

    def of_python(library):
        for _ in range(10):
            array = np.arange(64, dtype=np.uint32)
            address = result(library, "cuMemAlloc_v2", array.nbytes)
            call(library, "cuMemcpyHtoD_v2", address, array.ctypes.data, array.nbytes)
            launch(library, function, address, 7)
            call(library, "cuCtxSynchronize")
            back = np.empty_like(array)
            call(library, "cuMemcpyDtoH_v2", back.ctypes.data, address, back.nbytes)
            np.testing.assert_array_equal(back, array + 7)
            call(library, "cuMemFree_v2", address)

    def of_others(native):
        for _ in range(3):
            start_and_join(native, *(work(5) for _ in range(3)))

    def polled():
        for _ in range(3):
            one = work(5)
            NATIVE_HELD.start_and_poll(address(one))
            check(one)

    run(
        *(lambda library=library: of_python(library) for library in (HELD, RELEASED)),
        *(lambda native=native: of_others(native) for native in (NATIVE_HELD, NATIVE_RELEASED, NATIVE_HELD)),
        polled,
    )
    assert not launcher.errors
    print("right")
    """
    assert run_native(tmp_path, threads, program) == "right\n"


def test_a_holder_of_the_lock_that_does_not_sleep_is_left_alone_and_named(tmp_path, threads):
    program = """
    import os
    terminal = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    waiting = work(1)
    assert NATIVE_HELD.start_and_compute_until_readable(address(waiting), reading) == 0
    os.dup2(terminal, 2)
    print(os.read(reading, 1000).decode())
    while not waiting.ended:
        time.sleep(0.01)
    check(waiting)
    """
    printed = run_native(tmp_path, threads, program)
    assert printed.startswith("softgpu: a launch has waited 10 s for Python's global lock, whose holder computes")


def test_the_program_sees_the_checks_of_launches_in_such_threads(tmp_path, threads):
    """Nothing but the lock's holder changes: observers, errors and the text of an error are where they always are."""
    program = """
    from softgpu import Memcheck
    check_of_memory = Memcheck()
    launcher.observers.append(check_of_memory)
    text = ctypes.create_string_buffer(PTX.replace(b"%rd2, %r1, 4, %rd1", b"%rd2, %r1, 8, %rd1"))
    outside = work(1)
    addresses = (ctypes.c_uint64 * 1)(ctypes.addressof(outside))
    NATIVE_HELD.start_and_join(addresses, (ctypes.c_uint64 * 1)(), ctypes.c_uint64(1))
    print(outside.failure, len(check_of_memory.reports), len(launcher.errors))
    """
    assert run_native(tmp_path, threads, program) == "700 2 1\n"


@pytest.mark.skipif(shutil.which("cc") is None, reason="Mojo links a Python module with the system's compiler")
def test_workers_of_a_mojo_function(tmp_path):
    shutil.copy(Path(__file__).parent / "workers.mojo", tmp_path)
    program = """
    import mojo.importer
    import workers
    print(workers.run(1), workers.run(20))
    """
    command = ["-m", "softgpu.cli", "run", "--check", "memcheck"]
    assert run(tmp_path, textwrap.dedent(program), *command).splitlines()[0] == "1 20"
