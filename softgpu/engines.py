"""Chooses the engine that runs a launch: native code where it can, else the lock-step engine."""

from __future__ import annotations

from softgpu import scheduler
from softgpu.errors import KernelError, LaunchError
from softgpu.machine import Launch

ENGINES = ("lockstep", "native")
"""`lockstep` executes every instruction for many lanes at once with NumPy; it is the reference. `native` translates a
kernel to machine code, and runs one thread after the other."""

default: str | None = "lockstep"
"""The engine of launches that ask for none; None chooses for each launch."""

_LOCKSTEP_HOOKS = ("issue", "instruction", "access", "barrier", "events")


def run(launch: Launch, budget: int, engine: str | None = None, shuffle_seed: int | None = None) -> None:
    """Execute a launch to its end. Raises KernelError, or LaunchError where the engine asked for cannot run it."""
    engine = engine or default
    if engine not in (None, *ENGINES):
        raise LaunchError(f"there is no engine '{engine}': it is one of {', '.join(ENGINES)}")
    obstacle = "" if engine == "lockstep" else _obstacle(launch, shuffle_seed)
    if engine == "native" and obstacle:
        raise LaunchError(f"the native engine cannot run kernel {launch.kernel}: {obstacle}; use the lock-step engine")
    if engine == "lockstep" or obstacle:
        scheduler.run(launch, budget, shuffle_seed)
    else:
        _run_native(launch, budget)


def _obstacle(launch: Launch, shuffle_seed: int | None) -> str:
    """Why a launch cannot run as native code, or nothing."""
    if shuffle_seed is not None:
        return "it does not shuffle the order of blocks and warps"
    hooks = [name for name in _LOCKSTEP_HOOKS if launch.hooks(name)]
    if hooks:
        return f"an observer follows `{hooks[0]}`"
    try:
        from softgpu import native
    except ImportError as missing:
        return f"{missing.name} is not installed"
    translation = native.translation(launch.program)
    return f"it has no translation of {translation}" if isinstance(translation, native.NotTranslated) else ""


def _run_native(launch: Launch, budget: int) -> None:
    from softgpu import native

    _call(launch, "launch_begin")
    try:
        compiled = native.translation(launch.program)
        assert not isinstance(compiled, native.NotTranslated)
        native.run(launch, compiled, budget)
    except KernelError as error:
        launch.failure = error
        raise
    finally:
        _call(launch, "launch_end")


def _call(launch: Launch, name: str) -> None:
    for hook in launch.hooks(name):
        hook(launch)
