"""What the view of a launch tells, from launches that really ran on softgpu."""

import math

import pytest
from launches import conv1d, copy, vector_addition

from workbook.pictures.launch_view import Element, Provenance, Thread, describe, oddities, ranges, score, telling

OWN, HALO, ZERO, OTHER, NEVER = Provenance


def provenances(view, block, array=0):
    return [slot.provenance for slot in view.blocks[block].shared[array].slots]


def indices(flags):
    return [index for index, flag in enumerate(flags) if flag]


def never_written(view):
    return indices(not output.writers for output in view.outputs)


def wrong(view):
    return indices(not output.ok for output in view.outputs)


# The right launch


def test_own_loads_then_a_halo_from_the_next_block():
    view = conv1d()
    assert provenances(view, 0) == [OWN] * 15 + [HALO] * 3
    tile = view.blocks[0].shared[0]
    assert tile.name == "tile"
    assert [slot.source for slot in tile.slots] == [Element("input", index) for index in range(18)]
    assert [slot.writer for slot in tile.slots] == [*range(15), 0, 1, 2]
    assert [slot.value for slot in tile.slots] == [loaded.value for loaded in view.loads["input"][:18]]


def test_zeros_past_the_end_of_the_input():
    view = conv1d()
    assert provenances(view, 1) == [OWN] * 13 + [ZERO] * 5
    last = view.blocks[1].shared[0].slots[17]
    assert (last.value, last.source, last.writers) == (0, None, (2,))


def test_a_halo_past_the_end_is_zero_fill_also_where_the_compiler_folded_it():
    assert provenances(conv1d(15, 4), 0) == [OWN] * 15 + [ZERO] * 3


def test_a_full_second_block_and_another_conv_size():
    assert provenances(conv1d(30, 4), 1) == [OWN] * 15 + [ZERO] * 3
    assert provenances(conv1d(23, 6), 0) == [OWN] * 15 + [HALO] * 5
    assert provenances(conv1d(23, 6), 1) == [OWN] * 8 + [ZERO] * 12


def test_a_loaded_zero_is_a_load():
    assert provenances(conv1d(input_array=[0] * 28), 0) == [OWN] * 15 + [HALO] * 3


def test_readers_of_the_slots():
    slots = conv1d().blocks[0].shared[0].slots
    assert slots[0].readers == (0,)
    assert slots[3].readers == (0, 1, 2, 3)
    assert slots[15].readers == (12, 13, 14)
    assert slots[17].readers == (14,)
    assert not any(slot.read_unwritten for slot in slots)


@pytest.mark.parametrize("block", [0, 1])
def test_every_block_loads_the_weights_as_its_own(block):
    view = conv1d()
    weights = view.blocks[block].shared[1]
    assert weights.name == "weights"
    assert [slot.source for slot in weights.slots] == [Element("kernel", index) for index in range(4)]
    assert provenances(view, block, array=1) == [OWN] * 4


def test_threads_beyond_the_guard_are_idle():
    view = conv1d()
    assert view.blocks[0].idle == ()
    assert view.blocks[1].idle == (13, 14)
    assert provenances(view, 1)[13:] == [ZERO] * 5  # they filled the tile with zeros


def test_outputs_and_their_writers():
    view = conv1d()
    assert score(view) == "28 of 28 outputs right"
    assert view.outputs[16].writers == (Thread(1, 1),)
    assert view.outputs[16].value == pytest.approx(view.outputs[16].expected)
    assert oddities(view) == []
    assert [block.barriers for block in view.blocks] == [1, 1]


# Wrong launches


def test_a_grid_of_one_leaves_the_second_block_out():
    view = conv1d(grid=1)
    assert never_written(view) == list(range(15, 28))
    assert wrong(view) == list(range(15, 28))
    assert view.missing_blocks == (1,)
    assert oddities(view) == ["block 1 never ran"]
    assert indices(not loaded.readers for loaded in view.loads["input"]) == list(range(18, 28))


def test_what_happens_to_be_in_memory_is_no_right_output():
    zeros = {"input_array": [0] * 28}  # all outputs should be zero, and the memory of the output is zero before
    view = conv1d(grid=1, **zeros)
    assert score(view) == "15 of 28 outputs right, 13 never written"
    assert telling({"right": conv1d(**zeros), "lucky": view}) == "lucky"


def test_a_grid_of_a_hundred_is_right():
    view = conv1d(grid=100)
    assert len(view.blocks) == 100 and view.missing_blocks == ()
    assert view.blocks[99].idle == tuple(range(15))
    assert score(view) == "28 of 28 outputs right" and oddities(view) == []


def test_a_block_smaller_than_the_tile_leaves_a_hole():
    view = conv1d(grid=3, block=10)
    assert provenances(view, 0) == [OWN] * 10 + [NEVER] * 5 + [HALO] * 3
    slots = view.blocks[0].shared[0].slots
    assert indices(slot.read_unwritten for slot in slots) == [10, 11, 12]
    assert slots[10].value is None and slots[10].readers == (7, 8, 9)
    assert wrong(view) == [7, 8, 9, 17, 18, 19, 27]
    assert math.isnan(view.outputs[7].value)
    assert "block 0 read tile[10–12] before any thread had written there (and 2 more like this)" in oddities(view)


def test_a_block_larger_than_the_tile_writes_twice_and_reads_past_its_end():
    view = conv1d(block=16)
    tile = view.blocks[0].shared[0]
    assert tile.slots[15].writers == (15, 0)
    assert tile.slots[15].provenance is HALO
    assert [(overrun.thread, overrun.slot, overrun.is_store) for overrun in tile.overruns] == [(15, 18, False)]
    assert wrong(view) == [15]
    assert oddities(view) == ["block 0, thread 15 read tile[18], but tile ends at [17]"]


def test_grid_and_block_swapped():
    view = conv1d(grid=15, block=2)
    assert len(view.blocks) == 15
    assert provenances(view, 1, array=1) == [OWN] * 2 + [NEVER] * 2
    assert wrong(view) == list(range(28))


def test_input_and_output_swapped():
    view = conv1d(arguments=("input", "output", "kernel"))
    assert never_written(view) == list(range(28))
    assert {slot.source.buffer for slot in view.blocks[0].shared[0].slots} == {"output"}
    assert [stray.element for stray in view.strays] == [Element("input", index) for index in range(28)]
    assert view.strays[16].thread == Thread(1, 1)
    assert view.blocks[0].idle == ()  # they worked, if in the wrong place
    assert oddities(view) == [
        "28 stores went to input, not to output",
        "tile was loaded from output, where the result belongs",
    ]


def test_a_launch_cut_short_by_a_fault():
    view = conv1d(arguments=("output", "kernel", "input"))
    assert never_written(view) == list(range(28))
    assert provenances(view, 0) == [NEVER] * 18
    assert [block.barriers for block in view.blocks] == [0, 0]
    assert "thread (4, 0, 0) of block (0, 0, 0)" in oddities(view)[0]


def test_blocks_along_y_do_the_work_of_the_first_twice():
    view = conv1d(grid=(1, 2))
    assert [view.block_name(block.index) for block in view.blocks] == ["block (0, 0)", "block (0, 1)"]
    assert view.outputs[3].writers == (Thread(0, 3), Thread(1, 3))
    assert provenances(view, 1) == [OWN] * 15 + [HALO] * 3
    assert oddities(view) == ["block (1, 0) never ran", "15 outputs written more than once"]
    assert view.title.startswith("grid (1, 2) × block 15")


def test_a_block_of_two_dimensions_has_linear_threads():
    view = copy(block=(4, 2))
    assert view.blocks[0].threads == 8
    assert view.outputs[0].writers == (Thread(0, 0), Thread(0, 4))
    assert view.blocks[0].shared[0].slots[1].writers == (1, 5)
    assert provenances(view, 0) == [OWN] * 4


# Other ways to fill a slot


@pytest.mark.parametrize(
    ("body", "provenance", "value"),
    [
        ("st.shared.b32 [%r8], 0;", ZERO, 0),
        ("st.shared.b32 [%r8], 0f80000000;", ZERO, 0),
        ("st.shared.b32 [%r8], 0f3F800000;", OTHER, 1),
        ("st.shared.b32 [%r8], 0f7FC00000;", OTHER, math.nan),
        ("add.f32 %r11, %r9, %r9; st.shared.b32 [%r8], %r11;", OTHER, 2),
        ("mov.b32 %r11, %r9; st.shared.b32 [%r8], %r11;", OWN, 1),
        ("ld.global.b32 %r11, [%rd2+4]; st.shared.b32 [%r8], %r11;", HALO, 2),
    ],
)
def test_provenance_follows_the_value(body, provenance, value):
    slot = copy(grid=1, block=1, body=body).blocks[0].shared[0].slots[0]
    assert slot.provenance is provenance
    assert slot.value == value or (math.isnan(slot.value) and math.isnan(value))


def test_an_index_without_its_block_is_no_own_load():
    at_thread_index = "mul.wide.u32 %rd6, %r1, 4; add.s64 %rd6, %rd2, %rd6; ld.global.b32 %r11, [%rd6];"
    view = copy(body=at_thread_index + "st.shared.b32 [%r8], %r11;")
    assert provenances(view, 0) == [OWN] * 4
    assert provenances(view, 1) == [HALO] * 4


def test_a_slot_read_before_its_store_came():
    slot = copy(body="ld.shared.b32 %r11, [%r8]; st.shared.b32 [%r8], %r9;").blocks[0].shared[0].slots[0]
    assert slot.read_unwritten and slot.provenance is OWN and slot.writers == (0,)


def test_without_a_barrier_none_is_counted():
    assert copy(body="st.shared.b32 [%r8], %r9;").blocks[0].barriers == 0


def test_a_store_that_covers_two_slots_fills_both():
    body = "ld.global.b64 %rd6, [%rd5]; st.shared.b64 [%r8], %rd6;"
    view = copy(grid=1, block=1, tile_slots=2, body=body)
    assert [slot.value for slot in view.blocks[0].shared[0].slots] == [1, 2]
    assert provenances(view, 0) == [OWN, HALO]
    assert view.blocks[0].shared[0].slots[1].source == Element("input", 1)


def test_stores_into_nothing_known_are_strays():
    view = copy(grid=1, block=1, body="st.shared.b32 [%r8], %r9; st.global.b32 [%rd5], %r9;")
    assert [(stray.thread, stray.element, stray.value) for stray in view.strays] == [
        (Thread(0, 0), Element("input", 0), 1)
    ]


def test_a_large_launch():
    view = copy(grid=4, block=1024, count=4000)
    assert score(view) == "4000 of 4000 outputs right"
    assert view.blocks[3].idle == tuple(range(928, 1024))
    assert provenances(view, 3) == [OWN] * 928 + [NEVER] * 96


# Words


def test_description_of_a_right_launch():
    assert describe(conv1d()).splitlines() == [
        "grid 2 × block 15, input_size 28, conv_size 4",
        "28 of 28 outputs right",
        "block 0: tile has 15 own loads, 3 halo loads; weights has 4 own loads",
        "block 1: tile has 13 own loads, 5 zero fills; weights has 4 own loads; 2 threads stored no result",
    ]


def test_description_of_many_blocks_is_short():
    assert "92 more blocks ran" in describe(conv1d(grid=100)).splitlines()


def test_ranges():
    assert ranges([]) == ""
    assert ranges([3]) == "3"
    assert ranges([0, 1, 2, 5, 7, 8]) == "0–2, 5, 7–8"


# The one to begin with


def test_the_wrong_launch_has_most_to_tell_then_one_with_a_halo_then_a_vector_of_several_blocks():
    vectors = {"one": vector_addition(10, grid=1), "two": vector_addition(17), "three": vector_addition(33, grid=3)}
    assert telling(vectors) == "two"
    assert telling(vectors | {"halo": conv1d()}) == "halo"
    assert telling(vectors | {"halo": conv1d(), "wrong": conv1d(grid=1)}) == "wrong"
