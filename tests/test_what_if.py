"""What-if: predictions are what really happens, and where they are not, it is said."""

import base64
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from explorers import explorer_of_p17, run
from launches import add_one, case_of, vector_addition

from workbook.check import judge
from workbook.notebook.waiting import Cancelled
from workbook.puzzles import all_puzzles, find_puzzle, python_side
from workbook.running.worker import WorkerLost
from workbook.stepper import widget as stepper_widget
from workbook.verdict import FAILED, PASSED, Verdict
from workbook.what_if import widget as what_if_widget
from workbook.what_if.comparison import agreement, counts, differences, in_a_sentence, is_right
from workbook.what_if.plan import Choice, example_inputs, expected_output, needed_blocks, predict
from workbook.what_if.run import RunOfChoice, launch_text, run_choice
from workbook.what_if.widget import BadNumber

THREADS = (1, 3, 4, 10, 14, 15, 16, 17, 18, 19, 20, 22, 23, 30, 33, 64)


def choice_of(blocks, threads, **sizes) -> Choice:
    return Choice(tuple(sizes.items()), blocks, threads)


def compared(puzzle, choice, result):
    """How a prediction differs from what happened to the same inputs."""
    return differences(predict(puzzle, choice, result.case.inputs), result, puzzle.tolerance)


@pytest.mark.parametrize("input_size, conv_size", [(15, 4), (23, 6), (28, 4), (30, 4)])
def test_every_launch_of_the_convolution_is_as_predicted(puzzle, input_size, conv_size):
    for blocks, threads in product((1, 2, 3, 5), THREADS):
        choice = choice_of(blocks, threads, input_size=input_size, conv_size=conv_size)
        assert compared(puzzle, choice, run(choice, None)) == [], choice


def test_every_launch_of_the_addition_is_as_predicted():
    puzzle = find_puzzle("t2")
    for size, blocks, threads in product((1, 16, 17, 40, 100), (1, 2, 3, 7), (1, 3, 16, 31, 33, 64)):
        case = case_of(vector_addition(size, blocks, threads), size=size)
        choice = choice_of(blocks, threads, size=size)
        assert compared(puzzle, choice, RunOfChoice(Verdict("t2", PASSED, "", cases=(case,)))) == [], choice


SHAPES = [(1, 1), (1, 3), (7, 1), (2, 3), (5, 10), (16, 64), (16, 65), (33, 101), (40, 120)]


def test_what_foreach_does_is_as_predicted(worker):
    """The grid that MAX chooses, too."""
    puzzle = find_puzzle("t1")
    cases = tuple({"rows": rows, "columns": columns} for rows, columns in SHAPES)
    text = puzzle.solution_file.read_text()
    execution = worker.run("t1", text, 5, lambda stage: None, cases)
    verdict = judge(replace(puzzle, cases=cases), text, execution)
    assert [case.sizes for case in verdict.cases] == list(cases)
    for case in verdict.cases:
        choice = choice_of(needed_blocks(puzzle, case.sizes, 256), 256, **case.sizes)
        assert compared(puzzle, choice, RunOfChoice(replace(verdict, cases=(case,)))) == [], case.sizes


def test_a_choice_is_really_built_and_run(puzzle, worker):
    """Of a tile that is written twice and overrun, and with too few blocks."""
    choice = choice_of(2, 17, input_size=40, conv_size=7)
    before = puzzle.problem_file.read_bytes()
    result = run_choice(puzzle, choice, worker, lambda stage: None)
    assert result.case.view.grid == (2, 1, 1) and result.case.view.block == (17, 1, 1)
    assert result.case.view.missing_blocks == (2,)
    assert compared(puzzle, choice, result) == []
    assert puzzle.problem_file.read_bytes() == before


def test_the_solution_is_launched_with_the_chosen_numbers():
    for id in ("t2", "p17"):
        puzzle = find_puzzle(id)
        text = launch_text(puzzle, choice_of(7, 9))
        assert "grid_dim=7," in text and "block_dim=9," in text
        rest = [line for line in puzzle.solution_file.read_text().splitlines() if "_dim=" not in line]
        assert [line for line in text.splitlines() if "_dim=" not in line] == rest
    foreach = find_puzzle("t1")
    assert launch_text(foreach, choice_of(1, 256)) == foreach.solution_file.read_text()


@pytest.mark.parametrize("id", [id for id, one in all_puzzles().items() if one.what_if.puzzle == id])
def test_what_is_expected_is_what_the_puzzle_expects(id):
    puzzle = find_puzzle(id)
    python = python_side(puzzle)
    for sizes in puzzle.cases:
        inputs = python.make_case(np.random.default_rng(1), **sizes)
        named = dict(zip(puzzle.arguments[1:], inputs, strict=True))
        choice = choice_of(1, 16, **sizes)
        assert {name: one.shape for name, one in example_inputs(puzzle, choice).items()} == {
            name: one.shape for name, one in named.items()
        }
        np.testing.assert_allclose(expected_output(puzzle, choice, named), python.expected_result(*inputs), 1e-5)


def test_what_the_kernel_refuses_is_what_the_plan_refuses(puzzle):
    prediction = predict(puzzle, choice_of(2, 15, input_size=28, conv_size=17))
    assert prediction.view is None and not is_right(prediction)
    assert f'"{prediction.refused}"' in puzzle.kernel_file.read_text()

    def result(raw, stage="compiler"):
        return RunOfChoice(Verdict("p17", FAILED, "It was refused.", stage=stage, raw=raw))

    assert differences(prediction, result(f"constraint failed: {prediction.refused}"), 1e-5) == []
    assert "not compiled" in agreement(result(""))
    assert "for another reason" in differences(prediction, result("out of memory"), 1e-5)[0]
    assert "but it did" in differences(prediction, result("", "check"), 1e-5)[0]


# In words


@pytest.mark.parametrize(
    "blocks, threads, sizes, words",
    [
        (2, 15, (28, 4), "This is right"),
        (1, 15, (28, 4), "There are 28 outputs, but 1 × 15 is only 15: 13 outputs are never written."),
        (5, 15, (28, 4), "The result will be right, but 3 blocks have nothing to do."),
        (
            3,
            10,
            (28, 4),
            "No thread writes tile[10–12] in block 0, but threads 7–9 will read there. The kernel's `tile`",
        ),
        (2, 16, (28, 4), "Thread 15 of block 0 will read tile[18], but tile ends at [17]."),
        (1, 30, (28, 4), "Thread 22 of block 0 will write tile[22], which lies outside"),
        (2, 15, (28, 17), "Mojo will not compile the kernel for these sizes: each weight is loaded"),
    ],
)
def test_what_is_wrong_with_a_choice_is_said_in_a_sentence(puzzle, blocks, threads, sizes, words):
    choice = choice_of(blocks, threads, input_size=sizes[0], conv_size=sizes[1])
    assert words in in_a_sentence(puzzle, choice, predict(puzzle, choice))


def test_a_sentence_says_that_it_is_right_only_if_it_is(puzzle):
    for threads in THREADS:
        choice = choice_of(3, threads, input_size=28, conv_size=4)
        sentence, view = in_a_sentence(puzzle, choice, predict(puzzle, choice)), run(choice, None).case.view
        right = not view.fault and all(output.ok and output.writers for output in view.outputs)
        assert right == ("right" in sentence), (threads, sentence)


def test_counts(puzzle):
    def found(blocks, threads):
        return counts(puzzle, predict(puzzle, choice_of(blocks, threads, input_size=28, conv_size=4)).view)

    assert found(2, 15) == {
        "threads started": "30",
        "threads that store no result": "2",
        "slots of `tile`, in all blocks": "own load 28, halo load 3, zero fill 5",
        "slots of `weights`, in all blocks": "own load 8",
        "slots written more than once": "0",
        "outputs that no thread writes": "0",
        "outputs written more than once": "0",
        "outputs that are right": "28",
    }
    assert "never written 15" in found(3, 10)["slots of `tile`, in all blocks"]
    assert found(2, 16)["slots written more than once"] == "2"
    assert found(1, 15)["outputs that no thread writes"] == "13"


WRONG_PLANS = [
    ("thread < conv_size - 1:", "thread < conv_size - 2:", "tile[17] of block 0: halo load, from input[17]"),
    ("i + TPB < input_size", "i + TPB < 0", "predicted was: zero fill"),
    ("else 0\nif", "else 1\nif", "tile[13] of block 1: zero fill, written by thread 13"),
    (
        "if i < input_size:",
        "if i < input_size - 1:",
        "output[27] was written by thread 12 of block 1; predicted was: by no",
    ),
    ("if i < input_size:", "if i < input_size - 1:", "In block 1, threads 0–12 stored a result; predicted were 0–11."),
    ("    total = 0\n", "    total = 1\n", "(and 27 more like this)"),
    (
        "tile[thread + j] *",
        "tile[thread + j + 1] *",
        "tile of block 0 was left by no thread; predicted was: by threads 14",
    ),
    (
        "kernel[thread]",
        "kernel[thread + 1]",
        "it was predicted that the launch would be stopped, but it came to its end",
    ),
]


@pytest.mark.parametrize("right, wrong, words", WRONG_PLANS)
def test_where_a_prediction_is_wrong_it_is_said(puzzle, right, wrong, words):
    assert right in puzzle.what_if.plan
    plan = puzzle.what_if.plan.replace(right, wrong)
    mistaken = replace(puzzle, what_if=replace(puzzle.what_if, plan=plan))
    choice = choice_of(2, 15, input_size=28, conv_size=4)
    assert words.lower() in " ".join(compared(mistaken, choice, run(choice, None))).lower()


def test_where_no_launch_was_recorded_outputs_are_compared():
    puzzle = find_puzzle("t1")
    case = case_of(add_one(), rows=5, columns=10)
    result = RunOfChoice(Verdict("t1", PASSED, "", cases=(replace(case, view=None),)))
    choice = choice_of(1, 256, rows=5, columns=10)
    assert compared(puzzle, choice, result) == []
    assert "records nothing else" in agreement(result)
    plan = puzzle.what_if.plan.replace("input[4 * vectors + vector] + 1", "input[4 * vectors + vector] + 2")
    mistaken = replace(puzzle, what_if=replace(puzzle.what_if, plan=plan))
    assert compared(mistaken, choice, result)[0].startswith("output[4, 8] is ")


def test_a_stop_elsewhere_is_a_difference(puzzle):
    choice = choice_of(2, 30, input_size=28, conv_size=4)
    result = run(choice, None)
    assert compared(puzzle, choice, result) == [] and "As predicted" in agreement(result)
    earlier = replace(puzzle, shared={"tile": "TPB + conv_size - 3", "weights": "conv_size"})
    assert "but elsewhere" in compared(earlier, choice, result)[0]


# The widget


def title(picture):
    return picture.children[-1].data["launches"][0]["title"]


def test_sliders_draw_and_blocks_follow_until_they_are_moved():
    explorer = explorer_of_p17()
    assert title(explorer.predicted) == "grid 2 × block 15, input_size 28, conv_size 4"
    explorer.numbers["input_size"].slider.value = 40
    assert title(explorer.predicted) == "grid 3 × block 15, input_size 40, conv_size 4"
    explorer.numbers["blocks"].slider.value = 2
    assert not explorer.enough.value
    explorer.numbers["input_size"].slider.value = 50
    assert title(explorer.predicted) == "grid 2 × block 15, input_size 50, conv_size 4"
    assert "20 outputs are never written" in explorer.summary.value
    explorer.enough.value = True
    assert title(explorer.predicted) == "grid 4 × block 15, input_size 50, conv_size 4"
    drawing = explorer.predicted.children[-1]
    explorer.numbers["conv_size"].slider.value = 18
    assert explorer.predicted.children == () and "will not compile" in explorer.summary.value
    assert drawing.comm is None  # nothing of it is left in the browser either


def test_numbers_are_typed_too_and_examined():
    explorer = explorer_of_p17(threads=20)
    number = explorer.numbers["threads"]
    number.field.value = 100
    assert "cannot be 100 here: choose a number from 1 to 64. The picture still shows 20." in explorer.message.value
    assert explorer.choice.threads == 20
    number.field.value = 16
    assert explorer.message.value == "" and explorer.choice.threads == number.slider.value == 16
    assert "block 16" in title(explorer.predicted)
    for chosen, words in [
        ({"threads": 0}, "from 1 to 64"),
        ({"size": 3}, "no slider `size`"),
        ({"blocks": "2"}, "whole"),
    ]:
        with pytest.raises(BadNumber, match=words):
            explorer_of_p17(**chosen)


def test_a_run_is_shown_beside_its_prediction_and_remembered():
    ran = []

    def count(choice, progress):
        ran.append(choice)
        return run(choice, progress)

    explorer = explorer_of_p17(count, threads=10)
    assert explorer.happened.children == ()
    explorer.run()
    assert title(explorer.happened) == title(explorer.predicted)
    predicted, happened = (
        [one["expected"] for one in picture.children[-1].data["launches"][0]["outputs"]]
        for picture in (explorer.predicted, explorer.happened)
    )
    np.testing.assert_allclose(predicted, happened, 1e-6)  # the prediction is of the inputs of the run now
    assert "what was predicted" in explorer.comparison.value and "what happened" in explorer.summary.value
    explorer.numbers["threads"].slider.value = 15
    assert explorer.happened.children == () and explorer.comparison.value == ""
    explorer.numbers["threads"].slider.value = 10
    assert title(explorer.happened) == title(explorer.predicted) and len(ran) == 1


def test_without_a_kernel_there_is_a_picture_of_what_was_predicted_first(monkeypatch):
    shown = []
    for module in (what_if_widget, stepper_widget):
        monkeypatch.setattr(module, "display", lambda data, **_options: shown.append(data))
    explorer_of_p17(threads=10)._ipython_display_()
    still, widget = shown
    assert base64.b64decode(still["image/png"]).startswith(b"\x89PNG")
    assert still["text/plain"].startswith("grid 3 × block 10, input_size 28, conv_size 4 (predicted)\n21 of 28 outputs")
    assert "application/vnd.jupyter.widget-view+json" in widget
    shown.clear()
    explorer_of_p17(conv_size=18)._ipython_display_()  # Mojo will not compile this
    assert ["application/vnd.jupyter.widget-view+json" in data for data in shown] == [True]


def test_another_block_of_a_large_launch_is_drawn():
    explorer = explorer_of_p17(threads=1)
    drawing, answers = explorer.predicted.children[-1], []
    assert drawing.data["launches"][0]["is_window"]
    drawing.send = answers.append
    for block in (20, 99):
        drawing._handle_custom_msg({"launch": 0, "block": block}, [])
    drawn, refused = answers
    assert [block["number"] for block in drawn["launch"]["blocks"]] == [20]
    assert refused == {"refused": "There is no block 99 in this launch: blocks 0 to 27 ran."}


@pytest.mark.parametrize(
    "error, words",
    [
        (WorkerLost("The worker ended."), "The worker ended."),
        (RuntimeError("No such thing."), "No such thing."),
        (Cancelled(), "You stopped the run."),
    ],
)
def test_a_run_that_fails_is_told(error, words):
    def fail(choice, progress):
        raise error

    explorer = explorer_of_p17(fail)
    explorer.run()
    assert words in explorer.progress.children[0].value
    assert not explorer.button.disabled


def test_the_explorer_of_foreach_has_only_sizes():
    from workbook.what_if.widget import Explorer

    explorer = Explorer(find_puzzle("t1"), run, ["softgpu"])
    assert list(explorer.numbers) == ["rows", "columns"]
    explorer.numbers["rows"].slider.value = explorer.numbers["columns"].slider.value = 40
    assert title(explorer.predicted).startswith("grid 2 × block 256")


def test_every_puzzle_has_an_explorer():
    assert {puzzle.what_if.puzzle for puzzle in all_puzzles().values()} == {"t1", "t2", "p17"}
    assert find_puzzle("p20").what_if == find_puzzle("p17").what_if
