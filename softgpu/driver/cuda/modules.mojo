"""Modules, kernels and launches. What a kernel needs and where a variable lies is asked of Python, which parses PTX.

Source: CUDA Driver API reference manual, sections 6.10 to 6.12, 6.20, 6.21 and 6.30.
"""

from std.ffi import external_call

from device import cuDeviceGetAttribute
from lending import *
from state import *

# ── what Python answers ─────────────────────────────────────────────────────────────────────────────────


@fieldwise_init
struct Launch(TrivialRegisterPassable):
    """What Python is told of a launch. `softgpu.driver.launcher.LaunchRecord` is this record in ctypes."""

    var module: UInt64  # its number
    var text: UInt64  # the module's PTX, closed by a null byte
    var kernel: UInt64  # the kernel's name, closed by a null byte
    var arguments: UInt64  # an array of addresses, one a kernel parameter; or null, and then:
    var buffer: UInt64  # all parameters as they lie in parameter memory
    var buffer_bytes: UInt64
    var grid_x: UInt32
    var grid_y: UInt32
    var grid_z: UInt32
    var block_x: UInt32
    var block_y: UInt32
    var block_z: UInt32
    var shared_bytes: UInt32
    var dynamic_limit: Int32  # of shared memory, as cuFuncSetAttribute set it; -1 if it did not


@fieldwise_init
struct Query(TrivialRegisterPassable):
    """A question to Python. `softgpu.driver.launcher.QueryRecord` is this record in ctypes."""

    var module: UInt64
    var text: UInt64
    var name: UInt64  # of a kernel or variable
    var question: UInt64  # one of the numbers below
    var index: UInt64
    var answer: UInt64  # what each question says
    var answer_2: UInt64
    var answer_3: UInt64


comptime VARIABLE_PLACE: UInt64 = 0  # address, bytes, storage
comptime PARAMETER_PLACE: UInt64 = 1  # of the parameter of that index: offset, bytes
comptime THREADS_PER_BLOCK: UInt64 = 2
comptime SHARED_BYTES: UInt64 = 3  # static, a block
comptime LOCAL_BYTES: UInt64 = 4  # a thread


@export
def softgpu_connect(launch: UInt64, query: UInt64, python: UInt64) abi("C"):
    """Give the functions that execute a launch and answer a query: each takes its record by address and returns a
    CUresult. They take Python's global lock, for which the driver needs the functions in `python`."""
    driver()[].launch = launch
    driver()[].query = query
    at[Lending](driver()[].lending)[].python = python


@export
def softgpu_fail(code: Int32, text: UInt64, sticks: Int32) abi("C"):
    """Give the text of a failed launch; `sticks` says whether its context is of no use from then on."""
    ref d = driver()[]
    _ = fail(code, text_at(text))
    if sticks != 0:
        var context = current_context()
        var kept = at[Thread](thread())[].failure_text
        with BlockingScopedLock(d.lock):
            at[Context](context)[].failure_text = kept
            at[Context](context)[].failure = code


@export
def softgpu_modules(numbers: UInt64, capacity: Int64) abi("C") -> Int64:
    """Write up to `capacity` numbers of loaded modules; return how many there are."""
    ref d = driver()[]
    var count: Int64 = 0
    with BlockingScopedLock(d.lock):
        for entry in d.handles.items():
            if entry.value.kind == MODULE:
                if count < capacity:
                    at[UInt64](numbers + UInt64(count) * 8)[] = at[Module](entry.key)[].number
                count += 1
    return count


@export
def softgpu_not_supported(name: UInt64) abi("C") -> Int32:
    """Every driver function that is not here ends here (see stubs.py): named in the log, and refused."""
    print("softgpu: the driver function", text_at(name), "is not supported", file=stderr)
    return fail(NOT_SUPPORTED, "softgpu does not support " + text_at(name))


def call(callback: UInt64, record: UInt64) -> Int32:
    """Call Python. The record lies on the heap, because a local may end before Python reads it."""
    if callback == 0:
        return fail(
            NOT_SUPPORTED,
            "nothing executes kernels in this process: start it with `softgpu run`, or call softgpu.install() first",
        )
    enter_python()
    var result = Int32(c_call(callback, record))
    leave_python()
    return result


def ask(question: UInt64, module: UInt64, name: UInt64, index: UInt64 = 0) -> UInt64:
    """The record of a query with its answer, for the caller to free; null if there is none."""
    var record = new_record(
        Query(
            module=at[Module](module)[].number,
            text=at[Module](module)[].text,
            name=name,
            question=question,
            index=index,
            answer=0,
            answer_2=0,
            answer_3=0,
        )
    )
    if call(driver()[].query, record) == SUCCESS:
        return record
    c_free(record)
    return 0


def last_failure() -> Int32:
    return at[Thread](thread())[].failure


# ── modules ─────────────────────────────────────────────────────────────────────────────────────────────


@fieldwise_init
struct Module(TrivialRegisterPassable):
    var number: UInt64  # never given twice: Python knows the parsed module by it
    var text: UInt64


@fieldwise_init
struct Function(TrivialRegisterPassable):
    var module: UInt64
    var name: UInt64
    var dynamic_limit: Int32


@export
def cuModuleLoadData(module: UInt64, image: UInt64) abi("C") -> Int32:
    """The assembler stand-in hands PTX text through, so that the image is text and its copy is the module."""
    if module == 0 or image == 0:
        return fail(INVALID_VALUE, "there is no image, or no place for the module")
    var state = state_of_context()
    if state != SUCCESS:
        return state
    var magic = at[UInt32](image)[]
    if magic == 0x464C457F or magic == 0xBA55ED50:  # "\x7fELF", and that of a fat binary
        return fail(NO_BINARY_FOR_GPU, "the image is a binary for NVIDIA hardware; softgpu executes PTX")
    var version = String(".version\0")
    if external_call["strstr", UInt64](image, UInt64(Int(version.unsafe_ptr()))) == 0:
        return fail(INVALID_IMAGE, "the image is no PTX: it has no .version")
    ref d = driver()[]
    var number: UInt64 = 0
    with BlockingScopedLock(d.lock):
        d.modules_made += 1
        number = d.modules_made
    put(module, new_handle(MODULE, Module(number=number, text=c_copy_of_string(image))))
    return SUCCESS


@export
def cuModuleLoadDataEx(
    module: UInt64, image: UInt64, count: UInt32, options: UInt64, values: UInt64
) abi("C") -> Int32:
    return cuModuleLoadData(module, image)


@export
def cuModuleLoad(module: UInt64, path: UInt64) abi("C") -> Int32:
    try:
        var text: String
        with open(text_at(path), "r") as file:
            text = file.read() + "\0"
        return cuModuleLoadData(module, UInt64(Int(text.unsafe_ptr())))
    except:
        return fail(FILE_NOT_FOUND, "the module's file cannot be read: " + text_at(path))


@export
def cuModuleUnload(module: UInt64) abi("C") -> Int32:
    """Its kernels go with it, and its variables. Python forgets it at the next launch."""
    ref d = driver()[]
    if not is_a(module, MODULE):
        return invalid_handle("module")
    with BlockingScopedLock(d.lock):
        var number = at[Module](module)[].number
        var gone = List[String]()
        for entry in d.functions.items():
            if at[Function](entry.value)[].module == module:
                gone.append(entry.key)
        for key in gone:
            try:
                forget(d.functions.pop(key))
            except:
                pass
        var position = len(d.allocations)
        while position > 0:
            position -= 1
            if d.allocations[position].kind == VARIABLE and d.allocations[position].memory == number:
                remove_allocation(position)
        d.changes += 1
        if d.launches_running == 0:
            c_free(at[Module](module)[].text)
        forget(module)
    return state_of_context()


def has_kernel(text: UInt64, name: UInt64) -> Bool:
    """Whether `.entry NAME` stands in a PTX text."""
    var entry = String(".entry\0")
    var length = external_call["strlen", UInt64](name)
    var position = text
    while True:
        position = external_call["strstr", UInt64](position, UInt64(Int(entry.unsafe_ptr())))
        if position == 0:
            return False
        position += 6
        while external_call["isspace", Int32](Int32(at[UInt8](position)[])) != 0:
            position += 1
        if external_call["strncmp", Int32](position, name, length) == 0:
            var next = at[UInt8](position + length)[]  # 95 and 36 are _ and $
            if external_call["isalnum", Int32](Int32(next)) == 0 and next != 95 and next != 36:
                return True


@export
def cuModuleGetFunction(function: UInt64, module: UInt64, name: UInt64) abi("C") -> Int32:
    if not is_a(module, MODULE):
        return invalid_handle("module")
    if function == 0 or name == 0:
        return fail(INVALID_VALUE, "there is no name, or no place for the function")
    if not has_kernel(at[Module](module)[].text, name):
        return fail(NOT_FOUND, "the module has no kernel " + text_at(name))
    ref d = driver()[]
    var key = String(at[Module](module)[].number) + " " + text_at(name)
    var made = new_handle(FUNCTION, Function(module=module, name=c_copy_of_string(name), dynamic_limit=-1))
    with BlockingScopedLock(d.lock):
        var known = d.functions.get(key)
        if known:
            forget(made)
            made = known.value()
        else:
            d.functions[key] = made
    at[UInt64](function)[] = made
    return state_of_context()


@export
def cuModuleGetGlobal_v2(address: UInt64, size: UInt64, module: UInt64, name: UInt64) abi("C") -> Int32:
    if not is_a(module, MODULE):
        return invalid_handle("module")
    if name == 0:
        return fail(INVALID_VALUE, "there is no name")
    var state = state_of_context()
    if state != SUCCESS:
        return state
    var record = ask(VARIABLE_PLACE, module, name)
    if record == 0:
        return last_failure()
    var place = at[Query](record)[]
    c_free(record)
    ref d = driver()[]
    var context = current_context()
    with BlockingScopedLock(d.lock):
        if position_of(place.answer, 0) < 0:
            add_allocation(
                place.answer, place.answer_2, place.answer_3, VARIABLE, context, memory=at[Module](module)[].number
            )
    put(address, place.answer)
    put(size, place.answer_2)
    return SUCCESS


# ── the same by the names of libraries and kernels ──────────────────────────────────────────────────────


@export
def cuLibraryLoadData(
    library: UInt64,
    image: UInt64,
    options: UInt64,
    values: UInt64,
    count: UInt32,
    library_options: UInt64,
    library_values: UInt64,
    library_count: UInt32,
) abi("C") -> Int32:
    return cuModuleLoadData(library, image)


@export
def cuLibraryUnload(library: UInt64) abi("C") -> Int32:
    return cuModuleUnload(library)


@export
def cuLibraryGetModule(module: UInt64, library: UInt64) abi("C") -> Int32:
    put(module, library)
    return SUCCESS if is_a(library, MODULE) else invalid_handle("library")


@export
def cuLibraryGetKernel(kernel: UInt64, library: UInt64, name: UInt64) abi("C") -> Int32:
    return cuModuleGetFunction(kernel, library, name)


@export
def cuLibraryGetGlobal(address: UInt64, size: UInt64, library: UInt64, name: UInt64) abi("C") -> Int32:
    return cuModuleGetGlobal_v2(address, size, library, name)


@export
def cuKernelGetFunction(function: UInt64, kernel: UInt64) abi("C") -> Int32:
    put(function, kernel)
    return SUCCESS if is_a(kernel, FUNCTION) else invalid_handle("kernel")


# ── functions ───────────────────────────────────────────────────────────────────────────────────────────

comptime MAX_THREADS_PER_BLOCK: Int32 = 0  # CUfunction_attribute
comptime SHARED_SIZE_BYTES: Int32 = 1
comptime LOCAL_SIZE_BYTES: Int32 = 3
comptime MAX_DYNAMIC_SHARED_SIZE_BYTES: Int32 = 8

comptime SHARED_WITHOUT_OPT_IN: Int32 = 48 * 1024
comptime REGISTERS: Int32 = 32  # a thread is said to use: PTX does not tell


def device_attribute(attribute: Int32) -> Int32:
    """As the device answers it."""
    var place = c_malloc(4)
    _ = cuDeviceGetAttribute(place, attribute, Int32(0))
    var value = at[Int32](place)[]
    c_free(place)
    return value


def number_of(question: UInt64, function: UInt64, value: UInt64) -> Int32:
    """Write what Python says of a kernel."""
    var record = ask(question, at[Function](function)[].module, at[Function](function)[].name)
    if record == 0:
        return last_failure()
    put(value, Int32(at[Query](record)[].answer))
    c_free(record)
    return SUCCESS


@export
def cuFuncGetAttribute(value: UInt64, attribute: Int32, function: UInt64) abi("C") -> Int32:
    if not is_a(function, FUNCTION):
        return invalid_handle("function")
    var state = state_of_context()
    if state != SUCCESS:
        return state
    if attribute == MAX_THREADS_PER_BLOCK:
        return number_of(THREADS_PER_BLOCK, function, value)
    if attribute == SHARED_SIZE_BYTES:
        return number_of(SHARED_BYTES, function, value)
    if attribute == LOCAL_SIZE_BYTES:
        return number_of(LOCAL_BYTES, function, value)
    if attribute == MAX_DYNAMIC_SHARED_SIZE_BYTES:
        var limit = at[Function](function)[].dynamic_limit
        if limit < 0:
            state = number_of(SHARED_BYTES, function, value)
            limit = SHARED_WITHOUT_OPT_IN - at[Int32](value)[]
        put(value, limit)
        return state
    if attribute == 2 or attribute == 7:  # CONST_SIZE_BYTES, CACHE_MODE_CA
        put[Int32](value, 0)
    elif attribute == 4:  # NUM_REGS
        put(value, REGISTERS)
    elif attribute == 5 or attribute == 6:  # PTX_VERSION, BINARY_VERSION
        put(value, 10 * device_attribute(75) + device_attribute(76))
    elif attribute == 9:  # PREFERRED_SHARED_MEMORY_CARVEOUT: the driver's choice
        put[Int32](value, -1)
    elif attribute >= 10 and attribute <= 15:  # those of clusters
        put[Int32](value, 0)
    else:
        return fail(INVALID_VALUE, "softgpu does not know function attribute " + String(attribute))
    return SUCCESS


@export
def cuFuncSetAttribute(function: UInt64, attribute: Int32, value: Int32) abi("C") -> Int32:
    if not is_a(function, FUNCTION):
        return invalid_handle("function")
    var state = state_of_context()
    if state != SUCCESS:
        return state
    if attribute == MAX_DYNAMIC_SHARED_SIZE_BYTES:
        var most = device_attribute(97)
        if value < 0 or value > most:
            return fail(
                INVALID_VALUE,
                "a block was to have up to "
                + String(value)
                + " bytes of dynamic shared memory, but it can have at most "
                + String(most),
            )
        at[Function](function)[].dynamic_limit = value
        return SUCCESS
    if attribute == 9 or attribute == 14 or attribute == 15:  # carveout, and leave and preference for clusters
        return SUCCESS
    if attribute >= 10 and attribute <= 13:  # clusters are required, or their extents
        var none = value == 0 or (value == 1 and attribute != 10)
        return SUCCESS if none else fail(NOT_SUPPORTED, "softgpu has no thread block clusters")
    return fail(INVALID_VALUE, "function attribute " + String(attribute) + " cannot be set")


@export
def cuFuncSetCacheConfig(function: UInt64, config: Int32) abi("C") -> Int32:
    return SUCCESS if is_a(function, FUNCTION) else invalid_handle("function")


@export
def cuFuncGetModule(module: UInt64, function: UInt64) abi("C") -> Int32:
    if not is_a(function, FUNCTION):
        return invalid_handle("function")
    put(module, at[Function](function)[].module)
    return SUCCESS


@export
def cuFuncGetName(name: UInt64, function: UInt64) abi("C") -> Int32:
    if not is_a(function, FUNCTION):
        return invalid_handle("function")
    put(name, at[Function](function)[].name)
    return SUCCESS


@export
def cuFuncGetParamInfo(function: UInt64, index: UInt64, offset: UInt64, size: UInt64) abi("C") -> Int32:
    """INVALID_VALUE behind the last parameter, as the manual says: that is how a caller counts them."""
    if not is_a(function, FUNCTION):
        return invalid_handle("function")
    var record = ask(PARAMETER_PLACE, at[Function](function)[].module, at[Function](function)[].name, index)
    if record == 0:
        return last_failure()
    put(offset, at[Query](record)[].answer)
    put(size, at[Query](record)[].answer_2)
    c_free(record)
    return SUCCESS


@export
def cuOccupancyMaxActiveBlocksPerMultiprocessor(
    count: UInt64, function: UInt64, block: Int32, dynamic_bytes: UInt64
) abi("C") -> Int32:
    """How many blocks fit by their threads, by their shared memory, and at all."""
    if not is_a(function, FUNCTION):
        return invalid_handle("function")
    if block < 1 or count == 0:
        return fail(INVALID_VALUE, "a block has at least one thread")
    var result = cuFuncGetAttribute(count, SHARED_SIZE_BYTES, function)
    if result != SUCCESS:
        return result
    var shared = UInt64(at[Int32](count)[]) + dynamic_bytes
    var room = UInt64(device_attribute(81))
    var threads = (block + 31) // 32 * 32
    var blocks = min(device_attribute(106), device_attribute(39) // threads)
    blocks = min(blocks, Int32(room // (shared + UInt64(device_attribute(111)))))
    put(count, blocks if block <= device_attribute(1) and shared <= UInt64(device_attribute(97)) else 0)
    return SUCCESS


@export
def cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    count: UInt64, function: UInt64, block: Int32, dynamic_bytes: UInt64, flags: UInt32
) abi("C") -> Int32:
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(count, function, block, dynamic_bytes)


# ── launches ────────────────────────────────────────────────────────────────────────────────────────────


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
    if not is_a(function, FUNCTION):
        return invalid_handle("function")
    if not is_stream(stream):
        return invalid_handle("stream")
    var state = state_of_context()
    if state != SUCCESS:
        return state
    if arguments != 0 and extra != 0:
        return fail(INVALID_VALUE, "kernel arguments come as an array of addresses or as one buffer, not as both")
    var buffer: UInt64 = 0
    var buffer_bytes: UInt64 = 0
    var option = extra  # pairs of a CU_LAUNCH_PARAM_… and its value, closed by null
    while option != 0 and at[UInt64](option)[] != 0:
        var value = at[UInt64](option + 8)[]
        if at[UInt64](option)[] == 1:  # BUFFER_POINTER
            buffer = value
        elif at[UInt64](option)[] == 2:  # BUFFER_SIZE
            buffer_bytes = at[UInt64](value)[]
        else:
            return fail(INVALID_VALUE, "softgpu does not know launch parameter " + String(at[UInt64](option)[]))
        option += 16

    ref d = driver()[]
    var f = at[Function](function)[]
    with BlockingScopedLock(d.lock):
        d.launches_running += 1
    var record = new_record(
        Launch(
            module=at[Module](f.module)[].number,
            text=at[Module](f.module)[].text,
            kernel=f.name,
            arguments=arguments,
            buffer=buffer,
            buffer_bytes=buffer_bytes,
            grid_x=grid_x,
            grid_y=grid_y,
            grid_z=grid_z,
            block_x=block_x,
            block_y=block_y,
            block_z=block_z,
            shared_bytes=shared_bytes,
            dynamic_limit=f.dynamic_limit,
        )
    )
    var result = call(d.launch, record)
    c_free(record)
    with BlockingScopedLock(d.lock):
        d.launches_running -= 1
        while d.launches_running == 0 and len(d.freed) > 0:
            give_back(d.freed.pop())
    return result


@export
def cuLaunchKernelEx(config: UInt64, function: UInt64, arguments: UInt64, extra: UInt64) abi("C") -> Int32:
    """`config` is a CUlaunchConfig: seven 32-bit numbers, the stream, and a list of attributes of 72 bytes each."""
    if config == 0:
        return fail(INVALID_VALUE, "the configuration of the launch is null")
    var cooperative = False
    for i in range(UInt64(at[UInt32](config + 48)[])):
        var attribute = at[UInt64](config + 40)[] + i * 72
        var number = at[UInt32](attribute)[]
        var value = attribute + 8
        if number == 2:  # COOPERATIVE
            cooperative = at[Int32](value)[] != 0
        elif number == 4 or number == 11:  # CLUSTER_DIMENSION, PREFERRED_CLUSTER_DIMENSION
            if at[UInt32](value)[] * at[UInt32](value + 4)[] * at[UInt32](value + 8)[] > 1:
                return fail(NOT_SUPPORTED, "softgpu has no thread block clusters: a cluster must be one block")
        elif number == 7 or number == 12 or number > 14:
            return fail(NOT_SUPPORTED, "softgpu does not support launch attribute " + String(number))
        elif number == 13 and at[Int32](value)[] != 0:  # DEVICE_UPDATABLE_KERNEL_NODE
            return fail(NOT_SUPPORTED, "softgpu does not support launch attribute 13")
        # The others are leave and advice: to overlap with the launch before, to prefer a cache, a priority, a policy.

    if cooperative:
        return cuLaunchCooperativeKernel(
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
        )
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


@export
def cuLaunchCooperativeKernel(
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
) abi("C") -> Int32:
    """All blocks must be able to run at once, because they may wait for each other."""
    var count = c_malloc(4)
    var threads = UInt64(block_x) * UInt64(block_y) * UInt64(block_z)
    var result = cuOccupancyMaxActiveBlocksPerMultiprocessor(
        count, function, Int32(min(threads, 2048)), UInt64(shared_bytes)
    )
    var room = UInt64(at[Int32](count)[]) * UInt64(device_attribute(16))
    c_free(count)
    if result != SUCCESS:
        return result
    var blocks = UInt64(grid_x) * UInt64(grid_y) * UInt64(grid_z)
    if threads <= 1024 and blocks > room:
        return fail(
            COOPERATIVE_LAUNCH_TOO_LARGE,
            "a cooperative launch of " + String(blocks) + " blocks, of which " + String(room) + " can run at once",
        )
    return cuLaunchKernel(
        function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, stream, arguments, 0
    )
