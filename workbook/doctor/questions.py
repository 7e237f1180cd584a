"""Questions that a process of its own answers, with one line of JSON: `python -m workbook.doctor.questions NAME`."""

import ctypes
import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn

TWICE = """
.version 8.0
.target sm_80
.address_size 64
.visible .entry twice(.param .u64 data) {
    .reg .b32 %i;
    .reg .f32 %x;
    .reg .b64 %address, %offset;
    mov.u32 %i, %tid.x;
    ld.param.u64 %address, [data];
    mul.wide.u32 %offset, %i, 4;
    add.s64 %address, %address, %offset;
    ld.global.f32 %x, [%address];
    add.f32 %x, %x, %x;
    st.global.f32 [%address], %x;
    ret;
}
"""


def max_gpus() -> dict[str, Any]:
    """The GPUs that MAX finds: how many, and of the first its API and architecture."""
    from max.driver import accelerator_api, accelerator_architecture_name, accelerator_count

    count = accelerator_count()
    if not count:
        return {"count": 0}
    return {"count": count, "api": accelerator_api(), "architecture": accelerator_architecture_name()}


def nvidia() -> dict[str, Any]:
    """NVIDIA's driver and its GPUs, as its management library tells them; `error` is that library's number."""
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    error = nvml.nvmlInit_v2()
    if error:
        return {"error": error}
    text = ctypes.create_string_buffer(96)
    nvml.nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text)))
    driver = text.value.decode(errors="replace")
    count = ctypes.c_uint()
    nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    gpus = []
    for number in range(count.value):
        device, major, minor = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
        if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(device)):
            continue  # one that has fallen off the bus
        nvml.nvmlDeviceGetName(device, text, ctypes.c_uint(len(text)))
        name = text.value.decode(errors="replace")
        nvml.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor))
        gpus.append({"name": name, "architecture": f"sm_{major.value}{minor.value}"})
    return {"driver": driver, "gpus": gpus}


def softgpu() -> dict[str, Any]:
    """Whether the software GPU is built; and if so, whether it answers MAX and executes a kernel."""
    import numpy as np

    import softgpu as device
    from softgpu.driver import build

    vars(build)["_build"] = _do_not_build
    try:
        device.install()
    except _NotBuilt:
        return {"built": False}
    from max.driver import CPU, Accelerator, Buffer

    numbers = np.arange(32, dtype=np.float32)
    came_back = Buffer.from_numpy(numbers).to(Accelerator()).to(CPU()).to_numpy()
    device.Module(TWICE).launch("twice", grid=1, block=32, args=[numbers])
    is_right = (came_back == np.arange(32)).all() and (numbers == 2 * np.arange(32)).all()
    return {"built": True, "right": bool(is_right)}


class _NotBuilt(Exception):
    pass


def _do_not_build(*sources: object) -> NoReturn:
    """Stands in for the build, which takes longer than anybody waits for a doctor."""
    raise _NotBuilt


QUESTIONS: dict[str, Callable[[], dict[str, Any]]] = {"max_gpus": max_gpus, "nvidia": nvidia, "softgpu": softgpu}

if __name__ == "__main__":
    print(json.dumps(QUESTIONS[sys.argv[1]]()), flush=True)
