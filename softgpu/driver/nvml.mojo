"""The software GPU's stand-in for the NVIDIA management library, `libnvidia-ml.so.1`.

MAX asks it how many GPUs there are, and of which kind, before it opens the CUDA driver. The answers are those of
`cuda/device.mojo`: one device, healthy and idle.

Source: NVML API reference manual, chapters 4.11 (initialisation) to 4.16 (device queries).
"""

from std.ffi import external_call
from std.sys import stderr

comptime SUCCESS: Int32 = 0
comptime NOT_SUPPORTED: Int32 = 3
comptime DEVICE: UInt64 = 0xD0
comptime TOTAL_MEMORY: UInt64 = 8 << 30
comptime NAME_SM_80: StaticString = "softgpu (software GPU, sm_80)\0"
comptime NAME_SM_90: StaticString = "softgpu (software GPU, sm_90)\0"
comptime DRIVER_VERSION: StaticString = "580.65.06\0"
comptime BUS_ID: StaticString = "00000000:00:00.0\0"


def at[T: AnyType](address: UInt64) -> Pointer[T, MutAnyOrigin]:
    return Pointer[T, MutAnyOrigin](unsafe_from_address=Int(address))


def write_string(destination: UInt64, text: StaticString, capacity: UInt64):
    _ = external_call["strncpy", UInt64](destination, UInt64(Int(text.unsafe_ptr())), capacity)


def is_sm_90() -> Bool:
    var name = String("SOFTGPU_ARCH\0")
    var chosen = external_call["getenv", UInt64](UInt64(Int(name.unsafe_ptr())))
    var sm_90 = String("sm_90\0")
    return chosen != 0 and external_call["strcmp", Int32](chosen, UInt64(Int(sm_90.unsafe_ptr()))) == 0


def not_supported(name: StaticString) -> Int32:
    print("softgpu: the management function", name, "is not supported", file=stderr)
    return NOT_SUPPORTED


@export
def nvmlInit_v2() abi("C") -> Int32:
    return SUCCESS


@export
def nvmlShutdown() abi("C") -> Int32:
    return SUCCESS


@export
def nvmlErrorString(code: Int32) abi("C") -> UInt64:
    var text: StaticString = "success\0" if code == SUCCESS else "not supported by softgpu\0"
    return UInt64(Int(text.unsafe_ptr()))


@export
def nvmlSystemGetDriverVersion(version: UInt64, length: UInt32) abi("C") -> Int32:
    write_string(version, DRIVER_VERSION, UInt64(length))
    return SUCCESS


@export
def nvmlDeviceGetCount_v2(count: UInt64) abi("C") -> Int32:
    at[UInt32](count)[] = 1
    return SUCCESS


@export
def nvmlDeviceGetHandleByIndex(index: UInt32, device: UInt64) abi("C") -> Int32:
    at[UInt64](device)[] = DEVICE
    return SUCCESS


@export
def nvmlDeviceGetHandleByIndex_v2(index: UInt32, device: UInt64) abi("C") -> Int32:
    return nvmlDeviceGetHandleByIndex(index, device)


@export
def nvmlDeviceGetName(device: UInt64, name: UInt64, length: UInt32) abi("C") -> Int32:
    write_string(name, NAME_SM_90 if is_sm_90() else NAME_SM_80, UInt64(length))
    return SUCCESS


@export
def nvmlDeviceGetCudaComputeCapability(device: UInt64, major: UInt64, minor: UInt64) abi("C") -> Int32:
    at[Int32](major)[] = Int32(9) if is_sm_90() else Int32(8)
    at[Int32](minor)[] = 0
    return SUCCESS


@export
def nvmlDeviceGetMemoryInfo(device: UInt64, info: UInt64) abi("C") -> Int32:
    """`nvmlMemory_t`: total, free and used bytes."""
    at[UInt64](info)[] = TOTAL_MEMORY
    at[UInt64](info + 8)[] = TOTAL_MEMORY
    at[UInt64](info + 16)[] = 0
    return SUCCESS


@export
def nvmlDeviceGetPciInfo_v3(device: UInt64, info: UInt64) abi("C") -> Int32:
    """`nvmlPciInfo_t`: a legacy bus name of 16 bytes, five 32-bit numbers, the bus name of 32 bytes."""
    _ = external_call["memset", UInt64](info, Int32(0), UInt64(68))
    write_string(info, "0000:00:00.0\0", 16)
    write_string(info + 36, BUS_ID, 32)
    return SUCCESS


@export
def nvmlDeviceGetTotalEccErrors(device: UInt64, kind: Int32, counter: Int32, count: UInt64) abi("C") -> Int32:
    at[UInt64](count)[] = 0
    return SUCCESS


@export
def nvmlDeviceGetCurrentClocksThrottleReasons(device: UInt64, reasons: UInt64) abi("C") -> Int32:
    at[UInt64](reasons)[] = 0
    return SUCCESS


@export
def nvmlDeviceGetMigMode(device: UInt64, current: UInt64, pending: UInt64) abi("C") -> Int32:
    at[UInt32](current)[] = 0
    at[UInt32](pending)[] = 0
    return SUCCESS


@export
def nvmlDeviceGetComputeRunningProcesses_v3(device: UInt64, count: UInt64, processes: UInt64) abi("C") -> Int32:
    at[UInt32](count)[] = 0
    return SUCCESS
