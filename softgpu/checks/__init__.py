"""The four checks of compute-sanitizer, as observers of launches."""

from softgpu.checks.initcheck import Initcheck
from softgpu.checks.memcheck import Memcheck
from softgpu.checks.racecheck import Racecheck
from softgpu.checks.report import Place, Report, Severity, Thread
from softgpu.checks.synccheck import Synccheck

Check = Memcheck | Racecheck | Initcheck | Synccheck

CHECKS: dict[str, type[Check]] = {
    "memcheck": Memcheck,
    "racecheck": Racecheck,
    "initcheck": Initcheck,
    "synccheck": Synccheck,
}
"""The checks by name, in the order in which one launch is told to them: initcheck asks racecheck."""

__all__ = [
    "CHECKS",
    "Check",
    "Initcheck",
    "Memcheck",
    "Place",
    "Racecheck",
    "Report",
    "Severity",
    "Synccheck",
    "Thread",
]
