"""Compiles the translation of a program to machine code."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from softgpu.events import Rows
from softgpu.native.helpers import HELPERS
from softgpu.native.translator import Translator
from softgpu.program import Program

LONG = 5000
LONG_IN_ACCESSES = 200
"""Kernels with more instructions, or accesses of global memory, are compiled in haste: to allocate the registers of n
accesses well takes LLVM n squared, which is seconds. Those with five times as many are not optimised at all."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A kernel as machine code, and what the runtime must know of it.

    `address` is that of the function; `sites` counts the instructions that remember an allocation; `symbols` are the
    module's variables that it uses; `loop_heads` gives for the numbers of resume points at which a turn may end the
    basic block that follows; `rows` bounds the rows of events between two looks at the cursor, and `rows_wanted` says
    which are written; `cell_shifts` are log2 of the bytes of racecheck's cells, by space.
    """

    address: int
    frame_words: int
    suspends: bool
    sites: int
    symbols: tuple[str, ...]
    loop_heads: dict[int, int]
    rows: int
    rows_wanted: Rows
    cell_shifts: dict[str, int]
    engine: Any


@cache
def _host() -> tuple[llvm.Target, str, str]:
    """The machine that softgpu runs on: target, processor and features."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return (
        llvm.Target.from_default_triple(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    )


def compile_program(program: Program, rows: Rows) -> Compiled:
    """Raises NotTranslated where an instruction has no translation."""
    translator = Translator(program, rows, HELPERS)
    text = translator.translate()
    module = llvm.parse_assembly(text)
    for definition in translator.directed_definitions.values():
        module.link_in(llvm.parse_assembly(definition))
    host, processor, features = _host()
    # The engine that is made below takes the target along when it goes.
    is_long = translator.sites > LONG_IN_ACCESSES or len(program.operations) > LONG
    is_very_long = translator.sites > 5 * LONG_IN_ACCESSES or len(program.operations) > 5 * LONG
    target = host.create_target_machine(cpu=processor, features=features, opt=0 if is_long else 2, jit=True)
    options = llvm.create_pipeline_tuning_options(speed_level=0 if is_very_long else 1)
    builder = llvm.create_pass_builder(target, options)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    return Compiled(
        address=engine.get_function_address("run"),
        frame_words=translator.frame_words,
        suspends=bool(translator.resumes),
        sites=translator.sites,
        symbols=tuple(translator.symbols),
        loop_heads=translator.loop_heads,
        rows=translator.rows,
        rows_wanted=rows,
        cell_shifts=translator.cell_shifts,
        engine=engine,
    )
