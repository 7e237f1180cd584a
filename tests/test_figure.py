"""What a learner sees in the picture: counted in the patches and texts of the figure, not in its pixels."""

import re
import time
from argparse import Namespace
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from launches import add_one, case_of, conv1d, copy, vector_addition
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from workbook import language
from workbook.commands import figure as command
from workbook.commands.exit_codes import BadUsage
from workbook.pictures.figure import IDLE, LOOKS, WRONG, figure
from workbook.pictures.launch_view import Provenance
from workbook.verdict import FAILED, Verdict


def kinds(drawn):
    return Counter(patch.get_gid() for patch in drawn.axes[0].patches)


def texts(drawn):
    return [text.get_text() for text in drawn.axes[0].texts]


def filled(drawn, look):
    return sum(
        to_hex(patch.get_facecolor()) == look.fill and not (patch.get_gid() or "").startswith(("legend", "loads"))
        for patch in drawn.axes[0].patches
    )


def test_slots_have_the_colour_of_their_provenance():
    drawn = figure(conv1d())
    assert filled(drawn, LOOKS[Provenance.OWN]) == 15 + 13 + 2 * 4
    assert filled(drawn, LOOKS[Provenance.HALO]) == 3
    assert filled(drawn, LOOKS[Provenance.ZERO]) == 5
    assert filled(drawn, WRONG) == 0


def test_slots_have_words_beside_colours():
    words = Counter(texts(figure(conv1d())))
    assert (words["own"], words["halo"], words["zero"]) == (36, 3, 5)


def test_a_halo_slot_stands_under_the_element_that_it_holds():
    drawn = figure(conv1d())
    left = {kind: [] for kind in kinds(drawn)}
    for patch in drawn.axes[0].patches:
        left[patch.get_gid()].append(patch.get_x())
    assert left["tile halo"] == left["input element"][15:18] == left["output"][15:18]


def test_title_score_and_rows():
    shown = texts(figure(conv1d()))
    assert shown[:2] == ["grid 2 × block 15, input_size 28, conv_size 4", "✓ 28 of 28 outputs right"]
    assert {"input", "tile", "weights", "barrier", "threads", "output", "NumPy"} <= set(shown)
    assert "12–14" in shown  # the readers of slot 15


def test_every_output_stands_beside_that_of_numpy():
    view = conv1d()
    shown = Counter(texts(figure(view)))
    for output in view.outputs:
        assert shown[f"{output.expected:.2f}"] >= 2


def test_the_legend_names_what_is_there():
    right = texts(figure(conv1d()))
    assert {"own load", "halo load", "zero fill"} <= set(right)
    assert "never written" not in right and "wrong or missing output" not in right
    hole = texts(figure(conv1d(grid=3, block=10)))
    assert {"never written", "wrong or missing output"} <= set(hole)


def test_idle_threads_are_hatched():
    drawn = figure(conv1d())
    idle = [patch for patch in drawn.axes[0].patches if patch.get_gid() == IDLE.word]
    assert len(idle) == 2 and all(patch.get_hatch() for patch in idle)


def test_outputs_of_a_block_that_never_ran():
    drawn = figure(conv1d(grid=1))
    shown = Counter(texts(drawn))
    assert kinds(drawn)["wrong"] == 13 and kinds(drawn)["missing block"] == 1
    assert shown["—"] == 13 and shown["✗"] == 13
    assert shown["block 1 never ran"] == 2  # in the heading, and in its place


def test_slots_that_were_never_written_but_read():
    drawn = figure(conv1d(grid=3, block=10))
    assert filled(drawn, WRONG) == 7
    assert kinds(drawn)["tile never"] == 15
    red = [text.get_text() for text in drawn.axes[0].texts if text.get_color() == WRONG.edge]
    assert {"7–9", "8–9", "9"} <= set(red)


def test_a_read_past_the_tile_is_drawn_outside_of_it():
    drawn = figure(conv1d(block=16))
    outside = [patch for patch in drawn.axes[0].patches if patch.get_gid() == "outside"]
    slots = [patch for patch in drawn.axes[0].patches if (patch.get_gid() or "").startswith("tile ")]
    assert len(outside) == 1 and outside[0].get_x() == pytest.approx(slots[17].get_x() + 1)


def test_who_wrote_past_the_tile_is_not_said_to_have_read_there():
    drawn = figure(conv1d(block=20), block=1)  # its threads 18 and 19 have no output to compute
    height = {text.get_text(): text.get_position()[1] for text in drawn.axes[0].texts if "by thread" in text.get_text()}
    red = [text for text in drawn.axes[0].texts if text.get_text() in ("18", "19") and text.get_color() == WRONG.edge]
    assert {text.get_position()[1] for text in red} == {height["written by thread"]} and len(red) == 2


def test_swapped_buffers_show_the_output_on_top():
    drawn = figure(conv1d(arguments=("input", "output", "kernel")))
    assert kinds(drawn)["output element"] == 28
    assert "28 stores went to input, not to output" in texts(drawn)


def test_one_block_alone():
    drawn = figure(conv1d(), block=1)
    assert kinds(drawn)["tile own"] == 13 and kinds(drawn)["tile halo"] == 0
    assert kinds(drawn)["output"] == 13


def test_no_barrier_no_line():
    assert "barrier" in texts(figure(copy()))
    without = texts(figure(copy(body="st.shared.b32 [%r8], %r9;")))
    assert "no barrier" in without and "barrier" not in without


@pytest.mark.parametrize(("block", "grid"), [(256, 16), (1024, 4)])
def test_a_large_launch_is_cut_to_what_can_be_read(block, grid):
    drawn = figure(copy(grid=grid, block=block, count=4000))
    assert kinds(drawn)["tile own"] < 100
    assert drawn.get_size_inches()[0] < 20
    shown = texts(drawn)
    assert f"2 of {grid} blocks that ran are drawn." in shown and "⋯" in shown
    assert any(re.fullmatch(r"\d+ of 4000 elements are drawn.", text) for text in shown)
    assert str(block - 1) in shown and str(block) in shown  # the edge between two blocks


def test_the_first_wrong_output_of_a_large_launch_is_drawn():
    drawn = figure(copy(grid=12, block=256, count=4000))
    assert kinds(drawn)["wrong"] == 5
    assert "3072" in texts(drawn)


@pytest.mark.parametrize("grid", [1, 2, 3, 15, 100, (1, 2), (2, 2, 2)])
@pytest.mark.parametrize("block", [1, 2, 10, 15, 16, (15, 2), 32, 1024])
def test_every_launch_can_be_drawn(grid, block):
    view = conv1d(grid=grid, block=block)
    figure(view)
    figure(view, block=view.blocks[-1].number)


@pytest.mark.filterwarnings("error")  # matplotlib warns of a letter that no font has
@pytest.mark.parametrize("code", language.languages())
@pytest.mark.parametrize(
    "launch",
    [
        lambda: conv1d(),
        lambda: conv1d(input_size=23, conv_size=6),
        lambda: conv1d(grid=3, block=10),
        lambda: conv1d(grid=1),
        lambda: conv1d(block=16),
        lambda: conv1d(block=30),
        lambda: conv1d(grid=100),
        lambda: conv1d(grid=15, block=2),
        lambda: vector_addition(grid=1),
        lambda: add_one(),
    ],
)
def test_no_text_covers_another_or_is_cut_off(launch, code, speak):
    speak(code)
    drawn = figure(launch())
    renderer = FigureCanvasAgg(drawn).get_renderer()
    shown = [text for text in drawn.axes[0].texts if text.get_text()]
    left, bottom, right, top = np.array([text.get_window_extent(renderer).padded(-1).extents for text in shown]).T
    assert left.min() >= 0 and right.max() <= drawn.bbox.width
    apart = (left[:, None] >= right) | (bottom[:, None] >= top)
    covering = np.argwhere(np.triu(~(apart | apart.T), k=1))
    assert [(shown[one].get_text(), shown[other].get_text()) for one, other in covering] == []


def test_drawing_is_quick():
    view = conv1d()
    start = time.perf_counter()
    figure(view).savefig("/dev/null", format="png")
    assert time.perf_counter() - start < 3  # 0.4 s on an idle machine


# Kernels without shared memory


def test_a_kernel_without_a_tile_shows_all_its_inputs_and_the_threads_that_the_guard_holds_back():
    drawn = figure(vector_addition())
    found = kinds(drawn)
    assert (found["lhs element"], found["rhs element"], found["output"]) == (17, 17, 17)
    assert (found["thread"], found["idle thread"]) == (17, 15)
    assert {"lhs", "rhs", "output", "NumPy"} <= set(texts(drawn))
    assert "barrier" not in found


def test_the_block_that_a_vector_lacks_is_named():
    shown = texts(figure(vector_addition(grid=1)))
    assert "✗ 16 of 17 outputs right, 1 never written" in shown
    assert shown.count("block 1 never ran") == 2  # in words above, and in its place


# Matrices


def test_each_element_of_a_matrix_has_the_number_of_the_thread_that_wrote_it():
    shown = texts(figure(add_one()))
    threads = [text for text in shown if re.fullmatch(r"t\d+", text)]
    assert threads[:10] == ["t0"] * 4 + ["t1"] * 4 + ["t2"] * 2
    assert threads[-2:] == ["t0", "t1"]
    assert len(threads) == 50
    assert "12 runs of 4 elements, 2 runs of one element. 12 of 256 threads had something to write." in " ".join(shown)


def upright_lines(drawn):
    return [line for line in drawn.axes[0].lines if len(set(line.get_xdata())) == 1]


def test_a_run_that_goes_on_in_the_next_row_is_framed_in_both_and_open_between_them():
    uprights = upright_lines(figure(add_one()))
    assert len(uprights) == 2 * 14  # each run has a beginning and an end, also where it has a row's end between them
    columns = Counter(round(line.get_xdata()[0], 2) for line in uprights)
    assert columns[9.94] == 3  # rows 1, 3 and 4 end with a run; rows 0 and 2 do not
    narrow = upright_lines(figure(replace(add_one(), shape=(10, 5))))  # here a run has a single element in the next row
    assert len(narrow) == 2 * 14


def test_wrong_and_missing_elements_of_a_matrix_are_marked():
    view = add_one()
    outputs = list(view.outputs)
    outputs[3] = replace(outputs[3], ok=False)
    outputs[13] = replace(outputs[13], writers=())
    drawn = figure(replace(view, outputs=tuple(outputs)))
    assert kinds(drawn)["wrong"] == 2
    assert texts(drawn).count("✗") == 2


def test_a_large_matrix_is_drawn_small_and_says_what_is_left_out():
    view = add_one()
    drawn = figure(replace(view, outputs=view.outputs * 80, shape=(100, 40)))
    assert kinds(drawn)["element"] == 75 * 40
    assert "75 of 100 rows and 40 of 40 columns are drawn." in texts(drawn)
    assert not any(re.fullmatch(r"t\d+", text) for text in texts(drawn))


def test_a_case_keeps_its_number_where_others_launched_nothing(tmp_path):
    launched = case_of(conv1d(), input_size=28, conv_size=4)
    silent = replace(launched, view=None)
    verdict = Verdict("p17", FAILED, "", cases=(silent, silent, launched))
    picture = tmp_path / "case.png"
    for case in (0, 1):
        with pytest.raises(BadUsage, match=f"Case {case} launched nothing"):
            command._draw(verdict, Namespace(case=case, block=None, picture=picture))
    command._draw(verdict, Namespace(case=2, block=None, picture=picture))
    assert picture.read_bytes().startswith(b"\x89PNG")
