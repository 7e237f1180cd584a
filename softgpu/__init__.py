"""softgpu: a GPU in software. It executes NVIDIA PTX with NumPy, so that no GPU is needed."""

from softgpu.errors import (
    BarrierDeadlock,
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
from softgpu.module import Module
from softgpu.observers import Access, BarrierEvent, Observer
from softgpu.trace import Trace

__all__ = [
    "Access",
    "BarrierDeadlock",
    "BarrierEvent",
    "InstructionBudgetExceeded",
    "KernelError",
    "LaunchError",
    "Memory",
    "MemoryFault",
    "Module",
    "Observer",
    "PTXSyntaxError",
    "SoftGPUError",
    "Trace",
    "TrapError",
    "UnsupportedPTX",
    "install",
]


def install() -> None:
    """Make this process see a GPU: softgpu stands in for the NVIDIA driver. Call it first."""
    from softgpu.driver import install as install_driver

    install_driver()
