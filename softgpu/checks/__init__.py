"""The four checks of compute-sanitizer, as observers of launches."""

from softgpu.checks.racecheck import Racecheck
from softgpu.checks.report import Place, Report, Severity, Thread

__all__ = ["Place", "Racecheck", "Report", "Severity", "Thread"]
