"""What each instruction means: a table from the forms of an instruction to functions on arrays.

`table` defines what a form is, and `decoder` makes an instruction of a kernel executable. The other modules are the
table itself, by kind of instruction; importing them fills it.
"""

from softgpu.instructions import (
    async_copy,
    comparison,
    control,
    conversion,
    floating,
    integer,
    matrix,
    mbarrier,
    memory,
    movement,
    system,
    warp,
)
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import FORMS

__all__ = [
    "FORMS",
    "Decoder",
    "async_copy",
    "comparison",
    "control",
    "conversion",
    "floating",
    "integer",
    "matrix",
    "mbarrier",
    "memory",
    "movement",
    "system",
    "warp",
]
