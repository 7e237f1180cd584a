"""Runs kernels as native code: a second engine beside the lock-step one, and many times faster."""

from softgpu.native.executor import run, translation
from softgpu.native.translator import NotTranslated

__all__ = ["NotTranslated", "run", "translation"]
