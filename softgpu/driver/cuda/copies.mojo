"""Copies in every direction, and memsets.

With unified addresses the driver knows of every pointer what it points to; the direction in a function's name only
says what the program believes, and is held to it.

Source: CUDA Driver API reference manual, section 6.13.
"""

from state import *

comptime ON_HOST: Int32 = 1  # CUmemorytype
comptime ON_DEVICE: Int32 = 2
comptime ARRAY: Int32 = 3
comptime EITHER: Int32 = 4


def place(address: UInt64, size: UInt64, side: Int32, is_written: Bool) -> UInt64:
    """Where the bytes at an address are; null unless all of them lie in one allocation or, if `side` allows, on the
    host outside of any."""
    ref d = driver()[]
    with BlockingScopedLock(d.lock):
        var position = position_of(address, 0)
        if position < 0:
            return address if side != ON_DEVICE else 0
        ref allocation = d.allocations[position]
        if position_of(address, size) < 0 or (side == ON_HOST and not allocation.is_host()):
            return 0
        if is_written:
            note_written(position, address, address + size)
        return allocation.storage + (address - allocation.address)


def copy(
    destination: UInt64, destination_side: Int32, source: UInt64, source_side: Int32, size: UInt64, stream: UInt64 = 0
) -> Int32:
    if not is_stream(stream):
        return invalid_handle("stream")
    var state = state_of_context()
    if state != SUCCESS or size == 0:
        return state
    var from_where = place(source, size, source_side, is_written=False)
    var to_where = place(destination, size, destination_side, is_written=True) if from_where != 0 else 0
    if to_where == 0:
        return outside(size, "a copy")
    c_memcpy(to_where, from_where, size)
    return SUCCESS


def outside(size: UInt64, what: StaticString) -> Int32:
    return fail(INVALID_VALUE, String(what) + " of " + String(size) + " bytes does not stay inside one allocation")


@export
def cuMemcpyHtoD_v2(destination: UInt64, source: UInt64, size: UInt64) abi("C") -> Int32:
    return copy(destination, ON_DEVICE, source, ON_HOST, size)


@export
def cuMemcpyHtoDAsync_v2(destination: UInt64, source: UInt64, size: UInt64, stream: UInt64) abi("C") -> Int32:
    return copy(destination, ON_DEVICE, source, ON_HOST, size, stream)


@export
def cuMemcpyDtoH_v2(destination: UInt64, source: UInt64, size: UInt64) abi("C") -> Int32:
    return copy(destination, ON_HOST, source, ON_DEVICE, size)


@export
def cuMemcpyDtoHAsync_v2(destination: UInt64, source: UInt64, size: UInt64, stream: UInt64) abi("C") -> Int32:
    return copy(destination, ON_HOST, source, ON_DEVICE, size, stream)


@export
def cuMemcpyDtoD_v2(destination: UInt64, source: UInt64, size: UInt64) abi("C") -> Int32:
    return copy(destination, ON_DEVICE, source, ON_DEVICE, size)


@export
def cuMemcpyDtoDAsync_v2(destination: UInt64, source: UInt64, size: UInt64, stream: UInt64) abi("C") -> Int32:
    return copy(destination, ON_DEVICE, source, ON_DEVICE, size, stream)


@export
def cuMemcpy(destination: UInt64, source: UInt64, size: UInt64) abi("C") -> Int32:
    return copy(destination, EITHER, source, EITHER, size)


@export
def cuMemcpyAsync(destination: UInt64, source: UInt64, size: UInt64, stream: UInt64) abi("C") -> Int32:
    return copy(destination, EITHER, source, EITHER, size, stream)


@export
def cuMemcpyPeerAsync(
    destination: UInt64, destination_context: UInt64, source: UInt64, source_context: UInt64, size: UInt64, stream: UInt64
) abi("C") -> Int32:
    if not is_a(destination_context, CONTEXT) or not is_a(source_context, CONTEXT):
        return fail(INVALID_CONTEXT, "this is no context, or one that was destroyed")
    return copy(destination, EITHER, source, EITHER, size, stream)


@export
def cuMemcpyPeer(
    destination: UInt64, destination_context: UInt64, source: UInt64, source_context: UInt64, size: UInt64
) abi("C") -> Int32:
    return cuMemcpyPeerAsync(destination, destination_context, source, source_context, size, 0)


@export
def cuMemcpyBatchAsync(
    destinations: UInt64,
    sources: UInt64,
    sizes: UInt64,
    count: UInt64,
    attributes: UInt64,
    attribute_indices: UInt64,
    attribute_count: UInt64,
    failed: UInt64,
    stream: UInt64,
) abi("C") -> Int32:
    for i in range(count):
        var result = copy(
            at[UInt64](destinations + i * 8)[],
            EITHER,
            at[UInt64](sources + i * 8)[],
            EITHER,
            at[UInt64](sizes + i * 8)[],
            stream,
        )
        if result != SUCCESS:
            put(failed, i)
            return result
    return SUCCESS


# ── copies of rectangles ────────────────────────────────────────────────────────────────────────────────


@fieldwise_init
struct Side(TrivialRegisterPassable):
    """One side of a copy of a box: where its first byte is, and how far it is to the next row and the next layer."""

    var side: Int32
    var start: UInt64
    var pitch: UInt64
    var layer: UInt64

    def row(self, y: UInt64, z: UInt64) -> UInt64:
        return self.start + y * self.pitch + z * self.layer


def side_2d(fields: UInt64, width: UInt64) -> Side:
    """Half of a CUDA_MEMCPY2D: x in bytes, y, memory type, host pointer, device address, array, pitch."""
    var kind = at[Int32](fields + 16)[]
    var base = at[UInt64](fields + 24)[] if kind == ON_HOST else at[UInt64](fields + 32)[]
    var pitch = at[UInt64](fields + 48)[]
    if pitch == 0:
        pitch = width
    return Side(side=kind, start=base + at[UInt64](fields + 8)[] * pitch + at[UInt64](fields)[], pitch=pitch, layer=0)


def side_3d(fields: UInt64, width: UInt64, height: UInt64) -> Side:
    """Half of a CUDA_MEMCPY3D: x in bytes, y, z, level, memory type, host pointer, device address, array, reserved or
    context, pitch, height."""
    var kind = at[Int32](fields + 32)[]
    var base = at[UInt64](fields + 40)[] if kind == ON_HOST else at[UInt64](fields + 48)[]
    var pitch = at[UInt64](fields + 72)[]
    var rows = at[UInt64](fields + 80)[]
    if pitch == 0:
        pitch = width
    if rows == 0:
        rows = height
    var row = at[UInt64](fields + 16)[] * rows + at[UInt64](fields + 8)[]
    return Side(side=kind, start=base + row * pitch + at[UInt64](fields)[], pitch=pitch, layer=rows * pitch)


def copy_box(
    destination: Side, source: Side, width: UInt64, height: UInt64, depth: UInt64, stream: UInt64
) -> Int32:
    if destination.side == ARRAY or source.side == ARRAY:
        return fail(NOT_SUPPORTED, "softgpu has no CUDA arrays, so that nothing can be copied to or from one")
    if width == 0 or height == 0 or depth == 0:
        return state_of_context()
    if (height > 1 or depth > 1) and (width > destination.pitch or width > source.pitch):
        return fail(INVALID_VALUE, "a row of " + String(width) + " bytes is longer than the pitch")
    for one in [destination, source]:  # before anything is written
        var span = one.row(height - 1, depth - 1) + width - one.start
        if place(one.start, span, one.side, is_written=False) == 0:
            return outside(span, "a copy")
    for z in range(depth):
        for y in range(height):
            var result = copy(
                destination.row(y, z), destination.side, source.row(y, z), source.side, width, stream
            )
            if result != SUCCESS:
                return result
    return SUCCESS


@export
def cuMemcpy2DAsync_v2(parameters: UInt64, stream: UInt64) abi("C") -> Int32:
    if parameters == 0:
        return fail(INVALID_VALUE, "the description of the copy is null")
    var width = at[UInt64](parameters + 112)[]
    var height = at[UInt64](parameters + 120)[]
    return copy_box(side_2d(parameters + 56, width), side_2d(parameters, width), width, height, 1, stream)


@export
def cuMemcpy2D_v2(parameters: UInt64) abi("C") -> Int32:
    return cuMemcpy2DAsync_v2(parameters, 0)


@export
def cuMemcpy2DUnaligned_v2(parameters: UInt64) abi("C") -> Int32:
    return cuMemcpy2DAsync_v2(parameters, 0)


@export
def cuMemcpy3DAsync_v2(parameters: UInt64, stream: UInt64) abi("C") -> Int32:
    if parameters == 0:
        return fail(INVALID_VALUE, "the description of the copy is null")
    var width = at[UInt64](parameters + 176)[]
    var height = at[UInt64](parameters + 184)[]
    return copy_box(
        side_3d(parameters + 88, width, height),
        side_3d(parameters, width, height),
        width,
        height,
        at[UInt64](parameters + 192)[],
        stream,
    )


@export
def cuMemcpy3D_v2(parameters: UInt64) abi("C") -> Int32:
    return cuMemcpy3DAsync_v2(parameters, 0)


@export
def cuMemcpy3DPeerAsync(parameters: UInt64, stream: UInt64) abi("C") -> Int32:
    return cuMemcpy3DAsync_v2(parameters, stream)


@export
def cuMemcpy3DPeer(parameters: UInt64) abi("C") -> Int32:
    return cuMemcpy3DAsync_v2(parameters, 0)


# ── memsets ─────────────────────────────────────────────────────────────────────────────────────────────


def fill[
    T: TrivialRegisterPassable
](address: UInt64, pitch: UInt64, value: T, width: UInt64, height: UInt64, stream: UInt64 = 0) -> Int32:
    """Set `height` rows of `width` elements each."""
    if not is_stream(stream):
        return invalid_handle("stream")
    var state = state_of_context()
    if state != SUCCESS or width == 0 or height == 0:
        return state
    var size = UInt64(size_of[T]())
    if address % size != 0 or (height > 1 and (pitch % size != 0 or pitch < width * size)):
        return fail(INVALID_VALUE, "a memset needs its address and pitch to be multiples of the element's size")
    var span = (height - 1) * pitch + width * size
    if place(address, span, ON_DEVICE, is_written=False) == 0:
        return outside(span, "a memset")
    for y in range(height):
        var row = place(address + y * pitch, width * size, ON_DEVICE, is_written=True)
        if row == 0:  # another thread has freed it
            return outside(span, "a memset")
        for x in range(width):
            at[T](row + x * size)[] = value
    return SUCCESS


@export
def cuMemsetD8_v2(address: UInt64, value: UInt8, count: UInt64) abi("C") -> Int32:
    return fill(address, 0, value, count, 1)


@export
def cuMemsetD8Async(address: UInt64, value: UInt8, count: UInt64, stream: UInt64) abi("C") -> Int32:
    return fill(address, 0, value, count, 1, stream)


@export
def cuMemsetD2D8_v2(
    address: UInt64, pitch: UInt64, value: UInt8, width: UInt64, height: UInt64
) abi("C") -> Int32:
    return fill(address, pitch, value, width, height)


@export
def cuMemsetD2D8Async(
    address: UInt64, pitch: UInt64, value: UInt8, width: UInt64, height: UInt64, stream: UInt64
) abi("C") -> Int32:
    return fill(address, pitch, value, width, height, stream)


@export
def cuMemsetD16_v2(address: UInt64, value: UInt16, count: UInt64) abi("C") -> Int32:
    return fill(address, 0, value, count, 1)


@export
def cuMemsetD16Async(address: UInt64, value: UInt16, count: UInt64, stream: UInt64) abi("C") -> Int32:
    return fill(address, 0, value, count, 1, stream)


@export
def cuMemsetD2D16_v2(
    address: UInt64, pitch: UInt64, value: UInt16, width: UInt64, height: UInt64
) abi("C") -> Int32:
    return fill(address, pitch, value, width, height)


@export
def cuMemsetD2D16Async(
    address: UInt64, pitch: UInt64, value: UInt16, width: UInt64, height: UInt64, stream: UInt64
) abi("C") -> Int32:
    return fill(address, pitch, value, width, height, stream)


@export
def cuMemsetD32_v2(address: UInt64, value: UInt32, count: UInt64) abi("C") -> Int32:
    return fill(address, 0, value, count, 1)


@export
def cuMemsetD32Async(address: UInt64, value: UInt32, count: UInt64, stream: UInt64) abi("C") -> Int32:
    return fill(address, 0, value, count, 1, stream)


@export
def cuMemsetD2D32_v2(
    address: UInt64, pitch: UInt64, value: UInt32, width: UInt64, height: UInt64
) abi("C") -> Int32:
    return fill(address, pitch, value, width, height)


@export
def cuMemsetD2D32Async(
    address: UInt64, pitch: UInt64, value: UInt32, width: UInt64, height: UInt64, stream: UInt64
) abi("C") -> Int32:
    return fill(address, pitch, value, width, height, stream)
