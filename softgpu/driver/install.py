"""Puts the software GPU in the CUDA driver's place, for this process."""

import ctypes
import os
import platform
from pathlib import Path

from softgpu.driver.build import assembler, built_driver, cache_folder, modular_lib_folder
from softgpu.driver.launcher import Launcher
from softgpu.errors import SoftGPUError

ARCHITECTURES = ("sm_80", "sm_90")
"""What `SOFTGPU_ARCH` may say: for which GPU MAX compiles. The first is what it says by itself."""

_launcher: Launcher | None = None


def install() -> Launcher:
    """Let MAX find the software GPU where it looks for NVIDIA's driver. Call it before MAX opens a device.

    A second call changes nothing. Returns the launcher, to whose `observers` list anyone may append who wants to
    follow the launches.

    Raises `SoftGPUError` where the libraries cannot be built, on systems other than Linux on x86-64, and when NVIDIA's
    driver is loaded already.
    """
    global _launcher
    if _launcher is not None:
        return _launcher
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SoftGPUError(
            f"softgpu stands in for the CUDA driver on Linux x86-64 only; this is {platform.system()} "
            f"{platform.machine()}. softgpu.Module runs PTX on any system."
        )
    loaded = _loaded_cuda_driver()
    if loaded:
        raise SoftGPUError(
            f"softgpu.install() came too late: {loaded} is loaded already. Call it before the first device is opened."
        )

    if os.environ.setdefault("SOFTGPU_ARCH", ARCHITECTURES[0]) not in ARCHITECTURES:
        raise SoftGPUError(
            f"SOFTGPU_ARCH is {os.environ['SOFTGPU_ARCH']}, but softgpu can be {' or '.join(ARCHITECTURES)}"
        )
    try:
        folder, stand_in = built_driver(), assembler()
    except OSError as error:
        raise SoftGPUError(
            f"softgpu's driver cannot be kept in {cache_folder()} ({error.strerror}): set SOFTGPU_CACHE_DIR to a "
            "folder that can be written"
        ) from error
    # MAX caches what the assembler made, so a real GPU must never share this cache: it would be given text.
    os.environ["MODULAR_CACHE_DIR"] = str(cache_folder() / "modular")
    os.environ["MODULAR_NVPTX_COMPILER_PATH"] = str(stand_in)
    # Every buffer an allocation of its own, so that an access past its end cannot land in a neighbour unseen.
    os.environ["MODULAR_DEVICE_CONTEXT_MEMORY_MANAGER_SIZE_PERCENT"] = "0"

    # Programs that this one starts, as Mojo's compiler, look for a GPU on their own.
    os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, (str(folder), os.environ.get("LD_LIBRARY_PATH"))))

    # glibc answers a later dlopen("libcuda.so.1") with any loaded library of that soname.
    ctypes.CDLL(str(modular_lib_folder() / "libKGENCompilerRTShared.so"), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(folder / "libnvidia-ml.so.1"), ctypes.RTLD_GLOBAL)
    cuda = ctypes.CDLL(str(folder / "libcuda.so.1"), ctypes.RTLD_GLOBAL)
    _launcher = Launcher(cuda)
    return _launcher


def _loaded_cuda_driver() -> str | None:
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.rpartition(" ")[2]
        if Path(path).name.startswith("libcuda.so"):
            return path
    return None
