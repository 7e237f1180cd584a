"""What a check found: reports that say who did what where, in the form of compute-sanitizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from softgpu.errors import Dim3
from softgpu.machine import Launch, coordinates
from softgpu.memory import Memory
from softgpu.ptx import Instruction, SourceLocation


class Severity(IntEnum):
    """ERROR is a mistake, WARNING one that some hardware forgives, INFO something without an effect."""

    INFO = 1
    WARNING = 2
    ERROR = 3

    def __str__(self) -> str:
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread of a launch: (x, y, z) in its block, and the block's (x, y, z) in the grid."""

    thread: Dim3
    block: Dim3

    def __str__(self) -> str:
        return f"thread ({_listed(self.thread)}) in block ({_listed(self.block)})"


@dataclass(frozen=True, slots=True)
class Place:
    """An instruction of a kernel: its line in the PTX, and in the source if that is known."""

    kernel: str
    line: int
    source: SourceLocation | None

    def __str__(self) -> str:
        source = f" in {self.source.file}:{self.source.line}" if self.source else ""
        return f"{self.kernel} (PTX line {self.line}){source}"


@dataclass(frozen=True, slots=True)
class Report:
    """One cause, and how often it was found.

    - `check`: "memcheck", "racecheck", "initcheck" or "synccheck"; `what`: one line that says what happened
    - `places`: the instructions, and `threads` who executed them, where it was found at the lowest address
    - `space`, `address`, `nbytes`: the access there; for shared and local memory the address is an offset
    - `variable`, `index`: the buffer or shared variable there, and the element of the access's size in it
    - `hazard`: of a race, "RAW", "WAR" or "WAW"
    - `text`: the whole report, in compute-sanitizer's form
    """

    check: str
    what: str
    severity: Severity
    kernel: str
    places: tuple[Place, ...]
    threads: tuple[Thread, ...]
    text: str
    count: int = 1
    space: str = ""
    address: int | None = None
    nbytes: int = 0
    variable: str = ""
    index: int | None = None
    hazard: str = ""

    @property
    def lines(self) -> tuple[int, ...]:
        """The PTX lines."""
        return tuple(place.line for place in self.places)

    def __str__(self) -> str:
        return self.text


def thread_of(launch: Launch, number: int) -> Thread:
    """A thread by its number in the launch, block after block."""
    block, index = divmod(number, launch.threads_per_block)
    return Thread(coordinates(index, launch.block), coordinates(block, launch.grid))


def place_of(launch: Launch, pc: int) -> Place:
    """An instruction by its index."""
    instruction: Instruction = launch.program.operations[pc].instruction
    return Place(launch.kernel, instruction.line, instruction.location)


def name_global(memory: Memory, address: int, nbytes: int) -> tuple[str, int | None]:
    """The name of the allocation at an address, and the index of the element there."""
    allocation = memory.find(address)
    return (allocation.name, (address - allocation.base) // nbytes) if allocation else ("", None)


def name_shared(launch: Launch, offset: int, nbytes: int) -> tuple[str, int | None]:
    """The name of the shared variable at an offset, and the index of the element there."""
    program = launch.program
    for name, start in program.shared_offsets.items():
        variable = program.variable(name)
        size = variable.nbytes if variable and variable.count else launch.shared_bytes
        if start <= offset < start + size:
            return name, (offset - start) // nbytes
    return "", None


def named(name: str, index: int | None) -> str:
    """`tile[5]`; names in words, such as `argument 0`, are set apart: `element 5 of argument 0`."""
    if index is None:
        return name
    return f"element {index} of {name}" if " " in name else f"{name}[{index}]"


def times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _listed(extent: Sequence[int]) -> str:
    return ",".join(map(str, extent))
