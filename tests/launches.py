"""Launches for the tests of the pictures, run on softgpu."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

import softgpu
from workbook.pictures.launch_view import Buffer, LaunchView, launch_view
from workbook.running.execution import Fault
from workbook.verdict import CaseResult

DATA = Path(__file__).parent / "data"


def conv1d(
    input_size=28,
    conv_size=4,
    grid=2,
    block=15,
    arguments=("output", "input", "kernel"),
    input_array=None,
    without_barrier=False,
    observers=(),
) -> LaunchView:
    """The kernel of puzzle 17, as MAX compiled it for these sizes; some launches of it are cut short by a fault."""
    text = (DATA / f"conv1d_{input_size}_{conv_size}.ptx").read_text()
    if without_barrier:
        text, count = re.subn(r"bar\.sync\s+0;", "", text)
        assert count == 1
    random = np.random.default_rng(17)
    if input_array is None:
        input_array = random.uniform(0.5, 2, input_size)
    input_array = np.array(input_array, np.float32)
    kernel = random.uniform(0.5, 2, conv_size).astype(np.float32)
    padded = np.concatenate([input_array, np.zeros(conv_size - 1, np.float32)])
    arrays = {"output": np.zeros(input_size, np.float32), "input": input_array, "kernel": kernel}
    return run(
        text,
        grid,
        block,
        arrays,
        arguments,
        expected=np.correlate(padded, kernel, mode="valid"),
        shared_names=["tile", "weights"],
        case=f"input_size {input_size}, conv_size {conv_size}",
        observers=observers,
    )


COPY = """
.version 8.1
.target sm_80
.address_size 64
.visible .entry copy(.param .u64 output, .param .u64 input, .param .u32 count)
{{
    .reg .pred %p<2>;
    .reg .b32 %r<12>;
    .reg .b64 %rd<8>;
    .shared .align 4 .b8 copy_$__global_alloc_0_$__gpu_shared_mem[{tile_bytes}];
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %ctaid.x;
    mad.lo.s32 %r4, %r2, %r3, %r1;
    ld.param.b32 %r5, [count];
    setp.ge.u32 %p1, %r4, %r5;
    @%p1 ret;
    ld.param.b64 %rd1, [output];
    ld.param.b64 %rd2, [input];
    mul.wide.u32 %rd3, %r4, 4;
    add.s64 %rd4, %rd1, %rd3;
    add.s64 %rd5, %rd2, %rd3;
    shl.b32 %r6, %r1, 2;
    mov.b32 %r7, copy_$__global_alloc_0_$__gpu_shared_mem;
    add.s32 %r8, %r7, %r6;
    ld.global.b32 %r9, [%rd5];
    {body}
    ld.shared.b32 %r10, [%r8];
    st.global.b32 [%rd4], %r10;
    ret;
}}
"""
"""Every thread puts its element (%r9) into the tile (at %r8) as `body` says, and copies its slot to the output."""


def copy(
    grid=2, block=4, count=8, tile_slots=None, body="st.shared.b32 [%r8], %r9;\nbar.sync 0;", observers=()
) -> LaunchView:
    arrays = {"output": np.zeros(count, np.float32), "input": np.arange(1, count + 1, dtype=np.float32)}
    width = block if isinstance(block, int) else block[0]
    text = COPY.format(tile_bytes=4 * (tile_slots or width), body=body)
    return run(
        text,
        grid,
        block,
        arrays,
        ("output", "input", np.uint32(count)),
        arrays["input"].copy(),
        ["tile"],
        "copy",
        observers,
    )


def vector_addition(size=17, grid=2, block=16, told_size=None, observers=()) -> LaunchView:
    """The kernel of puzzle t2, as MAX compiled it. `told_size` is the size that the launch passes."""
    lhs, rhs = np.random.default_rng(2).uniform(1, 2, (2, size)).astype(np.float32)
    arrays = {"output": np.full(size, np.nan, np.float32), "lhs": lhs, "rhs": rhs}
    text = (DATA / "vector_addition.ptx").read_text()
    views = tuple(View(name, size) for name in arrays)
    arguments = (*views, np.int32(told_size or size))
    return run(text, grid, block, arrays, arguments, lhs + rhs, [], f"size {size}", observers)


class View(NamedTuple):
    """A tensor whose size is known only when the kernel runs: the kernel is handed its address and its size."""

    name: str
    size: int


def add_one() -> LaunchView:
    """The kernel that foreach makes in puzzle t1, as MAX compiled it for a matrix of 5 × 10."""
    matrix = np.random.default_rng(1).uniform(1, 2, (5, 10)).astype(np.float32)
    arrays = {"output": np.full((5, 10), np.nan, np.float32), "input": matrix}
    module, memory, trace = softgpu.Module((DATA / "add_one_5_10.ptx").read_text()), softgpu.Memory(), softgpu.Trace()
    buffers = {
        name: Buffer(memory.allocate(array, name).base, array.size, array.dtype) for name, array in arrays.items()
    }
    # All in one parameter: the addresses of the two, rows, columns, vectors, what is left over, and where that begins.
    words = [buffers["input"].address, buffers["output"].address, 5 | 10 << 32, 12, 2, 48]
    parameters = [np.array(words, np.uint64).tobytes()]
    module.launch_raw(module.kernels[0], 1, 256, parameters, memory, observers=[trace])
    return launch_view(
        trace.launches[0],
        buffers,
        matrix + 1,
        arrays["output"],
        thread_per_element=False,
        case="rows 5, columns 10",
    )


def run(text, grid, block, arrays, arguments, expected, shared_names, case, observers=()) -> LaunchView:
    module, memory, trace = softgpu.Module(text), softgpu.Memory(), softgpu.Trace()
    buffers = {
        name: Buffer(memory.allocate(array, name).base, array.size, array.dtype) for name, array in arrays.items()
    }
    parameters = [_parameter(argument, buffers) for argument in arguments]
    fault, fault_at = "", None
    try:
        module.launch_raw(module.kernels[0], grid, block, parameters, memory, observers=[trace, *observers])
    except softgpu.KernelError as error:
        fault = str(error)
        fault_at = Fault.of(error) if isinstance(error, softgpu.MemoryFault) else None
    races = [
        report
        for one in observers
        if isinstance(one, softgpu.Racecheck)
        for report in one.reports
        if report.severity > softgpu.Severity.INFO
    ]
    told = {"case": case, "fault": fault, "fault_at": fault_at, "races": races}
    return launch_view(trace.launches[0], buffers, expected, arrays["output"], shared_names, **told)


def _parameter(argument, buffers) -> bytes:
    if isinstance(argument, View):
        return np.array([buffers[argument.name].address, argument.size], np.uint64).tobytes()
    return np.uint64(buffers[argument].address).tobytes() if isinstance(argument, str) else argument.tobytes()


def case_of(view: LaunchView, **sizes: int) -> CaseResult:
    """A launch as the case of a check. Inputs that no thread loaded count as zero."""
    output, expected = (
        np.array([getattr(one, name) for one in view.outputs], np.float32).reshape(view.shape)
        for name in ("value", "expected")
    )
    inputs = {
        name: np.array([element.value or 0 for element in elements], np.float32)
        for name, elements in view.loads.items()
        if name != view.output
    }
    inputs = {
        name: array.reshape(view.shape) if array.size == expected.size else array for name, array in inputs.items()
    }
    return CaseResult(
        sizes=sizes,
        inputs=inputs,
        expected=expected,
        output=output,
        first_wrong=next((index for index, one in enumerate(view.outputs) if not one.ok), None),
        changed_inputs=(),
        written_elsewhere=None,
        recorded=True,
        launches=1,
        places={},
        passed=(),
        view=view,
    )
