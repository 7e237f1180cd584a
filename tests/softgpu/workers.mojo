from std.os import abort
from std.python import PythonObject
from std.python.bindings import PythonModuleBuilder
from max.algorithm.backend.cpu.parallelize import sync_parallelize
from max.gpu import thread_idx
from max.gpu.host import DeviceContext


@export
def PyInit_workers() -> PythonObject:
    try:
        var module = PythonModuleBuilder("workers")
        module.def_function[run]("run", docstring="How often n workers, who launch a kernel each, counted up a number.")
        return module.finalize()
    except error:
        abort(String(error))


def count_up(data: Pointer[Int32, MutAnyOrigin]):
    var i = Int(thread_idx.x)
    (data + i)[] += 1


def run(n: PythonObject) raises -> PythonObject:
    var context = DeviceContext()
    var data = context.enqueue_create_buffer[DType.int32](32)
    var host = context.enqueue_create_host_buffer[DType.int32](32)
    data.enqueue_fill(0)

    def work(number: Int) {imm}:
        try:
            context.enqueue_function[count_up](data.unsafe_ptr(), grid_dim=1, block_dim=32)
            context.synchronize()
        except error:
            print(error)

    sync_parallelize(work, Int(py=n))  # while the caller, Python, holds its lock
    context.enqueue_copy(host, data)
    context.synchronize()
    return PythonObject(Int(host[31]))
