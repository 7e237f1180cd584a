"""Builds the stand-in libraries from their Mojo sources, once, into a cache folder.

No system compiler is needed: `mojo` compiles to an object and the `lld` of the Mojo wheel links it. The folder's
name holds a hash of the sources and the Mojo version, so that a change of either builds anew.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from mojo._package_root import get_package_root
from mojo.run import subprocess_run_mojo

from softgpu.driver.functions import NOT_SUPPORTED
from softgpu.driver.stubs import object_file
from softgpu.errors import SoftGPUError

SOURCES = Path(__file__).parent
CUDA_PARTS = ("device", "context", "memory", "copies", "modules", "libraries")
"""The modules in cuda/ that define functions. Each is compiled to an object, because Mojo exports nothing of a
module that is imported; `state` is what they share."""

# What MAX runs in place of NVIDIA's assembler (`PROGRAM in.ptx -o out.cubin --gpu-name=sm_80 …`): the PTX itself is
# what softgpu executes, so it is handed through.
ASSEMBLER = """#!/bin/sh
input=$1
while [ $# -gt 1 ]; do
    if [ "$1" = -o ]; then exec cp "$input" "$2"; fi
    shift
done
echo "softgpu's assembler stand-in: no -o OUTPUT was given" >&2
exit 2
"""


def cache_folder() -> Path:
    """Where built libraries and compiled kernels are kept: `$SOFTGPU_CACHE_DIR`, else the user's cache folder."""
    chosen = os.environ.get("SOFTGPU_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "softgpu"


def modular_lib_folder() -> Path:
    """The folder of the Mojo wheel's shared libraries."""
    return _package_root() / "lib"


def built_driver() -> Path:
    """The folder with `libcuda.so.1`, `libnvidia-ml.so.1` and `assembler`; builds it if it is not there."""
    sources = [SOURCES / "nvml.mojo", *sorted((SOURCES / "cuda").glob("*.mojo"))]
    identity = [version("mojo-compiler"), ASSEMBLER, NOT_SUPPORTED, *(source.read_text() for source in sources)]
    folder = cache_folder() / f"driver-{hashlib.sha256(repr(identity).encode()).hexdigest()[:16]}"
    if folder.exists():
        return folder

    cache_folder().mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix="building-", dir=cache_folder()))
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            parts = [SOURCES / "nvml.mojo", *(SOURCES / "cuda" / f"{part}.mojo" for part in CUDA_PARTS)]
            nvml, *cuda = pool.map(lambda source: _compile(source, building), parts)
        stubs = building / "stubs.o"
        stubs.write_bytes(object_file(NOT_SUPPORTED))
        _link([nvml], building / "libnvidia-ml.so.1")
        _link([*cuda, stubs], building / "libcuda.so.1")
        for made in (nvml, *cuda, stubs):
            made.unlink()
        assembler = building / "assembler"
        assembler.write_text(ASSEMBLER)
        assembler.chmod(0o755)
        # The rename is what makes the folder appear complete or not at all; losing a race to another process is fine.
        if not folder.exists():
            building.rename(folder)
    except OSError:
        if not folder.exists():
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _compile(source: Path, folder: Path) -> Path:
    """The object file of a Mojo source."""
    object_file = folder / f"{source.stem}.o"
    compiled = subprocess_run_mojo(
        ["build", "--emit", "object", str(source), "-o", str(object_file)], capture_output=True, text=True
    )
    if compiled.returncode != 0:
        mojo = version("mojo-compiler")
        raise SoftGPUError(f"softgpu's {source.name} does not compile with Mojo {mojo}:\n{compiled.stderr}")
    return object_file


def _link(objects: list[Path], library: Path) -> None:
    linker = _package_root() / "bin" / "lld"
    runtime = modular_lib_folder() / "libKGENCompilerRTShared.so"
    linked = subprocess.run(
        [linker, "-flavor", "gnu", "-shared", "-soname", library.name, *objects, runtime, "-o", library],
        capture_output=True,
        text=True,
    )
    if linked.returncode != 0:
        raise SoftGPUError(f"softgpu's {library.name} does not link:\n{linked.stderr}")


def _package_root() -> Path:
    root = get_package_root()
    if root is None:
        raise SoftGPUError("the Mojo compiler was not found: install softgpu's pinned max package")
    return Path(root)
