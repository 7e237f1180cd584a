from std.os import abort
from std.python import PythonObject
from std.python.bindings import PythonModuleBuilder
from max.gpu import thread_idx, block_idx, block_dim
from max.gpu.host import DeviceContext


@export
def PyInit_twice() -> PythonObject:
    try:
        var module = PythonModuleBuilder("twice")
        module.def_function[run]("run", docstring="What the kernels make of n numbers.")
        module.def_function[seconds]("seconds", docstring="How long a kernel takes.")
        return module.finalize()
    except error:
        abort(String(error))


def double(data: Pointer[Float32, MutAnyOrigin], n: Int32):
    var i = Int(block_idx.x * block_dim.x + thread_idx.x)
    if i < Int(n):
        (data + i)[] *= 2
    if i == 3:
        print("thread", i, "has", (data + i)[])


def add(data: Pointer[Float32, MutAnyOrigin], other: Pointer[Float32, MutAnyOrigin], n: Int32):
    var i = Int(block_idx.x * block_dim.x + thread_idx.x)
    if i < Int(n):
        (data + i)[] += (other + i)[]


def run(n: PythonObject) raises -> PythonObject:
    var count = Int(py=n)
    var context = DeviceContext()
    var first = context.enqueue_create_buffer[DType.float32](count)
    var second = context.enqueue_create_buffer[DType.float32](count)
    var host = context.enqueue_create_host_buffer[DType.float32](count)
    for i in range(count):
        host[i] = Float32(i)
    first.enqueue_fill(100)
    context.enqueue_copy(second, host)
    context.enqueue_function[double](second.unsafe_ptr(), Int32(count), grid_dim=(count + 63) // 64, block_dim=64)
    context.enqueue_function[add](
        first.unsafe_ptr(), second.unsafe_ptr(), Int32(count), grid_dim=(count + 63) // 64, block_dim=64
    )
    context.enqueue_copy(host, first)
    context.synchronize()
    var total: Float64 = 0
    for i in range(count):
        total += Float64(host[i])
    return PythonObject(total)


def seconds(n: PythonObject) raises -> PythonObject:
    var count = Int(py=n)
    var context = DeviceContext()
    var data = context.enqueue_create_buffer[DType.float32](count)
    data.enqueue_fill(0)

    def once(ctx: DeviceContext) raises {imm}:
        ctx.enqueue_function[add](
            data.unsafe_ptr(), data.unsafe_ptr(), Int32(count), grid_dim=(count + 63) // 64, block_dim=64
        )

    return PythonObject(Float64(context.execution_time(once, 3)) / 1e9)
