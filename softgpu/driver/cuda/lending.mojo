"""Calls that go to Python need its global lock (GIL), and no thread can know whether the lock's holder waits for it: a
Mojo function called from Python may join workers that launch kernels. NVIDIA's driver needs no such lock, so that here
the holder must lend it.

While calls are with Python, a thread of the driver watches whether the lock can still be had, by having another one
take it again and again. Where it cannot, a signal asks every thread whether it is the holder. A holder that sleeps in a
system call, and did at the same place a moment ago, lets go of the lock in the handler, as it would have done had
it been written with Py_BEGIN_ALLOW_THREADS there, and takes it back before it returns to its sleep. As any signal does,
this ends a sleep of a few kinds early, with EINTR. A holder that runs is left alone: it may be in the middle of Python.

Source: Python/C API reference manual, "Initialization, Finalization, and Threads"; Linux manual pages sigaction(2),
rt_tgsigqueueinfo(2) and signal(7) on interrupted system calls; System V ABI of AMD64.
"""

from std.ffi import external_call, get_errno, set_errno
from std.os import listdir

from state import *

comptime STEP: Int = 10  # milliseconds between two looks of the watching thread
comptime PATIENCE: Int = 200  # milliseconds until the holder of the lock is asked
comptime SHORT_PATIENCE: Int = 20  # when it was asleep before
comptime REMEMBERED: Int = 2000  # milliseconds: so long the holder is expected to fall asleep again
comptime SLICE: Int = 100  # milliseconds that the lock is lent at most
comptime QUIET: Int = 5  # milliseconds without a call that end it before
comptime SILENCE: Int = 10_000  # milliseconds until the log names a holder that does not lend

# What a thread that was asked answers.
comptime NO_ANSWER: Int64 = 0
comptime NOT_THE_HOLDER: Int64 = 1
comptime RUNS: Int64 = 2
comptime FELL_ASLEEP: Int64 = 3
comptime LENDS: Int64 = 4


@fieldwise_init
struct Python(TrivialRegisterPassable):
    """Functions of Python's C API by their addresses. `softgpu.driver.launcher.PythonRecord` is this record in ctypes."""

    var ensure: UInt64  # PyGILState_Ensure
    var release: UInt64  # PyGILState_Release
    var own_state: UInt64  # PyGILState_GetThisThreadState
    var current_state: UInt64  # PyThreadState_GetUnchecked
    var save: UInt64  # PyEval_SaveThread
    var restore: UInt64  # PyEval_RestoreThread


def c_call(function: UInt64, argument: UInt64 = 0) -> UInt64:
    """Call a C function of at most one argument by its address."""
    var address = function
    return Pointer(to=address).unsafe_bitcast[def(UInt64) thin abi("C") -> UInt64]()[](argument)


def sleep(milliseconds: Int):
    _ = external_call["usleep", Int32](UInt32(1000 * milliseconds))


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────


def enter_python():
    """Before a call that may need the lock."""
    ref d = driver()[]
    ref shared = at[Lending](d.lending)[]
    var first = False
    with BlockingScopedLock(d.lock):
        if shared.python != 0 and shared.signal == 0:
            start_watching()
        shared.calls += 1
        first = shared.calls == 1
    if first:
        _ = external_call["sem_post", Int32](shared.called)


def leave_python():
    """After it."""
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        at[Lending](d.lending)[].calls -= 1


# ── those who watch ─────────────────────────────────────────────────────────────────────────────────────


def start_watching():
    """Start the threads that watch the lock. Take the driver's lock before."""
    ref shared = at[Lending](driver()[].lending)[]
    shared.signal = handled_signal()
    var threads = [watch, knock]
    var place = c_malloc(8)
    for i in range(len(threads)):
        var address = Pointer(to=threads[i]).unsafe_bitcast[UInt64]()[]
        if external_call["pthread_create", Int32](place, UInt64(0), address, UInt64(0)) != 0:
            abort("softgpu: the system has no thread left to watch Python's global lock")
    c_free(place)


def handled_signal() -> Int32:
    """The highest real-time signal that the program does not use. From now on it asks for the lock."""
    comptime SIGACTION_BYTES: UInt64 = 152
    comptime RESTART_AND_INFORM: Int32 = 0x10000004  # SA_RESTART | SA_SIGINFO
    var handler = lend
    var action = external_call["calloc", UInt64](UInt64(1), SIGACTION_BYTES)
    var number = external_call["__libc_current_sigrtmax", Int32]()
    while number >= external_call["__libc_current_sigrtmin", Int32]():
        _ = external_call["sigaction", Int32](number, UInt64(0), action)
        if at[UInt64](action)[] == 0:
            at[UInt64](action)[] = Pointer(to=handler).unsafe_bitcast[UInt64]()[]
            at[Int32](action + 136)[] = RESTART_AND_INFORM
            _ = external_call["sigaction", Int32](number, action, UInt64(0))
            c_free(action)
            return number
        number -= 1
    abort("softgpu: the program uses all real-time signals, but the driver needs one")


def knock(unused: UInt64) abi("C") -> UInt64:
    """Take the lock whenever the other thread asks, and tell it."""
    ref shared = at[Lending](driver()[].lending)[]
    var python = at[Python](shared.python)[]
    while True:
        _ = external_call["sem_wait", Int32](shared.knock)
        if shared.knocks_answered < shared.knocks:
            _ = c_call(python.release, c_call(python.ensure))
            shared.knocks_answered = shared.knocks


def watch(unused: UInt64) abi("C") -> UInt64:
    ref shared = at[Lending](driver()[].lending)[]
    var since_lent = REMEMBERED  # milliseconds, as all times here
    var told = False
    while True:
        _ = external_call["sem_wait", Int32](shared.called)
        var waited = 0
        var limit = PATIENCE
        while shared.calls > 0:
            sleep(STEP)
            waited += STEP
            since_lent += STEP
            if shared.knocks_answered == shared.knocks:
                waited = 0
                limit = SHORT_PATIENCE if since_lent < REMEMBERED else PATIENCE
                shared.knocks += 1
                _ = external_call["sem_post", Int32](shared.knock)
            elif waited >= limit:
                var answer = ask_for_lock()
                if answer == LENDS:
                    waited = 0
                    since_lent = 0
                limit = waited + SHORT_PATIENCE if answer >= FELL_ASLEEP else 2 * waited
            if waited >= SILENCE and not told:
                told = True
                print(
                    "softgpu: a launch has waited",
                    SILENCE // 1000,
                    "s for Python's global lock, whose holder computes and does not let go of it. If it waits for the"
                    " launch, it must release the lock before (PyEval_SaveThread), or sleep while it waits.",
                    file=stderr,
                )


def ask_for_lock() -> Int64:
    """Ask one thread after the other, first the one that held the lock before; the answer of its holder, or none."""
    ref shared = at[Lending](driver()[].lending)[]
    if shared.holder != 0:
        var answer = ask_thread(shared.holder)
        if answer > NOT_THE_HOLDER:
            return answer
    try:
        for name in listdir("/proc/self/task"):
            var answer = ask_thread(Int32(Int(name)))
            if answer > NOT_THE_HOLDER:
                shared.holder = Int32(Int(name))
                return answer
    except:
        pass
    return NO_ANSWER


def ask_thread(thread: Int32) -> Int64:
    """Have a thread run `lend`, and wait for a moment: it may have blocked the signal, or have ended."""
    comptime RT_TGSIGQUEUEINFO: Int64 = 297
    ref shared = at[Lending](driver()[].lending)[]
    var process = external_call["getpid", Int32]()
    var info = external_call["calloc", UInt64](UInt64(1), UInt64(128))  # siginfo_t
    at[Int32](info + 8)[] = SI_QUEUE
    at[Int32](info + 16)[] = process
    at[UInt64](info + 24)[] = driver()[].lending
    shared.answer = NO_ANSWER
    var sent = external_call["syscall", Int64](RT_TGSIGQUEUEINFO, process, thread, shared.signal, info)
    c_free(info)
    for _ in range(20 if sent == 0 else 0):
        if shared.answer != NO_ANSWER:
            break
        sleep(1)
    return shared.answer


# ── in the thread that is asked ─────────────────────────────────────────────────────────────────────────

comptime SI_QUEUE: Int32 = -1  # what tells our signal from one that came from elsewhere


def lend(signal: Int32, info: UInt64, context: UInt64) abi("C"):
    """The signal's handler. It interrupted the thread anywhere, so that it takes no lock of the driver and no memory."""
    if at[Int32](info + 8)[] != SI_QUEUE:
        return
    ref shared = at[Lending](at[UInt64](info + 24)[])[]
    var python = at[Python](shared.python)[]
    var own = c_call(python.own_state)
    if own == 0 or own != c_call(python.current_state):
        shared.answer = NOT_THE_HOLDER
        return

    var registers = context + 40  # ucontext_t.uc_mcontext.gregs
    var result = at[Int64](registers + 13 * 8)[]
    var stack = at[UInt64](registers + 15 * 8)[]
    var place = at[UInt64](registers + 16 * 8)[]
    # An interrupted system call is either at its `syscall` instruction again, or behind it with an EINTR.
    comptime SYSCALL: UInt16 = 0x050F
    if at[UInt16](place)[] != SYSCALL and (result != -4 or at[UInt16](place - 2)[] != SYSCALL):
        shared.answer = RUNS
        return
    if shared.stack != stack or shared.place != place:
        shared.stack = stack
        shared.place = place
        shared.answer = FELL_ASLEEP
        return

    shared.answer = LENDS
    var error = get_errno()
    var state = c_call(python.save)
    var quiet = 0
    for _ in range(SLICE):
        sleep(1)
        quiet = 0 if shared.calls > 0 else quiet + 1
        if quiet == QUIET:
            break
    _ = c_call(python.restore, state)
    set_errno(error)
