"""The data of the stepper: what it says of launches that really ran on softgpu."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from launches import DATA, add_one, case_of, conv1d, copy, vector_addition

from softgpu import Module, Racecheck
from workbook import rooms
from workbook.check import judge
from workbook.notebook.puzzle import NotebookPuzzle
from workbook.puzzles import find_puzzle
from workbook.running.execution import BufferPlace, Execution, Failure, Outcome
from workbook.running.executor import Outcomes
from workbook.running.lines import NoLines, build_lines, find_lines
from workbook.stepper import widget
from workbook.stepper.data import elements_text, launch_data
from workbook.stepper.source import source_data
from workbook.verdict import PASSED, Verdict


def steps(data, block, kind=None):
    return [step for step in data["steps"] if step["block"] == block and kind in (None, step["kind"])]


def texts(data, block=0):
    return [step["text"] for step in steps(data, block)]


def buffer(data, name):
    return next(one for one in data["buffers"] if one["name"] == name)


def test_the_steps_of_a_block_in_their_order():
    data = launch_data(conv1d())
    assert texts(data)[:8] == [
        "Block 0: threads 0–14 read input[0–14].",
        "Block 0: threads 0–14 write tile[0–14].",
        "Block 0: threads 0–2 read input[15–17].",
        "Block 0: threads 0–2 write tile[15–17].",
        "Block 0: threads 0–3 read kernel[0–3].",
        "Block 0: threads 0–3 write weights[0–3].",
        "Block 0: all 15 threads have arrived at the barrier, which opens.",
        "Block 0: threads 0–14 read tile[0–14].",
    ]
    assert texts(data, block=1)[-1] == "Block 1: threads 0–12 write output[15–27]."
    moments = [step["moment"] for step in data["steps"]]
    assert moments == sorted(moments)


def test_a_store_into_the_tile_has_values_sources_and_provenance():
    data = launch_data(conv1d())
    own, halo = steps(data, 0, "store")[:2]
    assert own["provenance"] == "o" * 15
    assert halo["provenance"] == "hhh"
    assert halo["threads"] == [0, 1, 2]
    assert halo["sources"] == [["input", 15], ["input", 16], ["input", 17]]
    assert halo["values"] == steps(data, 0, "load")[1]["values"]
    assert steps(data, 1, "store")[1]["provenance"] == "zzz"


def test_each_access_names_its_instruction_and_what_it_costs():
    data = launch_data(conv1d())
    first = steps(data, 0)[0]
    assert first["ptx"].startswith("ld.global")
    assert first["cost"] == "2 sectors of 32 bytes"  # 15 floats
    assert steps(data, 1)[0]["cost"] == "3 sectors of 32 bytes; side by side it would be 2"
    assert steps(data, 0, "store")[0]["cost"] == "no bank conflict"


def test_bank_conflicts_of_a_step():
    # Every thread has a row of 128 bytes to itself, all in the same bank.
    body = "mul.lo.u32 %r8, %r1, 128; add.u32 %r8, %r8, %r7; st.shared.b32 [%r8], %r9;\nbar.sync 0;"
    data = launch_data(copy(grid=1, block=8, tile_slots=256, body=body))
    store = steps(data, 0, "store")[0]
    assert store["cost"] == "7 bank conflicts: 8 passes instead of 1"


def test_idle_threads_and_outputs_beside_numpy():
    data = launch_data(conv1d())
    assert data["right"]
    assert list(data["blocks"][1]["idle"]) == [13, 14]
    assert all(output["ok"] for output in data["outputs"])
    assert [output["expected"] for output in data["outputs"]] == pytest.approx(
        [output["got"] for output in data["outputs"]], rel=1e-5
    )


def test_inputs_are_known_also_where_no_thread_read_them():
    values = [0.5 * number for number in range(28)]
    data = launch_data(conv1d(grid=1, input_array=values), {"input": values})
    assert buffer(data, "input")["values"] == values
    unknown = launch_data(conv1d(grid=1, input_array=values))
    assert buffer(unknown, "input")["values"][20] is None


def test_outputs_of_a_block_that_never_ran():
    data = launch_data(conv1d(grid=1))
    assert not data["right"]
    assert [one["first"] for one in data["missing"]] == [15]
    assert data["outputs"][20]["why"] == "No thread wrote output[20]. Block 1 never ran."
    assert "why" not in data["outputs"][3]


def test_a_wrong_output_names_its_thread_and_a_read_says_what_was_never_written():
    data = launch_data(conv1d(block=10))
    assert data["outputs"][8]["why"].startswith("Block 0, thread 8 wrote NaN to output[8]; NumPy says 6.")
    assert "No thread had written tile[10–11] before." in " ".join(texts(data))
    reads = [step for step in steps(data, 0) if "unwritten" in step]
    assert [step["unwritten"] for step in reads] == [[10], [10, 11], [10, 11, 12]]
    json.dumps(data, allow_nan=False)


def test_a_thread_that_the_guard_held_back():
    data = launch_data(vector_addition(told_size=10))
    assert data["outputs"][12]["why"] == (
        "No thread wrote output[12]. Thread 12 of block 0, whose number it has, ran but wrote nothing there."
    )


def test_output_and_input_swapped():
    data = launch_data(conv1d(arguments=("input", "output", "kernel")))
    assert texts(data)[0] == "Block 0: threads 0–14 read output[0–14]."
    assert texts(data)[-1] == "Block 0: threads 0–14 write input[0–14]."


def test_a_read_past_the_end_of_the_tile():
    data = launch_data(conv1d(block=16))
    outside = [step for step in steps(data, 0) if step.get("array") == "tile" and max(step["indices"]) > 17]
    assert [step["threads"][step["indices"].index(18)] for step in outside] == [15]
    assert outside[0]["text"].endswith("tile ends at [17].")


def test_the_access_that_stopped_the_launch_is_the_last_step():
    data = launch_data(vector_addition(told_size=20))
    last = data["steps"][-1]
    assert (last["kind"], last["array"], last["threads"], last["indices"]) == ("fault", "lhs", [1], [17])
    assert last["text"] == "Block 1: thread 1 tries to read lhs[17]. The launch was stopped here. lhs ends at [16]."
    assert data["outputs"][0]["why"].endswith("The launch was stopped before.")
    assert data["remarks"] == []  # the step tells it


def test_a_store_past_the_end_of_the_tile_belongs_to_the_tile_though_the_weights_lie_behind_it():
    last = launch_data(conv1d(block=30))["steps"][-1]
    assert (last["kind"], last["array"], last["threads"], last["indices"]) == ("fault", "tile", [22], [22])
    text = "Block 0: thread 22 tries to write tile[22]. The launch was stopped here. tile ends at [17]."
    assert last["text"] == text


def test_a_race_joins_its_two_threads():
    # Each thread of the second warp reads what one of the first has written, with no barrier between.
    racecheck = Racecheck()
    body = "st.shared.b32 [%r8], %r9;\nxor.b32 %r8, %r8, 128;"
    view = copy(grid=1, block=64, count=64, body=body, observers=[racecheck])
    race = launch_data(view)["races"][0]
    (one_block, one), (other_block, other) = race["threads"]
    assert (one_block, other_block, race["array"]) == (0, 0, "tile")
    assert abs(one - other) == 32
    assert race["text"] == (
        f"Race: thread {one} of block 0 writes tile[{race['index']}], and thread {other} of block 0 reads it, "
        "with no order between them."
    )


def test_a_launch_without_its_barrier_fails_though_the_numbers_are_right(puzzle, monkeypatch):
    def no_lines(*attempt):
        raise NoLines

    monkeypatch.setattr("workbook.diagnosis.races.build_lines", no_lines)  # it would compile for ten seconds
    outcomes = Outcomes()
    view = conv1d(without_barrier=True, observers=[outcomes])
    case = case_of(view, input_size=28, conv_size=4)
    execution = Execution(
        device="softgpu",
        cases=(tuple(case.inputs.values()),),
        expected=(case.expected,),
        outputs=(case.output,),
        inputs_after=(tuple(case.inputs.values()),),
        places=(
            {name: BufferPlace(one.address, one.count * one.dtype.itemsize) for name, one in view.buffers.items()},
        ),
        recorded=True,
        launches=(view.trace,),
        outcomes=tuple(outcomes.launches),
    )
    puzzle = replace(puzzle, cases=({"input_size": 28, "conv_size": 4},))
    verdict = judge(puzzle, puzzle.solution_file.read_text(), execution)
    assert str(verdict).splitlines()[:2] == [
        "✗ p17 failed: Every case matches NumPy, but by chance: threads race.",
        "Race: thread 1 of block 0 writes tile[1], and thread 0 of block 0 reads it, with no order between them. "
        "That was with input_size 28, conv_size 4.",
    ]
    assert re.fullmatch(r"It is written in line \d+ of its PTX \(`st.+`\) and read in .+", verdict.details[1])
    assert not launch_data(verdict.cases[0].view)["right"]
    assert judge(puzzle, puzzle.solution_file.read_text(), replace(execution, outcomes=(Outcome(),))).passed


def test_a_fault_belongs_to_the_launch_that_it_stopped():
    outcomes = Outcomes()
    views = [vector_addition(16, grid=1, observers=[outcomes]), vector_addition(17, told_size=20, observers=[outcomes])]
    cases = [case_of(view) for view in views]
    fault = outcomes.launches[1].fault
    execution = Execution(
        device="softgpu",
        cases=tuple(tuple(case.inputs.values()) for case in cases),
        expected=tuple(case.expected for case in cases),
        places=tuple(
            {name: BufferPlace(one.address, 4 * one.count) for name, one in view.buffers.items()} for view in views
        ),
        recorded=True,
        launches=tuple(view.trace for view in views),
        outcomes=tuple(outcomes.launches),
        launches_by_case=tuple((view.trace,) for view in views),
        failure=Failure("launch", outcomes.launches[1].error, by_softgpu=True, fault=fault),
    )
    puzzle = replace(find_puzzle("t2"), cases=({"size": 16}, {"size": 17}))
    verdict = judge(puzzle, puzzle.solution_file.read_text(), execution)
    assert not verdict.passed
    right, stopped = (launch_data(case.view) for case in verdict.cases)
    assert right["right"] and all(output["ok"] for output in right["outputs"])
    assert stopped["steps"][-1]["text"].startswith("Block 1: thread 1 tries to read lhs[17].")


def test_stores_of_equal_values_are_no_race():
    outcomes = Outcomes()
    conv1d(grid=(2, 2), observers=[outcomes])  # two blocks do the same
    assert outcomes.reports and outcomes.launches == [Outcome()]


def test_a_launch_of_a_million_threads():
    view = conv1d(grid=70_000)
    data = launch_data(view)
    assert [block["number"] for block in data["blocks"]] == [0, 1, 2]
    assert "3 of 70000 blocks that ran are drawn." in data["remarks"]
    block = launch_data(view, blocks=[69_999])["blocks"][0]
    assert [array["count"] for array in block["shared"]] == [18, 4]


def test_a_matrix_that_foreach_fills():
    data = launch_data(add_one())
    output = buffer(data, "output")
    assert (output["row"], output["count"]) == (10, 50)
    assert steps(data, 0)[-1]["text"] == "Block 0: threads 0–1 write output[4, 8–9]."


def test_a_large_launch_is_windowed_and_says_so():
    data = launch_data(copy(grid=4, block=1024, count=4000))
    assert [block["number"] for block in data["blocks"]] == [0]
    assert data["is_window"]
    assert "1 of 4 blocks that ran are drawn." in data["remarks"]
    assert "1024 of 4000 elements of output are drawn." in data["remarks"]
    assert len(data["outputs"]) == len(buffer(data, "output")["values"]) == 1024


def test_chosen_blocks():
    view = copy(grid=4, block=1024, count=4000)
    data = launch_data(view, blocks=[3])
    assert [block["number"] for block in data["blocks"]] == [3]
    assert buffer(data, "output")["first"] == 3072
    assert {step["block"] for step in data["steps"]} == {3}
    with pytest.raises(ValueError, match="no block 7 in this launch: blocks 0 to 3 ran"):
        launch_data(view, blocks=[7])


def test_a_wrong_block_is_drawn_before_idle_ones():
    numbers = [block["number"] for block in launch_data(conv1d(grid=100))["blocks"]]
    assert numbers == [0, 1, 2]  # two that write, one that is idle


def test_too_many_steps_are_cut(monkeypatch):
    monkeypatch.setattr("workbook.stepper.data.MAX_STEPS", 5)
    data = launch_data(conv1d())
    assert len(data["steps"]) == 5
    assert "26 later steps are left out." in data["remarks"]


def test_a_page_is_exported_or_it_is_said_why_not(puzzle, tmp_path, monkeypatch):
    monkeypatch.setattr(widget, "look_up_lines", lambda *attempt: None)
    p, said = NotebookPuzzle(puzzle), []
    monkeypatch.setattr(p, "_say", lambda text, kind="": said.append(text))
    p.verdict = Verdict("p17", PASSED, "", cases=(case_of(conv1d(), input_size=28, conv_size=4),))
    p._checked_text = puzzle.solution_file.read_text()
    p.export(str(tmp_path / "attempt.html"))
    assert "Block 0: threads 0–14 read input[0–14]." in (tmp_path / "attempt.html").read_text(encoding="utf-8")
    p.export(str(tmp_path))
    p.export(str(tmp_path / "nowhere" / "attempt.html"))
    assert said[0].startswith("Written: ")
    assert said[1:] == [
        f"`{tmp_path}` cannot be written: Is a directory",
        f"There is no folder {tmp_path / 'nowhere'} to write to.",
    ]


def test_names_of_elements():
    assert elements_text("tile", [3, 1, 2, 1]) == "tile[1–3]"
    assert elements_text("tile", [0, 2, 4, 6, 8]) == "5 elements of tile"
    assert elements_text("output", [23], (5, 10)) == "output[2, 3]"
    assert elements_text("output", [28, 29, 30], (5, 10)) == "3 elements of output"


# The lines of the source


def line_of(puzzle, op_text, view, step):
    """The line of Mojo that a step executes."""
    source = source_data(puzzle, op_text, view.trace, is_final=True)
    text = (rooms.KERNELS / "conv1d.mojo").read_text().splitlines()
    assert source["file"] == "kernels/conv1d.mojo"
    assert len(source["lines"]) == len(text)
    return text[source["pcs"][step["pc"]] - 1].strip()


def test_the_line_of_each_step(puzzle, tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "BUILD", tmp_path)
    view, op_text = conv1d(), puzzle.solution_file.read_text()
    assert find_lines(view.trace, op_text) is None
    waiting = source_data(puzzle, op_text, view.trace, is_final=False)
    assert (waiting["pcs"], waiting["note"]) == (
        {},
        "The line of each step is being looked up: about ten seconds, once for each kernel.",
    )

    build_lines(puzzle, op_text, [case_of(view, input_size=28, conv_size=4)])
    block = [step for step in launch_data(view)["steps"] if step["block"] == 0]
    own_load, own_store, halo_load, halo_store, *_, result = (line_of(puzzle, op_text, view, step) for step in block)
    assert own_load == own_store == "tile[local_i] = input[global_i] if global_i < input_size else 0"
    assert halo_load == halo_store == "tile[TPB + local_i] = input[next_i] if next_i < input_size else 0"
    assert result == "output[global_i] = total"
    barrier = next(step for step in block if step["kind"] == "barrier")
    assert line_of(puzzle, op_text, view, barrier) == "barrier()"
    # A launch of another size has other instructions.
    assert find_lines(conv1d(23, 6).trace, op_text) is None
    assert "is not known" in source_data(puzzle, op_text, conv1d(23, 6).trace, is_final=True)["note"]
    # After a change of the kernel's source its lines are no longer believed.
    kernel = rooms.KERNELS / "conv1d.mojo"
    kernel.write_text(f"# A new line.\n{kernel.read_text()}")
    assert find_lines(view.trace, op_text) is None


def test_the_lines_of_what_foreach_makes_are_those_of_the_op(tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "BUILD", tmp_path)
    puzzle, view = find_puzzle("t1"), add_one()
    op_text = puzzle.solution_file.read_text()
    case = case_of(view, rows=5, columns=10)
    small = np.zeros((4, 4), np.float32)
    whole_vectors = replace(case, sizes={"rows": 4, "columns": 4}, expected=small, inputs={"input": small})
    build_lines(puzzle, op_text, [case, whole_vectors])
    source = source_data(puzzle, op_text, view.trace, is_final=True)
    assert source["file"] == "op.mojo"
    # Where the rows are whole vectors, the kernel is another one.
    name, kernel = next(iter(Module((DATA / "add_one_4_4.ptx").read_text()).ptx.kernels.items()))
    assert find_lines(replace(view.trace, kernel=name, instructions=kernel.instructions), op_text) is not None
    load = launch_data(view)["steps"][0]
    assert "input.load[width](idx) + 1" in op_text.splitlines()[source["pcs"][load["pc"]] - 1]


def test_an_op_that_cannot_be_called_has_no_lines(puzzle):
    op_text = puzzle.solution_file.read_text().replace("input_size: Int,  #", "count: Int,  #")
    with pytest.raises(NoLines, match="what is count"):
        build_lines(puzzle, op_text, [case_of(conv1d(), input_size=28, conv_size=4)])
