"""The stand-in driver's functions, called through its C interface as any CUDA program calls them."""

import ctypes
import re
import struct
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from softgpu import KernelError, LaunchError, Observer
from softgpu.checks.initcheck import Initcheck
from softgpu.driver.build import built_driver, modular_lib_folder
from softgpu.driver.functions import NOT_SUPPORTED
from softgpu.driver.launcher import Launcher

PTX = """
.version 8.1
.target sm_80
.address_size 64
.visible .global .align 4 .u32 counter[2] = {40, 2};
.visible .const .align 4 .u32 scale = 3;

// data[i] = data[i] * factor + i for i < count
.visible .entry transform(.param .u64 data, .param .u32 factor, .param .u32 count)
{
    .reg .pred %p; .reg .b32 %r<8>; .reg .b64 %rd<4>;
    mov.u32 %r1, %tid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %ctaid.x; mad.lo.u32 %r4, %r2, %r3, %r1;
    ld.param.u32 %r5, [count]; setp.ge.u32 %p, %r4, %r5; @%p ret;
    ld.param.u64 %rd1, [data]; mad.wide.u32 %rd2, %r4, 4, %rd1;
    ld.param.u32 %r6, [factor]; ld.global.u32 %r7, [%rd2]; mad.lo.u32 %r7, %r7, %r6, %r4; st.global.u32 [%rd2], %r7;
    ret;
}

// counter[0] += scale
.visible .entry count_up()
{
    .reg .b32 %r<4>; .reg .b64 %rd<2>;
    mov.u64 %rd1, counter; ld.global.u32 %r1, [%rd1]; ld.const.u32 %r2, [scale]; add.u32 %r3, %r1, %r2;
    st.global.u32 [%rd1], %r3;
    ret;
}

.visible .entry stops() { trap; }

.visible .entry unsupported() { .reg .b32 %r<2>; frobnicate.u32 %r1, 0; ret; }

.extern .shared .align 16 .b8 dynamic[];
.visible .entry shared(.param .u64 out)
.maxntid 128, 1, 1
{
    .shared .align 4 .b8 fixed[1024];
    .reg .b32 %r<4>; .reg .b64 %rd<2>;
    mov.u32 %r1, %dynamic_smem_size; ld.param.u64 %rd1, [out]; st.global.u32 [%rd1], %r1;
    mov.u32 %r2, fixed; st.shared.u32 [%r2], %r1;
    ret;
}
"""

INVALID_VALUE, OUT_OF_MEMORY, INVALID_CONTEXT, INVALID_HANDLE, NOT_FOUND = 1, 2, 201, 400, 500
ILLEGAL_ADDRESS, MISALIGNED_ADDRESS, LAUNCH_FAILED, REFUSED = 700, 716, 719, 801


class Driver:
    """`driver.cuMemAlloc_v2(...)` calls the function with 64-bit integers and gives its CUresult; `driver.ok.cu…` holds
    it to success."""

    def __init__(self):
        ctypes.CDLL(str(modular_lib_folder() / "libKGENCompilerRTShared.so"), ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(built_driver() / "libcuda.so.1"))
        self.launcher = Launcher(self.library)
        self.ok = _Ok(self)

    def __getattr__(self, name):
        function = getattr(self.library, name)
        return lambda *arguments: function(
            *(ctypes.c_uint64(one & 2**64 - 1) if isinstance(one, int) else one for one in arguments)
        )

    def result(self, name, *arguments, kind=ctypes.c_uint64):
        """The value that a function writes through its first argument."""
        place = kind()
        getattr(self.ok, name)(ctypes.byref(place), *arguments)
        return place.value

    def allocate(self, array):
        """Device memory that holds an array: its address."""
        address = self.result("cuMemAlloc_v2", array.nbytes)
        self.ok.cuMemcpyHtoD_v2(address, array.ctypes.data, array.nbytes)
        return address

    def fetch(self, address, like):
        array = np.empty_like(like)
        self.ok.cuMemcpyDtoH_v2(array.ctypes.data, address, array.nbytes)
        return array

    def function(self, name, ptx=PTX):
        return self.result("cuModuleGetFunction", self.module(ptx), name.encode())

    def module(self, ptx=PTX):
        return self.result("cuModuleLoadData", ptx.encode())

    def launch(self, function, *arguments, grid=1, block=32, shared=0, stream=0):
        """Arguments are ctypes values."""
        addresses = (ctypes.c_uint64 * len(arguments))(*map(ctypes.addressof, arguments))
        grid, block = ((*extent, 1, 1)[:3] if isinstance(extent, tuple) else (extent, 1, 1) for extent in (grid, block))
        return self.cuLaunchKernel(function, *grid, *block, shared, stream, addresses, 0)

    def text(self, code):
        name, text = ctypes.c_char_p(), ctypes.c_char_p()
        assert self.cuGetErrorName(code, ctypes.byref(name)) == 0
        assert self.cuGetErrorString(code, ctypes.byref(text)) == 0
        return name.value.decode(), text.value.decode()


class _Ok:
    def __init__(self, driver):
        self._driver = driver

    def __getattr__(self, name):
        def call(*arguments):
            code = getattr(self._driver, name)(*arguments)
            assert code == 0, (name, code, self._driver.text(code))

        return call


@pytest.fixture(scope="module")
def library():
    return Driver()


@pytest.fixture
def driver(library):
    """The driver with nothing allocated and no context chosen, as in a new process."""
    library.ok.cuDevicePrimaryCtxReset_v2(0)
    while library.cuCtxPopCurrent_v2(0) == 0:
        pass
    library.launcher.errors.clear()
    library.launcher.errors_stick = True
    library.launcher.observers.clear()
    return library


def transform(driver, address, factor=2, count=8, **extents):
    arguments = ctypes.c_uint64(address), ctypes.c_uint32(factor), ctypes.c_uint32(count)
    return driver.launch(driver.function("transform"), *arguments, **extents)


# ── names and errors ────────────────────────────────────────────────────────────────────────────────────


def test_every_function_that_max_looks_up_is_there(driver):
    """MAX's libraries hold the names that they look up as C strings."""
    content = (modular_lib_folder() / "libmax.so").read_bytes()
    names = {name.decode() for name in re.findall(rb"(?<=\0)(cu[A-Z]\w{3,})(?=\0)", content)}
    names -= {"cuMemset", "cuMemcpyBatch"}  # words of MAX's own messages
    assert len(names) > 100
    assert [name for name in sorted(names) if not hasattr(driver.library, name)] == []


def test_every_other_function_is_refused_and_named(driver, capfd):
    assert len(NOT_SUPPORTED) > 300
    for name in NOT_SUPPORTED:
        assert driver.library[name]() == REFUSED
        assert driver.text(REFUSED) == ("CUDA_ERROR_NOT_SUPPORTED", f"softgpu does not support {name}")
    log = capfd.readouterr().err.splitlines()
    assert log == [f"softgpu: the driver function {name} is not supported" for name in NOT_SUPPORTED]


def test_every_error_code_has_a_name_and_a_text(driver):
    name = ctypes.c_char_p()
    known = [code for code in range(1000) if driver.cuGetErrorName(code, ctypes.byref(name)) == 0]
    assert len(known) > 95
    assert {0, 1, 2, 3, 100, 201, 218, 400, 500, 600, 700, 702, 710, 716, 719, 720, 801, 901, 999} <= set(known)
    assert driver.text(0) == ("CUDA_SUCCESS", "success")
    assert driver.text(304) == ("CUDA_ERROR_OPERATING_SYSTEM", "operating system")
    assert driver.cuGetErrorName(5000, ctypes.byref(name)) == INVALID_VALUE
    assert name.value is None


def test_the_text_of_an_error_is_that_of_the_thread_it_happened_in(driver):
    def fail_elsewhere():
        assert driver.cuMemFree_v2(0x1234) == INVALID_VALUE

    assert driver.cuInit(7) == INVALID_VALUE
    other = threading.Thread(target=fail_elsewhere)
    other.start()
    other.join()
    assert driver.text(INVALID_VALUE)[1] == "the flags of cuInit must be 0"


def test_a_function_is_found_by_its_name(driver):
    place = ctypes.c_uint64()
    driver.ok.cuGetProcAddress_v2(b"cuMemAlloc", ctypes.byref(place), 12000, 0, 0)
    assert place.value == ctypes.cast(driver.library.cuMemAlloc_v2, ctypes.c_void_p).value
    assert driver.cuGetProcAddress_v2(b"cuNothing", ctypes.byref(place), 12000, 0, 0) == NOT_FOUND


# ── the device ──────────────────────────────────────────────────────────────────────────────────────────

DEVICE_PROGRAM = """
import ctypes
from softgpu.driver.build import built_driver, modular_lib_folder
ctypes.CDLL(str(modular_lib_folder() / "libKGENCompilerRTShared.so"), ctypes.RTLD_GLOBAL)
cuda = ctypes.CDLL(str(built_driver() / "libcuda.so.1"))
nvml = ctypes.CDLL(str(built_driver() / "libnvidia-ml.so.1"))
value, values = ctypes.c_int(), []
for attribute in (75, 76, 8, 81, 97, 39, 16):
    assert cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0) == 0
    values.append(value.value)
major, minor = ctypes.c_int(), ctypes.c_int()
nvml.nvmlDeviceGetCudaComputeCapability(None, ctypes.byref(major), ctypes.byref(minor))
print(*values, major.value, minor.value)
"""


@pytest.mark.parametrize(
    ("architecture", "numbers"),
    [("sm_80", "8 0 49152 167936 166912 2048 108 8 0"), ("sm_90", "9 0 49152 233472 232448 2048 132 9 0")],
)
def test_the_device_is_the_one_that_was_asked_for(architecture, numbers, monkeypatch):
    """Numbers from the table of compute capabilities in the CUDA C++ Programming Guide, in KiB: 164, 163; 228, 227."""
    monkeypatch.setenv("SOFTGPU_ARCH", architecture)
    result = subprocess.run([sys.executable, "-c", DEVICE_PROGRAM], capture_output=True, text=True)
    assert result.stdout.strip() == numbers, result.stderr


def test_an_attribute_that_no_device_has_is_refused(driver):
    assert driver.cuDeviceGetAttribute(ctypes.byref(ctypes.c_int()), 100_000, 0) == INVALID_VALUE
    assert driver.cuDeviceGet(ctypes.byref(ctypes.c_int()), 1) == 101


# ── contexts and errors that stick ──────────────────────────────────────────────────────────────────────


def current(driver):
    return driver.result("cuCtxGetCurrent")


def test_contexts_are_a_stack_of_each_thread(driver):
    assert current(driver) == 0
    primary = driver.result("cuDevicePrimaryCtxRetain", 0)
    driver.ok.cuCtxSetCurrent(primary)
    mine = driver.result("cuCtxCreate_v2", 0, 0)
    assert current(driver) == mine != primary
    seen = []
    other = threading.Thread(target=lambda: seen.append(current(driver)))
    other.start()
    other.join()
    assert seen == [0]
    assert driver.result("cuCtxPopCurrent_v2") == mine
    assert current(driver) == primary
    driver.ok.cuCtxPushCurrent_v2(mine)
    driver.ok.cuCtxDestroy_v2(mine)
    assert current(driver) == primary
    assert driver.cuCtxPushCurrent_v2(mine) == INVALID_CONTEXT
    driver.ok.cuCtxSetCurrent(0)
    assert driver.cuCtxPopCurrent_v2(0) == INVALID_CONTEXT
    driver.ok.cuDevicePrimaryCtxRelease_v2(0)
    assert driver.cuDevicePrimaryCtxRelease_v2(0) == INVALID_CONTEXT


def test_a_context_takes_what_belongs_to_it_along(driver):
    before = driver.result("cuMemAlloc_v2", 16)
    context = driver.result("cuCtxCreate_v2", 0, 0)
    address, stream, module = driver.result("cuMemAlloc_v2", 16), driver.result("cuStreamCreate", 0), driver.module()
    driver.ok.cuCtxDestroy_v2(context)
    assert driver.cuMemFree_v2(address) == INVALID_VALUE
    assert driver.cuStreamSynchronize(stream) == INVALID_HANDLE
    assert driver.cuModuleGetFunction(ctypes.byref(ctypes.c_uint64()), module, b"transform") == INVALID_HANDLE
    driver.ok.cuMemFree_v2(before)


def break_context(driver):
    """Read behind a buffer."""
    address = driver.allocate(np.zeros(8, np.uint32))
    return transform(driver, address, count=9)


def test_an_illegal_address_sticks_to_its_context(driver):
    healthy = driver.allocate(np.arange(8, dtype=np.uint32))
    stream, event = driver.result("cuStreamCreate", 0), driver.result("cuEventCreate", 0)
    function = driver.function("count_up")
    assert break_context(driver) == ILLEGAL_ADDRESS
    text = driver.text(ILLEGAL_ADDRESS)[1]
    assert text.startswith("Invalid global load of 4 bytes")

    place, data = ctypes.byref(ctypes.c_uint64()), np.zeros(8, np.uint32)
    calls = [
        lambda: driver.cuCtxSynchronize(),
        lambda: driver.cuStreamSynchronize(stream),
        lambda: driver.cuStreamQuery(stream),
        lambda: driver.cuEventRecord(event, stream),
        lambda: driver.cuEventQuery(event),
        lambda: driver.cuMemAlloc_v2(place, 16),
        lambda: driver.cuMemcpyDtoH_v2(data.ctypes.data, healthy, 32),
        lambda: driver.cuMemcpyHtoDAsync_v2(healthy, data.ctypes.data, 32, stream),
        lambda: driver.cuMemsetD8_v2(healthy, 0, 32),
        lambda: driver.cuModuleLoadData(place, PTX.encode()),
        lambda: driver.launch(function),
        lambda: driver.cuMemHostAlloc(place, 16, 0),
        lambda: driver.cuMemFree_v2(healthy),
    ]
    assert [call() for call in calls] == [ILLEGAL_ADDRESS] * len(calls)
    assert driver.text(ILLEGAL_ADDRESS)[1] == text
    assert len(driver.launcher.errors) == 1

    codes = []  # the same from another thread
    other = threading.Thread(target=lambda: codes.extend([driver.cuCtxSynchronize(), driver.text(700)[1]]))
    other.start()
    other.join()
    assert codes == [ILLEGAL_ADDRESS, text]

    second = driver.result("cuCtxCreate_v2", 0, 0)  # another context is well
    assert transform(driver, driver.allocate(data)) == 0
    driver.ok.cuCtxDestroy_v2(second)
    assert driver.cuCtxSynchronize() == ILLEGAL_ADDRESS
    driver.ok.cuDevicePrimaryCtxReset_v2(0)
    driver.ok.cuCtxSynchronize()
    assert transform(driver, driver.allocate(data)) == 0


def test_a_trap_sticks_too_unless_the_host_wants_to_go_on(driver):
    address = driver.allocate(np.arange(8, dtype=np.uint32))
    driver.launcher.errors_stick = False
    assert driver.launch(driver.function("stops")) == LAUNCH_FAILED
    driver.ok.cuCtxSynchronize()
    assert transform(driver, address) == 0
    np.testing.assert_array_equal(driver.fetch(address, np.zeros(8, np.uint32)), np.arange(8) * 3)
    driver.launcher.errors_stick = True
    assert driver.launch(driver.function("stops")) == LAUNCH_FAILED
    assert driver.cuCtxSynchronize() == LAUNCH_FAILED
    assert [isinstance(error, KernelError) for error in driver.launcher.errors] == [True, True]


def test_a_misaligned_address_has_a_code_of_its_own(driver):
    address = driver.allocate(np.zeros(8, np.uint32))
    assert transform(driver, address + 2) == MISALIGNED_ADDRESS
    assert driver.cuCtxSynchronize() == MISALIGNED_ADDRESS


def test_a_refused_launch_does_not_stick(driver):
    address = driver.allocate(np.zeros(8, np.uint32))
    assert transform(driver, address, block=2048) == INVALID_VALUE
    assert "2048" in driver.text(INVALID_VALUE)[1]
    assert transform(driver, address, grid=0) == INVALID_VALUE
    assert transform(driver, address, grid=(1, 65536)) == INVALID_VALUE
    assert transform(driver, address, block=(1, 1, 65)) == INVALID_VALUE
    assert driver.launch(driver.function("unsupported")) == REFUSED
    assert "frobnicate" in driver.text(REFUSED)[1]
    assert driver.launch(driver.function("transform", ".version 8.1\n.entry transform() { } }")) == 218
    driver.ok.cuCtxSynchronize()
    assert transform(driver, address) == 0
    assert [isinstance(error, LaunchError) for error in driver.launcher.errors] == [True] * 4 + [False] * 2


# ── memory ──────────────────────────────────────────────────────────────────────────────────────────────


def test_freed_memory_is_counted_and_gone(driver):
    def free_bytes():
        free, total = ctypes.c_uint64(), ctypes.c_uint64()
        driver.ok.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        assert free.value <= total.value
        return free.value

    before = free_bytes()
    address = driver.result("cuMemAlloc_v2", 5000)
    assert free_bytes() == before - 5000
    pinned = driver.result("cuMemHostAlloc", 5000, 0)
    assert free_bytes() == before - 5000
    driver.ok.cuMemFreeHost(pinned)
    assert driver.cuMemFree_v2(address + 256) == INVALID_VALUE
    driver.ok.cuMemFreeAsync(address, 0)
    assert free_bytes() == before
    assert driver.cuMemFree_v2(address) == INVALID_VALUE
    assert driver.cuMemsetD8_v2(address, 0, 1) == INVALID_VALUE
    driver.ok.cuMemFree_v2(0)
    assert driver.cuMemAlloc_v2(ctypes.byref(ctypes.c_uint64()), 2**64 - 1) == OUT_OF_MEMORY
    assert driver.cuMemAlloc_v2(ctypes.byref(ctypes.c_uint64()), 0) == INVALID_VALUE


def test_a_kernel_sees_the_buffer_of_now_at_an_address_that_is_used_again(driver):
    """Each buffer is larger than the one before, and often lies where that one was."""
    addresses = set()
    for count in range(1, 60):
        address = driver.allocate(np.ones(count, np.uint32))
        addresses.add(address)
        assert transform(driver, address, count=count, block=64) == 0
        np.testing.assert_array_equal(driver.fetch(address, np.zeros(count, np.uint32)), 2 + np.arange(count))
        driver.ok.cuMemFree_v2(address)
    assert len(addresses) < 59
    assert transform(driver, address) == ILLEGAL_ADDRESS
    assert "was freed" in driver.text(ILLEGAL_ADDRESS)[1]


def test_pinned_and_registered_memory_is_the_kernels_and_the_hosts(driver):
    pinned = driver.result("cuMemAllocHost_v2", 32)
    own = np.zeros(8, np.uint32)
    driver.ok.cuMemHostRegister_v2(own.ctypes.data, own.nbytes, 0)
    assert driver.cuMemHostRegister_v2(own.ctypes.data + 4, 4, 0) == 712
    view = np.ctypeslib.as_array((ctypes.c_uint32 * 8).from_address(pinned))
    for memory in (view, own):
        memory[:] = np.arange(8)
        device = driver.result("cuMemHostGetDevicePointer_v2", memory.ctypes.data, 0)
        assert transform(driver, device, factor=10) == 0
        np.testing.assert_array_equal(memory, np.arange(8) * 11)
    driver.ok.cuMemHostUnregister(own.ctypes.data)
    assert driver.cuMemHostUnregister(own.ctypes.data) == 713
    assert driver.cuMemHostGetDevicePointer_v2(ctypes.byref(ctypes.c_uint64()), own.ctypes.data, 0) == INVALID_VALUE
    assert transform(driver, own.ctypes.data) == ILLEGAL_ADDRESS
    driver.ok.cuDevicePrimaryCtxReset_v2(0)


def test_what_is_known_of_a_pointer(driver):
    address = driver.result("cuMemAlloc_v2", 100)
    pinned = driver.result("cuMemHostAlloc", 64, 0)

    def known(pointer):
        names = {"type": 2, "ordinal": 9, "start": 11, "size": 12, "managed": 8}
        places = [ctypes.c_uint32(77) if number in (2, 8) else ctypes.c_int64(77) for number in names.values()]
        places[1] = ctypes.c_int32(77)
        numbers = (ctypes.c_int * len(names))(*names.values())
        driver.ok.cuPointerGetAttributes(
            len(names), numbers, (ctypes.c_void_p * len(names))(*map(ctypes.addressof, places)), pointer
        )
        return SimpleNamespace(**{name: place.value for name, place in zip(names, places, strict=True)})

    assert known(address + 99) == SimpleNamespace(type=2, ordinal=0, start=address, size=100, managed=0)
    assert known(pinned) == SimpleNamespace(type=1, ordinal=0, start=pinned, size=64, managed=0)
    assert known(address + 100) == SimpleNamespace(type=0, ordinal=-2, start=0, size=0, managed=0)
    assert driver.result("cuPointerGetAttribute", 2, address, kind=ctypes.c_uint32) == 2
    assert driver.cuPointerGetAttribute(ctypes.byref(ctypes.c_uint32()), 2, 16) == INVALID_VALUE
    base, size = ctypes.c_uint64(), ctypes.c_uint64()
    driver.ok.cuMemGetAddressRange_v2(ctypes.byref(base), ctypes.byref(size), address + 50)
    assert (base.value, size.value) == (address, 100)
    assert driver.cuMemGetAddressRange_v2(ctypes.byref(base), 0, address - 1) == NOT_FOUND


def test_memory_is_mapped_where_the_program_wants_it(driver):
    piece = 2 << 20
    assert driver.result("cuMemGetAllocationGranularity", 0, 0) == piece
    start = driver.result("cuMemAddressReserve", 2 * piece, 0, 0, 0)
    memory = driver.result("cuMemCreate", piece, 0, 0)
    assert driver.cuMemCreate(ctypes.byref(ctypes.c_uint64()), 100, 0, 0) == INVALID_VALUE
    for address in (start, start + piece):  # the same bytes, twice
        driver.ok.cuMemMap(address, piece, 0, memory, 0)
        driver.ok.cuMemSetAccess(address, piece, 0, 1)
    driver.ok.cuMemRelease(memory)
    driver.ok.cuMemsetD32_v2(start, 5, 8)
    assert transform(driver, start + piece) == 0
    np.testing.assert_array_equal(driver.fetch(start, np.zeros(8, np.uint32)), 10 + np.arange(8))
    for address in (start, start + piece):
        driver.ok.cuMemUnmap(address, piece)
    assert driver.cuMemsetD8_v2(start, 0, 1) == INVALID_VALUE
    driver.ok.cuMemAddressFree(start, 2 * piece)


# ── copies and memsets ──────────────────────────────────────────────────────────────────────────────────

SOURCE = np.arange(24, dtype=np.uint8)


@pytest.mark.parametrize(
    "name",
    """cuMemcpyHtoD_v2 cuMemcpyHtoDAsync_v2 cuMemcpyDtoH_v2 cuMemcpyDtoHAsync_v2 cuMemcpyDtoD_v2 cuMemcpyDtoDAsync_v2
    cuMemcpy cuMemcpyAsync cuMemcpyPeer cuMemcpyPeerAsync""".split(),
)
def test_copies_in_every_direction_stay_inside(driver, name):
    context = driver.result("cuDevicePrimaryCtxRetain", 0)
    stream = [driver.result("cuStreamCreate", 1)] if name.endswith(("Async", "Async_v2")) else []
    host = np.full(24, 0xEE, np.uint8)
    directions = [name.removeprefix("cuMemcpy")[:4]] if "to" in name else ["HtoD", "DtoH", "DtoD", "HtoH"]
    for direction in directions:
        host[:] = 0xEE
        device = driver.allocate(host)
        source = SOURCE.ctypes.data if direction[0] == "H" else driver.allocate(SOURCE)
        target = host.ctypes.data if direction[3] == "H" else device

        def copied(size, target=target, source=source):
            places = [target + 4, context, source + 2, context] if "Peer" in name else [target + 4, source + 2]
            return getattr(driver, name)(*places, size, *stream)

        assert copied(16) == 0
        result = host if direction[3] == "H" else driver.fetch(device, host)
        expected = np.full(24, 0xEE, np.uint8)
        expected[4:20] = SOURCE[2:18]
        np.testing.assert_array_equal(result, expected)
        if "D" in direction:
            assert copied(23) == INVALID_VALUE
        assert copied(0) == 0
    if "to" in name:  # a host pointer on the device's side, and the other way round
        wrong = getattr(driver, name)(*(host.ctypes.data, SOURCE.ctypes.data), 8, *stream)
        assert wrong == INVALID_VALUE
    assert getattr(driver, name)(*[0, context, 0, context] if "Peer" in name else [0, 0], 8, *stream) == INVALID_VALUE


def box(array, layout, is_host, x, y, z=None, pitch=0, height=0):
    """Half of a CUDA_MEMCPY2D or CUDA_MEMCPY3D, as the reference manual lists their fields."""
    host, device = (array, 0) if is_host else (0, array)
    kind = 1 if is_host else 2
    if layout == "2D":
        return struct.pack("<QQI4xQQQQ", x, y, kind, host, device, 0, pitch)
    return struct.pack("<QQQQI4xQQQQQQ", x, y, z, 0, kind, host, device, 0, 0, pitch, height)


@pytest.mark.parametrize("name", ["cuMemcpy2D_v2", "cuMemcpy2DUnaligned_v2", "cuMemcpy2DAsync_v2"])
def test_rectangles_are_copied(driver, name):
    host = np.arange(60, dtype=np.uint8).reshape(6, 10)
    device = driver.allocate(np.zeros(7 * 8, np.uint8))
    rest = [0] if "Async" in name else []
    there = box(host.ctypes.data, "2D", True, x=3, y=1, pitch=10) + box(device, "2D", False, x=2, y=3, pitch=8)
    getattr(driver.ok, name)(there + struct.pack("<QQ", 5, 4), *rest)
    expected = np.zeros((7, 8), np.uint8)
    expected[3:7, 2:7] = host[1:5, 3:8]
    np.testing.assert_array_equal(driver.fetch(device, expected), expected)
    back = np.zeros((4, 5), np.uint8)
    here = box(device, "2D", False, x=2, y=3, pitch=8) + box(back.ctypes.data, "2D", True, x=0, y=0, pitch=5)
    getattr(driver.ok, name)(here + struct.pack("<QQ", 5, 4), *rest)
    np.testing.assert_array_equal(back, host[1:5, 3:8])
    too_far = there + struct.pack("<QQ", 5, 5)
    assert getattr(driver, name)(too_far, *rest) == INVALID_VALUE
    np.testing.assert_array_equal(driver.fetch(device, expected), expected)
    assert getattr(driver, name)(there + struct.pack("<QQ", 9, 2), *rest) == INVALID_VALUE


@pytest.mark.parametrize("name", ["cuMemcpy3D_v2", "cuMemcpy3DAsync_v2", "cuMemcpy3DPeer", "cuMemcpy3DPeerAsync"])
def test_boxes_are_copied(driver, name):
    host = np.arange(3 * 4 * 6, dtype=np.uint8).reshape(3, 4, 6)
    device = driver.allocate(np.zeros(4 * 5 * 8, np.uint8))
    rest = [0] if "Async" in name else []
    there = box(host.ctypes.data, "3D", True, 1, 1, 1, pitch=6, height=4) + box(
        device, "3D", False, 2, 0, 2, pitch=8, height=5
    )
    getattr(driver.ok, name)(there + struct.pack("<QQQ", 4, 3, 2), *rest)
    expected = np.zeros((4, 5, 8), np.uint8)
    expected[2:4, 0:3, 2:6] = host[1:3, 1:4, 1:5]
    np.testing.assert_array_equal(driver.fetch(device, expected), expected)


def test_a_batch_of_copies(driver):
    device = driver.allocate(np.zeros(24, np.uint8))
    targets = (ctypes.c_uint64 * 2)(device, device + 20)
    sources = (ctypes.c_uint64 * 2)(SOURCE.ctypes.data, SOURCE.ctypes.data + 8)
    failed = ctypes.c_uint64()
    sizes = (ctypes.c_uint64 * 2)(3, 4)
    driver.ok.cuMemcpyBatchAsync(targets, sources, sizes, 2, 0, 0, 0, ctypes.byref(failed), 0)
    assert driver.fetch(device, SOURCE).tolist() == [0, 1, 2, *[0] * 17, 8, 9, 10, 11]
    sizes[1] = 5
    assert driver.cuMemcpyBatchAsync(targets, sources, sizes, 2, 0, 0, 0, ctypes.byref(failed), 0) == INVALID_VALUE
    assert failed.value == 1


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("form", ["D{}_v2", "D{}Async", "D2D{}_v2", "D2D{}Async"])
def test_memsets_of_every_width(driver, bits, form):
    kind = np.dtype(f"u{bits // 8}")
    device = driver.allocate(np.zeros((6, 16), kind))
    function = getattr(driver, "cuMemset" + form.format(bits))
    rest = [0] if "Async" in form else []
    expected = np.zeros((6, 16), kind)
    value = 0xFEDCBA98 & (1 << bits) - 1
    inside = device + 16 * kind.itemsize + 2 * kind.itemsize
    if "2D" in form:
        expected[1:4, 2:7] = value
        assert function(inside, 16 * kind.itemsize, value, 5, 3, *rest) == 0
        assert function(inside, 16 * kind.itemsize, value, 15, 5, *rest) == INVALID_VALUE
    else:
        expected[1, 2:7] = value
        assert function(inside, value, 5, *rest) == 0
        assert function(inside, value, 6 * 16 - 17, *rest) == INVALID_VALUE
        if bits > 8:
            assert function(inside + 1, value, 5, *rest) == INVALID_VALUE
    np.testing.assert_array_equal(driver.fetch(device, expected), expected)


def test_the_driver_knows_what_the_host_wrote(driver):
    first, second = driver.result("cuMemAlloc_v2", 100), driver.result("cuMemAlloc_v2", 100)

    def written():
        rows = (ctypes.c_uint64 * 8)()
        pairs = []
        while count := driver.library.softgpu_host_writes(rows, ctypes.c_int64(4)):
            pairs += [(rows[2 * n], rows[2 * n + 1]) for n in range(count)]
        return sorted(pairs)

    driver.ok.cuMemsetD8_v2(first + 10, 0, 5)
    driver.ok.cuMemsetD8_v2(first + 30, 0, 5)
    driver.ok.cuMemcpyDtoD_v2(first + 15, second, 5)
    driver.ok.cuMemsetD8_v2(first + 32, 0, 1)
    driver.ok.cuMemsetD2D8_v2(second, 20, 1, 10, 3)
    expected = [(first + 10, 10), (first + 30, 5), (second, 10), (second + 20, 10), (second + 40, 10)]
    assert written() == sorted(expected)
    assert written() == []
    driver.ok.cuMemsetD8_v2(second, 0, 100)
    driver.ok.cuMemFree_v2(second)  # what lies there next was not written
    assert written() == []


def test_initcheck_knows_what_the_host_wrote(driver):
    check = Initcheck()
    driver.launcher.observers.append(check)
    partly, set_, copied = (driver.result("cuMemAlloc_v2", 32) for _ in range(3))
    driver.ok.cuMemsetD32_v2(set_, 1, 8)
    driver.ok.cuMemcpyDtoD_v2(copied, set_, 32)
    pinned = driver.result("cuMemHostAlloc", 32, 0)
    ctypes.memset(pinned, 0, 32)
    for address in (set_, copied, pinned):
        assert transform(driver, address) == 0
        assert transform(driver, address) == 0
    assert check.reports == []
    driver.ok.cuMemsetD32_v2(partly, 1, 7)
    assert transform(driver, partly, count=7) == 0
    assert check.reports == []
    assert transform(driver, partly) == 0
    (report,) = check.reports
    assert report.what == "Uninitialized __global__ memory read of size 4 bytes"
    driver.ok.cuMemFree_v2(set_)
    again = driver.result("cuMemAlloc_v2", 32)  # perhaps where that one was
    assert transform(driver, again) == 0
    assert len(check.reports) == 2


# ── streams, events, callbacks ──────────────────────────────────────────────────────────────────────────


def test_streams_and_events_know_their_handles(driver):
    stream, event = driver.result("cuStreamCreateWithPriority", 1, 0), driver.result("cuEventCreate", 0)
    driver.ok.cuStreamWaitEvent(stream, event, 0)
    driver.ok.cuStreamQuery(stream)
    driver.ok.cuStreamSynchronize(0)
    capturing, flags, context = ctypes.c_int(7), ctypes.c_uint32(), ctypes.c_uint64()
    driver.ok.cuStreamIsCapturing(stream, ctypes.byref(capturing))
    assert capturing.value == 0
    driver.ok.cuStreamGetFlags(stream, ctypes.byref(flags))
    driver.ok.cuStreamGetCtx(stream, ctypes.byref(context))
    assert (flags.value, context.value) == (1, driver.result("cuDevicePrimaryCtxRetain", 0))
    driver.ok.cuStreamDestroy_v2(stream)
    driver.ok.cuEventDestroy_v2(event)
    assert driver.cuStreamDestroy_v2(stream) == INVALID_HANDLE
    assert driver.cuStreamSynchronize(stream) == INVALID_HANDLE
    assert driver.cuStreamSynchronize(event) == INVALID_HANDLE
    assert driver.cuEventRecord(event, 0) == INVALID_HANDLE
    assert driver.cuEventSynchronize(0xDEAD) == INVALID_HANDLE
    assert driver.cuMemcpyHtoDAsync_v2(0, 0, 0, stream) == INVALID_HANDLE


def test_events_take_the_time(driver):
    events = [driver.result("cuEventCreate", 0) for _ in range(3)]
    untimed = driver.result("cuEventCreate", 2)
    elapsed = ctypes.c_float()
    assert driver.cuEventElapsedTime(ctypes.byref(elapsed), events[0], events[1]) == INVALID_HANDLE
    started = time.perf_counter()
    for event in [*events, untimed]:
        driver.ok.cuEventRecord(event, 0)
        time.sleep(0.02)
    whole = (time.perf_counter() - started) * 1e3

    def between(first, second):
        driver.ok.cuEventElapsedTime(ctypes.byref(elapsed), events[first], events[second])
        return elapsed.value

    assert 20 <= between(0, 1) <= whole
    assert between(0, 2) == pytest.approx(between(0, 1) + between(1, 2), abs=1e-3)
    assert between(1, 0) == -between(0, 1)
    assert between(1, 1) == 0
    assert driver.cuEventElapsedTime(ctypes.byref(elapsed), events[0], untimed) == INVALID_HANDLE


def test_host_functions_run_in_the_streams_order(driver):
    device = driver.allocate(np.full(8, 3, np.uint32))
    seen = []

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def look(data):
        seen.append((data, driver.fetch(device, np.zeros(8, np.uint32))[0]))

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def told(stream, status, data):
        seen.append((status, data))

    driver.ok.cuLaunchHostFunc(0, ctypes.cast(look, ctypes.c_void_p), 1)
    assert transform(driver, device) == 0
    driver.ok.cuLaunchHostFunc(0, ctypes.cast(look, ctypes.c_void_p), 2)
    driver.ok.cuStreamAddCallback(0, ctypes.cast(told, ctypes.c_void_p), 3, 0)
    assert break_context(driver) == ILLEGAL_ADDRESS
    assert driver.cuLaunchHostFunc(0, ctypes.cast(look, ctypes.c_void_p), 4) == ILLEGAL_ADDRESS
    assert driver.cuStreamAddCallback(0, ctypes.cast(told, ctypes.c_void_p), 5, 0) == ILLEGAL_ADDRESS
    assert seen == [(1, 3), (2, 6), (0, 3), (ILLEGAL_ADDRESS, 5)]


# ── modules ─────────────────────────────────────────────────────────────────────────────────────────────


def variable(driver, module, name):
    address, size = ctypes.c_uint64(), ctypes.c_uint64()
    driver.ok.cuModuleGetGlobal_v2(ctypes.byref(address), ctypes.byref(size), module, name)
    return address.value, size.value


def test_variables_are_the_hosts_and_the_kernels(driver):
    module = driver.module()
    function = driver.result("cuModuleGetFunction", module, b"count_up")
    address, size = variable(driver, module, b"counter")
    assert size == 8
    assert driver.fetch(address, np.zeros(2, np.uint32)).tolist() == [40, 2]
    assert driver.launch(function, block=1) == 0
    assert driver.fetch(address, np.zeros(2, np.uint32)).tolist() == [43, 2]
    driver.ok.cuMemcpyHtoD_v2(variable(driver, module, b"scale")[0], np.array([7], np.uint32).ctypes.data, 4)
    driver.ok.cuMemsetD32_v2(address, 100, 1)
    assert driver.launch(function, block=1) == 0
    assert driver.fetch(address, np.zeros(2, np.uint32)).tolist() == [107, 2]
    assert variable(driver, module, b"counter") == (address, 8)
    assert driver.cuModuleGetGlobal_v2(ctypes.byref(ctypes.c_uint64()), 0, module, b"nothing") == NOT_FOUND
    assert driver.cuMemFree_v2(address) == INVALID_VALUE

    other = driver.module()  # the same text again has variables of its own
    assert driver.fetch(variable(driver, other, b"counter")[0], np.zeros(2, np.uint32)).tolist() == [40, 2]


def test_an_unloaded_module_is_gone(driver):
    module = driver.module()
    function = driver.result("cuModuleGetFunction", module, b"count_up")
    assert driver.result("cuModuleGetFunction", module, b"count_up") == function
    assert driver.launch(function) == 0
    address, _ = variable(driver, module, b"counter")
    driver.ok.cuModuleUnload(module)
    assert driver.launch(function) == INVALID_HANDLE
    assert driver.cuModuleUnload(module) == INVALID_HANDLE
    assert driver.cuMemsetD8_v2(address, 0, 1) == INVALID_VALUE
    assert transform(driver, address) == ILLEGAL_ADDRESS


def test_what_is_no_ptx_is_refused(driver):
    place = ctypes.byref(ctypes.c_uint64())
    assert driver.cuModuleLoadData(place, b"\x7fELF" + bytes(64)) == 209
    assert driver.cuModuleLoadData(place, b"int main() {}") == 200
    for name in (b"transfor", b"transform2", b"counter", b"data"):
        assert driver.cuModuleGetFunction(place, driver.module(), name) == NOT_FOUND


def test_a_module_is_loaded_from_a_file(driver, tmp_path):
    file = tmp_path / "kernels.ptx"
    file.write_text(PTX)
    module = driver.result("cuModuleLoad", str(file).encode())
    assert driver.launch(driver.result("cuModuleGetFunction", module, b"count_up")) == 0
    assert driver.cuModuleLoad(ctypes.byref(ctypes.c_uint64()), str(tmp_path / "none.ptx").encode()) == 301


def test_libraries_are_modules_by_another_name(driver):
    library = driver.result("cuLibraryLoadData", PTX.encode(), 0, 0, 0, 0, 0, 0)
    kernel = driver.result("cuLibraryGetKernel", library, b"count_up")
    assert driver.launch(kernel) == 0
    assert driver.launch(driver.result("cuKernelGetFunction", kernel)) == 0
    driver.ok.cuLibraryUnload(library)


@pytest.mark.parametrize("target", ["sm_75", "sm_86", "sm_90", "sm_90a"])
def test_a_kernel_for_another_target_runs(driver, target):
    ptx = PTX.replace(".target sm_80", f".target {target}")
    assert driver.launch(driver.function("count_up", ptx)) == 0


# ── functions and launches ──────────────────────────────────────────────────────────────────────────────


def test_what_a_kernel_needs(driver):
    module = driver.module()
    shared = driver.result("cuModuleGetFunction", module, b"shared")
    plain = driver.result("cuModuleGetFunction", module, b"transform")

    def attribute(function, number):
        return driver.result("cuFuncGetAttribute", number, function, kind=ctypes.c_int)

    assert [attribute(shared, number) for number in (0, 1, 8)] == [128, 1024, 47 * 1024]
    assert [attribute(plain, number) for number in (0, 1, 3, 8)] == [1024, 0, 0, 48 * 1024]
    driver.ok.cuFuncSetAttribute(shared, 8, 100_000)
    assert attribute(shared, 8) == 100_000
    assert driver.cuFuncSetAttribute(shared, 8, 163 * 1024 + 1) == INVALID_VALUE
    assert driver.cuFuncGetAttribute(ctypes.byref(ctypes.c_int()), 99, shared) == INVALID_VALUE
    offset, size = ctypes.c_uint64(), ctypes.c_uint64()
    found = []
    while driver.cuFuncGetParamInfo(plain, len(found), ctypes.byref(offset), ctypes.byref(size)) == 0:
        found.append((offset.value, size.value))
    assert found == [(0, 8), (8, 4), (12, 4)]


def test_occupancy(driver):
    """By hand for sm_80: 2048 threads, 32 blocks, 164 KiB of shared memory, 1 KiB of it reserved a block."""
    shared, plain = driver.function("shared"), driver.function("transform")

    def blocks(function, block, dynamic):
        return driver.result("cuOccupancyMaxActiveBlocksPerMultiprocessor", function, block, dynamic, kind=ctypes.c_int)

    assert [blocks(plain, block, 0) for block in (1, 32, 64, 65, 256, 1024)] == [32, 32, 32, 21, 8, 2]
    assert blocks(plain, 64, 40 * 1024) == 4
    assert blocks(shared, 64, 39 * 1024) == 4
    assert blocks(plain, 64, 200 * 1024) == 0


def test_dynamic_shared_memory_is_limited_until_the_kernel_opts_in(driver):
    function, out = driver.function("shared"), driver.allocate(np.zeros(1, np.uint32))

    def launch(size):
        return driver.launch(function, ctypes.c_uint64(out), block=1, shared=size)

    assert launch(47 * 1024) == 0
    assert launch(47 * 1024 + 1) == INVALID_VALUE
    assert "48128" in driver.text(INVALID_VALUE)[1]
    driver.ok.cuFuncSetAttribute(function, 8, 100_000)
    assert launch(100_000) == 0
    assert driver.fetch(out, np.zeros(1, np.uint32))[0] == 100_000
    assert launch(100_001) == INVALID_VALUE


def test_arguments_in_one_buffer(driver):
    device, function = driver.allocate(np.ones(8, np.uint32)), driver.function("transform")
    content = ctypes.create_string_buffer(struct.pack("<QII", device, 5, 8), 16)

    def launch(size):
        size = ctypes.c_uint64(size)
        extra = (ctypes.c_uint64 * 5)(1, ctypes.addressof(content), 2, ctypes.addressof(size), 0)
        return driver.cuLaunchKernel(function, 1, 1, 1, 8, 1, 1, 0, 0, 0, extra)

    assert launch(16) == 0
    np.testing.assert_array_equal(driver.fetch(device, np.zeros(8, np.uint32)), 5 + np.arange(8))
    assert launch(12) == INVALID_VALUE
    assert "16 bytes, but 12" in driver.text(INVALID_VALUE)[1]
    assert driver.cuLaunchKernel(function, 1, 1, 1, 8, 1, 1, 0, 0, 0, 0) == INVALID_VALUE


def launch_ex(driver, function, attributes, grid=1):
    """`attributes` are pairs of a CUlaunchAttributeID and up to three 32-bit numbers."""
    listed = b"".join(
        struct.pack("<I4x", number) + struct.pack(f"<{len(values)}I", *values).ljust(64, b"\0")
        for number, values in attributes
    )
    listed = ctypes.create_string_buffer(listed, len(listed) + 1)
    config = struct.pack("<7I4xQQI4x", grid, 1, 1, 32, 1, 1, 0, 0, ctypes.addressof(listed), len(attributes))
    return driver.cuLaunchKernelEx(config, function, 0, 0)


def test_launch_attributes(driver):
    function = driver.function("count_up")
    assert launch_ex(driver, function, []) == 0
    assert launch_ex(driver, function, [(4, (1, 1, 1)), (6, (1,)), (8, (0,)), (0, ())]) == 0
    assert launch_ex(driver, function, [(4, (2, 1, 1))]) == REFUSED
    assert "cluster" in driver.text(REFUSED)[1]
    assert launch_ex(driver, function, [(7, (1,))]) == REFUSED
    assert "launch attribute 7" in driver.text(REFUSED)[1]
    assert launch_ex(driver, function, [(2, (1,))], grid=108 * 32) == 0
    assert launch_ex(driver, function, [(2, (1,))], grid=108 * 32 + 1) == 720
    driver.ok.cuCtxSynchronize()


def test_memory_freed_while_a_kernel_runs_lives_as_long_as_the_kernel(driver):
    """CUDA's free would wait for the kernel; here it must not, since the kernel needs the lock its caller may hold."""
    device = driver.allocate(np.ones(8, np.uint32))
    seen = []

    class Free(Observer):
        def launch_begin(self, launch):
            driver.ok.cuMemFree_v2(device)
            seen.append([driver.result("cuMemAlloc_v2", 32) for _ in range(50)])

    driver.launcher.observers.append(Free())
    assert transform(driver, device) == 0
    assert device not in seen[0]
    driver.launcher.observers.clear()
    assert driver.cuMemFree_v2(device) == INVALID_VALUE


def test_a_process_without_softgpu_cannot_launch():
    program = f"""
import ctypes
from softgpu.driver.build import built_driver, modular_lib_folder
ctypes.CDLL(str(modular_lib_folder() / "libKGENCompilerRTShared.so"), ctypes.RTLD_GLOBAL)
cuda = ctypes.CDLL(str(built_driver() / "libcuda.so.1"))
module, function, text = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_char_p()
ptx = {PTX!r}.encode()
assert cuda.cuModuleLoadData(ctypes.byref(module), ptx) == 0
assert cuda.cuModuleGetFunction(ctypes.byref(function), module, b"count_up") == 0
code = cuda.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, None, None)
cuda.cuGetErrorString(code, ctypes.byref(text))
print(code, text.value.decode())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.startswith("801 nothing executes kernels in this process"), result.stderr


def test_an_interrupt_stops_the_kernel_and_reaches_the_program(driver):
    device = driver.allocate(np.ones(8, np.uint32))

    class Interrupt(Observer):
        def launch_begin(self, launch):
            raise KeyboardInterrupt

    driver.launcher.observers.append(Interrupt())
    with pytest.raises(KeyboardInterrupt):
        assert transform(driver, device) == 999
        time.sleep(1)
    driver.launcher.observers.clear()
    assert transform(driver, device) == 0
