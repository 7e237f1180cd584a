"""Builds the stand-in libraries from their Mojo sources, once, into a cache folder.

No system compiler is needed: `mojo` compiles to an object and the `lld` of the Mojo wheel links it. The folder's
name holds a hash of the sources and the Mojo version, so that a change of either builds anew.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

from mojo._package_root import get_package_root
from mojo.run import subprocess_run_mojo

from softgpu.errors import SoftGPUError

SOURCES = Path(__file__).parent

# What MAX looks up in the driver and softgpu does not have: each answers "not supported" and is named on stderr.
NOT_SUPPORTED = """
    cuCtxCreate_v2 cuCtxDestroy cuCtxEnablePeerAccess cuDeviceGetGraphMemAttribute cuDeviceGetMemPool
    cuDeviceGetP2PAttribute cuFuncGetParamInfo cuGraphAddChildGraphNode cuGraphAddEmptyNode cuGraphAddKernelNode
    cuGraphAddMemcpyNode cuGraphAddMemsetNode cuGraphCreate cuGraphDebugDotPrint cuGraphDestroy cuGraphExecDestroy
    cuGraphInstantiate cuGraphInstantiateWithFlags cuGraphInstantiateWithParams cuGraphKernelNodeSetAttribute
    cuGraphLaunch cuMemAddressFree cuMemAddressReserve cuMemCreate cuMemExportToShareableHandle
    cuMemGetHandleForAddressRange cuMemHostRegister_v2 cuMemHostUnregister cuMemMap cuMemPoolSetAccess
    cuMemPoolTrimTo cuMemRelease cuMemSetAccess cuMemUnmap cuMemcpyBatchAsync cuMemcpyPeer cuMemcpyPeerAsync
    cuMemsetD2D32Async cuMemsetD2D32_v2 cuModuleGetGlobal_v2 cuMulticastAddDevice cuMulticastBindMem
    cuMulticastCreate cuMulticastGetGranularity cuMulticastUnbind cuOccupancyMaxActiveBlocksPerMultiprocessor
    cuPointerGetAttributes cuPointerSetAttribute cuStreamBeginCapture cuStreamEndCapture cuStreamGetCaptureInfo_v2
    cuStreamWaitValue64_v2 cuTensorMapEncodeIm2col cuTensorMapEncodeTiled
""".split()

STUB = """

@export
def {name}() abi("C") -> Int32:
    return not_supported("{name}")
"""

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
    sources = {name: (SOURCES / f"{name}.mojo").read_text() for name in ("cuda", "nvml")}
    sources["cuda"] += "".join(STUB.format(name=name) for name in NOT_SUPPORTED)
    identity = [version("mojo-compiler"), ASSEMBLER, *sources.values()]
    folder = cache_folder() / f"driver-{hashlib.sha256(repr(identity).encode()).hexdigest()[:16]}"
    if folder.exists():
        return folder

    cache_folder().mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix="building-", dir=cache_folder()))
    try:
        _build_library(building, sources["cuda"], "libcuda.so.1")
        _build_library(building, sources["nvml"], "libnvidia-ml.so.1")
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


def _build_library(folder: Path, source: str, soname: str) -> None:
    mojo_file = folder / f"{soname.split('.')[0]}.mojo"
    mojo_file.write_text(source)
    object_file = mojo_file.with_suffix(".o")
    compiled = subprocess_run_mojo(
        ["build", "--emit", "object", str(mojo_file), "-o", str(object_file)], capture_output=True, text=True
    )
    if compiled.returncode != 0:
        mojo = version("mojo-compiler")
        raise SoftGPUError(f"softgpu's {soname} does not compile with Mojo {mojo}:\n{compiled.stderr}")
    linker = _package_root() / "bin" / "lld"
    runtime = modular_lib_folder() / "libKGENCompilerRTShared.so"
    output = folder / soname
    linked = subprocess.run(
        [linker, "-flavor", "gnu", "-shared", "-soname", soname, object_file, runtime, "-o", output],
        capture_output=True,
        text=True,
    )
    if linked.returncode != 0:
        raise SoftGPUError(f"softgpu's {soname} does not link:\n{linked.stderr}")
    object_file.unlink()


def _package_root() -> Path:
    root = get_package_root()
    if root is None:
        raise SoftGPUError("the Mojo compiler was not found: install softgpu's pinned max package")
    return Path(root)
