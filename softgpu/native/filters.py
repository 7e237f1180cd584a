"""Compiled code that finds out for itself which accesses the checks must hear of.

To write a row of events for every access, and to read it again in every check, takes many times longer than the access.
Nearly all of these rows tell nothing new. So where no observer needs all rows (`softgpu.events.Rows`), an access is
looked at where it happens:

- memcheck: whether it leaves its shared variable. (What memory does not allow at all is known anyway.)
- initcheck: beside each byte of memory there is one that says whether it has been written. Stores set it, loads look.
  Where these bytes lie is part of what an instruction remembers of the allocation it used last; an allocation that is
  written throughout has none.
- racecheck: beside memory are its cells (`softgpu.checks.cells`). An access that is ordered with all that its cell
  remembers is entered there, by a few comparisons: in global memory, if nobody else has touched the cell in this
  launch; in shared memory, if what others did there is older than the block's last full barrier, or than the last
  meeting of the thread with them, as lanes of its warp or at a barrier of their warps. Allocations that no
  store of the kernel can reach have no cells (`softgpu.checks.provenance`).

Only what these comparisons do not settle becomes a row, which racecheck reads later, in a batch, and enters in the same
cell. By then the cell must not have changed: so its mark is set when the row is written, and from then on rows are
written of all accesses to it. For the same reason time is kept here, not by racecheck: a clock that counts
synchronisations, which every row says and every cell remembers. Shared memory and its cells belong to a slot, in which
block after block runs: what is older than the block is ignored; while rows of shared memory have not been read, a block
takes the slot's next cells, and does not begin if there are none.

Strong accesses (atomic, volatile, ...) do not conflict with one another. Those that release, and fences, may order
others; what they order is only asked for where accesses conflict that no barrier orders. So a launch is first run
without rows of them, and again with rows of them all (`Rows.RELEASES`) if racecheck finds such accesses.

A cell is one of four bytes, or of as few as the kernel's narrowest access of that memory has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llvmlite import ir
from llvmlite.ir import Value

from softgpu.checks import cells
from softgpu.events import EventFlag, EventKind, Rows
from softgpu.instructions.memory import space_of
from softgpu.memory import WINDOW_SHIFT
from softgpu.native import layout
from softgpu.program import Barrier, Program

if TYPE_CHECKING:
    from softgpu.native.emitters.memory import Access
    from softgpu.native.translator import Translator

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
POINTER = ir.PointerType()
FOUR = ir.VectorType(I32, 4)
CELL_BYTES, SHORT_BYTES = 4 * cells.CELL_COLUMNS, 4 * cells.SHORT_COLUMNS
SHORT_SHIFT = SHORT_BYTES.bit_length() - 1

_MEMORY_INSTRUCTIONS = ("ld", "ldu", "st", "atom", "red")


def cell_shifts(program: Program) -> dict[str, int]:
    """log2 of the bytes of a cell of "global" and of "shared" memory: no access is of less."""
    shifts = {"global": 2, "shared": 2}
    for operation in program.operations:
        m = operation.modifiers
        if operation.instruction.opcode in _MEMORY_INSTRUCTIONS and m is not None:
            space = space_of(m)
            for one in shifts.keys() & ({"global", "shared"} if space == "generic" else {space}):
                shifts[one] = min(shifts[one], m.type.bits.bit_length() - 4)
    return shifts


def meets_in_warps(program: Program) -> bool:
    """Whether lanes of a warp synchronise their memory."""
    return any(
        operation.instruction.opcode == "bar" and "warp" in operation.instruction.modifiers
        for operation in program.operations
    )


def meets_by_warps(program: Program) -> bool:
    """Whether a barrier may be one of some warps of a block: those that are give a thread count."""
    return any(
        isinstance(operation.control, Barrier)
        and len(operation.instruction.operands) >= (4 if operation.control.reduction else 2)
        for operation in program.operations
    )


def watch(access: Access, address: Value, host: Value, elements: list[Value], cache: Value | None) -> None:
    """Look at an access that has just been carried out. `cache` points at what its instruction remembers."""
    t = access.t
    where = _Where(access, address, cache)
    if Rows.INVALID in t.rows_wanted:
        _watch_bounds(access, where, len(elements))
    if Rows.UNWRITTEN in t.rows_wanted:
        _watch_written(access, where, host, len(elements))
    if Rows.CONFLICTS in t.rows_wanted and access.space != "local":
        _watch_conflicts(access, where, elements)


class _Where:
    """Of an access: its space as a number, and the address or offset there."""

    def __init__(self, access: Access, address: Value, cache: Value | None):
        b = access.t.b
        self.space: Value | int = {"global": 0, "shared": 1, "local": 2, "const": 3}.get(access.space, 0)
        self.address, self.generic, self.cache = address, access.space == "generic", cache
        if self.generic:
            # The number of a window is that of its space; beyond the windows there is nothing.
            window = b.lshr(address, _word(int(WINDOW_SHIFT)))
            self.space = b.select(b.icmp_unsigned("<", window, _word(3)), window, _word(0))
            self.address = b.sub(address, b.shl(self.space, _word(int(WINDOW_SHIFT))))

    def is_in(self, b: ir.IRBuilder, space: int) -> Value:
        if isinstance(self.space, int):
            return ir.Constant(I1, int(self.space == space))
        return b.icmp_unsigned("==", self.space, _word(space))

    def remembered(self, b: ir.IRBuilder, word: int) -> Value:
        return b.load(b.gep(self.cache, [_word(word)], source_etype=I64), typ=I64)

    def element(self, access: Access, number: int) -> Value:
        return access.t.b.add(self.address, _word(number * access.nbytes))


def _word(value: int) -> Value:
    return ir.Constant(I64, value & (1 << 64) - 1)


def _half(value: int) -> Value:
    return ir.Constant(I32, value & (1 << 32) - 1)


# memcheck


def _watch_bounds(access: Access, where: _Where, count: int) -> None:
    t, b = access.t, access.t.b
    bounds = t.shared_bounds(t.pc)
    if bounds is None or access.space not in ("shared", "generic"):
        return
    start, end = bounds
    for number in range(count):
        address = where.element(access, number)
        before = b.icmp_signed("<", address, _word(start))
        after = b.icmp_signed(">", b.add(address, _word(access.nbytes)), end)
        with b.if_then(b.and_(where.is_in(b, 1), b.or_(before, after)), likely=False):
            flags = access.flags | EventFlag.INVALID
            t.row(access.kind, flags=flags, nbytes=access.nbytes, space=where.space, address=address)


# initcheck


def _watch_written(access: Access, where: _Where, host: Value, count: int) -> None:
    t, b = access.t, access.t.b
    if access.space == "const":
        return
    if access.space == "global":
        beside = where.remembered(b, layout.WRITTEN)
    elif access.space in ("shared", "local"):
        beside = t.context_word(layout.SHARED_WRITTEN if access.space == "shared" else layout.LOCAL_WRITTEN)
    else:
        shared, local = t.context_word(layout.SHARED_WRITTEN), t.context_word(layout.LOCAL_WRITTEN)
        beside = b.select(where.is_in(b, 2), local, _word(0))
        beside = b.select(where.is_in(b, 1), shared, beside)
        outside = b.icmp_unsigned(">=", b.lshr(where.address, _word(int(WINDOW_SHIFT))), _word(1))
        beside = b.select(b.and_(where.is_in(b, 0), b.not_(outside)), where.remembered(b, layout.WRITTEN), beside)
    with b.if_then(b.icmp_unsigned("!=", beside, _word(0))):
        first = b.add(b.ptrtoint(host, I64), beside)
        kind = ir.IntType(8 * access.nbytes)
        ones = ir.Constant(kind, int.from_bytes(b"\x01" * access.nbytes, "little"))
        for number in range(count):
            place = b.inttoptr(b.add(first, _word(number * access.nbytes)), POINTER)
            if access.kind != EventKind.STORE:
                missing = b.icmp_unsigned("!=", b.load(place, typ=kind, align=1), ones)
                with b.if_then(missing, likely=False):
                    address = where.element(access, number)
                    t.row(EventKind.UNWRITTEN, nbytes=access.nbytes, space=where.space, address=address)
            if access.kind != EventKind.LOAD:
                b.store(ones, place, align=1)


# racecheck


def _watch_conflicts(access: Access, where: _Where, elements: list[Value]) -> None:
    b = access.t.b
    if access.space == "shared":
        _watch_shared(access, where, elements)
        return
    if access.space == "const":
        return
    if where.generic:
        with b.if_then(where.is_in(b, 1)):
            _watch_shared(access, where, elements, settles=False)
    beyond = b.lshr(where.address, _word(int(WINDOW_SHIFT))) if where.generic else _word(0)
    in_global = b.and_(where.is_in(b, 0), b.icmp_unsigned("==", beyond, _word(0))) if where.generic else None
    race_cells = where.remembered(b, layout.RACE_CELLS)
    followed = b.icmp_unsigned("!=", race_cells, _word(0))
    with b.if_then(followed if in_global is None else b.and_(in_global, followed)):
        for number, element in enumerate(elements):
            _watch_global(access, where, race_cells, number, element)


def _site(access: Access) -> int:
    """The instruction as a cell remembers it."""
    site = access.t.pc << cells.SITE_SHIFT
    site |= 0 if access.kind == EventKind.LOAD else cells.SITE_WRITES
    site |= cells.SITE_ATOMIC if access.kind == EventKind.ATOMIC else 0
    if _is_strong(access):
        is_narrow = not {"cta", "cluster"}.isdisjoint(access.t.operation.instruction.modifiers)
        site |= cells.SITE_STRONG | (cells.SITE_NARROW if is_narrow else 0)
    return site


def _is_strong(access: Access) -> bool:
    return bool(access.flags & EventFlag.STRONG) or access.kind == EventKind.ATOMIC


def _settles(access: Access) -> bool:
    """Whether an access may be settled where it happens: it orders no others, or there are no rows of those that do."""
    return not _is_strong(access) or Rows.RELEASES not in access.t.rows_wanted


def _parts(access: Access, element: Value, shift: int) -> list[Value]:
    """The bits of an element that lie in each of its cells."""
    b, bits = access.t.b, 8 << shift
    parts = [b.lshr(element, ir.Constant(element.type, first)) for first in range(0, 8 * access.nbytes, bits)]
    return [access.t.resize(access.t.resize(part, ir.IntType(bits)), I32) for part in parts]


def _cells(access: Access, first: Value, nbytes: int, shift: int) -> list[Value]:
    """The cells of an element, of which the first is given."""
    b = access.t.b
    return [b.inttoptr(b.add(first, _word(nbytes * cell)), POINTER) for cell in range(access.nbytes >> shift)]


def _tell(access: Access, where: _Where, number: int, element: Value) -> None:
    t = access.t
    t.row(
        access.kind,
        flags=access.flags,
        nbytes=access.nbytes,
        space=where.space,
        address=where.element(access, number),
        value=t.resize(element, I64),
    )
    if _is_strong(access):
        t.tick()


def _watch_global(access: Access, where: _Where, race_cells: Value, number: int, element: Value) -> None:
    t, b = access.t, access.t.b
    shift = t.cell_shifts["global"]
    first = b.add(b.shl(where.element(access, number), _word(SHORT_SHIFT - shift)), race_cells)
    places = _cells(access, first, SHORT_BYTES, shift)
    start = b.trunc(t.context_word(layout.START), I32)
    if _settles(access):
        settled = ir.Constant(I1, 1)
        for place, part in zip(places, _parts(access, element, shift), strict=True):
            entry = [place, t.thread_number(), start, t.now(), _half(_site(access)), part]
            settled = b.and_(settled, b.call(_short_function(t, access, len(places)), entry))
        unsettled = b.not_(settled)
    else:
        unsettled = ir.Constant(I1, 1)
    with b.if_then(unsettled, likely=False):
        for place in places:
            owner, time = _column(b, place, cells.OWNER), _column(b, place, cells.OWNER_TIME)
            is_old = b.icmp_unsigned("<", b.load(time, typ=I32), start)
            b.store(b.or_(b.select(is_old, _half(0), b.load(owner, typ=I32)), _half(cells.MARKED)), owner)
            b.store(b.select(is_old, t.now(), b.load(time, typ=I32)), time)
        _tell(access, where, number, element)


def _watch_shared(access: Access, where: _Where, elements: list[Value], settles: bool = True) -> None:
    t, b = access.t, access.t.b
    shift = t.cell_shifts["shared"]
    for number, element in enumerate(elements):
        index = b.lshr(where.element(access, number), _word(shift))
        first = b.add(b.mul(index, _word(CELL_BYTES)), t.context_word(layout.CELLS))
        places = _cells(access, first, CELL_BYTES, shift)
        unsettled: Value = ir.Constant(I1, 1)
        if settles and _settles(access):
            settled: Value = ir.Constant(I1, 1)
            for place, part in zip(places, _parts(access, element, shift), strict=True):
                entry = [place, _who(t), _epoch(t), t.now(), _half(_site(access)), part, t.first_thread()]
                entry += [_met(t, layout.MET_LANES), _met(t, layout.MET_WARPS)]
                settled = b.and_(settled, b.call(_whole_function(t, access, len(places)), entry))
            unsettled = b.not_(settled)
        with b.if_then(unsettled, likely=False):
            for place in places:
                b.store(_half(1), _column(b, place, cells.MARK))
                b.store(_half(int(cells.NO_WARP)), _column(b, place, cells.QUIET_WARP))
                b.store(_half(int(cells.IS_LOUD)), _column(b, place, cells.LOUD))
            b.store(_word(1), t.context_pointer(layout.CELLS_MARKED))
            _tell(access, where, number, element)


def _vector(b: ir.IRBuilder, values: list[Value]) -> Value:
    vector: Value = ir.Constant(FOUR, ir.Undefined)
    for position, value in enumerate(values):
        vector = b.insert_element(vector, value, _half(position))
    return vector


def _who(t: Translator) -> Value:
    """The thread three times, and its warp."""
    me = t.thread_number()
    return t.at_entry("who", lambda b: _vector(b, [me, me, me, b.lshr(t.thread, _half(5))]))


def _splat(value: int) -> Value:
    return ir.Constant(FOUR, [value] * 4)


def _met(t: Translator, word: int) -> Value:
    return t.at_entry(("met", word), lambda b: b.load(b.gep(t.frame, [_word(word)], source_etype=I64), typ=I64))


def _epoch(t: Translator) -> Value:
    word = t.context_word(layout.EPOCH)
    return t.at_entry("epoch", lambda b: _vector(b, [b.trunc(word, I32)] * 4))


def _column(b: ir.IRBuilder, place: Value, column: int) -> Value:
    return b.gep(place, [_word(column)], source_etype=I32)


def _store_columns(b: ir.IRBuilder, place: Value, column: int, values: list[Value]) -> None:
    b.store(_vector(b, values), _column(b, place, column), align=4)


def _function(t: Translator, name: str, arguments: list[ir.Type]) -> ir.Function:
    """A function of the module that enters an access in a cell, unless the cell may conflict: whether it did."""
    function = ir.Function(t.module, ir.FunctionType(I1, arguments), name)
    function.linkage = "internal"
    function.attributes.add("noinline" if name.endswith("often") else "alwaysinline")
    return function


def _kind_name(access: Access, cells: int) -> str:
    strength, kind = "strong" if _is_strong(access) else "weak", "load" if access.kind == EventKind.LOAD else "store"
    return f"{strength}_{kind}{'_often' if cells > 2 else ''}"


def _short_function(t: Translator, access: Access, count: int) -> ir.Function:
    """For global memory: the cell is untouched in this launch, or its owner is the thread itself, in the same way; or
    this is a strong store after a strong access."""
    name = f"settle_short_{_kind_name(access, count)}"
    if name in t.module.globals:
        return t.module.globals[name]
    function = _function(t, name, [POINTER, I32, I32, I32, I32, I32])
    place, me, start, now, site, value = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    owner, time, before = (
        b.load(_column(b, place, column), typ=I32) for column in (cells.OWNER, cells.OWNER_TIME, cells.OWNER_SITE)
    )
    untouched, mine = b.icmp_unsigned("<", time, start), b.icmp_unsigned("==", owner, me)
    ways = _half(cells.SITE_STRONG | cells.SITE_NARROW | cells.SITE_ATOMIC)
    mine = b.and_(mine, b.icmp_unsigned("==", b.and_(b.xor(site, before), ways), _half(0)))
    if access.kind == EventKind.LOAD:
        wrote = b.icmp_unsigned("!=", b.and_(before, _half(cells.SITE_WRITES)), _half(0))
        # Who conflicts with this read conflicts with the thread's own write before it.
        covered = b.and_(b.and_(mine, wrote), b.and_(b.not_(untouched), b.icmp_unsigned("==", time, now)))
        with b.if_then(covered, likely=False):
            b.ret(ir.Constant(I1, 1))
        mine, value = b.and_(mine, b.not_(wrote)), _half(0)
    settled = b.or_(untouched, mine)
    if _is_strong(access):
        either = b.or_(before, b.and_(site, _half(cells.SITE_NARROW)))
        scope = _half(cells.SITE_STRONG | cells.SITE_NARROW)
        both_strong = b.icmp_unsigned("==", b.and_(either, scope), _half(cells.SITE_STRONG))
        both_strong = b.and_(b.icmp_signed(">=", owner, _half(0)), both_strong)
        if access.kind != EventKind.LOAD:
            settled = b.or_(settled, both_strong)
        elif t.is_tentative:
            # There is no room for both. Whatever weak access comes next, the launch runs again.
            me = b.select(settled, me, _half(cells.SEVERAL))
            site = b.select(settled, site, b.or_(site, _half(cells.SITE_WRITES)))
            settled = b.or_(settled, both_strong)
    with b.if_then(settled, likely=True):
        _store_columns(b, place, cells.OWNER, [me, now, site, value])
    b.ret(settled)
    return function


def _whole_function(t: Translator, access: Access, count: int) -> ir.Function:
    """For shared memory: all that conflicts with the access is older than the epoch, or of the thread itself, or
    strong as the access is.

    Writer and readers are compared at once: `who` is the thread three times and its warp, `epoch` the epoch four times.
    """
    name = f"settle_whole_{_kind_name(access, count)}"
    if name in t.module.globals:
        return t.module.globals[name]
    function = _function(t, name, [POINTER, FOUR, FOUR, I32, I32, I32, I32, I64, I64])
    place, who, epoch, now, site, value, first, met_lanes, met_warps = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))

    def load(column: int) -> Value:
        return b.load(_column(b, place, column), typ=I32)

    def columns(first_column: int) -> Value:
        return b.load(_column(b, place, first_column), typ=FOUR, align=4)

    same = b.icmp_unsigned("==", columns(cells.WRITER), who)
    old = b.icmp_signed("<", columns(cells.WRITE_TIME), epoch)
    if _is_strong(access):
        # The fourth is no access. The thread's own weak store is not forgotten for a strong one.
        accesses = [cells.SITE_STRONG] * (1 if access.kind == EventKind.LOAD else 3)
        strong_bits = ir.Constant(FOUR, accesses + [0] * (4 - len(accesses)))
        strong = b.icmp_unsigned("!=", b.and_(columns(cells.WRITE_SITE), strong_bits), ir.Constant(FOUR, [0] * 4))
        if access.kind != EventKind.LOAD:
            same = b.and_(same, ir.Constant(ir.VectorType(I1, 4), [0, 1, 1, 1]))
        same = b.or_(same, strong)
    compared = ir.Constant(ir.VectorType(I1, 4), [1, 0, 0, 0] if access.kind == EventKind.LOAD else [1, 1, 1, 0])
    threads = b.sub(columns(cells.WRITER), _vector(b, [first] * 4))

    def is_met(met: Value, numbers: Value) -> Value:
        """Whether a meeting since orders the accesses of those whose numbers are in its mask."""
        time, mask = (_vector(b, [b.trunc(part, I32)] * 4) for part in (met, b.lshr(met, _word(32))))
        bits = b.lshr(mask, b.and_(numbers, _splat(31)))
        is_member = b.icmp_unsigned("!=", b.and_(bits, _splat(1)), _splat(0))
        earlier = b.icmp_signed("<", columns(cells.WRITE_TIME), time)
        return b.and_(compared, b.and_(is_member, earlier))

    warps = b.lshr(threads, _splat(5))
    if t.meets_in_warps:
        in_warp = b.icmp_unsigned("==", warps, _vector(b, [b.extract_element(who, _half(3))] * 4))
        old = b.or_(old, b.and_(in_warp, is_met(met_lanes, threads)))
    if t.meets_by_warps:
        old = b.or_(old, is_met(met_warps, warps))
    harmless = b.bitcast(b.or_(same, old), ir.IntType(4))
    unmarked = b.icmp_unsigned("==", load(cells.MARK), _half(0))
    me = b.extract_element(who, _half(0))
    if access.kind != EventKind.LOAD:
        all_three = b.icmp_unsigned(
            "==", b.and_(harmless, ir.Constant(harmless.type, 7)), ir.Constant(harmless.type, 7)
        )
        settled = b.and_(all_three, unmarked)
        with b.if_then(settled, likely=True):
            none, quiet, loud = _half(0), _half(int(cells.NO_WARP)), _half(int(cells.IS_LOUD))
            _store_columns(b, place, cells.WRITER, [me, none, none, quiet])
            _store_columns(b, place, cells.WRITE_TIME, [now, none, none, loud])
            b.store(site, _column(b, place, cells.WRITE_SITE))
            b.store(value, _column(b, place, cells.VALUE))
        b.ret(settled)
        return function
    # The write is ordered, two others have read, and this read is no news.
    with b.if_then(b.icmp_unsigned("==", harmless, ir.Constant(harmless.type, 9)), likely=True):
        b.ret(ir.Constant(I1, 1))
    settled = b.and_(b.trunc(harmless, I1), unmarked)
    with b.if_then(b.not_(settled), likely=False):
        b.ret(ir.Constant(I1, 0))
    since = b.extract_element(epoch, _half(0))

    def distance(reader: int) -> Value:
        """How far this thread is from a reader of the same block."""
        together = b.icmp_unsigned("==", warp_of(reader), b.extract_element(who, _half(3)))
        return b.select(together, _half(cells.ONE_WARP), _half(cells.ONE_BLOCK))

    def warp_of(reader: int) -> Value:
        return b.lshr(b.sub(load(reader), first), _half(5))

    def remember(reader: int) -> None:
        for offset, part in ((0, me), (cells.TIME, now), (cells.SITE, site)):
            b.store(part, _column(b, place, reader + offset))

    def remember_distance(far: Value) -> None:
        b.store(far, _column(b, place, cells.APART))
        b.store(warp_of(cells.READER), _column(b, place, cells.QUIET_WARP))
        is_far = b.icmp_unsigned("==", far, _half(cells.ONE_BLOCK))
        b.store(b.select(is_far, _half(0), _half(int(cells.IS_LOUD))), _column(b, place, cells.LOUD))

    for reader in (cells.READER, cells.READER_2):
        with b.if_then(b.icmp_unsigned("==", load(reader), me)):
            if _is_strong(access):
                # Later, but the earlier one conflicts with more.
                is_weak = b.icmp_unsigned("==", b.and_(load(reader + cells.SITE), _half(cells.SITE_STRONG)), _half(0))
                is_new = b.icmp_signed(">=", load(reader + cells.TIME), since)
                with b.if_then(b.and_(is_weak, is_new)):
                    b.ret(ir.Constant(I1, 1))
            remember(reader)
            b.ret(ir.Constant(I1, 1))
    is_alone = b.icmp_signed("<", load(cells.READ_TIME_2), since)
    with b.if_then(b.icmp_signed("<", load(cells.READ_TIME), since)):
        remember(cells.READER)
        remember_distance(b.select(is_alone, _half(cells.ONE_THREAD), distance(cells.READER_2)))
        b.ret(ir.Constant(I1, 1))
    far = distance(cells.READER)
    with b.if_then(b.or_(b.icmp_unsigned(">", far, load(cells.APART)), is_alone)):
        remember(cells.READER_2)
        remember_distance(far)
    b.ret(ir.Constant(I1, 1))
    return function
