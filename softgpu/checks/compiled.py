"""How the loops of the checks are compiled."""

from collections.abc import Callable
from typing import Any

from numba import njit

from softgpu.jit import kept


def compiled(function: Callable) -> Any:
    """Without reference counts: the functions pass tuples of many arrays to each other, which belong to the caller."""
    options: Any = {"error_model": "numpy", "_nrt": False}
    return kept(lambda keep: njit(cache=keep, **options)(function))


def inlined(function: Callable) -> Any:
    """For what runs for every event: to pass such tuples takes longer than the work itself."""
    options: Any = {"error_model": "numpy", "_nrt": False, "forceinline": True}
    return kept(lambda keep: njit(cache=keep, **options)(function))
