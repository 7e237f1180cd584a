"""Threads that Python knows nothing of: each uses the driver from a module's load to its unload. Those who start them
wait, in several ways, and let go of nothing meanwhile."""

from std.ffi import external_call


@fieldwise_init
struct Work(TrivialRegisterPassable):
    """`Work` in test_driver_threads.py is this record in ctypes."""

    var text: UInt64  # of a module with the kernel `accumulate`
    var launches: UInt64
    var callback: UInt64  # a host function, called after each launch; or null
    var result: UInt64  # element 1 of what the kernel counted up from 0
    var failure: Int32
    var ended: Int32


def at[T: AnyType](address: UInt64) -> Pointer[T, MutAnyOrigin]:
    return Pointer[T, MutAnyOrigin](unsafe_from_address=Int(address))


def text(literal: StaticString) -> UInt64:
    return UInt64(Int(literal.unsafe_ptr()))


def use_driver(work: UInt64) -> Int32:
    """Launch a kernel, which adds 3 to each of 64 numbers, again and again."""
    var place = external_call["calloc", UInt64](UInt64(8), UInt64(8))  # of the module, and so on
    var function = place + 8
    var data = place + 16
    var value = place + 24
    var arguments = place + 32
    var result = place + 48
    at[UInt32](value)[] = 3
    at[UInt64](arguments)[] = data
    at[UInt64](arguments + 8)[] = value
    var code = external_call["cuModuleLoadData", Int32](place, at[Work](work)[].text)
    if code == 0:
        code = external_call["cuModuleGetFunction", Int32](function, at[UInt64](place)[], text("accumulate\0"))
    if code == 0:
        code = external_call["cuMemAlloc_v2", Int32](data, UInt64(256))
    var address = at[UInt64](data)[]
    if code == 0:
        code = external_call["cuMemsetD32_v2", Int32](address, UInt32(0), UInt64(64))
    for _ in range(at[Work](work)[].launches):
        if code == 0:
            code = external_call["cuLaunchKernel", Int32](
                at[UInt64](function)[],
                UInt32(1),
                UInt32(1),
                UInt32(1),
                UInt32(64),
                UInt32(1),
                UInt32(1),
                UInt32(0),
                UInt64(0),
                arguments,
                UInt64(0),
            )
        if code == 0 and at[Work](work)[].callback != 0:
            code = external_call["cuLaunchHostFunc", Int32](UInt64(0), at[Work](work)[].callback, work)
    if code == 0:
        code = external_call["cuCtxSynchronize", Int32]()
    if code == 0:
        code = external_call["cuMemcpyDtoH_v2", Int32](result, address + 4, UInt64(4))
    if code == 0:
        code = external_call["cuMemFree_v2", Int32](address)
    if code == 0:
        code = external_call["cuModuleUnload", Int32](at[UInt64](place)[])
    at[Work](work)[].result = UInt64(at[UInt32](result)[])
    return code


def body(work: UInt64) abi("C") -> UInt64:
    at[Work](work)[].failure = use_driver(work)
    at[Work](work)[].ended = 1
    return 0


@export
def start(work: UInt64) abi("C") -> UInt64:
    """A thread that does the work."""
    var function = body
    var place = external_call["malloc", UInt64](UInt64(8))
    var address = Pointer(to=function).unsafe_bitcast[UInt64]()[]
    _ = external_call["pthread_create", Int32](place, UInt64(0), address, work)
    return at[UInt64](place)[]


@export
def join(thread: UInt64) abi("C"):
    _ = external_call["pthread_join", Int32](thread, UInt64(0))


@export
def start_and_join(works: UInt64, threads: UInt64, count: UInt64) abi("C"):
    for i in range(count):
        at[UInt64](threads + 8 * i)[] = start(at[UInt64](works + 8 * i)[])
    for i in range(count):
        join(at[UInt64](threads + 8 * i)[])


@export
def start_and_poll(work: UInt64) abi("C"):
    """As code that waits for a flag does."""
    var thread = start(work)
    while at[Int32](work + 36)[] == 0:
        _ = external_call["usleep", Int32](UInt32(3000))
    join(thread)


def wait_for_byte(request: UInt64) abi("C") -> UInt64:
    """`request` is a struct pollfd."""
    _ = external_call["poll", Int32](request, UInt64(1), Int32(-1))
    return 0


@export
def start_and_compute_until_readable(work: UInt64, file: Int32) abi("C") -> Int32:
    """Make no system call until there is something to read; return whether the work was done by then."""
    var function = wait_for_byte
    var request = external_call["calloc", UInt64](UInt64(1), UInt64(16))
    at[Int32](request)[] = file
    at[Int16](request + 4)[] = 1  # POLLIN
    var address = Pointer(to=function).unsafe_bitcast[UInt64]()[]
    _ = external_call["pthread_create", Int32](request + 8, UInt64(0), address, request)
    _ = start(work)
    while at[Int16](request + 6)[] == 0:  # until the system has written what there is
        _ = external_call["rand", Int32]()
    return at[Int32](work + 36)[]
