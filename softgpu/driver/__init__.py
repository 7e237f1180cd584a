"""The stand-in for NVIDIA's driver: MAX opens it, and its launches come to softgpu."""

from softgpu.driver.install import install

__all__ = ["install"]
