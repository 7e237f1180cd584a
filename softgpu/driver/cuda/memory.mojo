"""Device memory, pinned host memory, mapped memory, and what is known of a pointer.

A device address is no host pointer: the pages at it are reserved and may not be touched, as on a machine with a GPU,
and the bytes lie elsewhere. A program that reads device memory on the CPU is stopped by the system, not helped.

Source: CUDA Driver API reference manual, sections 6.13 to 6.17.
"""

from std.ffi import external_call

from state import *

comptime POISON: Int32 = 0xFF  # every byte of new memory: a float read from it is NaN
comptime GRANULARITY: UInt64 = 2 << 20

# ── what Python asks ────────────────────────────────────────────────────────────────────────────────────


@export
def softgpu_allocations(rows: UInt64, capacity: Int64) abi("C") -> Int64:
    """Write up to `capacity` rows (address, size in bytes, storage, number) of live allocations; return how many there
    are. The number tells an allocation from an earlier one at the same address."""
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        var count = len(d.allocations)
        for i in range(min(count, Int(capacity))):
            var row = rows + UInt64(i) * 32
            at[UInt64](row)[] = d.allocations[i].address
            at[UInt64](row + 8)[] = d.allocations[i].size
            at[UInt64](row + 16)[] = d.allocations[i].storage
            at[UInt64](row + 24)[] = d.allocations[i].number
        return Int64(count)


@export
def softgpu_changes() abi("C") -> UInt64:
    """How often the set of allocations or modules has changed."""
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        return d.changes


@export
def softgpu_host_writes(rows: UInt64, capacity: Int64) abi("C") -> Int64:
    """Move up to `capacity` rows (address, bytes) of what copies and memsets wrote since the last call; return how many.
    Call it until it returns 0."""
    ref d = driver()[]
    var count: Int64 = 0
    with BlockingScopedLock(d.lock):
        for i in range(len(d.allocations)):
            while len(d.allocations[i].written) > 0 and count < capacity:
                var one = d.allocations[i].written.pop()
                at[UInt64](rows + UInt64(count) * 16)[] = one.start
                at[UInt64](rows + UInt64(count) * 16 + 8)[] = one.end - one.start
                count += 1
    return count


# ── device memory ───────────────────────────────────────────────────────────────────────────────────────


def allocate(result: UInt64, size: UInt64, kind: Int32) -> Int32:
    if size == 0 or result == 0:
        return fail(INVALID_VALUE, "an allocation of 0 bytes was asked for, or there is no place for its address")
    var state = state_of_context()
    if state != SUCCESS:
        return state
    ref d = driver()[]
    var context = current_context()
    var storage: UInt64 = 0
    with BlockingScopedLock(d.lock):
        if kind != DEVICE or size <= TOTAL_MEMORY - d.bytes_in_use:
            storage = page_aligned(size)
        var address = reserve(size) if kind == DEVICE and storage != 0 else storage
        if address != 0:
            c_memset(storage, POISON, size)
            add_allocation(address, size, storage, kind, context)
            at[UInt64](result)[] = address
            return SUCCESS
    c_free(storage)
    return out_of_memory(size)


def page_aligned(size: UInt64) -> UInt64:
    return external_call["aligned_alloc", UInt64](PAGE, (size + PAGE - 1) // PAGE * PAGE)


def out_of_memory(size: UInt64) -> Int32:
    return fail(
        OUT_OF_MEMORY, String(size) + " bytes do not fit into the software GPU's " + String(TOTAL_MEMORY) + " bytes"
    )


def release(address: UInt64, kind: Int32, code: Int32, text: StaticString) -> Int32:
    """Take back an allocation of a kind, also where an error sticks: then the program is told of that one."""
    ref d = driver()[]
    var found = False
    with BlockingScopedLock(d.lock):
        var position = position_of(address, 0)
        if position >= 0 and d.allocations[position].address == address and d.allocations[position].kind == kind:
            remove_allocation(position)
            found = True
    var state = state_of_context()
    return state if found or state != SUCCESS else fail(code, String(text))


@export
def cuMemAlloc_v2(address: UInt64, size: UInt64) abi("C") -> Int32:
    return allocate(address, size, DEVICE)


@export
def cuMemAllocPitch_v2(
    address: UInt64, pitch: UInt64, width: UInt64, height: UInt64, element: UInt32
) abi("C") -> Int32:
    var row = (width + 511) // 512 * 512
    put(pitch, row)
    return allocate(address, row * height, DEVICE)


@export
def cuMemFree_v2(address: UInt64) abi("C") -> Int32:
    if address == 0:
        return SUCCESS
    return release(address, DEVICE, INVALID_VALUE, "an address was freed that no live allocation starts at")


@export
def cuMemAllocAsync(address: UInt64, size: UInt64, stream: UInt64) abi("C") -> Int32:
    return cuMemAlloc_v2(address, size) if is_stream(stream) else invalid_handle("stream")


@export
def cuMemAllocFromPoolAsync(address: UInt64, size: UInt64, pool: UInt64, stream: UInt64) abi("C") -> Int32:
    return cuMemAllocAsync(address, size, stream) if is_a(pool, POOL) else invalid_handle("memory pool")


@export
def cuMemFreeAsync(address: UInt64, stream: UInt64) abi("C") -> Int32:
    return cuMemFree_v2(address) if is_stream(stream) else invalid_handle("stream")


@export
def cuMemGetInfo_v2(free: UInt64, total: UInt64) abi("C") -> Int32:
    put(free, TOTAL_MEMORY - driver()[].bytes_in_use)
    put(total, TOTAL_MEMORY)
    return state_of_context()


# ── pools: every allocation is one of its own, so that a pool keeps nothing ─────────────────────────────


@export
def cuDeviceGetDefaultMemPool(pool: UInt64, device: Int32) abi("C") -> Int32:
    put(pool, driver()[].pool)
    return SUCCESS if device == 0 else fail(INVALID_DEVICE, "softgpu has one device, number 0")


@export
def cuDeviceGetMemPool(pool: UInt64, device: Int32) abi("C") -> Int32:
    return cuDeviceGetDefaultMemPool(pool, device)


@export
def cuDeviceSetMemPool(device: Int32, pool: UInt64) abi("C") -> Int32:
    return SUCCESS if is_a(pool, POOL) else invalid_handle("memory pool")


@export
def cuMemPoolCreate(pool: UInt64, properties: UInt64) abi("C") -> Int32:
    put(pool, new_handle(POOL, UInt64(0)))
    return SUCCESS


@export
def cuMemPoolDestroy(pool: UInt64) abi("C") -> Int32:
    if pool == driver()[].pool:
        return fail(INVALID_VALUE, "the default memory pool cannot be destroyed")
    return SUCCESS if destroy(pool, POOL) else invalid_handle("memory pool")


@export
def cuMemPoolTrimTo(pool: UInt64, bytes: UInt64) abi("C") -> Int32:
    return SUCCESS if is_a(pool, POOL) else invalid_handle("memory pool")


@export
def cuMemPoolSetAttribute(pool: UInt64, attribute: Int32, value: UInt64) abi("C") -> Int32:
    return SUCCESS if is_a(pool, POOL) else invalid_handle("memory pool")


@export
def cuMemPoolSetAccess(pool: UInt64, access: UInt64, count: UInt64) abi("C") -> Int32:
    return SUCCESS if is_a(pool, POOL) else invalid_handle("memory pool")


# ── host memory ─────────────────────────────────────────────────────────────────────────────────────────


@export
def cuMemAllocHost_v2(address: UInt64, size: UInt64) abi("C") -> Int32:
    return allocate(address, size, PINNED)


@export
def cuMemHostAlloc(address: UInt64, size: UInt64, flags: UInt32) abi("C") -> Int32:
    return allocate(address, size, PINNED)


@export
def cuMemFreeHost(address: UInt64) abi("C") -> Int32:
    return release(address, PINNED, INVALID_VALUE, "this is no pinned host memory, or it was freed")


@export
def cuMemHostRegister_v2(address: UInt64, size: UInt64, flags: UInt32) abi("C") -> Int32:
    if address == 0 or size == 0:
        return fail(INVALID_VALUE, "the memory to register is null or has 0 bytes")
    var state = state_of_context()
    if state != SUCCESS:
        return state
    ref d = driver()[]
    var context = current_context()
    with BlockingScopedLock(d.lock):
        var before = position_after(address + size - 1) - 1
        if before < 0 or d.allocations[before].end() <= address:
            add_allocation(address, size, address, REGISTERED, context)
            return SUCCESS
    return fail(HOST_MEMORY_ALREADY_REGISTERED, "the memory, or a part of it, is registered or pinned already")


@export
def cuMemHostUnregister(address: UInt64) abi("C") -> Int32:
    return release(address, REGISTERED, HOST_MEMORY_NOT_REGISTERED, "no registered memory starts at this address")


def host_memory_at(address: UInt64) -> Bool:
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        var position = position_of(address, 0)
        return position >= 0 and d.allocations[position].is_host()


@export
def cuMemHostGetDevicePointer_v2(device: UInt64, host: UInt64, flags: UInt32) abi("C") -> Int32:
    if device == 0 or not host_memory_at(host):
        return fail(INVALID_VALUE, "the address lies in no pinned or registered host memory")
    at[UInt64](device)[] = host
    return state_of_context()


@export
def cuMemHostGetFlags(flags: UInt64, host: UInt64) abi("C") -> Int32:
    if not host_memory_at(host):
        return fail(INVALID_VALUE, "the address lies in no pinned or registered host memory")
    put[UInt32](flags, 3)  # CU_MEMHOSTALLOC_PORTABLE | …_DEVICEMAP, which all of it is
    return SUCCESS


# ── what is known of an address ─────────────────────────────────────────────────────────────────────────


@export
def cuMemGetAddressRange_v2(base: UInt64, size: UInt64, address: UInt64) abi("C") -> Int32:
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        var position = position_of(address, 0)
        if position >= 0:
            put(base, d.allocations[position].address)
            put(size, d.allocations[position].size)
            return SUCCESS
    return fail(NOT_FOUND, "the address lies in no live allocation")


def put_attribute(value: UInt64, attribute: Int32, address: UInt64) -> Int32:
    """A CUpointer_attribute. Without an allocation at the address there is none."""
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        var position = position_of(address, 0)
        if position < 0:
            return INVALID_VALUE
        ref allocation = d.allocations[position]
        if attribute == 1:  # CONTEXT
            put(value, allocation.context)
        elif attribute == 2:  # MEMORY_TYPE: host 1, device 2
            put(value, UInt32(1) if allocation.is_host() else UInt32(2))
        elif attribute == 3:  # DEVICE_POINTER
            put(value, address)
        elif attribute == 4:  # HOST_POINTER
            if not allocation.is_host():
                return INVALID_VALUE
            put(value, address)
        elif attribute == 7:  # BUFFER_ID
            put(value, allocation.number)
        elif attribute == 6 or attribute == 8 or attribute == 10 or attribute == 15:
            put[UInt32](value, 0)  # SYNC_MEMOPS, IS_MANAGED, IS_LEGACY_CUDA_IPC_CAPABLE, IS_GPU_DIRECT_RDMA_CAPABLE
        elif attribute == 9:  # DEVICE_ORDINAL
            put[Int32](value, 0)
        elif attribute == 11:  # RANGE_START_ADDR
            put(value, allocation.address)
        elif attribute == 12:  # RANGE_SIZE
            put(value, allocation.size)
        elif attribute == 13:  # MAPPED
            put[UInt32](value, 1)
        elif attribute == 14:  # ALLOWED_HANDLE_TYPES
            put[UInt64](value, 0)
        elif attribute == 16:  # ACCESS_FLAGS: read and write
            put[UInt32](value, 3)
        else:
            return NOT_SUPPORTED
    return SUCCESS


@export
def cuPointerGetAttribute(value: UInt64, attribute: Int32, address: UInt64) abi("C") -> Int32:
    var result = put_attribute(value, attribute, address)
    if result == INVALID_VALUE:
        return fail(result, "the address lies in no live allocation, or has no attribute " + String(attribute))
    if result == NOT_SUPPORTED:
        return fail(result, "softgpu does not know pointer attribute " + String(attribute))
    return state_of_context()


@export
def cuPointerGetAttributes(count: UInt32, attributes: UInt64, values: UInt64, address: UInt64) abi("C") -> Int32:
    """What an address has no answer to is null, and no error. Each value is written in its own size."""
    for i in range(UInt64(count)):
        var attribute = at[Int32](attributes + i * 4)[]
        var value = at[UInt64](values + i * 8)[]
        var result = put_attribute(value, attribute, address)
        if result == NOT_SUPPORTED:
            return fail(result, "softgpu does not know pointer attribute " + String(attribute))
        if result == INVALID_VALUE:
            var wide = attribute == 1 or attribute == 3 or attribute == 4 or attribute == 7 or attribute == 11
            c_memset(value, 0, UInt64(8) if wide or attribute == 12 or attribute == 14 else UInt64(4))
            if attribute == 9:
                put[Int32](value, -2)  # CU_DEVICE_INVALID
    return SUCCESS


@export
def cuPointerSetAttribute(value: UInt64, attribute: Int32, address: UInt64) abi("C") -> Int32:
    """SYNC_MEMOPS is the one that can be set: copies are synchronous in any case."""
    if attribute != 6:
        return fail(INVALID_VALUE, "pointer attribute " + String(attribute) + " cannot be set")
    return SUCCESS


# ── memory mapped to reserved addresses ─────────────────────────────────────────────────────────────────


@export
def cuMemGetAllocationGranularity(granularity: UInt64, properties: UInt64, option: Int32) abi("C") -> Int32:
    put(granularity, GRANULARITY)
    return SUCCESS


@export
def cuMemAddressReserve(
    address: UInt64, size: UInt64, alignment: UInt64, wanted: UInt64, flags: UInt64
) abi("C") -> Int32:
    """Addresses are multiples of the granularity; a wish for a certain one is not granted, as the manual allows."""
    if address == 0 or size == 0 or size % GRANULARITY != 0 or alignment > GRANULARITY:
        return fail(INVALID_VALUE, "addresses are reserved in multiples of " + String(GRANULARITY) + " bytes")
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        var start = reserve(size + GRANULARITY)
        if start != 0:
            var aligned = (start + GRANULARITY - 1) // GRANULARITY * GRANULARITY
            d.reserved[aligned] = start
            at[UInt64](address)[] = aligned
            return SUCCESS
    return out_of_memory(size)


@export
def cuMemAddressFree(address: UInt64, size: UInt64) abi("C") -> Int32:
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        try:
            unreserve(d.reserved.pop(address), size + GRANULARITY)
            return SUCCESS
        except:
            pass
    return fail(INVALID_VALUE, "no reserved addresses start here")


@export
def cuMemCreate(handle: UInt64, size: UInt64, properties: UInt64, flags: UInt64) abi("C") -> Int32:
    if handle == 0 or size == 0 or size % GRANULARITY != 0:
        return fail(INVALID_VALUE, "memory is made in multiples of " + String(GRANULARITY) + " bytes")
    ref d = driver()[]
    var storage: UInt64 = 0
    with BlockingScopedLock(d.lock):
        if size <= TOTAL_MEMORY - d.bytes_in_use:
            storage = page_aligned(size)
        if storage != 0:
            d.bytes_in_use += size
    if storage == 0:
        return out_of_memory(size)
    c_memset(storage, POISON, size)
    put(handle, new_handle(PHYSICAL_MEMORY, PhysicalMemory(size=size, storage=storage, users=1)))
    return SUCCESS


@export
def cuMemMap(address: UInt64, size: UInt64, offset: UInt64, handle: UInt64, flags: UInt64) abi("C") -> Int32:
    if not is_a(handle, PHYSICAL_MEMORY):
        return invalid_handle("memory of cuMemCreate")
    var memory = at[PhysicalMemory](handle)[]
    if size == 0 or offset > memory.size or size > memory.size - offset:
        return fail(INVALID_VALUE, "more was mapped than the memory has bytes")
    ref d = driver()[]
    var context = current_context()
    with BlockingScopedLock(d.lock):
        at[PhysicalMemory](handle)[].users += 1
        add_allocation(address, size, memory.storage + offset, MAPPED, context, memory=handle)
    return SUCCESS


@export
def cuMemSetAccess(address: UInt64, size: UInt64, access: UInt64, count: UInt64) abi("C") -> Int32:
    return SUCCESS


@export
def cuMemUnmap(address: UInt64, size: UInt64) abi("C") -> Int32:
    return release(address, MAPPED, INVALID_VALUE, "no mapped memory starts at this address")


@export
def cuMemRelease(handle: UInt64) abi("C") -> Int32:
    """The bytes are kept while they are mapped: MAX releases a handle as soon as it has mapped it."""
    ref d = driver()[]
    if not is_a(handle, PHYSICAL_MEMORY):
        return invalid_handle("memory of cuMemCreate")
    with BlockingScopedLock(d.lock):
        forget(handle)
    return SUCCESS
