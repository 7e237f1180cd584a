"""The four checks of compute-sanitizer, as observers of launches."""

from softgpu.checks.initcheck import Initcheck
from softgpu.checks.memcheck import Memcheck
from softgpu.checks.racecheck import Racecheck
from softgpu.checks.report import Place, Report, Severity, Thread
from softgpu.checks.synccheck import Synccheck

__all__ = ["Initcheck", "Memcheck", "Place", "Racecheck", "Report", "Severity", "Synccheck", "Thread"]
