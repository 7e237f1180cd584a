"""What all parts of the stand-in driver share: error codes, the calling thread, contexts, handles, allocations.

C handles and pointers are taken as `UInt64` addresses: the C ABI passes them alike, and a caller's null or
wild pointer is then only a number.
"""

from std.collections import Dict, List
from std.ffi import _Global, external_call
from std.os import abort
from std.sys import size_of, stderr
from std.utils.lock import BlockingScopedLock, BlockingSpinLock

# ── error codes (CUresult) ──────────────────────────────────────────────────────────────────────────────

comptime SUCCESS: Int32 = 0
comptime INVALID_VALUE: Int32 = 1
comptime OUT_OF_MEMORY: Int32 = 2
comptime INVALID_DEVICE: Int32 = 101
comptime INVALID_IMAGE: Int32 = 200
comptime INVALID_CONTEXT: Int32 = 201
comptime NO_BINARY_FOR_GPU: Int32 = 209
comptime UNSUPPORTED_LIMIT: Int32 = 215
comptime PEER_ACCESS_UNSUPPORTED: Int32 = 217
comptime FILE_NOT_FOUND: Int32 = 301
comptime INVALID_HANDLE: Int32 = 400
comptime NOT_FOUND: Int32 = 500
comptime HOST_MEMORY_ALREADY_REGISTERED: Int32 = 712
comptime HOST_MEMORY_NOT_REGISTERED: Int32 = 713
comptime CONTEXT_IS_DESTROYED: Int32 = 709
comptime COOPERATIVE_LAUNCH_TOO_LARGE: Int32 = 720
comptime NOT_SUPPORTED: Int32 = 801

comptime TOTAL_MEMORY: UInt64 = 8 << 30

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


def text_at(address: UInt64) -> String:
    """The C string at an address."""
    var length = external_call["strlen", UInt64](address)
    return String(from_utf8_lossy=Span(unsafe_ptr=at[UInt8](address), length=Int(length)))


def put[T: TrivialRegisterPassable](address: UInt64, value: T):
    """Write a result where the caller wants it; null means that it does not."""
    if address != 0:
        at[T](address)[] = value


def new_record[T: TrivialRegisterPassable](value: T) -> UInt64:
    var made = c_malloc(UInt64(size_of[T]()))
    at[T](made)[] = value
    return made


# ── the records ─────────────────────────────────────────────────────────────────────────────────────────

# What a handle is.
comptime CONTEXT: Int32 = 1
comptime STREAM: Int32 = 2
comptime EVENT: Int32 = 3
comptime MODULE: Int32 = 4
comptime FUNCTION: Int32 = 5
comptime POOL: Int32 = 6
comptime PHYSICAL_MEMORY: Int32 = 7

# What an allocation is.
comptime DEVICE: Int32 = 1
comptime PINNED: Int32 = 2
comptime REGISTERED: Int32 = 3  # host memory of the program's own
comptime MAPPED: Int32 = 4  # physical memory at reserved addresses
comptime VARIABLE: Int32 = 5  # a module's variable: Python owns the bytes


@fieldwise_init
struct Handle(Copyable, ImplicitlyCopyable, Movable):
    var kind: Int32
    var context: UInt64  # the handle dies with it


@fieldwise_init
struct Context(TrivialRegisterPassable):
    var failure: Int32  # the error that sticks, and its text
    var failure_text: UInt64
    var flags: UInt32
    var retained: UInt32  # of the primary context: how often


@fieldwise_init
struct Range(Copyable, ImplicitlyCopyable, Movable):
    var start: UInt64
    var end: UInt64


@fieldwise_init
struct Allocation(Copyable, Movable):
    var address: UInt64
    var size: UInt64  # bytes that were asked for
    var storage: UInt64  # where the bytes are: the address itself, for host memory
    var kind: Int32
    var context: UInt64
    var memory: UInt64  # of a mapped one: its PhysicalMemory
    var number: UInt64  # of this allocation among all that ever were
    var written: List[Range]  # what the host wrote since softgpu last asked: by address, apart from each other

    def end(self) -> UInt64:
        return self.address + self.size

    def is_host(self) -> Bool:
        return self.kind == PINNED or self.kind == REGISTERED


struct Driver(Movable):
    """All that the driver remembers. One a process; take `lock` before touching the rest, and never wait with it."""

    var lock: BlockingSpinLock
    var launch: UInt64  # the callbacks in Python; null until `softgpu_connect`
    var query: UInt64
    var lending: UInt64  # how they get Python's global lock: a Lending
    var allocations: List[Allocation]  # by address
    var allocations_made: UInt64
    var changes: UInt64  # how often the set of allocations or modules changed
    var bytes_in_use: UInt64
    var handles: Dict[UInt64, Handle]
    var functions: Dict[String, UInt64]  # by module and name
    var modules_made: UInt64
    var reserved: Dict[UInt64, UInt64]  # address ranges without memory: start and bytes
    var launches_running: Int
    var freed: List[Allocation]  # while launches ran, which may still use them
    var texts: Dict[String, UInt64]  # what cuGetErrorString answered; a caller may keep the pointer for good
    var thread_key: UInt32
    var primary: UInt64
    var pool: UInt64

    def __init__(out self):
        self.lock = BlockingSpinLock()
        self.launch = 0
        self.query = 0
        self.lending = new_lending()
        self.allocations = List[Allocation]()
        self.allocations_made = 0
        self.changes = 0
        self.bytes_in_use = 0
        self.handles = Dict[UInt64, Handle]()
        self.functions = Dict[String, UInt64]()
        self.modules_made = 0
        self.reserved = Dict[UInt64, UInt64]()
        self.launches_running = 0
        self.freed = List[Allocation]()
        self.texts = Dict[String, UInt64]()
        self.primary = new_record(Context(failure=SUCCESS, failure_text=0, flags=0, retained=0))
        self.handles[self.primary] = Handle(CONTEXT, self.primary)
        self.pool = new_record(UInt64(0))
        self.handles[self.pool] = Handle(POOL, self.primary)
        var key = new_record(UInt32(0))
        var name = String("free\0")
        var free_function = external_call["dlsym", UInt64](UInt64(0), UInt64(Int(name.unsafe_ptr())))
        if external_call["pthread_key_create", Int32](key, free_function) != 0:
            abort("softgpu: the system has no key left for what each thread remembers")
        self.thread_key = at[UInt32](key)[]
        c_free(key)


@fieldwise_init
struct Lending(TrivialRegisterPassable):
    """What the threads share that see to Python's global lock (see `lending`)."""

    var python: UInt64  # functions of Python's: a Python; null until `softgpu_connect`
    var signal: Int32  # that asks for the lock; 0 until a call goes to Python
    var holder: Int32  # the thread that had the lock when it was asked for
    var calls: Int64  # that are with Python now; those who change it take the driver's lock
    var called: UInt64  # a semaphore: there is a call
    var knock: UInt64  # a semaphore: somebody asks whether the lock can be had
    var knocks: UInt64  # how often somebody did
    var knocks_answered: UInt64
    var answer: Int64  # of the thread that was asked for the lock
    var place: UInt64  # where the holder slept: its instruction and stack pointer
    var stack: UInt64


def new_lending() -> UInt64:
    comptime SEMAPHORE_BYTES: UInt64 = 32
    var semaphores = c_malloc(2 * SEMAPHORE_BYTES)
    for i in range(UInt64(2)):
        _ = external_call["sem_init", Int32](semaphores + i * SEMAPHORE_BYTES, Int32(0), UInt32(0))
    return new_record(
        Lending(
            python=0,
            signal=0,
            holder=0,
            calls=0,
            called=semaphores,
            knock=semaphores + SEMAPHORE_BYTES,
            knocks=0,
            knocks_answered=0,
            answer=0,
            place=0,
            stack=0,
        )
    )


def new_driver() -> Driver:
    return Driver()


comptime DRIVER = _Global["SOFTGPU_DRIVER", new_driver]


def driver() -> Pointer[Driver, MutAnyOrigin]:
    try:
        return at[Driver](UInt64(Int(DRIVER.get_or_create_ptr())))
    except:
        abort("softgpu: the driver's state could not be made")


# ── the calling thread ──────────────────────────────────────────────────────────────────────────────────

comptime CONTEXT_STACK: Int = 64


@fieldwise_init
struct Thread(TrivialRegisterPassable):
    """What each thread remembers. Its stack of contexts, the current one on top, follows the record in memory."""

    var failure: Int32  # its last failure, and that one's text
    var depth: Int32
    var failure_text: UInt64


def thread() -> UInt64:
    var key = driver()[].thread_key
    var record = external_call["pthread_getspecific", UInt64](key)
    if record == 0:
        record = c_malloc(UInt64(size_of[Thread]() + 8 * CONTEXT_STACK))
        at[Thread](record)[] = Thread(failure=SUCCESS, depth=0, failure_text=0)
        _ = external_call["pthread_setspecific", Int32](key, record)
    return record


def context_slot(depth: Int32) -> UInt64:
    """Where the calling thread keeps the context at a depth of its stack, from 1."""
    return thread() + UInt64(size_of[Thread]()) + UInt64(depth - 1) * 8


def current_context() -> UInt64:
    """The calling thread's context. A thread that has chosen none uses the primary one, as CUDA's runtime does."""
    var depth = at[Thread](thread())[].depth
    return at[UInt64](context_slot(depth))[] if depth > 0 else driver()[].primary


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────


def kept_text(text: String) -> UInt64:
    """A copy of a text, closed by a null byte, that stays. Take the lock before."""
    ref d = driver()[]
    var known = d.texts.get(text)
    if known:
        return known.value()
    var terminated = text + "\0"
    var copy = c_copy_of_string(UInt64(Int(terminated.unsafe_ptr())))
    d.texts[text] = copy
    return copy


def fail(code: Int32, text: String) -> Int32:
    """Keep a text for `cuGetErrorString`, and return the code."""
    ref d = driver()[]
    var record = thread()
    with BlockingScopedLock(d.lock):
        at[Thread](record)[].failure_text = kept_text(text)
    at[Thread](record)[].failure = code
    return code


def invalid_handle(what: StaticString) -> Int32:
    return fail(INVALID_HANDLE, "this is no " + String(what) + ", or one that was destroyed")


def state_of_context() -> Int32:
    """What a call must return before it does anything: the error that sticks to the current context, or success."""
    var context = current_context()
    if not is_a(context, CONTEXT):
        return fail(CONTEXT_IS_DESTROYED, "the calling thread's context was destroyed")
    var failure = at[Context](context)[].failure
    if failure != SUCCESS:
        var record = thread()
        at[Thread](record)[].failure = failure
        at[Thread](record)[].failure_text = at[Context](context)[].failure_text
    return failure


# ── handles ─────────────────────────────────────────────────────────────────────────────────────────────


def new_handle[T: TrivialRegisterPassable](kind: Int32, value: T) -> UInt64:
    """A record that lives as long as the current context, or until `destroy`."""
    ref d = driver()[]
    var made = new_record(value)
    var context = current_context()
    with BlockingScopedLock(d.lock):
        d.handles[made] = Handle(kind, made if kind == CONTEXT else context)
    return made


def is_a(handle: UInt64, kind: Int32) -> Bool:
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        var known = d.handles.get(handle)
        return Bool(known) and known.value().kind == kind


def destroy(handle: UInt64, kind: Int32) -> Bool:
    """Forget a handle; false if it is none of that kind."""
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        var known = d.handles.get(handle)
        if not known or known.value().kind != kind:
            return False
        forget(handle)
        return True


def forget(handle: UInt64):
    """Give back the record of a handle. Take the lock before."""
    try:
        var kind = driver()[].handles.pop(handle).kind
        if kind == PHYSICAL_MEMORY:
            leave(handle)
        else:
            c_free(handle)
    except:
        pass


def is_stream(stream: UInt64) -> Bool:
    """Null, 1 and 2 are the default streams."""
    return stream <= 2 or is_a(stream, STREAM)


# ── allocations: take the lock before any of these ──────────────────────────────────────────────────────


def position_after(address: UInt64) -> Int:
    """How many allocations begin at or below an address."""
    ref allocations = driver()[].allocations
    var low = 0
    var high = len(allocations)
    while low < high:
        var middle = (low + high) // 2
        if allocations[middle].address <= address:
            low = middle + 1
        else:
            high = middle
    return low


def position_of(address: UInt64, size: UInt64) -> Int:
    """The allocation that holds `size` bytes from an address on; -1 if none holds them all."""
    ref allocations = driver()[].allocations
    var position = position_after(address) - 1
    if position < 0:
        return -1
    var inside = address - allocations[position].address
    var whole = allocations[position].size
    return position if inside < whole and size <= whole - inside else -1


def add_allocation(
    address: UInt64, size: UInt64, storage: UInt64, kind: Int32, context: UInt64, memory: UInt64 = 0
):
    ref d = driver()[]
    d.allocations_made += 1
    d.changes += 1
    if kind == DEVICE:
        d.bytes_in_use += size
    d.allocations.insert(
        position_after(address),
        Allocation(
            address=address,
            size=size,
            storage=storage,
            kind=kind,
            context=context,
            memory=memory,
            number=d.allocations_made,
            written=List[Range](),
        ),
    )


def remove_allocation(position: Int):
    """A launch that runs may still use it, so that its memory is given back when none does. To wait for the launch, as
    CUDA does, would deadlock where the caller holds Python's global lock."""
    ref d = driver()[]
    var allocation = d.allocations.pop(position)
    d.changes += 1
    if allocation.kind == DEVICE:
        d.bytes_in_use -= allocation.size
    if d.launches_running > 0:
        d.freed.append(allocation^)
    else:
        give_back(allocation)


def give_back(allocation: Allocation):
    if allocation.kind == DEVICE or allocation.kind == PINNED:
        c_free(allocation.storage)
    if allocation.kind == DEVICE:
        unreserve(allocation.address, allocation.size)
    if allocation.kind == MAPPED:
        leave(allocation.memory)


@fieldwise_init
struct PhysicalMemory(TrivialRegisterPassable):
    """Memory without an address, until it is mapped to one. Its users are its handle and every mapping."""

    var size: UInt64
    var storage: UInt64
    var users: Int64


def leave(memory: UInt64):
    """The last user gives it back."""
    at[PhysicalMemory](memory)[].users -= 1
    if at[PhysicalMemory](memory)[].users == 0:
        driver()[].bytes_in_use -= at[PhysicalMemory](memory)[].size
        c_free(at[PhysicalMemory](memory)[].storage)
        c_free(memory)


def note_written(position: Int, start: UInt64, end: UInt64):
    """Remember that the host wrote the bytes from `start` to `end` of an allocation."""
    ref written = driver()[].allocations[position].written
    var low = 0  # the first range that ends at or behind `start`
    var high = len(written)
    while low < high:
        var middle = (low + high) // 2
        if written[middle].end < start:
            low = middle + 1
        else:
            high = middle
    var merged = Range(start, end)
    while low < len(written) and written[low].start <= end:
        var touched = written.pop(low)
        merged = Range(min(merged.start, touched.start), max(merged.end, touched.end))
    written.insert(low, merged)


# ── addresses that nobody may touch ─────────────────────────────────────────────────────────────────────

comptime GUARD: UInt64 = 4096  # a gap on both sides of an allocation, so that no two are neighbours
comptime PAGE: UInt64 = 4096


def reserve(size: UInt64) -> UInt64:
    """Addresses for `size` bytes, with a guard on both sides. Null if there are none left."""
    comptime PROT_NONE: Int32 = 0
    comptime PRIVATE_ANONYMOUS_NORESERVE: Int32 = 0x4022
    var start = external_call["mmap", UInt64](
        UInt64(0), with_guards(size), PROT_NONE, PRIVATE_ANONYMOUS_NORESERVE, Int32(-1), Int64(0)
    )
    return 0 if start == UInt64.MAX else start + GUARD


def unreserve(address: UInt64, size: UInt64):
    _ = external_call["munmap", Int32](address - GUARD, with_guards(size))


def with_guards(size: UInt64) -> UInt64:
    return (size + PAGE - 1) // PAGE * PAGE + 2 * GUARD
