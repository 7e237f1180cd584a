"""How the loops of the checks are compiled."""

from typing import Any

from numba import njit

# Without reference counts: the functions pass tuples of many arrays to each other, and all arrays belong to the caller.
compiled: Any = njit(cache=True, error_model="numpy", _nrt=False)  # type: ignore[call-overload]

# For what runs for every event: to pass such tuples takes longer than the work itself.
inlined: Any = njit(cache=True, error_model="numpy", _nrt=False, forceinline=True)  # type: ignore[call-overload]
