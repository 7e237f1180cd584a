"""How each instruction is translated, in the same modules as softgpu.instructions."""

from softgpu.native.emitters import comparison as comparison
from softgpu.native.emitters import conversion as conversion
from softgpu.native.emitters import floating as floating
from softgpu.native.emitters import integer as integer
from softgpu.native.emitters import memory as memory
from softgpu.native.emitters import movement as movement
from softgpu.native.emitters import warp as warp
from softgpu.native.emitters.table import EMITTERS as EMITTERS
