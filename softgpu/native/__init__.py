"""Runs kernels as native code: a second engine beside the lock-step one, and many times faster."""

from softgpu.native.compiler import Compiled
from softgpu.native.executor import Blocks, Execution, translation
from softgpu.native.translator import NotTranslated

__all__ = ["Blocks", "Compiled", "Execution", "NotTranslated", "translation"]
