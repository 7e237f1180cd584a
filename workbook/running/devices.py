"""Which device an attempt runs on: a GPU where one answers, else the software GPU."""

import ctypes
import platform
import subprocess
import sys
from typing import TYPE_CHECKING

from workbook.diagnosis.messages import explain
from workbook.language import _

if TYPE_CHECKING:
    from max.driver import Device

CHOICES = ("gpu", "softgpu", "cpu")

SOFTGPU_RUNS_HERE = (platform.system(), platform.machine()) == ("Linux", "x86_64")

# Drivers of NVIDIA and AMD on Linux. Where none can be loaded there is no use in asking MAX, which takes a second.
_DRIVER_LIBRARIES = ("libcuda.so.1", "libamdhip64.so")


class NoSuchDevice(Exception):
    """The device that was asked for is not there; the message says what is, and what to do."""


def default_device() -> str:
    """ "gpu" if one answers, else "softgpu"."""
    return "gpu" if gpu_answers() else "softgpu"


def gpu_answers() -> bool:
    """Whether MAX finds a GPU. It is asked in a process of its own, because the answer opens the driver for good."""
    if sys.platform == "linux" and not any(_can_load(library) for library in _DRIVER_LIBRARIES):
        return False
    # A GPU that is too old for MAX is counted, but cannot be opened.
    question = (
        "from max.driver import Accelerator, accelerator_count\nif accelerator_count() == 0: exit(1)\nAccelerator()"
    )
    return subprocess.run([sys.executable, "-c", question], capture_output=True).returncode == 0


def devices_for_check(kind: str, also_on_cpu: bool = False) -> tuple[str, ...]:
    """The devices that a check runs on. A real GPU says whether the result is right; the software GPU, whose memory is
    poisoned, says it again and records what every thread did."""
    gpus = ("gpu", "softgpu") if kind == "gpu" and SOFTGPU_RUNS_HERE else (kind,)
    return ("cpu", *gpus) if also_on_cpu and kind != "cpu" else gpus


def open_device(kind: str) -> "Device":
    """Open a device for this process. Once a process: the software GPU takes the place of the real driver."""
    if kind == "softgpu":
        import softgpu

        softgpu.install()

    from max.driver import CPU, Accelerator, accelerator_count

    if kind == "cpu":
        return CPU()
    if kind == "gpu" and accelerator_count() == 0:
        raise NoSuchDevice(_("MAX finds no GPU on this machine. Leave `--device` out, or say `--device softgpu`."))
    try:
        return Accelerator()
    except ValueError as error:
        raise NoSuchDevice(explain(str(error))) from error


def describe_device(kind: str) -> str:
    """What the learner is told of the device, after it was opened."""
    if kind == "softgpu":
        return _("softgpu, the software GPU (executes the kernel compiled for NVIDIA sm_80)")
    if kind == "cpu":
        return _("the CPU (the op's own CPU implementation; no kernel is launched)")
    from max.driver import accelerator_api, accelerator_architecture_name

    api, architecture = accelerator_api(), accelerator_architecture_name()
    return _("the GPU of this machine ({api}, {architecture})").format(api=api, architecture=architecture)


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
