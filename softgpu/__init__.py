"""softgpu: a GPU in software. It executes NVIDIA PTX with NumPy, so that no GPU is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from softgpu.checks import Initcheck, Memcheck, Racecheck, Report, Severity, Synccheck
from softgpu.errors import (
    AssertionFailed,
    BarrierDeadlock,
    IllegalInstruction,
    InstructionBudgetExceeded,
    KernelError,
    LaunchError,
    MemoryFault,
    PTXSyntaxError,
    SoftGPUError,
    TrapError,
    UnsupportedPTX,
)
from softgpu.memory import Memory
from softgpu.metrics import AccessMetrics, InstructionMetrics, LaunchMetrics, Metrics
from softgpu.module import Module
from softgpu.observers import Access, BarrierEvent, Observer
from softgpu.trace import LaunchTrace, Trace

if TYPE_CHECKING:
    from softgpu.driver import Launcher

__all__ = [
    "Access",
    "AccessMetrics",
    "AssertionFailed",
    "BarrierDeadlock",
    "BarrierEvent",
    "IllegalInstruction",
    "Initcheck",
    "InstructionBudgetExceeded",
    "InstructionMetrics",
    "KernelError",
    "LaunchError",
    "LaunchMetrics",
    "LaunchTrace",
    "Memcheck",
    "Memory",
    "MemoryFault",
    "Metrics",
    "Module",
    "Observer",
    "PTXSyntaxError",
    "Racecheck",
    "Report",
    "Severity",
    "SoftGPUError",
    "Synccheck",
    "Trace",
    "TrapError",
    "UnsupportedPTX",
    "install",
]


def install() -> Launcher:
    """Make this process see a GPU: softgpu stands in for the NVIDIA driver. Call it before a device is opened.

    Returns the launcher, whose `observers` follow every launch from then on; `softgpu.driver.install` says more.
    """
    from softgpu.driver import install as install_driver

    return install_driver()
