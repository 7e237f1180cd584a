"""The stand-in for NVIDIA's driver: MAX opens it, and its launches come to softgpu.

- `cuda/*.mojo` are `libcuda.so.1`, and `nvml.mojo` is `libnvidia-ml.so.1`. `build` compiles and links them once, into
  the user's cache. What they do not have, `functions` lists: each answers "not supported", and is named on stderr.
- Of NVIDIA's libraries there is none. MAX's matmul asks for cuBLAS for shapes that its fast kernels do not take; it is
  told that cuBLAS cannot be started, and launches a simpler kernel of its own (`cuda/libraries.mojo`).
- `install` puts the two in the driver's place; `launcher` executes launches, and answers what only Python knows.
- Everything but a launch, and a question about a kernel or variable, is answered in native code, which never waits: a
  thread may hold Python's global lock while it calls, or wait for one that does. A launch needs that lock, as whatever
  follows it is Python; a thread that holds the lock all the while it waits for another thread's launch waits in vain.
- Launches and copies are done when their call returns. Streams and events thus have nothing to wait for, and host
  functions run at once, on the thread that enqueues them.
- A kernel that fails breaks its context, as on a GPU: every later call returns the same error.
- Processes that the program starts find the GPU too. One that is forked executes kernels as its parent does; any other,
  as of multiprocessing's spawn, calls `softgpu.install()` before it launches. What checks find in either is not in the
  summary and the exit status of `softgpu run`.

Environment variables: `SOFTGPU_ARCH` (sm_80 or sm_90) is the GPU that programs are told of, and compile for;
`SOFTGPU_CACHE_DIR` is where built libraries and compiled kernels are kept.
"""

from softgpu.driver.install import install
from softgpu.driver.launcher import Launcher

__all__ = ["Launcher", "install"]
