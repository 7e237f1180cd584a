"""The software GPU's stand-in for the CUDA driver library, `libcuda.so.1`.

Every call completes before it returns, so streams and events need no
queue. Memory, copies, streams, events and modules are answered here, in native code, because MAX makes
those calls from threads that may hold Python's global lock, or wait for one that does. Only a launch goes
to Python, through the callback that `softgpu_connect` was given.

A device address is no host pointer: the pages at it are reserved and may not be touched, as on a machine with a GPU,
and the bytes lie elsewhere. A program that reads device memory on the CPU is stopped by the system, not helped.

C handles and pointers are taken as `UInt64` addresses: the C ABI passes them alike, and a caller's null or
wild pointer is then only a number.

Source: CUDA Driver API reference manual, sections 6.2 to 6.27.
"""

from std.collections import Dict
from std.ffi import _Global, external_call
from std.os import abort
from std.sys import size_of, stderr
from std.time import perf_counter_ns
from std.utils.lock import BlockingScopedLock, BlockingSpinLock

# ── the device that is presented ────────────────────────────────────────────────────────────────────────

comptime DEVICE_NAME: StaticString = "softgpu (software GPU, sm_80)\0"
comptime DRIVER_VERSION: Int32 = 13000
comptime TOTAL_MEMORY: UInt64 = 8 << 30
comptime POISON: Int32 = 0xFF  # every byte of new memory: a float read from it is NaN
comptime GUARD: UInt64 = 4096  # a gap on both sides of an allocation, so that no two are neighbours
comptime PAGE: UInt64 = 4096

# ── error codes (CUresult) ──────────────────────────────────────────────────────────────────────────────

comptime SUCCESS: Int32 = 0
comptime INVALID_VALUE: Int32 = 1
comptime OUT_OF_MEMORY: Int32 = 2
comptime INVALID_DEVICE: Int32 = 101
comptime NOT_FOUND: Int32 = 500
comptime NOT_SUPPORTED: Int32 = 801


def error_names() -> Dict[Int32, StaticString]:
    """The codes that this library and the launcher return. Each name is closed by a null byte."""
    return {
        0: "CUDA_SUCCESS\0",
        1: "CUDA_ERROR_INVALID_VALUE\0",
        2: "CUDA_ERROR_OUT_OF_MEMORY\0",
        101: "CUDA_ERROR_INVALID_DEVICE\0",
        218: "CUDA_ERROR_INVALID_PTX\0",
        500: "CUDA_ERROR_NOT_FOUND\0",
        700: "CUDA_ERROR_ILLEGAL_ADDRESS\0",
        702: "CUDA_ERROR_LAUNCH_TIMEOUT\0",
        716: "CUDA_ERROR_MISALIGNED_ADDRESS\0",
        719: "CUDA_ERROR_LAUNCH_FAILED\0",
        801: "CUDA_ERROR_NOT_SUPPORTED\0",
        999: "CUDA_ERROR_UNKNOWN\0",
    }


# ── memory by address ───────────────────────────────────────────────────────────────────────────────────


def at[T: AnyType](address: UInt64) -> Pointer[T, MutAnyOrigin]:
    return Pointer[T, MutAnyOrigin](unsafe_from_address=Int(address))


def c_malloc(size: UInt64) -> UInt64:
    return external_call["malloc", UInt64](size)


def c_free(address: UInt64):
    _ = external_call["free", Int32](address)


def c_memcpy(destination: UInt64, source: UInt64, size: UInt64):
    _ = external_call["memmove", UInt64](destination, source, size)


def c_memset(destination: UInt64, value: Int32, size: UInt64):
    _ = external_call["memset", UInt64](destination, value, size)


def c_copy_of_string(text: UInt64) -> UInt64:
    return external_call["strdup", UInt64](text)


# ── state ───────────────────────────────────────────────────────────────────────────────────────────────


@fieldwise_init
struct Allocation(Copyable, Movable, ImplicitlyCopyable):
    var size: UInt64  # bytes that were asked for
    var storage: UInt64  # where the bytes are: the address itself, for pinned host memory


struct Driver(Movable):
    """All that the driver remembers. One a process; take `lock` before touching the rest."""

    var lock: BlockingSpinLock
    var launch: UInt64  # the LaunchCallback in Python; null until `softgpu_connect`
    var allocations: Dict[UInt64, Allocation]  # live device and pinned host memory, by address
    var bytes_in_use: UInt64
    var attributes: Dict[Int32, Int32]
    var error_names: Dict[Int32, StaticString]
    var context: UInt64
    var failure: Int32  # the last failure that came with a text of its own, and that text
    var failure_text: UInt64

    def __init__(out self):
        self.lock = BlockingSpinLock()
        self.launch = 0
        self.allocations = Dict[UInt64, Allocation]()
        self.bytes_in_use = 0
        self.attributes = device_attributes()
        self.error_names = error_names()
        self.context = 0
        self.failure = SUCCESS
        self.failure_text = 0


def new_driver() -> Driver:
    return Driver()


comptime DRIVER = _Global["SOFTGPU_DRIVER", new_driver]
comptime CONTEXT: UInt64 = 0xC0


def driver() -> Pointer[Driver, MutAnyOrigin]:
    try:
        return at[Driver](UInt64(Int(DRIVER.get_or_create_ptr())))
    except:
        abort("softgpu: the driver's state could not be made")


def fail(code: Int32, text: String) -> Int32:
    """Keep a text for `cuGetErrorString`, and return the code."""
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        c_free(d.failure_text)
        var terminated = text + "\0"
        d.failure = code
        d.failure_text = c_copy_of_string(UInt64(Int(terminated.unsafe_ptr())))
    return code


def not_supported(name: StaticString) -> Int32:
    """Every driver function that is not here ends here: named in the log, and refused."""
    print("softgpu: the driver function", name, "is not supported", file=stderr)
    return fail(NOT_SUPPORTED, "softgpu does not support " + String(name))


# ── what Python uses ────────────────────────────────────────────────────────────────────────────────────


@fieldwise_init
struct Launch(TrivialRegisterPassable):
    """What Python is told of a launch. `softgpu.driver.install.LaunchRecord` is this record in ctypes."""

    var module: UInt64
    var text: UInt64  # the module's PTX, closed by a null byte
    var kernel: UInt64  # the kernel's name, closed by a null byte
    var arguments: UInt64  # an array of addresses, one a kernel parameter
    var grid_x: UInt32
    var grid_y: UInt32
    var grid_z: UInt32
    var block_x: UInt32
    var block_y: UInt32
    var block_z: UInt32
    var shared_bytes: UInt32


comptime LaunchCallback = def(UInt64) thin abi("C") -> Int32


@export
def softgpu_connect(launch: UInt64) abi("C"):
    """Give the function that executes a launch: it takes a `Launch` by address and returns a CUresult."""
    driver()[].launch = launch


@export
def softgpu_fail(code: Int32, text: UInt64) abi("C"):
    """Give the text that `cuGetErrorString` answers for a failed launch."""
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        c_free(d.failure_text)
        d.failure = code
        d.failure_text = c_copy_of_string(text)


@export
def softgpu_allocations(rows: UInt64, capacity: Int64) abi("C") -> Int64:
    """Write up to `capacity` rows (address, size in bytes, storage) of live allocations; return how many there are."""
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        var count: Int64 = 0
        for entry in d.allocations.items():
            if count < capacity:
                at[UInt64](rows + UInt64(count) * 24)[] = entry.key
                at[UInt64](rows + UInt64(count) * 24 + 8)[] = entry.value.size
                at[UInt64](rows + UInt64(count) * 24 + 16)[] = entry.value.storage
            count += 1
        return count


# ── errors, version, device ─────────────────────────────────────────────────────────────────────────────


@export
def cuGetErrorName(code: Int32, name: UInt64) abi("C") -> Int32:
    var known = driver()[].error_names.get(code)
    if not known:
        return INVALID_VALUE
    at[UInt64](name)[] = UInt64(Int(known.value().unsafe_ptr()))
    return SUCCESS


@export
def cuGetErrorString(code: Int32, text: UInt64) abi("C") -> Int32:
    ref d = driver()[]
    if d.failure == code and d.failure_text != 0:
        at[UInt64](text)[] = d.failure_text
        return SUCCESS
    return cuGetErrorName(code, text)


@export
def cuInit(flags: UInt32) abi("C") -> Int32:
    return SUCCESS


@export
def cuDriverGetVersion(version: UInt64) abi("C") -> Int32:
    at[Int32](version)[] = DRIVER_VERSION
    return SUCCESS


@export
def cuDeviceGetCount(count: UInt64) abi("C") -> Int32:
    at[Int32](count)[] = 1
    return SUCCESS


@export
def cuDeviceGet(device: UInt64, ordinal: Int32) abi("C") -> Int32:
    if ordinal != 0:
        return fail(INVALID_DEVICE, "softgpu has one device, number 0")
    at[Int32](device)[] = 0
    return SUCCESS


@export
def cuDeviceGetName(name: UInt64, length: Int32, device: Int32) abi("C") -> Int32:
    _ = external_call["strncpy", UInt64](name, UInt64(Int(DEVICE_NAME.unsafe_ptr())), UInt64(length))
    return SUCCESS


@export
def cuDeviceTotalMem_v2(bytes: UInt64, device: Int32) abi("C") -> Int32:
    at[UInt64](bytes)[] = TOTAL_MEMORY
    return SUCCESS


@export
def cuDeviceGetUuid_v2(uuid: UInt64, device: Int32) abi("C") -> Int32:
    c_memset(uuid, 0, 16)
    return SUCCESS


@export
def cuDeviceGetAttribute(value: UInt64, attribute: Int32, device: Int32) abi("C") -> Int32:
    """The numbers of an A100 (compute capability 8.0): CUDA C++ Programming Guide, section on capabilities."""
    var known = driver()[].attributes.get(attribute)
    if not known:
        return fail(INVALID_VALUE, "softgpu does not know device attribute " + String(attribute))
    at[Int32](value)[] = known.value()
    return SUCCESS


def device_attributes() -> Dict[Int32, Int32]:
    return {
        1: 1024,  # MAX_THREADS_PER_BLOCK
        2: 1024,  # MAX_BLOCK_DIM_X
        3: 1024,  # MAX_BLOCK_DIM_Y
        4: 64,  # MAX_BLOCK_DIM_Z
        5: 2147483647,  # MAX_GRID_DIM_X
        6: 65535,  # MAX_GRID_DIM_Y
        7: 65535,  # MAX_GRID_DIM_Z
        8: 48 * 1024,  # MAX_SHARED_MEMORY_PER_BLOCK, bytes
        9: 64 * 1024,  # TOTAL_CONSTANT_MEMORY, bytes
        10: 32,  # WARP_SIZE
        11: 2147483647,  # MAX_PITCH, bytes
        12: 64 * 1024,  # MAX_REGISTERS_PER_BLOCK
        13: 1410000,  # CLOCK_RATE, kHz
        14: 512,  # TEXTURE_ALIGNMENT, bytes
        16: 108,  # MULTIPROCESSOR_COUNT
        17: 0,  # KERNEL_EXEC_TIMEOUT
        18: 0,  # INTEGRATED
        19: 1,  # CAN_MAP_HOST_MEMORY
        20: 0,  # COMPUTE_MODE: default
        31: 1,  # CONCURRENT_KERNELS
        32: 0,  # ECC_ENABLED
        33: 0,  # PCI_BUS_ID
        34: 0,  # PCI_DEVICE_ID
        35: 0,  # TCC_DRIVER
        36: 1215000,  # MEMORY_CLOCK_RATE, kHz
        37: 5120,  # GLOBAL_MEMORY_BUS_WIDTH, bits
        38: 40 * 1024 * 1024,  # L2_CACHE_SIZE, bytes
        39: 2048,  # MAX_THREADS_PER_MULTIPROCESSOR
        40: 0,  # ASYNC_ENGINE_COUNT: copies are done before they return
        41: 1,  # UNIFIED_ADDRESSING
        50: 0,  # PCI_DOMAIN_ID
        75: 8,  # COMPUTE_CAPABILITY_MAJOR
        76: 0,  # COMPUTE_CAPABILITY_MINOR
        78: 0,  # STREAM_PRIORITIES_SUPPORTED
        81: 164 * 1024,  # MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, bytes
        82: 64 * 1024,  # MAX_REGISTERS_PER_MULTIPROCESSOR
        83: 0,  # MANAGED_MEMORY
        95: 0,  # COOPERATIVE_LAUNCH
        97: 163 * 1024,  # MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, bytes
        102: 0,  # VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
        106: 32,  # MAX_BLOCKS_PER_MULTIPROCESSOR
        111: 1024,  # RESERVED_SHARED_MEMORY_PER_BLOCK, bytes
        115: 0,  # MEMORY_POOLS_SUPPORTED
        120: 0,  # CLUSTER_LAUNCH
    }


@export
def cuDeviceCanAccessPeer(can: UInt64, device: Int32, peer: Int32) abi("C") -> Int32:
    at[Int32](can)[] = 0
    return SUCCESS


# ── contexts ────────────────────────────────────────────────────────────────────────────────────────────


@export
def cuDevicePrimaryCtxRetain(context: UInt64, device: Int32) abi("C") -> Int32:
    at[UInt64](context)[] = CONTEXT
    return SUCCESS


@export
def cuDevicePrimaryCtxRelease_v2(device: Int32) abi("C") -> Int32:
    return SUCCESS


@export
def cuCtxGetCurrent(context: UInt64) abi("C") -> Int32:
    at[UInt64](context)[] = driver()[].context
    return SUCCESS


@export
def cuCtxSetCurrent(context: UInt64) abi("C") -> Int32:
    driver()[].context = context
    return SUCCESS


@export
def cuCtxPushCurrent_v2(context: UInt64) abi("C") -> Int32:
    driver()[].context = context
    return SUCCESS


@export
def cuCtxPushCurrent(context: UInt64) abi("C") -> Int32:
    return cuCtxPushCurrent_v2(context)


@export
def cuCtxPopCurrent_v2(context: UInt64) abi("C") -> Int32:
    if context != 0:
        at[UInt64](context)[] = driver()[].context
    return SUCCESS


@export
def cuCtxPopCurrent(context: UInt64) abi("C") -> Int32:
    return cuCtxPopCurrent_v2(context)


@export
def cuCtxSynchronize() abi("C") -> Int32:
    return SUCCESS


@export
def cuCtxGetStreamPriorityRange(least: UInt64, greatest: UInt64) abi("C") -> Int32:
    at[Int32](least)[] = 0
    at[Int32](greatest)[] = 0
    return SUCCESS


# ── streams and events: all work is done before a call returns ──────────────────────────────────────────


@export
def cuStreamCreate(stream: UInt64, flags: UInt32) abi("C") -> Int32:
    at[UInt64](stream)[] = c_malloc(8)
    return SUCCESS


@export
def cuStreamCreateWithPriority(stream: UInt64, flags: UInt32, priority: Int32) abi("C") -> Int32:
    return cuStreamCreate(stream, flags)


@export
def cuStreamDestroy(stream: UInt64) abi("C") -> Int32:
    c_free(stream)
    return SUCCESS


@export
def cuStreamDestroy_v2(stream: UInt64) abi("C") -> Int32:
    return cuStreamDestroy(stream)


@export
def cuStreamSynchronize(stream: UInt64) abi("C") -> Int32:
    return SUCCESS


@export
def cuStreamWaitEvent(stream: UInt64, event: UInt64, flags: UInt32) abi("C") -> Int32:
    return SUCCESS


@export
def cuStreamIsCapturing(stream: UInt64, status: UInt64) abi("C") -> Int32:
    at[Int32](status)[] = 0
    return SUCCESS


@export
def cuEventCreate(event: UInt64, flags: UInt32) abi("C") -> Int32:
    var made = c_malloc(8)
    at[UInt64](made)[] = 0
    at[UInt64](event)[] = made
    return SUCCESS


@export
def cuEventDestroy(event: UInt64) abi("C") -> Int32:
    c_free(event)
    return SUCCESS


@export
def cuEventDestroy_v2(event: UInt64) abi("C") -> Int32:
    return cuEventDestroy(event)


@export
def cuEventRecord(event: UInt64, stream: UInt64) abi("C") -> Int32:
    at[UInt64](event)[] = UInt64(perf_counter_ns())
    return SUCCESS


@export
def cuEventQuery(event: UInt64) abi("C") -> Int32:
    return SUCCESS


@export
def cuEventSynchronize(event: UInt64) abi("C") -> Int32:
    return SUCCESS


@export
def cuEventElapsedTime(milliseconds: UInt64, start: UInt64, end: UInt64) abi("C") -> Int32:
    at[Float32](milliseconds)[] = Float32(at[UInt64](end)[] - at[UInt64](start)[]) / 1e6
    return SUCCESS


@export
def cuEventElapsedTime_v2(milliseconds: UInt64, start: UInt64, end: UInt64) abi("C") -> Int32:
    return cuEventElapsedTime(milliseconds, start, end)


@export
def cuLaunchHostFunc(stream: UInt64, function: UInt64, data: UInt64) abi("C") -> Int32:
    var address = function
    Pointer(to=address).unsafe_bitcast[def(UInt64) thin abi("C") -> None]()[](data)
    return SUCCESS


# ── memory ──────────────────────────────────────────────────────────────────────────────────────────────


def reserve(size: UInt64) -> UInt64:
    """Addresses for `size` bytes, with a guard on both sides, that nobody may touch. Null if there are none left."""
    comptime PROT_NONE: Int32 = 0
    comptime PRIVATE_ANONYMOUS_NORESERVE: Int32 = 0x4022
    var start = external_call["mmap", UInt64](
        UInt64(0), reserved(size), PROT_NONE, PRIVATE_ANONYMOUS_NORESERVE, Int32(-1), Int64(0)
    )
    return 0 if start == UInt64.MAX else start + GUARD


def reserved(size: UInt64) -> UInt64:
    return (size + PAGE - 1) // PAGE * PAGE + 2 * GUARD


def allocate(result: UInt64, size: UInt64, on_host: Bool) -> Int32:
    if size == 0:
        return fail(INVALID_VALUE, "an allocation of 0 bytes was asked for")
    ref d = driver()[]
    var storage: UInt64 = 0
    with BlockingScopedLock(d.lock):
        if d.bytes_in_use + size <= TOTAL_MEMORY:
            storage = c_malloc(size)
        var address = storage if on_host or storage == 0 else reserve(size)
        if address != 0:
            c_memset(storage, POISON, size)
            d.allocations[address] = Allocation(size=size, storage=storage)
            d.bytes_in_use += size
            at[UInt64](result)[] = address
            return SUCCESS
    c_free(storage)
    return fail(
        OUT_OF_MEMORY,
        String(size) + " bytes do not fit into the software GPU's " + String(TOTAL_MEMORY) + " bytes",
    )


@export
def cuMemAlloc_v2(address: UInt64, size: UInt64) abi("C") -> Int32:
    return allocate(address, size, on_host=False)


@export
def cuMemFree_v2(address: UInt64) abi("C") -> Int32:
    if address == 0:
        return SUCCESS
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        try:
            var allocation = d.allocations.pop(address)
            d.bytes_in_use -= allocation.size
            c_free(allocation.storage)
            if allocation.storage != address:
                _ = external_call["munmap", Int32](address - GUARD, reserved(allocation.size))
            return SUCCESS
        except:
            pass
    return fail(INVALID_VALUE, "an address was freed that no live allocation starts at")


@export
def cuMemAllocAsync(address: UInt64, size: UInt64, stream: UInt64) abi("C") -> Int32:
    return cuMemAlloc_v2(address, size)


@export
def cuMemFreeAsync(address: UInt64, stream: UInt64) abi("C") -> Int32:
    return cuMemFree_v2(address)


@export
def cuMemAllocHost_v2(address: UInt64, size: UInt64) abi("C") -> Int32:
    return allocate(address, size, on_host=True)


@export
def cuMemHostAlloc(address: UInt64, size: UInt64, flags: UInt32) abi("C") -> Int32:
    return allocate(address, size, on_host=True)


@export
def cuMemFreeHost(address: UInt64) abi("C") -> Int32:
    return cuMemFree_v2(address)


@export
def cuMemHostGetDevicePointer_v2(device: UInt64, host: UInt64, flags: UInt32) abi("C") -> Int32:
    at[UInt64](device)[] = host
    return SUCCESS


@export
def cuMemGetInfo_v2(free: UInt64, total: UInt64) abi("C") -> Int32:
    at[UInt64](free)[] = TOTAL_MEMORY - driver()[].bytes_in_use
    at[UInt64](total)[] = TOTAL_MEMORY
    return SUCCESS


@export
def cuMemGetAllocationGranularity(granularity: UInt64, properties: UInt64, option: Int32) abi("C") -> Int32:
    at[UInt64](granularity)[] = 2 << 20
    return SUCCESS


@export
def cuMemGetAddressRange_v2(base: UInt64, size: UInt64, address: UInt64) abi("C") -> Int32:
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        for entry in d.allocations.items():
            if entry.key <= address and address < entry.key + entry.value.size:
                if base != 0:
                    at[UInt64](base)[] = entry.key
                if size != 0:
                    at[UInt64](size)[] = entry.value.size
                return SUCCESS
    return NOT_FOUND


def storage_of(address: UInt64, size: UInt64) -> UInt64:
    """Where the bytes at a device address are; null unless all of them lie in one live allocation."""
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        for entry in d.allocations.items():
            if entry.key <= address and address + size <= entry.key + entry.value.size:
                return entry.value.storage + (address - entry.key)
    return 0


def copy(destination: UInt64, source: UInt64, size: UInt64) -> Int32:
    """Copy between host pointers. Null stands for a device address outside of every allocation."""
    if size == 0:
        return SUCCESS
    if destination == 0 or source == 0:
        return fail(INVALID_VALUE, "a copy of " + String(size) + " bytes does not stay inside one allocation")
    c_memcpy(destination, source, size)
    return SUCCESS


@export
def cuMemcpyHtoD_v2(destination: UInt64, source: UInt64, size: UInt64) abi("C") -> Int32:
    return copy(storage_of(destination, size), source, size)


@export
def cuMemcpyHtoDAsync_v2(destination: UInt64, source: UInt64, size: UInt64, stream: UInt64) abi("C") -> Int32:
    return copy(storage_of(destination, size), source, size)


@export
def cuMemcpyDtoH_v2(destination: UInt64, source: UInt64, size: UInt64) abi("C") -> Int32:
    return copy(destination, storage_of(source, size), size)


@export
def cuMemcpyDtoHAsync_v2(destination: UInt64, source: UInt64, size: UInt64, stream: UInt64) abi("C") -> Int32:
    return copy(destination, storage_of(source, size), size)


@export
def cuMemcpyDtoD_v2(destination: UInt64, source: UInt64, size: UInt64) abi("C") -> Int32:
    return copy(storage_of(destination, size), storage_of(source, size), size)


@export
def cuMemcpyDtoDAsync_v2(destination: UInt64, source: UInt64, size: UInt64, stream: UInt64) abi("C") -> Int32:
    return cuMemcpyDtoD_v2(destination, source, size)


def fill[T: TrivialRegisterPassable](address: UInt64, value: T, count: UInt64, width: UInt64) -> Int32:
    var storage = storage_of(address, count * width)
    if count != 0 and storage == 0:
        return fail(INVALID_VALUE, "a memset of " + String(count * width) + " bytes does not stay inside one allocation")
    for i in range(count):
        at[T](storage + i * width)[] = value
    return SUCCESS


@export
def cuMemsetD8_v2(address: UInt64, value: UInt8, count: UInt64) abi("C") -> Int32:
    return fill(address, value, count, 1)


@export
def cuMemsetD8Async(address: UInt64, value: UInt8, count: UInt64, stream: UInt64) abi("C") -> Int32:
    return fill(address, value, count, 1)


@export
def cuMemsetD16_v2(address: UInt64, value: UInt16, count: UInt64) abi("C") -> Int32:
    return fill(address, value, count, 2)


@export
def cuMemsetD16Async(address: UInt64, value: UInt16, count: UInt64, stream: UInt64) abi("C") -> Int32:
    return fill(address, value, count, 2)


@export
def cuMemsetD32_v2(address: UInt64, value: UInt32, count: UInt64) abi("C") -> Int32:
    return fill(address, value, count, 4)


@export
def cuMemsetD32Async(address: UInt64, value: UInt32, count: UInt64, stream: UInt64) abi("C") -> Int32:
    return fill(address, value, count, 4)


# ── modules and launches ────────────────────────────────────────────────────────────────────────────────


@fieldwise_init
struct Function(TrivialRegisterPassable):
    var module: UInt64  # address of the module's PTX, which is also its handle
    var name: UInt64


@export
def cuModuleLoadDataEx(
    module: UInt64, image: UInt64, count: UInt32, options: UInt64, values: UInt64
) abi("C") -> Int32:
    """The assembler stand-in hands PTX text through, so that the image is text and its copy is the module."""
    at[UInt64](module)[] = c_copy_of_string(image)
    return SUCCESS


@export
def cuModuleLoadData(module: UInt64, image: UInt64) abi("C") -> Int32:
    return cuModuleLoadDataEx(module, image, 0, 0, 0)


@export
def cuModuleUnload(module: UInt64) abi("C") -> Int32:
    """The text stays: Python knows a parsed module by its address, which must not be given out again."""
    return SUCCESS


@export
def cuModuleGetFunction(function: UInt64, module: UInt64, name: UInt64) abi("C") -> Int32:
    if external_call["strstr", UInt64](module, name) == 0:
        return fail(NOT_FOUND, "the module has no kernel of that name")
    var made = c_malloc(16)
    at[Function](made)[] = Function(module=module, name=c_copy_of_string(name))
    at[UInt64](function)[] = made
    return SUCCESS


@export
def cuFuncSetAttribute(function: UInt64, attribute: Int32, value: Int32) abi("C") -> Int32:
    return SUCCESS


@export
def cuFuncGetAttribute(value: UInt64, attribute: Int32, function: UInt64) abi("C") -> Int32:
    if attribute != 0:  # MAX_THREADS_PER_BLOCK
        return fail(NOT_SUPPORTED, "softgpu does not know function attribute " + String(attribute))
    at[Int32](value)[] = 1024
    return SUCCESS


@export
def cuLaunchKernel(
    function: UInt64,
    grid_x: UInt32,
    grid_y: UInt32,
    grid_z: UInt32,
    block_x: UInt32,
    block_y: UInt32,
    block_z: UInt32,
    shared_bytes: UInt32,
    stream: UInt64,
    arguments: UInt64,
    extra: UInt64,
) abi("C") -> Int32:
    if extra != 0:
        return fail(NOT_SUPPORTED, "softgpu takes kernel arguments as an array of addresses, not as a buffer")
    var f = at[Function](function)[]
    var record = c_malloc(UInt64(size_of[Launch]()))  # on the heap: a local may end before the callback reads it
    at[Launch](record)[] = Launch(
        module=f.module,
        text=f.module,
        kernel=f.name,
        arguments=arguments,
        grid_x=grid_x,
        grid_y=grid_y,
        grid_z=grid_z,
        block_x=block_x,
        block_y=block_y,
        block_z=block_z,
        shared_bytes=shared_bytes,
    )
    var callback = driver()[].launch
    var result = Pointer(to=callback).unsafe_bitcast[LaunchCallback]()[](record)
    c_free(record)
    return result


@export
def cuLaunchKernelEx(config: UInt64, function: UInt64, arguments: UInt64, extra: UInt64) abi("C") -> Int32:
    """`config` is a CUlaunchConfig: seven 32-bit numbers, the stream, and a list of attributes."""
    var attribute_count = at[UInt32](config + 48)[]
    if attribute_count != 0:
        return fail(NOT_SUPPORTED, "softgpu supports no launch attributes (clusters, programmatic launches)")
    return cuLaunchKernel(
        function,
        at[UInt32](config)[],
        at[UInt32](config + 4)[],
        at[UInt32](config + 8)[],
        at[UInt32](config + 12)[],
        at[UInt32](config + 16)[],
        at[UInt32](config + 20)[],
        at[UInt32](config + 24)[],
        at[UInt64](config + 32)[],
        arguments,
        extra,
    )
