"""How loops over threads and events are compiled by numba, and kept from one process to the next."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.ccallback import CFunc
from numba.core.sigutils import normalize_signature

_PACKAGE = Path(__file__).parent


@cache
def _sources() -> str:
    """Numba looks only at the file of a function: this stands for all that it takes constants and functions from."""
    files = [*sorted(_PACKAGE.glob("native/*.py")), *sorted(_PACKAGE.glob("checks/*.py"))]
    files += [_PACKAGE / "events.py", _PACKAGE / "memory.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def kept(decorate: Callable[[bool], Any]) -> Any:
    """What `decorate(cache)` makes, with a cache if there is a folder that it can be written to."""
    try:
        compiled = decorate(True)
    except RuntimeError:
        return decorate(False)
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if file is not None:
        file._source_stamp = (file._source_stamp, _sources())
        file.load = partial(_load, file.load)
    return compiled


def _load(load: Callable[[Any], Any], key: Any) -> Any:
    """What the cache has, by numba's own function."""
    found = load(key)
    if found is None:
        _announce()
    return found


@cache
def _announce() -> None:
    """Say why it takes so long."""
    print("softgpu: compiling its own loops, which takes some ten seconds, but only once", file=sys.stderr, flush=True)


def jit(function: Callable) -> Any:
    return kept(lambda keep: njit(cache=keep, nogil=True, error_model="numpy", boundscheck=False)(function))


def inlined(function: Callable) -> Any:
    return kept(lambda keep: njit(cache=keep, inline="always")(function))


def callback(signature: Any, function: Any) -> Any:
    """A function for compiled kernels, which has an address."""

    def decorate(keep: bool) -> CFunc:
        # As numba.cfunc, but not yet compiled: the cache must know of the sources before.
        made = CFunc(function, normalize_signature(signature), locals={}, options={"error_model": "numpy"})
        if keep:
            made.enable_caching()
        return made

    made = kept(decorate)
    made.compile()
    return made
