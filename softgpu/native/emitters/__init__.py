"""How each instruction is translated, in the same modules as softgpu.instructions."""

from softgpu.native.emitters import comparison, conversion, floating, integer, memory, movement, warp
from softgpu.native.emitters.table import EMITTERS

__all__ = ["EMITTERS", "comparison", "conversion", "floating", "integer", "memory", "movement", "warp"]
