"""How the loops of the checks are compiled."""

from numba import njit

# Without reference counts: the functions pass tuples of many arrays to each other, and all arrays belong to the caller.
compiled = njit(cache=True, error_model="numpy", _nrt=False)

# For what runs for every event: to pass such tuples takes longer than the work itself.
inlined = njit(cache=True, error_model="numpy", _nrt=False, forceinline=True)
