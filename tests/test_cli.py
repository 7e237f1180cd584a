"""The command line, as a learner meets it."""

import json

import pytest
from command_line import workbook

from workbook.learner.attempts import history, write_attempt
from workbook.puzzles import all_puzzles, find_puzzle
from workbook.region import read_region

PROGRAM_OUTPUT = """\
Input array: [ 0.  1.  2.  3.  4.  5.  6.  7.  8.  9. 10. 11. 12. 13. 14.]
Convolution kernel: [0. 1. 2. 3.]
Expected result (NumPy calculation): [14. 20. 26. 32. 38. 44. 50. 56. 62. 68. 74. 80. 41. 14.  0.]
Compiling 1D convolution graph...
Executing 1D convolution...
1D Convolution result (custom Mojo kernel): [14. 20. 26. 32. 38. 44. 50. 56. 62. 68. 74. 80. 41. 14.  0.]
Verification passed: Custom kernel results match NumPy calculation
"""


def solve(puzzle):
    write_attempt(puzzle, read_region(puzzle.solution_file.read_text()).code)


@pytest.mark.parametrize("device, says", [("softgpu", "Device: softgpu"), ("cpu", "Device: the CPU")])
def test_run_prints_the_program_and_its_device(device, says):
    result = workbook("run", "p17", "--solution", "--device", device)
    assert result.returncode == 0, result.stderr
    first, rest = result.stdout.split("\n", 1)
    assert first.startswith(says)
    assert rest == PROGRAM_OUTPUT


@pytest.mark.parametrize("device", ["softgpu", "cpu"])
@pytest.mark.parametrize("id, inputs", [("t1", []), ("t2", ["Left-hand-side values:", "Right-hand-side values:"])])
def test_the_tutorials_print_the_graphs_result_beside_the_expected_one(id, inputs, device):
    result = workbook("run", id, "--solution", "--device", device)
    assert result.returncode == 0, result.stdout + result.stderr
    parts = [part.split("\n", 1) for part in result.stdout.split("\n", 1)[1].strip().split("\n\n")]
    assert [heading for heading, numbers in parts] == [*inputs, "Graph result:", "Expected result:"]
    arrays = [[float(word) for word in numbers.replace("[", " ").replace("]", " ").split()] for _, numbers in parts]
    assert len(arrays[-1]) == {"t1": 50, "t2": 10}[id]
    assert arrays[-2] == pytest.approx(arrays[-1])
    if inputs:
        assert [a + b for a, b in zip(*arrays[:2], strict=True)] == pytest.approx(arrays[-1], abs=1e-6)


def test_run_tells_scripts_what_the_program_printed():
    result = workbook("run", "p17", "--solution", "--device", "cpu", "--json")
    told = json.loads(result.stdout)
    assert (told["device"], told["outcome"]) == ("cpu", "passed")
    assert told["output"].endswith(PROGRAM_OUTPUT)


def test_the_learners_call_of_foreach_is_used_on_the_cpu_too():
    write_attempt(find_puzzle("t1"), "foreach(add_one, output, ctx)")
    result = workbook("run", "t1", "--device", "cpu")
    assert result.returncode == 1
    assert "does not say for which device" in result.stdout


def test_run_takes_the_learners_file(puzzle):
    solve(puzzle)
    result = workbook("run", "p17", "--device", "softgpu")
    assert result.returncode == 0
    assert result.stdout.endswith(PROGRAM_OUTPUT)


def test_an_empty_file_is_not_attempted():
    for command in ("run", "check"):
        result = workbook(command, "p17")
        assert result.returncode == 3
        assert "not attempted" in result.stdout
        assert "problems/p17/op.mojo" in result.stdout


def test_run_explains_what_does_not_compile(puzzle):
    write_attempt(puzzle, read_region(puzzle.solution_file.read_text()).code.replace("output_tensor", "result"))
    result = workbook("run", "p17")
    assert result.returncode == 1
    assert "The name `result` does not exist here" in result.stdout
    assert "op.mojo, line 48:      result," in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_run_explains_a_launch_that_fails(puzzle):
    write_attempt(puzzle, read_region(puzzle.solution_file.read_text()).code.replace("block_dim=TPB", "block_dim=32"))
    result = workbook("run", "p17", "--device", "softgpu")
    assert result.returncode == 1
    assert "shared" in result.stdout
    assert "workbook check p17" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_a_wrong_result_is_said_without_a_traceback(puzzle):
    write_attempt(puzzle, read_region(puzzle.solution_file.read_text()).code.replace("block_dim=TPB", "block_dim=10"))
    result = workbook("run", "p17", "--device", "softgpu")
    assert result.returncode == 1
    assert "Verification failed" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_a_right_attempt_in_all_its_forms(puzzle):
    solve(puzzle)
    result = workbook("check", "p17", "--seed", "5", "--json")
    assert result.returncode == 0, result.stderr
    verdict = json.loads(result.stdout)
    assert (verdict["outcome"], verdict["seed"], verdict["known_since"]) == ("passed", 5, None)
    assert [case["sizes"] for case in verdict["cases"]] == list(puzzle.cases)
    assert all(case["right"] and case["launches"] == 1 for case in verdict["cases"])
    assert verdict["cases"][0]["output"] == pytest.approx(verdict["cases"][0]["expected"], rel=1e-4, abs=1e-5)

    known = workbook("check", "p17")
    assert known.returncode == 0
    assert "Random data from seed 5" in known.stdout
    assert known.stdout.endswith(f"✓ p17 passed: {verdict['headline']}\n")
    assert "✓  p17" in workbook("list").stdout
    assert workbook("warm", "p17").stdout == "p17: was known already.\n"

    workbook("reset", "p17")
    assert workbook("check", "p17", "--solution").stdout.endswith(f"✓ p17 passed: {verdict['headline']}\n")
    assert len(history(puzzle)) == 2, "the solution is no attempt"


def test_what_was_typed_into_the_file_is_kept_when_it_is_checked(puzzle):
    text = puzzle.problem_file.read_text().replace(puzzle.placeholder, "ctx.enqueue_function[nothing]()")
    puzzle.problem_file.write_text(text)
    for command in ("run", "check"):
        assert workbook(command, "p17").returncode == 1
    puzzle.problem_file.write_text("all gone")
    assert [version.read_text() for version in history(puzzle)] == [text]


def test_a_wrong_attempt_in_all_its_forms(puzzle, tmp_path):
    write_attempt(puzzle, read_region(puzzle.solution_file.read_text()).code.replace("BLOCKS_PER_GRID", "1"))
    page_file = tmp_path / "attempt.html"
    result = workbook("figure", "p17", "--html", str(page_file))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "p17 failed" in result.stdout
    page = page_file.read_text()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [launch["name"][0] for launch in data["launches"]] == list("✓✗✗✗✗✗")
    assert data["launches"][1]["remarks"] == ["block 1 never ran"]
    lines = data["sources"][1]["pcs"].values()
    source = puzzle.kernel_file.read_text().splitlines()
    assert "barrier()" in {source[line - 1].strip() for line in lines}

    for name, beginning in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")):
        drawn = workbook("figure", "p17", "-o", str(tmp_path / name), "--case", "1", "--block", "0", "--json")
        assert drawn.returncode == 0, drawn.stderr
        assert json.loads(drawn.stdout)["files"] == [str(tmp_path / name)]
        assert (tmp_path / name).read_bytes().startswith(beginning)
    missing = workbook("figure", "p17", "-o", str(tmp_path / "b.png"), "--block", "1")
    assert (missing.returncode, missing.stderr) == (2, "There is no block 1 to draw: this launch has the blocks 0.\n")

    told, result = workbook("check", "p17"), workbook("check", "p17", "--json")
    assert told.returncode == result.returncode == 1
    verdict = json.loads(result.stdout)
    assert "\n".join([f"✗ p17 failed: {verdict['headline']}", *verdict["details"]]) in told.stdout
    assert [case["right"] for case in verdict["cases"]] == [True, *[False] * 5]
    for case in verdict["cases"]:
        name = ", ".join(f"{key} {value}" for key, value in case["sizes"].items())
        assert (f"\n{name}\n" in told.stdout) != case["right"]
        if not case["right"]:
            assert case["output"][case["first_wrong"]] != pytest.approx(case["expected"][case["first_wrong"]])
    assert verdict["headline"] in workbook("history", "p17").stdout
    assert "✗  p17" in workbook("list").stdout


def test_a_page_needs_a_folder(tmp_path):
    result = workbook("figure", "p17", "--html", str(tmp_path / "nowhere" / "attempt.html"))
    assert result.returncode == 2
    assert result.stderr == f"There is no folder {tmp_path / 'nowhere'} to write to.\n"


def test_reset_keeps_what_was_there(puzzle):
    solve(puzzle)
    assert workbook("reset", "p17").returncode == 0
    assert read_region(puzzle.problem_file.read_text()).code == puzzle.placeholder
    assert any("enqueue_function[" in version.read_text() for version in history(puzzle))


def test_bad_usage_is_one_sentence():
    result = workbook("run", "p99")
    assert result.returncode == 2
    assert result.stderr.strip() == f"There is no puzzle 'p99'. The puzzles are: {', '.join(all_puzzles())}."
