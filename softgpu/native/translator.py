"""Translates a decoded kernel to one native function, which runs one thread until it exits or must wait.

    status = run(context, frame, thread)

The thread runs from its last point of suspension, or from its beginning, until it exits, faults, traps, reaches a
barrier or a warp-level instruction, or has used up its turn. Registers are stack slots, of which LLVM makes values.
Where a thread is suspended, the registers that are still needed are saved in its frame; the switch at the function's
entry restores them. `layout` says what lies where.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from llvmlite import ir

from softgpu.checks.ordering import has_releases
from softgpu.checks.provenance import shared_variables
from softgpu.events import EventFlag, EventKind, Rows
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import TYPES, Type
from softgpu.machine import CLOCKS
from softgpu.native import filters, layout
from softgpu.native.rounding import bfloat_to_double, directed_definition, directed_name, double_to_bfloat
from softgpu.program import CLUSTER_BARRIER, Barrier, Branch, Exit, Operation, Program, Trap
from softgpu.ptx import TYPE_BITS, Address, Immediate, Operand, Register, Sink, SpecialRegister, Symbol
from softgpu.scheduler import is_aligned

I1, I8, I16, I32, I64, I128 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64, 128))
F32, F64 = ir.FloatType(), ir.DoubleType()
POINTER = ir.PointerType()
FUNCTION = ir.FunctionType(I32, [POINTER, POINTER, I32])
ROW_BYTES = 32


class NotTranslated(Exception):
    """The instruction has no native translation: its kernel runs on the lock-step engine."""

    def __init__(self, operation: Operation, reason: str = ""):
        instruction = operation.instruction
        super().__init__(f"`{instruction.text}` (PTX line {instruction.line}){': ' + reason if reason else ''}")
        self.instruction = instruction


def llvm_type(kind: Type) -> ir.Type:
    """How a value of a PTX type is held. f16 and bf16 are held as doubles, which are rounded when they are written."""
    if kind.is_float or kind.name == "bf16":
        return F32 if kind.bits == 32 else F64
    return ir.IntType(kind.bits)


class Translator:
    """Builds the native function of a program, which also writes those rows of softgpu.events that are wanted."""

    def __init__(self, program: Program, rows: Rows, helpers: dict[str, int]):
        self.program = program
        self.rows_wanted = rows
        self.events, self.has_all_rows = bool(rows), Rows.ALL in rows
        self.is_tentative = Rows.RELEASES not in rows and has_releases(program)
        self.cell_shifts = filters.cell_shifts(program)
        self.meets_in_warps, self.meets_by_warps = filters.meets_in_warps(program), filters.meets_by_warps(program)
        self.variables = shared_variables(program) if Rows.INVALID in rows else {}
        self.helpers = helpers
        self.module = ir.Module()
        self.function = ir.Function(self.module, FUNCTION, "run")
        self.context, self.frame, self.thread = self.function.args
        self.entry = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.b = ir.IRBuilder()
        self.sites = 0
        self.rows = 0
        self.symbols: list[str] = []
        self.directed_definitions: dict[str, str] = {}
        self.registers: dict[str, ir.Value] = {}
        self.saved_at: dict[str, int] = {}
        self.frame_words = layout.REGISTERS
        self.resumes: list[ir.Block] = []
        self.loop_checks: dict[int, ir.Block] = {}
        self.loop_heads: dict[int, int] = {}
        self._at_entry: dict[object, ir.Value] = {}
        self.operation = program.operations[0]
        self.pc = 0
        self.position = 0
        self.live: frozenset[str] = frozenset()

    def translate(self) -> str:
        """The function as LLVM's text. Raises NotTranslated."""
        program = self.program
        self.left = self.entry.alloca(I64)
        self.status = self.entry.alloca(I32)
        self.fault_pc, self.fault_address = self.entry.alloca(I64), self.entry.alloca(I64)
        self.turn = self.context_word(layout.TURN)
        self.entry.store(self.turn, self.left)
        if self.events:
            self.cursor = self.entry.alloca(I64)
            cursor = self.entry.gep(self.context, [ir.Constant(I64, layout.CURSOR)], source_etype=I64)
            self.entry.store(self.entry.load(cursor, typ=I64), self.cursor)
            self.clock = self.entry.alloca(I64)
            clock = self.entry.gep(self.context, [ir.Constant(I64, layout.CLOCK)], source_etype=I64)
            self.entry.store(self.entry.load(clock, typ=I64), self.clock)
        self.finish = self.function.append_basic_block("finish")
        self.faulted = self.function.append_basic_block("faulted")
        self.blocks = [self.function.append_basic_block(f"block{rank}") for rank in range(len(program.blocks))]
        self.positions = {id(operation): position for position, operation in enumerate(program.operations)}
        self.live_in = live_registers(program)
        for rank in range(len(program.blocks)):
            self._block(rank)
        self._ends()
        start = self.entry.switch(self._resume_number(), self.blocks[0])
        for number, block in enumerate(self.resumes, 1):
            start.add_case(ir.Constant(I64, number), block)
        return str(self.module)

    def _resume_number(self) -> ir.Value:
        return self.entry.load(self.frame, typ=I64) if self.resumes else ir.Constant(I64, 0)

    def _ends(self) -> None:
        b = ir.IRBuilder(self.faulted)
        for word, slot in ((layout.FAULT_PC, self.fault_pc), (layout.FAULT_ADDRESS, self.fault_address)):
            b.store(b.load(slot, typ=I64), b.gep(self.context, [ir.Constant(I64, word)], source_etype=I64))
        b.store(ir.Constant(I32, layout.FAULTED), self.status)
        b.branch(self.finish)
        b = ir.IRBuilder(self.finish)
        counter = b.gep(self.context, [ir.Constant(I64, layout.EXECUTED)], source_etype=I64)
        ran = b.sub(self.turn, b.load(self.left, typ=I64))
        b.store(b.add(b.load(counter, typ=I64), ran), counter)
        if self.events:
            cursor = b.gep(self.context, [ir.Constant(I64, layout.CURSOR)], source_etype=I64)
            b.store(b.load(self.cursor, typ=I64), cursor)
            clock = b.gep(self.context, [ir.Constant(I64, layout.CLOCK)], source_etype=I64)
            b.store(b.load(self.clock, typ=I64), clock)
        b.ret(b.load(self.status, typ=I32))

    # Control flow

    def _block(self, rank: int) -> None:
        block = self.program.blocks[rank]
        operations = [*block.operations, *([block.control] if block.control else [])]
        lives = self._live_after(rank, operations)
        b = self.b
        b.position_at_end(self.blocks[rank])
        cost = ir.Constant(I64, len(operations))
        b.store(b.sub(b.load(self.left, typ=I64), cost), self.left)
        for number, (operation, live) in enumerate(zip(operations, lives, strict=True)):
            self.operation, self.pc, self.live = operation, self.positions[id(operation)], live
            self.position = number - len(operations)
            if operation.control is None:
                with self.guarded():
                    self._compute(operation)
            else:
                self._steer(rank, operation)
        if block.control is None:
            b.branch(self._edge(rank, block.next))

    def _compute(self, operation: Operation) -> None:
        from softgpu.native.emitters import EMITTERS

        instruction = operation.instruction
        for form, emit in EMITTERS.get(instruction.opcode, ()):
            modifiers = form.match(instruction.modifiers)
            if modifiers is not None:
                emit(self, modifiers)
                return
        raise NotTranslated(operation)

    def guarded(self) -> _Guarded:
        """What is built in this context happens only if the instruction's guard is true."""
        return _Guarded(self)

    def _steer(self, rank: int, operation: Operation) -> None:
        block, control, b = self.program.blocks[rank], operation.control, self.b
        if isinstance(control, Branch) and control.index is None:
            target, guard = self._edge(rank, block.targets[0]), operation.instruction.guard
            if guard is None:
                b.branch(target)
            else:
                b.cbranch(self.read(guard, TYPES["pred"]), target, self._edge(rank, block.next))
            return
        with self.guarded():
            if isinstance(control, Branch):
                self._branch_by_index(rank, self.operands()[0])
            elif isinstance(control, Exit):
                if self.has_all_rows:
                    self.row(EventKind.EXIT)
                elif self.events:
                    self.b.store(ir.Constant(I64, self.pc), self.frame_pointer(layout.WAITS_AT))
                self.leave(layout.EXITED)
            elif isinstance(control, Trap):
                self._stop(layout.TRAPPED)
            elif isinstance(control, Barrier):
                self._barrier(control)
            else:
                raise NotTranslated(operation)
        if not b.block.is_terminated:
            b.branch(self._edge(rank, block.next))

    def _barrier(self, barrier: Barrier) -> None:
        word = TYPES["u32"]
        operands = list(self.operands())
        destination = operands.pop(0) if barrier.reduction else None
        vote = self.read(operands.pop(), TYPES["pred"]) if barrier.reduction else ir.Constant(I1, 0)
        numbers = [self.read(operand, word) for operand in operands] or [ir.Constant(I32, CLUSTER_BARRIER)]
        number, count = (*numbers, ir.Constant(I32, 0))[:2]
        cluster = not self.operands()
        does = barrier.waits | barrier.arrives << 1 | bool(barrier.reduction) << 2 | cluster << 3
        does |= is_aligned(self.operation.instruction) << 4
        exchange = [self.b.zext(value, I64) for value in (number, count, ir.Constant(I32, does), vote)]
        if self.has_all_rows and barrier.arrives:
            flags = (EventFlag.WAITS if barrier.waits else 0) | (
                EventFlag.ALIGNED if is_aligned(self.operation.instruction) else 0
            )
            self.row(EventKind.ARRIVE, flags=flags, detail=exchange[0], value=exchange[1])
        status = layout.AT_BARRIER
        if barrier.reduction is None and isinstance(number, ir.Constant) and isinstance(count, ir.Constant):
            status |= self.pc + 1 << layout.STATUS_BITS
        self.suspend(status, exchange)
        if barrier.reduction is None:
            return
        assert destination is not None
        votes, arrived = self.answer(0), self.answer(1)
        operation = barrier.reduction.operation
        if operation == "popc":
            self.write(destination, word, self.b.trunc(votes, I32))
        else:
            wanted = arrived if operation == "and" else ir.Constant(I64, 0)
            compare = "==" if operation == "and" else "!="
            self.write(destination, TYPES["pred"], self.b.icmp_unsigned(compare, votes, wanted))

    def _branch_by_index(self, rank: int, index: Operand) -> None:
        targets = self.program.blocks[rank].targets
        number = self.read(index, TYPES["u32"])
        outside = self.function.append_basic_block("outside")
        choice = self.b.switch(number, outside)
        for position, target in enumerate(targets):
            choice.add_case(ir.Constant(I32, position), self._edge(rank, target))
        self.b.position_at_end(outside)
        self.b.store(self.b.zext(number, I64), self.context_pointer(layout.FAULT_ADDRESS))
        self._stop(layout.ILLEGAL)

    def _stop(self, status: int) -> None:
        """End the launch at this instruction."""
        self.b.store(ir.Constant(I64, self.pc), self.context_pointer(layout.FAULT_PC))
        self.leave(status)

    def _edge(self, rank: int, to: int) -> ir.Block:
        """The block to branch to; on the way back to the beginning of a loop the turn may end."""
        if to > rank:
            return self.blocks[to]
        if to not in self.loop_checks:
            check = self.function.append_basic_block(f"check{to}")
            leave = self.function.append_basic_block(f"yield{to}")
            self.loop_checks[to] = check
            b = ir.IRBuilder(check)
            over = b.icmp_signed("<", b.load(self.left, typ=I64), ir.Constant(I64, 0))
            if self.events:
                limit = self.context_word(layout.CURSOR_LIMIT)
                over = b.or_(over, b.icmp_unsigned(">", b.load(self.cursor, typ=I64), limit))
            b.cbranch(over, leave, self.blocks[to]).set_weights([1, 10000])
            b.position_at_end(leave)
            self.loop_heads[len(self.resumes) + 1] = to
            self._save(b, self.live_in[to], self.blocks[to])
            b.store(ir.Constant(I32, layout.YIELDED), self.status)
            b.branch(self.finish)
        return self.loop_checks[to]

    def leave(self, status: int) -> None:
        """Return from the function."""
        self.b.store(ir.Constant(I32, status), self.status)
        self.b.branch(self.finish)

    def suspend(self, status: int, exchange: Sequence[ir.Value]) -> None:
        """Return with what the thread asks for; what is built next happens when it is resumed."""
        after = self.function.append_basic_block("resumed")
        for word, value in enumerate(exchange):
            self.b.store(value, self.frame_pointer(layout.EXCHANGE + word))
        self.b.store(ir.Constant(I64, self.pc), self.frame_pointer(layout.WAITS_AT))
        written = {register.name for register in self.operation.destinations}
        self._save(self.b, self.live - written if self.operation.instruction.guard is None else self.live, after)
        self.leave(status)
        self.b.position_at_end(after)

    def answer(self, word: int) -> ir.Value:
        """What the thread got when it was resumed: a 64-bit word."""
        return self.b.load(self.frame_pointer(layout.EXCHANGE + layout.ANSWER + word), typ=I64)

    def _save(self, b: ir.IRBuilder, live: frozenset[str], after: ir.Block) -> None:
        """Save registers and where to resume; and build the block that restores them."""
        restore = self.function.append_basic_block("restore")
        r = ir.IRBuilder(restore)
        self.resumes.append(restore)
        b.store(ir.Constant(I64, len(self.resumes)), self.frame)
        for name in sorted(live):
            if name not in self.saved_at:
                self.saved_at[name] = self.frame_words
                self.frame_words += 2 if self.program_bits(name) == 128 else 1
            slot = self.register(name)
            kind = slot.allocated_type
            place = [ir.Constant(I64, self.saved_at[name])]
            value = b.load(slot, typ=kind)
            b.store(b.zext(value, I8) if kind is I1 else value, b.gep(self.frame, place, source_etype=I64))
            back = r.load(r.gep(self.frame, place, source_etype=I64), typ=I8 if kind is I1 else kind)
            r.store(r.trunc(back, I1) if kind is I1 else back, slot)
        r.branch(after)

    def _live_after(self, rank: int, operations: Sequence[Operation]) -> list[frozenset[str]]:
        live = set(_live_out(self.program, self.live_in, rank))
        after = []
        for operation in reversed(operations):
            after.append(frozenset(live))
            _step_back(live, operation)
        return after[::-1]

    # The context

    def context_pointer(self, word: int) -> ir.Value:
        return self.b.gep(self.context, [ir.Constant(I64, word)], source_etype=I64)

    def frame_pointer(self, word: int) -> ir.Value:
        return self.b.gep(self.frame, [ir.Constant(I64, word)], source_etype=I64)

    def at_entry(self, key: object, build: Callable[[ir.IRBuilder], ir.Value]) -> ir.Value:
        """A value that is the same throughout: `build(builder)` builds it once, at the function's entry."""
        if key not in self._at_entry:
            self._at_entry[key] = build(self.entry)
        return self._at_entry[key]

    def context_word(self, word: int) -> ir.Value:
        def build(b: ir.IRBuilder) -> ir.Value:
            return b.load(b.gep(self.context, [ir.Constant(I64, word)], source_etype=I64), typ=I64)

        return self.at_entry(word, build)

    def lane(self) -> ir.Value:
        """Index of the thread in the chunk that runs."""
        return self.at_entry("lane", lambda b: b.add(self.context_word(layout.FIRST_LANE), b.zext(self.thread, I64)))

    def row(
        self,
        kind: int,
        *,
        flags: int = 0,
        detail: ir.Value | int = 0,
        nbytes: int = 0,
        space: ir.Value | int = 0,
        address: ir.Value | int = 0,
        value: ir.Value | int = 0,
    ) -> None:
        """Write a row of softgpu.events; `space` and `detail` are 64-bit values. Where not all rows are written, it
        also says when."""
        if not self.has_all_rows:
            clock = self.b.load(self.clock, typ=I64)
            detail, address = (clock, address) if nbytes else (detail, clock)
        b, number = self.b, self.operation.instruction.index
        word: ir.Value = ir.Constant(I64, kind | nbytes << 16 | flags << 24 | number << 32)
        if isinstance(space, int):
            word = ir.Constant(I64, word.constant | space << 8)
        else:
            word = b.or_(word, b.shl(space, ir.Constant(I64, 8)))
        detail = ir.Constant(I64, detail) if isinstance(detail, int) else detail
        lane = b.or_(self.lane(), b.shl(detail, ir.Constant(I64, 32)))
        cursor = b.load(self.cursor, typ=I64)
        place = b.inttoptr(cursor, POINTER)
        for position, part in enumerate((word, lane, address, value)):
            part = ir.Constant(I64, part) if isinstance(part, int) else part
            b.store(part, b.gep(place, [ir.Constant(I64, position)], source_etype=I64), align=8)
        b.store(b.add(cursor, ir.Constant(I64, ROW_BYTES)), self.cursor)
        self.rows += 1

    def now(self) -> ir.Value:
        """The clock of synchronisations, as 32 bits."""
        return self.b.trunc(self.b.load(self.clock, typ=I64), I32)

    def tick(self) -> None:
        """What follows is later than this synchronisation."""
        if not self.has_all_rows:
            self.b.store(self.b.add(self.b.load(self.clock, typ=I64), ir.Constant(I64, 1)), self.clock)

    def first_thread(self) -> ir.Value:
        """Number in the launch of the block's first thread, plus 1."""
        return self.at_entry("first thread", lambda b: b.trunc(self.context_word(layout.FIRST_THREAD), I32))

    def thread_number(self) -> ir.Value:
        """Number of the thread in the launch, plus 1."""
        return self.at_entry("thread number", lambda b: b.add(self.first_thread(), self.thread))

    def shared_bounds(self, pc: int) -> tuple[int, ir.Value] | None:
        """Where the shared variable begins and ends that the address of an instruction is made from, if it is known."""
        if pc not in self.variables:
            return None
        name = self.variables[pc]
        variable, start = self.program.variable(name), self.program.shared_offsets[name]
        assert variable is not None
        if variable.count:
            return start, ir.Constant(I64, start + variable.nbytes)
        return start, self.b.add(ir.Constant(I64, start), self.context_word(layout.DYNAMIC_BYTES))

    def thread_coordinate(self, axis: int) -> ir.Value:
        def build(b: ir.IRBuilder) -> ir.Value:
            table = b.inttoptr(self.context_word(layout.THREADS), POINTER)
            index = b.add(b.mul(self.thread, ir.Constant(I32, 3)), ir.Constant(I32, axis))
            return b.load(b.gep(table, [index], source_etype=I32), typ=I32)

        return self.at_entry(("tid", axis), build)

    def call_helper(self, name: str, result: ir.Type, arguments: Sequence[ir.Value]) -> ir.Value:
        """Call a function of softgpu.native.helpers."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        address = ir.Constant(I64, self.helpers[name])
        return self.b.call(self.b.inttoptr(address, kind.as_pointer()), arguments)

    def directed(self, operation: str, mode: str, *values: ir.Value) -> ir.Value:
        """An operation of LLVM's on floats or doubles, or "fptrunc" to float, rounded in a direction."""
        kind = F32 if operation == "fptrunc" else values[0].type
        name = directed_name(operation, mode, str(kind))
        self.directed_definitions[name] = directed_definition(operation, mode, str(kind), len(values))
        function = self.module.globals.get(name)
        if function is None:
            function = ir.Function(self.module, ir.FunctionType(kind, [value.type for value in values]), name)
        return self.b.call(function, values)

    # Registers and operands

    def program_bits(self, name: str) -> int:
        return np.dtype(self.program.registers[name]).itemsize * 8

    def register(self, name: str) -> ir.Value:
        """The slot of a register, zero at the beginning as on the lock-step engine."""
        if name not in self.registers:
            dtype = np.dtype(self.program.registers[name])
            kind = I1 if dtype.kind == "b" else ir.IntType(dtype.itemsize * 8)
            slot = self.entry.alloca(kind)
            self.entry.store(ir.Constant(kind, 0), slot)
            self.registers[name] = slot
        return self.registers[name]

    def not_translated(self, reason: str = "") -> NotTranslated:
        return NotTranslated(self.operation, reason)

    def operands(self) -> tuple[Operand, ...]:
        return self.operation.instruction.operands

    def read(self, operand: Operand, kind: Type) -> ir.Value:
        """The operand's value as `kind`; of a wider register, the low bits."""
        if isinstance(operand, Register):
            slot = self.register(operand.name)
            value = self.b.load(slot, typ=slot.allocated_type)
            if operand.negated:
                value = self.b.not_(value)
            if value.type.width > kind.bits:
                value = self.b.trunc(value, ir.IntType(kind.bits))
            return self.from_bits(value, kind)
        if isinstance(operand, SpecialRegister):
            value = self._special(operand.name)
            return self.from_bits(self.resize(value, ir.IntType(kind.bits)), kind)
        if isinstance(operand, Immediate):
            return self.from_bits(ir.Constant(ir.IntType(kind.bits), self._constant_bits(operand, kind)), kind)
        if isinstance(operand, Symbol):
            return self.resize(self.address_of(operand), ir.IntType(kind.bits))
        raise self.not_translated("an operand")

    def write(self, operand: Operand, kind: Type, value: ir.Value) -> None:
        """Set the operand to a value of type `kind`, extended by sign if that is signed."""
        if isinstance(operand, Sink):
            return
        assert isinstance(operand, Register)
        slot = self.register(operand.name)
        bits = self.to_bits(value, kind)
        wide = slot.allocated_type
        if bits.type.width < wide.width:
            bits = self.b.sext(bits, wide) if kind.dtype.kind == "i" else self.b.zext(bits, wide)
        elif bits.type.width > wide.width:
            raise self.not_translated("a narrow destination")
        self.b.store(bits, slot)

    def resize(self, value: ir.Value, kind: ir.Type) -> ir.Value:
        """Zero-extended or truncated."""
        if value.type.width == kind.width:
            return value
        return self.b.zext(value, kind) if value.type.width < kind.width else self.b.trunc(value, kind)

    def from_bits(self, bits: ir.Value, kind: Type) -> ir.Value:
        if kind.name == "bf16":
            return bfloat_to_double(self.b, bits)
        if not kind.is_float:
            return bits
        if kind.bits == 16:
            return self.call_helper("half_to_double", F64, [self.b.zext(bits, I32)])
        return self.b.bitcast(bits, llvm_type(kind))

    def to_bits(self, value: ir.Value, kind: Type) -> ir.Value:
        if kind.name == "bf16":
            return double_to_bfloat(self.b, value)
        if not kind.is_float:
            return value
        if kind.bits == 16:
            return self.b.trunc(self.call_helper("double_to_half", I32, [value]), I16)
        return self.b.bitcast(value, ir.IntType(kind.bits))

    def _decoder(self) -> Decoder:
        return Decoder(self.program, self.operation.instruction)

    def _constant_bits(self, operand: Immediate, kind: Type) -> int:
        constant = self._decoder().read(operand, kind)(None, None)  # type: ignore[arg-type]
        return int.from_bytes(constant.tobytes(), "little")

    def address_of(self, symbol: Symbol) -> ir.Value:
        """The 64-bit address of a variable within its state space."""
        program, name = self.program, symbol.name
        for offsets in (program.parameter_offsets, program.shared_offsets, program.local_offsets):
            if name in offsets:
                return ir.Constant(I64, (offsets[name] + symbol.offset) & (1 << 64) - 1)
        if name not in self.symbols:
            self.symbols.append(name)
        index = self.symbols.index(name)

        def build(b: ir.IRBuilder) -> ir.Value:
            table = b.inttoptr(self.context_word(layout.SYMBOLS), POINTER)
            return b.load(b.gep(table, [ir.Constant(I64, index)], source_etype=I64), typ=I64)

        base = self.at_entry(("symbol", name), build)
        return self.b.add(base, ir.Constant(I64, symbol.offset & (1 << 64) - 1))

    def address(self, operand: Operand) -> ir.Value:
        """The address that a memory operand names; a sum of 32 bits wraps around."""
        if not isinstance(operand, Address):
            raise self.not_translated("an address")
        if isinstance(operand.base, Symbol):
            modifiers = self.operation.modifiers
            space = "generic" if modifiers is not None and modifiers["space"] is None else None
            symbol = Symbol(operand.base.name, operand.base.offset + operand.offset)
            return self.address_of(self.program.accessed_as(symbol, space) or symbol if space else symbol)
        if operand.base is None:
            return ir.Constant(I64, operand.offset & (1 << 64) - 1)
        bits = 32 if TYPE_BITS[operand.base.type] == 32 else 64
        base = self.read(operand.base, TYPES[f"u{bits}"])
        if operand.offset:
            base = self.b.add(base, ir.Constant(base.type, operand.offset & (1 << bits) - 1))
        return self.b.zext(base, I64) if bits == 32 else base

    def _clock(self, name: str) -> ir.Value:
        """The instructions that all threads have executed; or nanoseconds, of the global timer."""
        b = self.b
        if name.startswith("globaltimer"):
            now = self.at_entry("now", lambda entry: entry.alloca(ir.ArrayType(I64, 2)))
            kind = ir.FunctionType(I32, [I32, POINTER])
            get = self.module.globals.get("clock_gettime") or ir.Function(self.module, kind, "clock_gettime")
            b.call(get, [ir.Constant(I32, 0), now])
            seconds, rest = (b.load(b.gep(now, [ir.Constant(I64, i)], source_etype=I64), typ=I64) for i in (0, 1))
            time = b.add(b.mul(seconds, ir.Constant(I64, 10**9)), rest)
        else:
            # The turn has paid for the basic block as a whole.
            before = b.add(b.load(self.context_pointer(layout.EXECUTED), typ=I64), self.turn)
            time = b.add(b.sub(before, b.load(self.left, typ=I64)), ir.Constant(I64, self.position))
        return b.lshr(time, ir.Constant(I64, 32)) if name.endswith("_hi") else time

    def _special(self, name: str) -> ir.Value:
        """A special register, as 32 or 64 bits (PTX ISA 10). A block is a cluster of its own."""
        if name in CLOCKS:
            return self._clock(name)
        if name.startswith(("clusterid.", "nclusterid.")):
            name = name.replace("clusterid", "ctaid")
        stem, _, letter = name.partition(".")
        axis = "xyz".find(letter) if letter else -1
        words = {"ctaid": layout.BLOCK, "ntid": layout.BLOCK_EXTENT, "nctaid": layout.GRID_EXTENT}
        if stem == "tid" and axis >= 0:
            return self.thread_coordinate(axis)
        if stem in words and axis >= 0:
            return self.b.trunc(self.context_word(words[stem] + axis), I32)
        if name in ("tid.w", "ctaid.w", "smid", "cluster_ctarank", "is_explicit_cluster"):
            return ir.Constant(I32, 0)
        if name in ("ntid.w", "nctaid.w", "nsmid", "cluster_nctarank"):
            return ir.Constant(I32, 1)
        if stem in ("cluster_ctaid", "cluster_nctaid"):
            return ir.Constant(I32, stem == "cluster_nctaid")
        if name == "warpid":
            return self.b.lshr(self.thread, ir.Constant(I32, 5))
        if name == "gridid":
            return self.context_word(layout.GRID_ID)
        lane = self.b.and_(self.thread, ir.Constant(I32, 31))
        if name == "laneid":
            return lane
        if name == "dynamic_smem_size":
            return self.b.trunc(self.context_word(layout.DYNAMIC_BYTES), I32)
        if name == "total_smem_size":
            return self.b.trunc(self.context_word(layout.SHARED_BYTES), I32)
        if name == "nwarpid":
            extents = [self.context_word(layout.BLOCK_EXTENT + axis) for axis in range(3)]
            threads = self.b.mul(self.b.mul(extents[0], extents[1]), extents[2])
            return self.b.trunc(self.b.lshr(self.b.add(threads, ir.Constant(I64, 31)), ir.Constant(I64, 5)), I32)
        if stem.startswith("lanemask_"):
            one, all_ones = ir.Constant(I32, 1), ir.Constant(I32, 0xFFFFFFFF)
            bit = self.b.shl(one, lane)
            below = self.b.sub(bit, one)
            masks = {"eq": bit, "lt": below, "le": self.b.or_(bit, below), "ge": self.b.xor(below, all_ones)}
            masks["gt"] = self.b.xor(masks["le"], all_ones)
            return masks[stem.removeprefix("lanemask_")]
        raise self.not_translated(f"special register %{name}")


class _Guarded:
    def __init__(self, translator: Translator):
        self.t = translator

    def __enter__(self) -> None:
        guard = self.t.operation.instruction.guard
        self.after: ir.Block | None = None
        if guard is not None:
            then = self.t.function.append_basic_block("then")
            self.after = self.t.function.append_basic_block("after")
            self.t.b.cbranch(self.t.read(guard, TYPES["pred"]), then, self.after)
            self.t.b.position_at_end(then)

    def __exit__(self, *failure: object) -> None:
        if self.after is not None:
            if not self.t.b.block.is_terminated:
                self.t.b.branch(self.after)
            self.t.b.position_at_end(self.after)


# Liveness


def live_registers(program: Program) -> list[frozenset[str]]:
    """For each basic block, the registers whose values at its beginning may still be read."""
    live_in = [frozenset[str]()] * len(program.blocks)
    changed = True
    while changed:
        changed = False
        for rank in reversed(range(len(program.blocks))):
            block = program.blocks[rank]
            live = set(_live_out(program, live_in, rank))
            for operation in [*([block.control] if block.control else []), *reversed(block.operations)]:
                _step_back(live, operation)
            if live != live_in[rank]:
                live_in[rank] = frozenset(live)
                changed = True
    return live_in


def _live_out(program: Program, live_in: Sequence[frozenset[str]], rank: int) -> frozenset[str]:
    block = program.blocks[rank]
    return frozenset().union(*(live_in[to] for to in (block.next, *block.targets) if to >= 0))


def _step_back(live: set[str], operation: Operation) -> None:
    """From the registers that are live after an operation to those before it."""
    if operation.instruction.guard is None:
        live.difference_update(register.name for register in operation.destinations)
    live.update(register.name for register in operation.sources)
