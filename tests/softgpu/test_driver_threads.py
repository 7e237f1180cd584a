"""Threads: no call of the driver waits for Python's global lock while its holder waits for the call, or the other way
round. Each program runs in a process of its own, so that a deadlock is a failure and not the end of the tests."""

import subprocess
import sys
import textwrap

PREAMBLE = '''
import ctypes, faulthandler, random, sys, threading, time
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
