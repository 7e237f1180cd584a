"""Initialisation, errors by name, and the device that is presented: one A100, or one H100 with SOFTGPU_ARCH=sm_90.

Source: CUDA Driver API reference manual, sections 6.2 to 6.6; for the numbers of a device, CUDA C++ Programming Guide,
section "Compute Capabilities".
"""

from std.collections import Dict
from std.ffi import _Global, external_call
from std.os import abort

from state import *

comptime DRIVER_VERSION: Int32 = 13000
comptime NAME_SM_80: StaticString = "softgpu (software GPU, sm_80)\0"
comptime NAME_SM_90: StaticString = "softgpu (software GPU, sm_90)\0"
comptime BUS_ID: StaticString = "0000:00:00.0\0"


def is_sm_90() -> Bool:
    var name = String("SOFTGPU_ARCH\0")
    var chosen = external_call["getenv", UInt64](UInt64(Int(name.unsafe_ptr())))
    var sm_90 = String("sm_90\0")
    return chosen != 0 and external_call["strcmp", Int32](chosen, UInt64(Int(sm_90.unsafe_ptr()))) == 0


struct Tables(Movable):
    var errors: Dict[Int32, StaticString]
    var attributes: Dict[Int32, Int32]

    def __init__(out self):
        self.errors = error_names()
        self.attributes = device_attributes(is_sm_90())


def new_tables() -> Tables:
    return Tables()


comptime TABLES = _Global["SOFTGPU_TABLES", new_tables]


def tables() -> Pointer[Tables, MutAnyOrigin]:
    try:
        return at[Tables](UInt64(Int(TABLES.get_or_create_ptr())))
    except:
        abort("softgpu: the driver's tables could not be made")


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────


@export
def cuGetErrorName(code: Int32, name: UInt64) abi("C") -> Int32:
    if name == 0:
        return INVALID_VALUE
    var known = tables()[].errors.get(code)
    at[UInt64](name)[] = UInt64(Int(known.value().unsafe_ptr())) if known else 0
    return SUCCESS if known else INVALID_VALUE


@export
def cuGetErrorString(code: Int32, text: UInt64) abi("C") -> Int32:
    """The text of the calling thread's last failure, if the code is that one's; else the code's name in plain words."""
    if text == 0:
        return INVALID_VALUE
    ref d = driver()[]
    var last = at[Thread](thread())[]
    if last.failure == code and last.failure_text != 0:
        at[UInt64](text)[] = last.failure_text
        return SUCCESS
    var known = tables()[].errors.get(code)
    if not known:
        at[UInt64](text)[] = 0
        return INVALID_VALUE
    var words = String(known.value()).removesuffix("\0").removeprefix("CUDA_").removeprefix("ERROR_")
    with BlockingScopedLock(d.lock):
        at[UInt64](text)[] = kept_text(words.lower().replace("_", " "))
    return SUCCESS


# ── initialisation ──────────────────────────────────────────────────────────────────────────────────────


@export
def cuInit(flags: UInt32) abi("C") -> Int32:
    return SUCCESS if flags == 0 else fail(INVALID_VALUE, "the flags of cuInit must be 0")


@export
def cuDriverGetVersion(version: UInt64) abi("C") -> Int32:
    put(version, DRIVER_VERSION)
    return SUCCESS


@export
def cuGetProcAddress(name: UInt64, function: UInt64, version: Int32, flags: UInt64) abi("C") -> Int32:
    return cuGetProcAddress_v2(name, function, version, flags, 0)


@export
def cuGetProcAddress_v2(name: UInt64, function: UInt64, version: Int32, flags: UInt64, found: UInt64) abi("C") -> Int32:
    """The newest form of a function that softgpu has: `NAME_v2` before `NAME`."""
    var library_name = String("libcuda.so.1\0")
    var library = external_call["dlopen", UInt64](UInt64(Int(library_name.unsafe_ptr())), Int32(1))
    var newest = text_at(name) + "_v2\0"
    var address = external_call["dlsym", UInt64](library, UInt64(Int(newest.unsafe_ptr())))
    if address == 0:
        address = external_call["dlsym", UInt64](library, name)
    at[UInt64](function)[] = address
    put(found, Int32(0) if address != 0 else Int32(1))  # CU_GET_PROC_ADDRESS_SUCCESS, …_SYMBOL_NOT_FOUND
    return SUCCESS if address != 0 else fail(NOT_FOUND, "softgpu knows no driver function of that name")


@export
def cuProfilerStart() abi("C") -> Int32:
    return SUCCESS


@export
def cuProfilerStop() abi("C") -> Int32:
    return SUCCESS


# ── the device ──────────────────────────────────────────────────────────────────────────────────────────


def check_device(device: Int32) -> Int32:
    return SUCCESS if device == 0 else fail(INVALID_DEVICE, "softgpu has one device, number 0")


@export
def cuDeviceGetCount(count: UInt64) abi("C") -> Int32:
    put[Int32](count, 1)
    return SUCCESS


@export
def cuDeviceGet(device: UInt64, ordinal: Int32) abi("C") -> Int32:
    put[Int32](device, 0)
    return check_device(ordinal)


@export
def cuDeviceGetName(name: UInt64, length: Int32, device: Int32) abi("C") -> Int32:
    var text = NAME_SM_90 if is_sm_90() else NAME_SM_80
    _ = external_call["strncpy", UInt64](name, UInt64(Int(text.unsafe_ptr())), UInt64(length))
    return check_device(device)


@export
def cuDeviceTotalMem_v2(bytes: UInt64, device: Int32) abi("C") -> Int32:
    put(bytes, TOTAL_MEMORY)
    return check_device(device)


@export
def cuDeviceGetUuid(uuid: UInt64, device: Int32) abi("C") -> Int32:
    c_memset(uuid, 0, 16)
    return check_device(device)


@export
def cuDeviceGetUuid_v2(uuid: UInt64, device: Int32) abi("C") -> Int32:
    return cuDeviceGetUuid(uuid, device)


@export
def cuDeviceGetPCIBusId(name: UInt64, length: Int32, device: Int32) abi("C") -> Int32:
    _ = external_call["strncpy", UInt64](name, UInt64(Int(BUS_ID.unsafe_ptr())), UInt64(length))
    return check_device(device)


@export
def cuDeviceComputeCapability(major: UInt64, minor: UInt64, device: Int32) abi("C") -> Int32:
    put(major, Int32(9) if is_sm_90() else Int32(8))
    put[Int32](minor, 0)
    return check_device(device)


@export
def cuDeviceGetAttribute(value: UInt64, attribute: Int32, device: Int32) abi("C") -> Int32:
    var known = tables()[].attributes.get(attribute)
    if not known:
        return fail(INVALID_VALUE, "softgpu does not know device attribute " + String(attribute))
    put(value, known.value())
    return check_device(device)


@export
def cuDeviceCanAccessPeer(can: UInt64, device: Int32, peer: Int32) abi("C") -> Int32:
    put[Int32](can, 0)
    return check_device(device)


def device_attributes(sm_90: Bool) -> Dict[Int32, Int32]:
    """By CUdevice_attribute. What is 0 here and not on the hardware is what softgpu does not do."""
    var attributes = attributes_of_sm_80()
    if sm_90:
        attributes[13] = 1980000
        attributes[16] = 132
        attributes[36] = 2619000
        attributes[38] = 50 * 1024 * 1024
        attributes[75] = 9
        attributes[81] = 228 * 1024
        attributes[97] = 227 * 1024
        attributes[126] = 4
    return attributes^


def attributes_of_sm_80() -> Dict[Int32, Int32]:
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
        15: 0,  # GPU_OVERLAP: copies are done before they return
        16: 108,  # MULTIPROCESSOR_COUNT
        17: 0,  # KERNEL_EXEC_TIMEOUT
        18: 0,  # INTEGRATED
        19: 1,  # CAN_MAP_HOST_MEMORY
        20: 0,  # COMPUTE_MODE: default
        30: 512,  # SURFACE_ALIGNMENT, bytes
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
        51: 32,  # TEXTURE_PITCH_ALIGNMENT, bytes
        75: 8,  # COMPUTE_CAPABILITY_MAJOR
        76: 0,  # COMPUTE_CAPABILITY_MINOR
        78: 0,  # STREAM_PRIORITIES_SUPPORTED
        79: 1,  # GLOBAL_L1_CACHE_SUPPORTED
        80: 1,  # LOCAL_L1_CACHE_SUPPORTED
        81: 164 * 1024,  # MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, bytes
        82: 64 * 1024,  # MAX_REGISTERS_PER_MULTIPROCESSOR
        83: 0,  # MANAGED_MEMORY
        84: 0,  # MULTI_GPU_BOARD
        85: 0,  # MULTI_GPU_BOARD_GROUP_ID
        86: 0,  # HOST_NATIVE_ATOMIC_SUPPORTED
        87: 2,  # SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO
        88: 0,  # PAGEABLE_MEMORY_ACCESS
        89: 0,  # CONCURRENT_MANAGED_ACCESS
        90: 1,  # COMPUTE_PREEMPTION_SUPPORTED
        91: 1,  # CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM
        92: 0,  # CAN_USE_STREAM_MEM_OPS_V1
        93: 0,  # CAN_USE_64_BIT_STREAM_MEM_OPS_V1
        94: 0,  # CAN_USE_STREAM_WAIT_VALUE_NOR_V1
        95: 1,  # COOPERATIVE_LAUNCH
        96: 0,  # COOPERATIVE_MULTI_DEVICE_LAUNCH
        97: 163 * 1024,  # MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, bytes
        98: 0,  # CAN_FLUSH_REMOTE_WRITES
        99: 1,  # HOST_REGISTER_SUPPORTED
        100: 0,  # PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES
        101: 0,  # DIRECT_MANAGED_MEM_ACCESS_FROM_HOST
        102: 1,  # VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
        103: 0,  # HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED
        104: 0,  # HANDLE_TYPE_WIN32_HANDLE_SUPPORTED
        105: 0,  # HANDLE_TYPE_WIN32_KMT_HANDLE_SUPPORTED
        106: 32,  # MAX_BLOCKS_PER_MULTIPROCESSOR
        107: 0,  # GENERIC_COMPRESSION_SUPPORTED
        108: 0,  # MAX_PERSISTING_L2_CACHE_SIZE
        109: 0,  # MAX_ACCESS_POLICY_WINDOW_SIZE
        110: 0,  # GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED
        111: 1024,  # RESERVED_SHARED_MEMORY_PER_BLOCK, bytes
        112: 0,  # SPARSE_CUDA_ARRAY_SUPPORTED
        113: 0,  # READ_ONLY_HOST_REGISTER_SUPPORTED
        114: 0,  # TIMELINE_SEMAPHORE_INTEROP_SUPPORTED
        115: 1,  # MEMORY_POOLS_SUPPORTED
        116: 0,  # GPU_DIRECT_RDMA_SUPPORTED
        117: 0,  # GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS
        118: 0,  # GPU_DIRECT_RDMA_WRITES_ORDERING
        119: 0,  # MEMPOOL_SUPPORTED_HANDLE_TYPES
        120: 0,  # CLUSTER_LAUNCH
        121: 0,  # DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED
        122: 0,  # CAN_USE_64_BIT_STREAM_MEM_OPS
        123: 0,  # CAN_USE_STREAM_WAIT_VALUE_NOR
        124: 0,  # DMA_BUF_SUPPORTED
        125: 0,  # IPC_EVENT_SUPPORTED
        126: 1,  # MEM_SYNC_DOMAIN_COUNT
        127: 0,  # TENSOR_MAP_ACCESS_SUPPORTED
        128: 0,  # HANDLE_TYPE_FABRIC_SUPPORTED
        129: 0,  # UNIFIED_FUNCTION_POINTERS
        130: 0,  # NUMA_CONFIG
        131: -1,  # NUMA_ID
        132: 0,  # MULTICAST_SUPPORTED
        133: 0,  # MPS_ENABLED
        134: -1,  # HOST_NUMA_ID
    }


def error_names() -> Dict[Int32, StaticString]:
    """Every CUresult. Each name is closed by a null byte."""
    return {
        0: "CUDA_SUCCESS\0",
        1: "CUDA_ERROR_INVALID_VALUE\0",
        2: "CUDA_ERROR_OUT_OF_MEMORY\0",
        3: "CUDA_ERROR_NOT_INITIALIZED\0",
        4: "CUDA_ERROR_DEINITIALIZED\0",
        5: "CUDA_ERROR_PROFILER_DISABLED\0",
        6: "CUDA_ERROR_PROFILER_NOT_INITIALIZED\0",
        7: "CUDA_ERROR_PROFILER_ALREADY_STARTED\0",
        8: "CUDA_ERROR_PROFILER_ALREADY_STOPPED\0",
        34: "CUDA_ERROR_STUB_LIBRARY\0",
        36: "CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER\0",
        46: "CUDA_ERROR_DEVICE_UNAVAILABLE\0",
        100: "CUDA_ERROR_NO_DEVICE\0",
        101: "CUDA_ERROR_INVALID_DEVICE\0",
        102: "CUDA_ERROR_DEVICE_NOT_LICENSED\0",
        200: "CUDA_ERROR_INVALID_IMAGE\0",
        201: "CUDA_ERROR_INVALID_CONTEXT\0",
        202: "CUDA_ERROR_CONTEXT_ALREADY_CURRENT\0",
        205: "CUDA_ERROR_MAP_FAILED\0",
        206: "CUDA_ERROR_UNMAP_FAILED\0",
        207: "CUDA_ERROR_ARRAY_IS_MAPPED\0",
        208: "CUDA_ERROR_ALREADY_MAPPED\0",
        209: "CUDA_ERROR_NO_BINARY_FOR_GPU\0",
        210: "CUDA_ERROR_ALREADY_ACQUIRED\0",
        211: "CUDA_ERROR_NOT_MAPPED\0",
        212: "CUDA_ERROR_NOT_MAPPED_AS_ARRAY\0",
        213: "CUDA_ERROR_NOT_MAPPED_AS_POINTER\0",
        214: "CUDA_ERROR_ECC_UNCORRECTABLE\0",
        215: "CUDA_ERROR_UNSUPPORTED_LIMIT\0",
        216: "CUDA_ERROR_CONTEXT_ALREADY_IN_USE\0",
        217: "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED\0",
        218: "CUDA_ERROR_INVALID_PTX\0",
        219: "CUDA_ERROR_INVALID_GRAPHICS_CONTEXT\0",
        220: "CUDA_ERROR_NVLINK_UNCORRECTABLE\0",
        221: "CUDA_ERROR_JIT_COMPILER_NOT_FOUND\0",
        222: "CUDA_ERROR_UNSUPPORTED_PTX_VERSION\0",
        223: "CUDA_ERROR_JIT_COMPILATION_DISABLED\0",
        224: "CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY\0",
        225: "CUDA_ERROR_UNSUPPORTED_DEVSIDE_SYNC\0",
        226: "CUDA_ERROR_CONTAINED\0",
        300: "CUDA_ERROR_INVALID_SOURCE\0",
        301: "CUDA_ERROR_FILE_NOT_FOUND\0",
        302: "CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND\0",
        303: "CUDA_ERROR_SHARED_OBJECT_INIT_FAILED\0",
        304: "CUDA_ERROR_OPERATING_SYSTEM\0",
        400: "CUDA_ERROR_INVALID_HANDLE\0",
        401: "CUDA_ERROR_ILLEGAL_STATE\0",
        402: "CUDA_ERROR_LOSSY_QUERY\0",
        500: "CUDA_ERROR_NOT_FOUND\0",
        600: "CUDA_ERROR_NOT_READY\0",
        700: "CUDA_ERROR_ILLEGAL_ADDRESS\0",
        701: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES\0",
        702: "CUDA_ERROR_LAUNCH_TIMEOUT\0",
        703: "CUDA_ERROR_LAUNCH_INCOMPATIBLE_TEXTURING\0",
        704: "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED\0",
        705: "CUDA_ERROR_PEER_ACCESS_NOT_ENABLED\0",
        708: "CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE\0",
        709: "CUDA_ERROR_CONTEXT_IS_DESTROYED\0",
        710: "CUDA_ERROR_ASSERT\0",
        711: "CUDA_ERROR_TOO_MANY_PEERS\0",
        712: "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED\0",
        713: "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED\0",
        714: "CUDA_ERROR_HARDWARE_STACK_ERROR\0",
        715: "CUDA_ERROR_ILLEGAL_INSTRUCTION\0",
        716: "CUDA_ERROR_MISALIGNED_ADDRESS\0",
        717: "CUDA_ERROR_INVALID_ADDRESS_SPACE\0",
        718: "CUDA_ERROR_INVALID_PC\0",
        719: "CUDA_ERROR_LAUNCH_FAILED\0",
        720: "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE\0",
        721: "CUDA_ERROR_TENSOR_MEMORY_LEAK\0",
        800: "CUDA_ERROR_NOT_PERMITTED\0",
        801: "CUDA_ERROR_NOT_SUPPORTED\0",
        802: "CUDA_ERROR_SYSTEM_NOT_READY\0",
        803: "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH\0",
        804: "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE\0",
        805: "CUDA_ERROR_MPS_CONNECTION_FAILED\0",
        806: "CUDA_ERROR_MPS_RPC_FAILURE\0",
        807: "CUDA_ERROR_MPS_SERVER_NOT_READY\0",
        808: "CUDA_ERROR_MPS_MAX_CLIENTS_REACHED\0",
        809: "CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED\0",
        810: "CUDA_ERROR_MPS_CLIENT_TERMINATED\0",
        811: "CUDA_ERROR_CDP_NOT_SUPPORTED\0",
        812: "CUDA_ERROR_CDP_VERSION_MISMATCH\0",
        900: "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED\0",
        901: "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED\0",
        902: "CUDA_ERROR_STREAM_CAPTURE_MERGE\0",
        903: "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED\0",
        904: "CUDA_ERROR_STREAM_CAPTURE_UNJOINED\0",
        905: "CUDA_ERROR_STREAM_CAPTURE_ISOLATION\0",
        906: "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT\0",
        907: "CUDA_ERROR_CAPTURED_EVENT\0",
        908: "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD\0",
        909: "CUDA_ERROR_TIMEOUT\0",
        910: "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE\0",
        911: "CUDA_ERROR_EXTERNAL_DEVICE\0",
        912: "CUDA_ERROR_INVALID_CLUSTER_SIZE\0",
        913: "CUDA_ERROR_FUNCTION_NOT_LOADED\0",
        914: "CUDA_ERROR_INVALID_RESOURCE_TYPE\0",
        915: "CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION\0",
        916: "CUDA_ERROR_KEY_ROTATION\0",
        917: "CUDA_ERROR_STREAM_DETACHED\0",
        999: "CUDA_ERROR_UNKNOWN\0",
    }
