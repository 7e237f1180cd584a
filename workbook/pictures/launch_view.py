"""What one launch did, told in the learner's terms: who filled each shared slot, who read it, who wrote each output.

Everything here is derived from the trace of the launch; nothing from what the launch should have done. The one
thing that comes from outside is the NumPy result, beside which the outputs are put.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgpu import Report
from softgpu.trace import Kind, LaunchTrace, Origin, Region, Space
from workbook.language import N_, _, ngettext

if TYPE_CHECKING:
    from workbook.running.execution import Fault

Dim3 = tuple[int, int, int]


class Provenance(StrEnum):
    """Where the content of a shared slot came from.

    A slot is an OWN load if its writer loaded the element that has the writer's own number, and a HALO load if it
    loaded any other. A thread's own number is its index in the whole grid, `block_idx.x * block_dim.x +
    thread_idx.x`, since that is how the data is dealt out to the blocks. A buffer shorter than the output is not
    dealt out: every block loads it from its beginning (the weights of a convolution), and there the thread's index
    in its block, `thread_idx.x`, counts as its own number too.
    """

    OWN = N_("own load")
    HALO = N_("halo load")
    ZERO = N_("zero fill")
    OTHER = N_("other store")  # a computed value, another constant, or a load from memory that has no name here
    NEVER = N_("never written")


@dataclass(frozen=True, slots=True)
class Buffer:
    """A device buffer: `count` elements of `dtype` from `address`."""

    address: int
    count: int
    dtype: np.dtype

    def index_of(self, address: int) -> int | None:
        """The element at an address, or None outside the buffer."""
        index = (address - self.address) // self.dtype.itemsize
        return index if 0 <= index < self.count else None


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a named buffer."""

    buffer: str
    index: int


class Thread(NamedTuple):
    """A thread of the grid: the linear index of its block, and its own in the block."""

    block: int
    thread: int


@dataclass(frozen=True, slots=True)
class Slot:
    """One element of a shared array, as the first thread that read it found it (or as it was left, if none did).

    `writers` are the threads that stored it, in order: the last one won. `readers` are all threads that ever read
    it. `read_unwritten` says that a thread read it before any thread had written it.
    """

    provenance: Provenance
    value: float | None
    source: Element | None
    writers: tuple[int, ...]
    readers: tuple[int, ...]
    read_unwritten: bool

    @property
    def writer(self) -> int | None:
        """The thread whose store the slot holds."""
        return self.writers[-1] if self.writers else None


@dataclass(frozen=True, slots=True)
class Overrun:
    """An access by an instruction that works on this array, at a slot the array does not have."""

    thread: int
    slot: int
    is_store: bool


@dataclass(frozen=True, slots=True)
class SharedArray:
    """One shared allocation of a block."""

    name: str
    dtype: np.dtype
    slots: tuple[Slot, ...]
    overruns: tuple[Overrun, ...]

    def count(self, provenance: Provenance) -> int:
        """How many slots have this provenance."""
        return sum(slot.provenance is provenance for slot in self.slots)


@dataclass(frozen=True, slots=True)
class BlockView:
    """One block that ran. `writing` are its threads that stored a result."""

    number: int
    index: Dim3
    first: int  # the own number of its first thread
    threads: int
    writing: tuple[int, ...]
    barriers: int  # how often a barrier opened
    shared: tuple[SharedArray, ...]  # empty in the later blocks of a large launch: see LaunchView.with_shared

    @property
    def idle(self) -> tuple[int, ...]:
        """The threads that stored nothing to global memory: beyond the guard, or with nothing to do."""
        return tuple(sorted(set(range(self.threads)) - set(self.writing)))


@dataclass(frozen=True, slots=True)
class Loaded:
    """One element of a buffer, as the first thread that loaded it found it. `readers` empty: never loaded."""

    value: float | None
    readers: tuple[Thread, ...]


@dataclass(frozen=True, slots=True)
class Output:
    """One output element beside NumPy's. `writers` are all stores to it, in order; empty: never written."""

    value: float
    expected: float
    ok: bool
    writers: tuple[Thread, ...]


@dataclass(frozen=True, slots=True)
class Race:
    """Two accesses to one element with no order between them. The first thread writes; the second one does too if
    `both_write`, else it reads. `lines` are the PTX lines of the two. `element` is None in memory that has no name."""

    threads: tuple[Thread, Thread]
    lines: tuple[int, int]
    element: Element | None
    both_write: bool


@dataclass(frozen=True, slots=True)
class Stray:
    """A store to global memory that is not the output. `element` is None outside every known buffer."""

    thread: Thread
    element: Element | None
    address: int
    value: float


class UnknownBlock(ValueError):
    """A block was asked for that did not run; the message says which ones did."""


@dataclass(frozen=True, slots=True)
class LaunchView:
    """One launch of one case. `missing_blocks` are the blocks, by their x index, that the grid lacks: those to which
    the outputs belong that no thread has written."""

    case: str
    kernel: str
    grid: Dim3
    block: Dim3
    blocks: tuple[BlockView, ...]
    missing_blocks: tuple[int, ...]
    output: str
    outputs: tuple[Output, ...]
    """The elements of the output; those of a matrix row by row."""
    shape: tuple[int, ...]
    """The shape of the output."""
    loads: Mapping[str, tuple[Loaded, ...]]  # every buffer, the output among them
    strays: tuple[Stray, ...]
    races: tuple[Race, ...]
    fault: str  # why the launch was cut short, or empty
    fault_at: Fault | None  # the access that cut it short, if it was one
    trace: LaunchTrace = field(repr=False)
    buffers: Mapping[str, Buffer] = field(repr=False)
    shared_names: Sequence[str]

    @property
    def title(self) -> str:
        launch = _("grid {grid} × block {block}").format(grid=_extent(self.grid), block=_extent(self.block))
        return f"{launch}, {self.case}" if self.case else launch

    def check_blocks(self, numbers: Iterable[int]) -> None:
        """Raises UnknownBlock if a block of these linear indices has not run."""
        ran = [block.number for block in self.blocks]
        for number in numbers:
            if number not in ran:
                text = _("There is no block {block} in this launch: blocks {first} to {last} ran.")
                raise UnknownBlock(text.format(block=number, first=min(ran, default=0), last=max(ran, default=0)))

    def with_shared(self, numbers: Iterable[int]) -> LaunchView:
        """The same with the shared arrays of these blocks."""
        wanted = {number for number in numbers if not self.blocks[number].shared}
        shared = _shared_arrays(self.trace, self.buffers, self.shared_names, self.output, wanted) if wanted else {}
        blocks = tuple(replace(one, shared=shared[one.number]) if one.number in shared else one for one in self.blocks)
        return replace(self, blocks=blocks)

    def block_name(self, index: Dim3) -> str:
        """block 1, or block (1, 0) in a grid of two dimensions."""
        return _("block {block}").format(block=self.block_index(index))

    def block_index(self, index: Dim3) -> str:
        """1, or (1, 0) in a grid of two dimensions."""
        rank = _rank(self.grid)
        return str(index[0] if rank == 1 else index[:rank])


def launch_view(
    trace: LaunchTrace,
    buffers: Mapping[str, Buffer],
    expected: ArrayLike,
    got: ArrayLike,
    shared_names: Sequence[str] = (),
    thread_per_element: bool = True,
    output: str = "output",
    case: str = "",
    races: Iterable[Report] = (),
    fault: str = "",
    fault_at: Fault | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> LaunchView:
    """Derive the view of a launch from its trace.

    `buffers` are the device buffers by the names the learner knows; `output` is the one that `expected` and `got`
    are about. `shared_names` names the shared allocations of the kernel in the order of its source. `case` says
    what distinguishes this launch from others, as "input_size 28, conv_size 4". `races` are
    what racecheck reports of it. `fault` is the error that ended it
    early, if one did, and `fault_at` the access that caused it. `thread_per_element` says that the kernel deals out
    the elements to its threads one by one; then an output that nobody has written belongs to a block.
    """
    accesses = trace.accesses
    stores = accesses[(accesses["space"] == Space.GLOBAL) & (accesses["kind"] != Kind.LOAD)]
    writers, strays = _global_stores(stores, buffers, output)
    outputs = _outputs(np.ravel(got), np.ravel(expected), writers, rtol, atol)
    shared = _shared_arrays(trace, buffers, shared_names, output, _blocks_in_detail(trace, stores))
    return LaunchView(
        case=case,
        kernel=trace.kernel,
        grid=trace.grid,
        block=trace.block,
        blocks=_blocks(trace, stores, shared),
        missing_blocks=_missing_blocks(trace, outputs) if thread_per_element else (),
        output=output,
        outputs=outputs,
        shape=np.shape(expected),
        loads=_loads(accesses[(accesses["space"] == Space.GLOBAL) & (accesses["kind"] == Kind.LOAD)], buffers),
        strays=strays,
        races=tuple(_race(report, trace, buffers, shared_names, output) for report in races),
        fault=fault,
        fault_at=fault_at,
        trace=trace,
        buffers=buffers,
        shared_names=shared_names,
    )


def describe(view: LaunchView) -> str:
    """The view in words, a line for each thing that is to be seen."""
    lines = [view.title, score(view)]
    lines += [f"{view.block_name(block.index)}: {_describe_block(block)}" for block in view.blocks[:_DESCRIBED]]
    more = len(view.blocks) - _DESCRIBED
    if more > 0:
        lines.append(ngettext("{count} more block ran", "{count} more blocks ran", more).format(count=more))
    return "\n".join(lines + oddities(view))


def is_right(view: LaunchView) -> bool:
    """Whether threads wrote every output, and rightly, and that was no chance. A value that happens to be there is no
    result."""
    return all(output.ok and output.writers for output in view.outputs) and not view.fault and not view.races


def score(view: LaunchView) -> str:
    """28 of 28 outputs right. A value that happens to be there is no result."""
    right = sum(output.ok and bool(output.writers) for output in view.outputs)
    unwritten = sum(not output.writers for output in view.outputs)
    count = len(view.outputs)
    if not unwritten:
        text = ngettext("{right} of {count} output right", "{right} of {count} outputs right", count)
    else:
        text = ngettext(
            "{right} of {count} output right, {unwritten} never written",
            "{right} of {count} outputs right, {unwritten} never written",
            count,
        )
    return text.format(right=right, count=count, unwritten=unwritten)


def oddities(view: LaunchView) -> list[str]:
    """What happened that no right launch does, or that a wasteful one does, a line for each kind."""
    lines = [view.fault] if view.fault else []
    if view.missing_blocks:
        lines.append(_with_more(never_ran(view, view.missing_blocks[0]), view.missing_blocks))
    targets = Counter(stray.element.buffer if stray.element else _("unknown memory") for stray in view.strays)
    for target, count in targets.items():
        text = ngettext(
            "{count} store went to {target}, not to {output}", "{count} stores went to {target}, not to {output}", count
        )
        lines.append(text.format(count=count, target=target, output=view.output))
    from_output = sorted(
        {
            array.name
            for block in view.blocks
            for array in block.shared
            for slot in array.slots
            if slot.source and slot.source.buffer == view.output
        }
    )
    text = _("{array} was loaded from {output}, where the result belongs")
    lines += [text.format(array=name, output=view.output) for name in from_output]
    arrays = [(view.block_index(block.index), array) for block in view.blocks for array in block.shared]
    text = _("block {block} read {array}{slots} before any thread had written there")
    unwritten = [
        text.format(block=block, array=array.name, slots=_slot_ranges(array))
        for block, array in arrays
        if any(slot.read_unwritten for slot in array.slots)
    ]
    overrun = [_describe_overrun(block, array) for block, array in arrays if array.overruns]
    lines += [_with_more(kind[0], kind) for kind in (unwritten, overrun) if kind]
    repeated = sum(len(output.writers) > 1 for output in view.outputs)
    if repeated:
        text = ngettext("{count} output written more than once", "{count} outputs written more than once", repeated)
        lines.append(text.format(count=repeated))
    if view.races:
        lines.append(_with_more(race_text(view, view.races[0]), view.races))
    return lines


def never_ran(view: LaunchView, x: int) -> str:
    """block 1 never ran."""
    return _("block {block} never ran").format(block=view.block_index((x, 0, 0)))


def race_text(view: LaunchView, race: Race) -> str:
    """Race: thread 1 of block 0 writes tile[1], and thread 0 of block 0 reads it, with no order between them."""
    if race.both_write:
        text = _(
            "Race: thread {first} of block {block} and thread {second} of block {other} both write {element}, "
            "with no order between them."
        )
    else:
        text = _(
            "Race: thread {first} of block {block} writes {element}, and thread {second} of block {other} reads it, "
            "with no order between them."
        )
    (block, first), (other, second) = race.threads
    blocks = {
        name: view.block_index(coordinates(number, view.grid)) for name, number in (("block", block), ("other", other))
    }
    element = f"{race.element.buffer}[{race.element.index}]" if race.element else _("unknown memory")
    return text.format(first=first, second=second, element=element, **blocks)


def telling(views: Mapping[str, LaunchView]) -> str:
    """The name of the launch that has most to tell: the first that is not right, else the first with a halo, else the
    first vector that takes several blocks."""

    def wrong(view: LaunchView) -> bool:
        return not is_right(view)

    def halo(view: LaunchView) -> bool:
        return any(array.count(Provenance.HALO) for block in view.blocks for array in block.shared)

    def several_blocks(view: LaunchView) -> bool:
        return len(view.shape) == 1 and len(view.blocks) > 1

    found = (name for says in (wrong, halo, several_blocks) for name, view in views.items() if says(view))
    return next(found, next(iter(views)))


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers, shortened: 0–3, 7."""
    return ", ".join(str(low) if low == high else f"{low}–{high}" for low, high in runs(numbers))


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """The first and last of each unbroken run of ascending numbers."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


# Global memory


def _global_stores(
    stores: NDArray, buffers: Mapping[str, Buffer], output: str
) -> tuple[dict[int, list[Thread]], tuple[Stray, ...]]:
    """The writers of every output element, and the stores that went elsewhere."""
    writers: dict[int, list[Thread]] = defaultdict(list)
    strays = []
    for store in stores:
        thread = Thread(int(store["block"]), int(store["thread"]))
        address = int(store["address"])
        element = _element_at(address, buffers)
        if element is not None and element.buffer == output:
            writers[element.index].append(thread)
        else:
            dtype = buffers[element.buffer if element else output].dtype
            strays.append(Stray(thread, element, address, value_of(store["bits"], dtype)))
    return writers, tuple(strays)


def _loads(loads: NDArray, buffers: Mapping[str, Buffer]) -> dict[str, tuple[Loaded, ...]]:
    """What the threads loaded of each buffer."""
    loaded = {}
    for name, buffer in buffers.items():
        elements = [Loaded(None, ())] * buffer.count
        # The difference of unsigned numbers is huge for an address before the buffer.
        index = ((loads["address"] - np.uint64(buffer.address)) // np.uint64(buffer.dtype.itemsize)).astype(np.int64)
        inside = np.flatnonzero((index >= 0) & (index < buffer.count))
        inside = inside[np.argsort(index[inside], kind="stable")]
        for group in np.split(inside, np.flatnonzero(np.diff(index[inside])) + 1):
            if len(group):
                rows = loads[group]
                readers = tuple(map(Thread, rows["block"].tolist(), rows["thread"].tolist()))
                elements[index[group[0]]] = Loaded(value_of(rows["bits"][0], buffer.dtype), readers)
        loaded[name] = tuple(elements)
    return loaded


def _element_at(address: int, buffers: Mapping[str, Buffer]) -> Element | None:
    for name, buffer in buffers.items():
        index = buffer.index_of(address)
        if index is not None:
            return Element(name, index)
    return None


def _outputs(
    got: NDArray, expected: NDArray, writers: Mapping[int, list[Thread]], rtol: float, atol: float
) -> tuple[Output, ...]:
    pairs = zip_longest(got.tolist(), expected.tolist(), fillvalue=float("nan"))
    return tuple(
        Output(value, wanted, bool(np.isclose(value, wanted, rtol, atol)), tuple(writers.get(index, ())))
        for index, (value, wanted) in enumerate(pairs)
    )


def _missing_blocks(trace: LaunchTrace, outputs: Sequence[Output]) -> tuple[int, ...]:
    owners = {index // trace.block[0] for index, output in enumerate(outputs) if not output.writers}
    return tuple(sorted(owner for owner in owners if owner >= trace.grid[0]))


# Blocks


def _blocks(
    trace: LaunchTrace, stores: NDArray, shared: Mapping[int, tuple[SharedArray, ...]]
) -> tuple[BlockView, ...]:
    barriers = Counter(barrier.block for barrier in trace.barriers)
    writing = _threads_by_block(stores)
    return tuple(
        BlockView(
            number=number,
            index=(x, y, z),
            first=x * trace.block[0],
            threads=threads,
            writing=writing.get(number, ()),
            barriers=barriers[number],
            shared=shared.get(number, ()),
        )
        for number, threads in sorted(trace.threads_ran.items())
        for x, y, z in [coordinates(number, trace.grid)]
    )


def _threads_by_block(accesses: NDArray) -> dict[int, tuple[int, ...]]:
    seen = np.unique(accesses[["block", "thread"]])
    blocks, first = np.unique(seen["block"], return_index=True)
    threads = np.split(seen["thread"], first[1:])
    return {block: tuple(of_block.tolist()) for block, of_block in zip(blocks.tolist(), threads, strict=False)}


_IN_DETAIL = 256
"""Of how many blocks the shared memory is looked through at once."""


def _blocks_in_detail(trace: LaunchTrace, stores: NDArray) -> set[int]:
    """The blocks that stored a result, and then the others."""
    storing = np.unique(stores["block"])[:_IN_DETAIL].tolist()
    return set([*storing, *sorted(trace.threads_ran)][:_IN_DETAIL])


def coordinates(number: int, extent: Dim3) -> Dim3:
    x, y = extent[:2]
    return number % x, number // x % y, number // (x * y)


def linear(place: Dim3, extent: Dim3) -> int:
    """The inverse of `coordinates`."""
    x, y, z = place
    return x + extent[0] * (y + extent[1] * z)


# Shared memory


def _shared_arrays(
    trace: LaunchTrace, buffers: Mapping[str, Buffer], names: Sequence[str], output: str, wanted: Collection[int]
) -> dict[int, tuple[SharedArray, ...]]:
    """The shared arrays of these blocks, in the order of the kernel's source."""
    rows = trace.accesses[trace.accesses["space"] == Space.SHARED]
    if len(wanted) < len(trace.threads_ran):
        rows = rows[np.isin(rows["block"], list(wanted))]
    regions = source_order(trace.shared_variables)
    origins = Origins(trace.grid, trace.block, buffers, buffers[output].count)
    intended = intended_regions(rows, regions)
    arrays: dict[int, list[SharedArray]] = {block: [] for block in wanted}
    for number, region in enumerate(regions):
        inside = rows[_within(rows, region)]
        element = element_type(inside, buffers[output].dtype)
        slots = _slots(split_elements(inside, element.itemsize), region, element, origins)
        overruns = _overruns(rows[(intended == number) & ~_within(rows, region)], region, element.itemsize)
        empty = [_UNTOUCHED] * (region.nbytes // element.itemsize)
        name = shared_name(region, names)
        for block, of_block in arrays.items():
            of_block.append(SharedArray(name, element, tuple(slots.get(block, empty)), tuple(overruns.get(block, ()))))
    return {block: tuple(of_block) for block, of_block in arrays.items()}


def source_order(regions: Iterable[Region]) -> list[Region]:
    return sorted(regions, key=lambda region: (_allocation_number(region) or 0, region.address))


def _allocation_number(region: Region) -> int | None:
    """The Nth shared allocation of a Mojo kernel is called `<kernel>_$__global_alloc_N_$__gpu_shared_mem`."""
    match = re.search(r"__global_alloc_(\d+)_", region.name)
    return int(match[1]) if match else None


def shared_name(region: Region, names: Sequence[str]) -> str:
    number = _allocation_number(region)
    return names[number] if number is not None and number < len(names) else region.name


def _within(rows: NDArray, region: Region) -> NDArray[np.bool_]:
    # The difference of unsigned numbers is huge for an address before the region.
    return rows["address"] - np.uint64(region.address) < np.uint64(region.nbytes)


def intended_regions(rows: NDArray, regions: Sequence[Region]) -> NDArray[np.intp]:
    """Which region each access was meant for: one instruction works on one array, so where its accesses fall into
    several, the one with most of them is meant, and the others have overrun it."""
    hits = np.stack([_within(rows, region) for region in regions], axis=1) if regions else np.zeros((len(rows), 1))
    pcs, instruction = np.unique(rows["pc"], return_inverse=True)
    votes = np.zeros((len(pcs), hits.shape[1]), np.int64)
    np.add.at(votes, instruction, hits)
    return votes.argmax(axis=1)[instruction]


def element_type(rows: NDArray, dtype: np.dtype) -> np.dtype:
    """PTX moves untyped bits: a shared array is taken to hold what the output holds, if accesses allow it."""
    smallest = int(rows["nbytes"].min()) if len(rows) else dtype.itemsize
    return dtype if smallest >= dtype.itemsize else np.dtype({1: "u1", 2: "f2", 4: "f4"}[smallest])


def split_elements(rows: NDArray, itemsize: int) -> NDArray:
    """One row an element, where an access covers several."""
    counts = np.maximum(rows["nbytes"] // itemsize, 1)
    if (counts == 1).all():
        return rows
    parts = np.repeat(rows, counts)
    offset = np.concatenate([np.arange(count) * itemsize for count in counts]).astype(np.uint64)
    parts["address"] += offset
    parts["origin_address"] += np.where(parts["origin"] == Origin.LOADED, offset, np.uint64(0))
    parts["bits"] >>= offset * np.uint64(8)
    return parts


_UNTOUCHED = Slot(Provenance.NEVER, None, None, (), (), False)


def _slots(rows: NDArray, region: Region, dtype: np.dtype, origins: Origins) -> dict[int, list[Slot]]:
    """The slots of one shared array, for every block that touched it."""
    count = region.nbytes // dtype.itemsize
    index = ((rows["address"] - np.uint64(region.address)) // np.uint64(dtype.itemsize)).astype(np.int64)
    key = rows["block"] * count + index
    order = np.argsort(key, kind="stable")
    slots: dict[int, list[Slot]] = {}
    for group in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
        if len(group):
            block, position = divmod(int(key[group[0]]), count)
            slots.setdefault(block, [_UNTOUCHED] * count)[position] = _slot(rows[group], dtype, origins)
    return slots


def _slot(accesses: NDArray, dtype: np.dtype, origins: Origins) -> Slot:
    """One slot, from all accesses of its block to it in their order."""
    is_load = accesses["kind"] == Kind.LOAD
    readers = tuple(np.unique(accesses["thread"][is_load]).tolist())
    found = accesses[: int(is_load.argmax())] if is_load.any() else accesses
    # What was read before it was written shows the stores that came too late, and says that they did.
    stores = found if len(found) else accesses[~is_load]
    if not len(stores):
        return Slot(Provenance.NEVER, None, None, (), readers, read_unwritten=bool(readers))
    last = stores[-1]
    value = value_of(last["bits"], dtype)
    provenance, source = origins.of(last, value)
    return Slot(provenance, value, source, tuple(stores["thread"].tolist()), readers, read_unwritten=not len(found))


@dataclass(frozen=True, slots=True)
class Origins:
    """Tells where stored values came from."""

    grid: Dim3
    block: Dim3
    buffers: Mapping[str, Buffer]
    output_count: int

    def of(self, store: np.void, value: float) -> tuple[Provenance, Element | None]:
        if store["origin"] == Origin.CONSTANT:
            return (Provenance.ZERO if value == 0 else Provenance.OTHER), None
        loaded = store["origin"] == Origin.LOADED
        source = _element_at(int(store["origin_address"]), self.buffers) if loaded else None
        if source is None:
            return Provenance.OTHER, None
        is_own = source.index in self._own_numbers(store, self.buffers[source.buffer])
        return (Provenance.OWN if is_own else Provenance.HALO), source

    def _own_numbers(self, store: np.void, buffer: Buffer) -> set[int]:
        """The elements of a buffer that are a thread's own: see Provenance."""
        width = self.block[0]
        in_block = int(store["thread"]) % width
        in_grid = int(store["block"]) % self.grid[0] * width + in_block
        return {in_grid, in_block} if buffer.count < self.output_count else {in_grid}


def _overruns(rows: NDArray, region: Region, itemsize: int) -> dict[int, list[Overrun]]:
    overruns: dict[int, list[Overrun]] = defaultdict(list)
    for row in rows:
        slot = (int(row["address"]) - region.address) // itemsize
        overruns[int(row["block"])].append(Overrun(int(row["thread"]), slot, bool(row["kind"] != Kind.LOAD)))
    return overruns


def value_of(bits: np.uint64, dtype: np.dtype) -> float:
    return float(np.uint64(bits).astype(f"u{dtype.itemsize}").view(dtype))


# Races


def _race(report: Report, trace: LaunchTrace, buffers: Mapping[str, Buffer], names: Sequence[str], output: str) -> Race:
    first, second = (Thread(linear(one.block, trace.grid), linear(one.thread, trace.block)) for one in report.threads)
    lines = (report.lines[0], report.lines[1])
    return Race((first, second), lines, _race_place(report, trace, buffers, names, output), report.hazard == "WAW")


def _race_place(
    report: Report, trace: LaunchTrace, buffers: Mapping[str, Buffer], names: Sequence[str], output: str
) -> Element | None:
    address = report.address or 0
    if report.space == "shared":
        itemsize = buffers[output].dtype.itemsize
        for region in trace.shared_variables:
            if 0 <= address - region.address < region.nbytes:
                return Element(shared_name(region, names), (address - region.address) // itemsize)
        return None
    return _element_at(address, buffers)


# Words

_DESCRIBED = 8
"""How many blocks are put into words."""


def _extent(extent: Dim3) -> str:
    """15, or (1, 2) where more than x counts."""
    return str(extent[0]) if extent[1:] == (1, 1) else str(extent[: _rank(extent)])


def _rank(extent: Dim3) -> int:
    """How many dimensions count."""
    return 3 if extent[2] > 1 else 2 if extent[1] > 1 else 1


def _describe_block(block: BlockView) -> str:
    text = _("{array} has {contents}")
    parts = [text.format(array=array.name, contents=_describe_array(array)) for array in block.shared]
    idle = len(block.idle)
    if idle:
        text = ngettext("{count} thread stored no result", "{count} threads stored no result", idle)
        parts.append(text.format(count=idle))
    return "; ".join(parts) or _("nothing to report")


def _describe_array(array: SharedArray) -> str:
    counts = {provenance: array.count(provenance) for provenance in Provenance}
    return ", ".join(_describe_slots(provenance, count) for provenance, count in counts.items() if count)


def _describe_slots(provenance: Provenance, count: int) -> str:
    texts = {
        Provenance.OWN: ngettext("{count} own load", "{count} own loads", count),
        Provenance.HALO: ngettext("{count} halo load", "{count} halo loads", count),
        Provenance.ZERO: ngettext("{count} zero fill", "{count} zero fills", count),
        Provenance.OTHER: ngettext("{count} other store", "{count} other stores", count),
        Provenance.NEVER: ngettext("{count} never written", "{count} never written", count),
    }
    return texts[provenance].format(count=count)


def _describe_overrun(block: str, array: SharedArray) -> str:
    first = array.overruns[0]
    if first.is_store:
        text = _("block {block}, thread {thread} wrote {array}[{slot}], but {array} ends at [{last}]")
    else:
        text = _("block {block}, thread {thread} read {array}[{slot}], but {array} ends at [{last}]")
    return text.format(block=block, thread=first.thread, array=array.name, slot=first.slot, last=len(array.slots) - 1)


def _slot_ranges(array: SharedArray) -> str:
    return f"[{ranges(number for number, slot in enumerate(array.slots) if slot.read_unwritten)}]"


def _with_more(first: str, all_of_them: Sequence[object]) -> str:
    more = len(all_of_them) - 1
    if not more:
        return first
    text = ngettext("{text} (and {count} more like this)", "{text} (and {count} more like this)", more)
    return text.format(text=first, count=more)
