"""The stand-in for NVIDIA's driver: MAX opens it, and its launches come to softgpu."""

from softgpu.driver.install import install
from softgpu.driver.launcher import Launcher

__all__ = ["Launcher", "install"]
