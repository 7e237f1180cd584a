from std.os import abort
from std.python import PythonObject
from std.python.bindings import PythonModuleBuilder
from max.gpu import thread_idx, block_idx, block_dim
from max.gpu.host import DeviceContext


@export
def PyInit_outside() -> PythonObject:
    try:
        var module = PythonModuleBuilder("outside")
        module.def_function[run]("run", docstring="Double n numbers, in blocks of 64 threads that know no end.")
        return module.finalize()
    except error:
        abort(String(error))


def double(data: Pointer[Float32, MutAnyOrigin], n: Int32):
    var i = Int(block_idx.x * block_dim.x + thread_idx.x)
    (data + i)[] *= 2


def run(n: PythonObject) raises -> PythonObject:
    var count = Int(py=n)
    var context = DeviceContext()
    var first = context.enqueue_create_buffer[DType.float32](count)
    context.enqueue_function[double](first.unsafe_ptr(), Int32(count), grid_dim=(count + 63) // 64, block_dim=64)
    context.synchronize()
    return PythonObject(1)
