"""Builds the stand-in libraries from their Mojo sources, once, into a cache folder.

No system compiler is needed: `mojo` compiles to an object and the `lld` of the Mojo wheel links it. The folder's
name holds a hash of the sources and the Mojo version, so that a change of either builds anew. The first build takes
some seconds.
"""

import fcntl
import hashlib
import os
import re
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from mojo._package_root import get_package_root
from mojo.run import subprocess_run_mojo

from softgpu.driver.functions import NOT_SUPPORTED
from softgpu.driver.stubs import object_file
from softgpu.errors import SoftGPUError

SOURCES = Path(__file__).parent
RECIPE = [SOURCES / name for name in ("build.py", "functions.py", "stubs.py")]

UNUSED_AFTER = 30 * 24 * 3600.0
"""Seconds after which a build that nobody used is removed, when another one is made."""

# `PROGRAM in.ptx -o out.cubin --gpu-name=sm_80 …`: the PTX itself is what softgpu executes, so it is handed through.
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


def assembler() -> Path:
    """The program that MAX runs in place of NVIDIA's assembler.

    MAX compiles a kernel anew for every path of it, so that the path changes with the program alone.
    """
    program = cache_folder() / f"assembler-{_hash(ASSEMBLER)}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=program.parent) as building:
            made = Path(building) / "assembler"
            made.write_text(ASSEMBLER)
            made.chmod(0o755)
            made.replace(program)
    return program


def built_driver() -> Path:
    """The folder with `libcuda.so.1` and `libnvidia-ml.so.1`; builds it if it is not there."""
    nvml, cuda = SOURCES / "nvml.mojo", sorted((SOURCES / "cuda").glob("*.mojo"))
    texts = [source.read_text() for source in (*RECIPE, nvml, *cuda)]
    folder = cache_folder() / f"driver-{_hash(version('mojo-compiler'), *texts)}"
    if folder.exists():
        _note_use(folder)
        return folder

    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process builds, and others wait for it
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix="building-", dir=folder.parent) as temporary:
                # The rename is what makes the folder appear complete or not at all.
                _build(nvml, cuda, Path(temporary)).rename(folder)
        _remove_unused_builds(folder.parent)
    return folder


def _note_use(folder: Path) -> None:
    """The time of a build's folder is that of its last use."""
    with suppress(OSError):  # the cache may be one that only another user writes to
        os.utime(folder)


def _remove_unused_builds(cache: Path) -> None:
    """Remove builds of earlier sources that nobody has used for long. Whoever runs one still has its libraries open."""
    for folder in cache.glob("driver-*"):
        with suppress(OSError):  # removed by another process
            if time.time() - folder.stat().st_mtime > UNUSED_AFTER:
                with tempfile.TemporaryDirectory(prefix="building-", dir=cache) as away:
                    folder.rename(Path(away) / folder.name)  # so that no half of a build is ever there


def _build(nvml: Path, cuda: list[Path], folder: Path) -> Path:
    """A new folder with the two libraries, in one for what is made on the way."""
    joined, stubs, libraries = folder / "cuda.mojo", folder / "stubs.o", folder / "libraries"
    joined.write_text(_with_exports_of(cuda))
    stubs.write_bytes(object_file(NOT_SUPPORTED))
    with ThreadPoolExecutor() as pool:
        compiled_cuda, compiled_nvml = pool.map(lambda source: _compile(source, folder), (joined, nvml))
    libraries.mkdir()
    _link([compiled_cuda, stubs], libraries / "libcuda.so.1")
    _link([compiled_nvml], libraries / "libnvidia-ml.so.1")
    return libraries


def _hash(*texts: str) -> str:
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:16]


def _with_exports_of(modules: list[Path]) -> str:
    """A Mojo module with every function that the others export. Compiling one takes a quarter of the time that
    compiling each takes. Mojo emits a function of an imported module only where something refers to it."""
    lines = []
    for module in modules:
        for name in re.findall(r"^@export\ndef (\w+)", module.read_text(), re.MULTILINE):
            lines.append(f"from {module.stem} import {name}\ncomptime exported_{name} = {name}\n")
    return "".join(lines)


def _compile(source: Path, folder: Path) -> Path:
    """The object file of a Mojo source, for any x86-64: machines of several kinds may share the cache folder.

    One thread is much faster than several, for which Mojo cuts the module into pieces that repeat each other.
    """
    object_file = folder / f"{source.stem}.o"
    options = ["-j", "1", "--target-cpu", "x86-64", "-I", str(SOURCES / "cuda")]
    compiled = subprocess_run_mojo(
        ["build", "--emit", "object", *options, str(source), "-o", str(object_file)], capture_output=True, text=True
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
