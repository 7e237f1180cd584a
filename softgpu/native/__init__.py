"""Runs kernels as native code: a second engine beside the lock-step one, and many times faster."""

from softgpu.native.compiler import Compiled
from softgpu.native.executor import Blocks, Execution, translation
from softgpu.native.retry import Before, may_run_again, needs_releases
from softgpu.native.translator import NotTranslated

__all__ = [
    "Before",
    "Blocks",
    "Compiled",
    "Execution",
    "NotTranslated",
    "may_run_again",
    "needs_releases",
    "translation",
]
