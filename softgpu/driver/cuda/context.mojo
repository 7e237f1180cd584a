"""Contexts, streams and events. Every call completes before it returns, so that streams and events need no queue.

Source: CUDA Driver API reference manual, sections 6.8, 6.9, 6.18 and 6.19.
"""

from std.ffi import external_call
from std.time import perf_counter_ns

from lending import *
from state import *

# ── contexts ────────────────────────────────────────────────────────────────────────────────────────────


def clear(context: UInt64):
    """Give back all that belongs to a context, and forget its error."""
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        var position = len(d.allocations)
        while position > 0:
            position -= 1
            if d.allocations[position].context == context:
                remove_allocation(position)
        var orphans = List[UInt64]()
        for entry in d.handles.items():
            if entry.value.context == context and entry.value.kind != CONTEXT and entry.key != d.pool:
                orphans.append(entry.key)
        for orphan in orphans:
            forget(orphan)
        d.changes += 1
        at[Context](context)[].failure = SUCCESS


@export
def cuDevicePrimaryCtxRetain(context: UInt64, device: Int32) abi("C") -> Int32:
    ref d = driver()[]
    if context == 0:
        return fail(INVALID_VALUE, "there is no place for the context")
    if device != 0:
        return fail(INVALID_DEVICE, "softgpu has one device, number 0")
    with BlockingScopedLock(d.lock):
        at[Context](d.primary)[].retained += 1
    at[UInt64](context)[] = d.primary
    return SUCCESS


@export
def cuDevicePrimaryCtxRelease_v2(device: Int32) abi("C") -> Int32:
    ref d = driver()[]
    var left: UInt32 = 0
    with BlockingScopedLock(d.lock):
        left = at[Context](d.primary)[].retained
        if left > 0:
            at[Context](d.primary)[].retained = left - 1
    if left == 0:
        return fail(INVALID_CONTEXT, "the primary context was released more often than retained")
    if left == 1:
        clear(d.primary)
    return SUCCESS


@export
def cuDevicePrimaryCtxRelease(device: Int32) abi("C") -> Int32:
    return cuDevicePrimaryCtxRelease_v2(device)


@export
def cuDevicePrimaryCtxReset_v2(device: Int32) abi("C") -> Int32:
    clear(driver()[].primary)
    return SUCCESS


@export
def cuDevicePrimaryCtxReset(device: Int32) abi("C") -> Int32:
    return cuDevicePrimaryCtxReset_v2(device)


@export
def cuDevicePrimaryCtxSetFlags_v2(device: Int32, flags: UInt32) abi("C") -> Int32:
    at[Context](driver()[].primary)[].flags = flags
    return SUCCESS


@export
def cuDevicePrimaryCtxSetFlags(device: Int32, flags: UInt32) abi("C") -> Int32:
    return cuDevicePrimaryCtxSetFlags_v2(device, flags)


@export
def cuDevicePrimaryCtxGetState(device: Int32, flags: UInt64, active: UInt64) abi("C") -> Int32:
    var primary = at[Context](driver()[].primary)[]
    put(flags, primary.flags)
    put(active, Int32(1) if primary.retained > 0 else Int32(0))
    return SUCCESS


@export
def cuCtxCreate_v2(context: UInt64, flags: UInt32, device: Int32) abi("C") -> Int32:
    if context == 0:
        return fail(INVALID_VALUE, "there is no place for the context")
    if device != 0:
        return fail(INVALID_DEVICE, "softgpu has one device, number 0")
    var made = new_handle(CONTEXT, Context(failure=SUCCESS, failure_text=0, flags=flags, retained=0))
    at[UInt64](context)[] = made
    return cuCtxPushCurrent_v2(made)


@export
def cuCtxDestroy_v2(context: UInt64) abi("C") -> Int32:
    if not is_a(context, CONTEXT) or context == driver()[].primary:
        return fail(INVALID_CONTEXT, "this is no context that cuCtxCreate made, or one that was destroyed")
    if current_context() == context:
        at[Thread](thread())[].depth -= 1
    clear(context)
    _ = destroy(context, CONTEXT)
    return SUCCESS


@export
def cuCtxDestroy(context: UInt64) abi("C") -> Int32:
    return cuCtxDestroy_v2(context)


@export
def cuCtxGetCurrent(context: UInt64) abi("C") -> Int32:
    var depth = at[Thread](thread())[].depth
    put(context, at[UInt64](context_slot(depth))[] if depth > 0 else 0)
    return SUCCESS


@export
def cuCtxSetCurrent(context: UInt64) abi("C") -> Int32:
    """The context takes the place of the stack's top; null takes the top away."""
    if context != 0 and not is_a(context, CONTEXT):
        return fail(INVALID_CONTEXT, "this is no context, or one that was destroyed")
    var own = thread()
    if at[Thread](own)[].depth > 0:
        at[Thread](own)[].depth -= 1
    return cuCtxPushCurrent_v2(context) if context != 0 else SUCCESS


@export
def cuCtxPushCurrent_v2(context: UInt64) abi("C") -> Int32:
    if not is_a(context, CONTEXT):
        return fail(INVALID_CONTEXT, "this is no context, or one that was destroyed")
    var own = thread()
    var depth = at[Thread](own)[].depth + 1
    if Int(depth) > CONTEXT_STACK:
        return fail(INVALID_CONTEXT, "more than " + String(CONTEXT_STACK) + " contexts were pushed and not popped")
    at[Thread](own)[].depth = depth
    at[UInt64](context_slot(depth))[] = context
    return SUCCESS


@export
def cuCtxPushCurrent(context: UInt64) abi("C") -> Int32:
    return cuCtxPushCurrent_v2(context)


@export
def cuCtxPopCurrent_v2(context: UInt64) abi("C") -> Int32:
    var own = thread()
    if at[Thread](own)[].depth == 0:
        return fail(INVALID_CONTEXT, "the calling thread has no context to pop")
    _ = cuCtxGetCurrent(context)
    at[Thread](own)[].depth -= 1
    return SUCCESS


@export
def cuCtxPopCurrent(context: UInt64) abi("C") -> Int32:
    return cuCtxPopCurrent_v2(context)


@export
def cuCtxSynchronize() abi("C") -> Int32:
    return state_of_context()


@export
def cuCtxGetDevice(device: UInt64) abi("C") -> Int32:
    put[Int32](device, 0)
    return SUCCESS


@export
def cuCtxGetFlags(flags: UInt64) abi("C") -> Int32:
    put(flags, at[Context](current_context())[].flags)
    return SUCCESS


@export
def cuCtxGetApiVersion(context: UInt64, version: UInt64) abi("C") -> Int32:
    put[UInt32](version, 3020)
    return SUCCESS


@export
def cuCtxGetLimit(value: UInt64, limit: Int32) abi("C") -> Int32:
    if limit == 0:  # CU_LIMIT_STACK_SIZE, bytes a thread
        put[UInt64](value, 1024)
    elif limit == 1:  # CU_LIMIT_PRINTF_FIFO_SIZE
        put[UInt64](value, 1 << 20)
    elif limit == 2:  # CU_LIMIT_MALLOC_HEAP_SIZE
        put[UInt64](value, 8 << 20)
    else:
        return fail(UNSUPPORTED_LIMIT, "softgpu does not know limit " + String(limit))
    return SUCCESS


@export
def cuCtxSetLimit(limit: Int32, value: UInt64) abi("C") -> Int32:
    """Nothing here runs out of stack or output."""
    return cuCtxGetLimit(0, limit)


@export
def cuCtxSetCacheConfig(config: Int32) abi("C") -> Int32:
    return SUCCESS


@export
def cuCtxGetStreamPriorityRange(least: UInt64, greatest: UInt64) abi("C") -> Int32:
    put[Int32](least, 0)
    put[Int32](greatest, 0)
    return SUCCESS


@export
def cuCtxEnablePeerAccess(peer: UInt64, flags: UInt32) abi("C") -> Int32:
    return fail(PEER_ACCESS_UNSUPPORTED, "softgpu has one device, so that no other can be its peer")


@export
def cuDeviceGetP2PAttribute(value: UInt64, attribute: Int32, source: Int32, destination: Int32) abi("C") -> Int32:
    return fail(INVALID_DEVICE, "softgpu has one device, so that no other can be its peer")


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────


@fieldwise_init
struct Stream(TrivialRegisterPassable):
    var context: UInt64
    var flags: UInt32
    var priority: Int32


def state_of_stream(stream: UInt64) -> Int32:
    """What a call on a stream must return before it does anything."""
    return state_of_context() if is_stream(stream) else invalid_handle("stream")


@export
def cuStreamCreateWithPriority(stream: UInt64, flags: UInt32, priority: Int32) abi("C") -> Int32:
    if stream == 0 or flags > 1:
        return fail(INVALID_VALUE, "a stream needs a place for its handle, and flags of 0 or CU_STREAM_NON_BLOCKING")
    var state = state_of_context()
    if state == SUCCESS:
        put(stream, new_handle(STREAM, Stream(context=current_context(), flags=flags, priority=0)))
    return state


@export
def cuStreamCreate(stream: UInt64, flags: UInt32) abi("C") -> Int32:
    return cuStreamCreateWithPriority(stream, flags, 0)


@export
def cuStreamDestroy_v2(stream: UInt64) abi("C") -> Int32:
    return state_of_context() if destroy(stream, STREAM) else invalid_handle("stream")


@export
def cuStreamDestroy(stream: UInt64) abi("C") -> Int32:
    return cuStreamDestroy_v2(stream)


@export
def cuStreamSynchronize(stream: UInt64) abi("C") -> Int32:
    return state_of_stream(stream)


@export
def cuStreamQuery(stream: UInt64) abi("C") -> Int32:
    return state_of_stream(stream)


@export
def cuStreamWaitEvent(stream: UInt64, event: UInt64, flags: UInt32) abi("C") -> Int32:
    return state_of_stream(stream) if is_a(event, EVENT) else invalid_handle("event")


@export
def cuStreamGetFlags(stream: UInt64, flags: UInt64) abi("C") -> Int32:
    if not is_stream(stream):
        return invalid_handle("stream")
    put(flags, at[Stream](stream)[].flags if stream > 2 else UInt32(0))
    return SUCCESS


@export
def cuStreamGetPriority(stream: UInt64, priority: UInt64) abi("C") -> Int32:
    put[Int32](priority, 0)
    return SUCCESS if is_stream(stream) else invalid_handle("stream")


@export
def cuStreamGetCtx(stream: UInt64, context: UInt64) abi("C") -> Int32:
    if not is_stream(stream):
        return invalid_handle("stream")
    put(context, at[Stream](stream)[].context if stream > 2 else current_context())
    return SUCCESS


@export
def cuStreamGetId(stream: UInt64, number: UInt64) abi("C") -> Int32:
    put(number, stream)
    return SUCCESS if is_stream(stream) else invalid_handle("stream")


@export
def cuStreamIsCapturing(stream: UInt64, status: UInt64) abi("C") -> Int32:
    put[Int32](status, 0)
    return SUCCESS if is_stream(stream) else invalid_handle("stream")


@export
def cuStreamGetCaptureInfo_v2(
    stream: UInt64, status: UInt64, number: UInt64, graph: UInt64, dependencies: UInt64, count: UInt64
) abi("C") -> Int32:
    return cuStreamIsCapturing(stream, status)


@export
def cuLaunchHostFunc(stream: UInt64, function: UInt64, data: UInt64) abi("C") -> Int32:
    if function == 0:
        return fail(INVALID_VALUE, "the host function is null")
    var state = state_of_stream(stream)
    if state == SUCCESS:
        enter_python()  # the function may be one of Python's
        _ = c_call(function, data)
        leave_python()
    return state


@export
def cuStreamAddCallback(stream: UInt64, function: UInt64, data: UInt64, flags: UInt32) abi("C") -> Int32:
    """Other than a host function, a callback is told of an error, and called in spite of it."""
    if function == 0 or flags != 0:
        return fail(INVALID_VALUE, "a callback needs a function, and flags of 0")
    if not is_stream(stream):
        return invalid_handle("stream")
    var state = state_of_context()
    var address = function
    enter_python()  # the function may be one of Python's
    Pointer(to=address).unsafe_bitcast[def(UInt64, Int32, UInt64) thin abi("C") -> None]()[](stream, state, data)
    leave_python()
    return state


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────

comptime DISABLE_TIMING: UInt32 = 2


@fieldwise_init
struct Event(TrivialRegisterPassable):
    var nanoseconds: UInt64  # when it was recorded last; 0 if it never was
    var flags: UInt32


@export
def cuEventCreate(event: UInt64, flags: UInt32) abi("C") -> Int32:
    if event == 0 or flags > 7:
        return fail(INVALID_VALUE, "an event needs a place for its handle, and known flags")
    var state = state_of_context()
    if state == SUCCESS:
        put(event, new_handle(EVENT, Event(nanoseconds=0, flags=flags)))
    return state


@export
def cuEventDestroy_v2(event: UInt64) abi("C") -> Int32:
    return state_of_context() if destroy(event, EVENT) else invalid_handle("event")


@export
def cuEventDestroy(event: UInt64) abi("C") -> Int32:
    return cuEventDestroy_v2(event)


@export
def cuEventRecord(event: UInt64, stream: UInt64) abi("C") -> Int32:
    if not is_a(event, EVENT):
        return invalid_handle("event")
    var state = state_of_stream(stream)
    if state == SUCCESS:
        at[Event](event)[].nanoseconds = UInt64(perf_counter_ns())
    return state


@export
def cuEventRecordWithFlags(event: UInt64, stream: UInt64, flags: UInt32) abi("C") -> Int32:
    return cuEventRecord(event, stream)


@export
def cuEventQuery(event: UInt64) abi("C") -> Int32:
    return state_of_context() if is_a(event, EVENT) else invalid_handle("event")


@export
def cuEventSynchronize(event: UInt64) abi("C") -> Int32:
    return state_of_context() if is_a(event, EVENT) else invalid_handle("event")


@export
def cuEventElapsedTime(milliseconds: UInt64, start: UInt64, end: UInt64) abi("C") -> Int32:
    if not is_a(start, EVENT) or not is_a(end, EVENT):
        return invalid_handle("event")
    var first = at[Event](start)[]
    var second = at[Event](end)[]
    if first.nanoseconds == 0 or second.nanoseconds == 0 or (first.flags | second.flags) & DISABLE_TIMING != 0:
        return fail(INVALID_HANDLE, "the time between two events needs both recorded, and made to take the time")
    var state = state_of_context()
    if state == SUCCESS:
        put(milliseconds, Float32(Float64(Int64(second.nanoseconds) - Int64(first.nanoseconds)) / 1e6))
    return state


@export
def cuEventElapsedTime_v2(milliseconds: UInt64, start: UInt64, end: UInt64) abi("C") -> Int32:
    return cuEventElapsedTime(milliseconds, start, end)
