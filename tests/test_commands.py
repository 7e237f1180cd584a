"""The commands that need no launch: what they say, to people and to scripts, and their exit status."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import COMMAND, at_a_terminal
from command_line import in_this_process as workbook
from command_line import workbook as elsewhere

from workbook import rooms
from workbook.check import check_op
from workbook.commands.attempt import verdict_json
from workbook.commands.exit_codes import MEANINGS, OF_OUTCOME
from workbook.commands.parser import GROUPS
from workbook.commands.terminal import print_json
from workbook.language import width
from workbook.learner import progress
from workbook.learner.attempts import history, read_attempt, write_attempt
from workbook.puzzles import all_puzzles
from workbook.region import BEGIN, read_region
from workbook.verdict import FAILED, STOPPED, SYMBOLS, CaseResult, Verdict

COMMANDS = [name for group in GROUPS.values() for name in group]
NO_GRID = """\
ctx.enqueue_function[conv1d_kernel[OutLayout, InLayout, ConvLayout, input_size, conv_size, dtype]](
    output_tensor, input_tensor, kernel_tensor, block_dim=TPB
)"""
"""The lint answers it: nothing is compiled."""


def answer(*arguments, status=0):
    """What a command with --json prints."""
    done = workbook(*arguments, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


# Help and mistakes


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_alone_it_lists_the_commands_and_the_exit_statuses(arguments):
    done = workbook(*arguments)
    assert done.returncode == 0
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout
    for code in {*OF_OUTCOME.values(), 2, 130}:
        assert f"\n  {code} " in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(name):
    done = workbook(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: workbook {name}")
    assert ("--json prints" in done.stdout) == ("[--json]" in done.stdout)


def test_the_readme_has_the_same_exit_statuses():
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    for code, text in MEANINGS.items():
        assert f"\n| {code} | {text} |\n" in readme


def test_help_and_list_wait_for_nothing_heavy():
    program = (
        "import sys; from workbook.commands.main import main; sys.argv = ['workbook', *sys.argv[1:]]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print({'numpy', 'max', 'matplotlib', 'IPython', 'softgpu', 'numba'} & {*sys.modules})"
    )
    for arguments in (["list"], ["--help"], ["hint", "p17"], ["history", "p17"]):
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
        assert done.stdout.endswith("set()\n"), (arguments, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "p18"], "There is no puzzle 'p18'. The puzzles are: t1, t2, p17, p20. Did you mean p17?"),
        (["hint", "P20"], "Did you mean p20?"),
        (["check"], "Say which puzzle, as in `workbook check p20`. The puzzles are: t1, t2, p17, p20."),
        (["chekc", "p17"], "There is no command 'chekc'. Did you mean `workbook check`? `workbook --help` lists"),
        (["frobnicate"], "There is no command 'frobnicate'. `workbook --help` lists"),
        (["list", "p17"], "unrecognized arguments: p17"),
        (["figure", "p17"], "`-o attempt.png`, or a page with `--html attempt.html`"),
        (["figure", "p17", "-o", "attempt.gif"], "attempt.gif must end in one of .png, .svg, .pdf"),
        (["figure", "p17", "-o", "nowhere/attempt.png"], "There is no folder nowhere to write to."),
        (["figure", "p17", "--html", "workbook"], "workbook is a folder: name a file in it."),
        (["figure", "p17", "-o", "attempt.png", "--case", "6"], "p17 has the cases 0 to 5."),
        (["history", "p17", "--show", "1"], "The history of p17 is still empty."),
        (["history", "p17", "--restore", "3"], "The history of p17 is still empty."),
        (["check", "p17", "--seed", "-1"], "Random data cannot come from seed -1: a seed is 0 or more."),
        (["check", "p17", "--device", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_bad_usage_is_answered_in_a_sentence(arguments, says):
    done = workbook(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_seed_that_is_none_is_no_attempt_in_a_notebook_either(puzzle):
    verdict = check_op(puzzle, puzzle.solution_file.read_text(), [], print, seed=-1)
    assert (verdict.outcome, verdict.headline) == (
        STOPPED,
        "Random data cannot come from seed -1: a seed is 0 or more.",
    )


@pytest.mark.parametrize("command", [["check"], ["run"], ["figure", "-o", "a.png"], ["watch"]])
def test_a_file_that_cannot_be_checked_is_named(puzzle, command):
    puzzle.problem_file.write_text(puzzle.problem_file.read_text().replace(BEGIN, ""))
    if command != ["watch"]:
        done = workbook(command[0], "p17", *command[1:])
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert "problems/p17/op.mojo: The file must have the line" in done.stderr
        puzzle.problem_file.unlink()
        assert "problems/p17/op.mojo is gone. `workbook reset p17`" in workbook(command[0], "p17", *command[1:]).stderr
    else:
        with watching() as (_, read_until):
            assert "The file must have the line" in read_until("Waiting")


def test_what_cannot_be_written_is_named():
    shutil.rmtree(rooms.STATE)
    rooms.STATE.write_text("a file where a folder should be")
    done = workbook("hint", "p17")
    assert "Traceback" not in done.stderr
    done = workbook("reset", "p17")
    assert done.returncode == 4
    assert f"{rooms.STATE}" in done.stderr
    assert "workbook doctor" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_named(monkeypatch):
    def sync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", sync)
    done = workbook("reset", "p17")
    assert done.returncode == 4
    assert done.stderr.startswith("No space left on device. `workbook doctor`")
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "list", "--json"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.count("\n"), "No space left" in done.stderr) == (4, 1, True)


@pytest.mark.parametrize("descriptor", [1, 2])
def test_an_output_that_is_closed_is_no_error(descriptor):
    done = subprocess.run(
        ["sh", "-c", f'"$@" {descriptor}>&-', "sh", *COMMAND, "hint", "p17"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert ("Hint 1" in done.stdout) == (descriptor == 2)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("[t1]", "[t1", "Expected ']'"),
        ('\nfills = "launch"', "", "`fills` is missing"),
        ("[t1]", "x = 1\n[t1]", "'int'"),
    ],
)
def test_a_damaged_list_of_puzzles_is_named(checkout, old, new, reason):
    text = rooms.PUZZLES_FILE.read_text()
    assert old in text
    rooms.PUZZLES_FILE.write_text(text.replace(old, new))
    done = elsewhere("check", "p17")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("puzzles.toml cannot be read: ")
    assert reason in done.stderr and "`git restore puzzles.toml`" in done.stderr
    assert "Traceback" not in done.stderr


# Exit status


@pytest.mark.parametrize("command", [["check"], ["run"], ["figure", "-o", "attempt.png"]])
def test_nothing_filled_in_is_an_exit_status_of_its_own(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = workbook(command[0], "p17", *command[1:])
    assert done.returncode == 3
    assert done.stdout.startswith("○ p17 not attempted: The marked region of problems/p17/op.mojo is still empty.")
    assert not (tmp_path / "attempt.png").exists()


@pytest.mark.parametrize("command", [["check"], ["run"], ["figure", "-o", "attempt.png"]])
def test_what_the_lint_refuses_has_failed(puzzle, command):
    write_attempt(puzzle, NO_GRID)
    done = workbook(command[0], "p17", *command[1:])
    assert done.returncode == 1
    assert done.stdout.startswith("✗ p17 failed: ")
    assert "grid_dim" in done.stdout


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_puzzle_that_cannot_be_run_here_has_stopped(command, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None\n")
    done = elsewhere(command, "p20", PYTHONPATH=str(tmp_path))
    assert done.returncode == 4
    assert "needs PyTorch, which is not installed here" in done.stdout


@pytest.mark.parametrize("command", [["run", "p17", "--solution"], ["check", "p17", "--solution"], ["warm", "p17"]])
def test_a_software_gpu_that_cannot_be_had_is_named(command):
    done = elsewhere(*command, "--device", "softgpu", SOFTGPU_ARCH="sm_1")
    assert done.returncode == (1 if command[0] == "warm" else 4)
    assert "SOFTGPU_ARCH is sm_1" in done.stdout
    assert "Traceback" not in done.stderr


# Ctrl-C, and pipes that are closed


class watching:
    """`workbook watch p17` in a process of its own."""

    def __enter__(self):
        self.process = subprocess.Popen(
            [*COMMAND, "watch", "p17"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        return self.process, self.read_until

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()

    def read_until(self, words):
        seen = ""
        for line in self.process.stdout:
            seen += line
            if words in line:
                return seen
        raise AssertionError(seen + self.process.stderr.read())


def test_watch_checks_each_save_until_ctrl_c(puzzle):
    with watching() as (process, read_until):
        assert "○ p17 not attempted" in read_until("Waiting for you to save problems/p17/op.mojo.")
        write_attempt(puzzle, NO_GRID)
        assert "✗ p17 failed" in read_until("Waiting")
        write_attempt(puzzle, "ctx.enqueue_function[conv1d_kernl]()")
        assert "did you mean `conv1d_kernel`?" in read_until("Waiting")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == -signal.SIGINT  # 130 in a shell
        assert err == "\nInterrupted. Nothing that you typed is lost.\n"
    assert progress.of(puzzle).attempts == 2


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return file.read().split()
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_check_and_its_worker_at_once(puzzle, number):
    write_attempt(puzzle, read_region(puzzle.solution_file.read_text()).code)
    process = subprocess.Popen([*COMMAND, "check", "p17"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "gets ready" in process.stderr.readline()
    while not (workers := children(process.pid)):
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == (-signal.SIGINT if number == signal.SIGINT else 128 + number)
    assert out == ""
    assert "Traceback" not in err
    assert not any(os.path.exists(f"/proc/{worker}") for worker in workers)
    assert read_attempt(puzzle) == read_region(puzzle.solution_file.read_text()).code


@pytest.mark.parametrize("arguments", [["list"], ["hint", "p17", "--all"], ["doctor"], ["list", "--json"]])
def test_a_reader_that_goes_away_is_no_error(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode == -signal.SIGPIPE
    assert done.stderr == ""


def test_signs_that_the_output_cannot_show_are_replaced():
    done = elsewhere("check", "p17", PYTHONIOENCODING="ascii")
    assert done.returncode == 3
    assert done.stdout.startswith("? p17 not attempted")


# Help that waits to be asked


def test_hints_come_one_at_a_time(puzzle):
    hints = puzzle.hints
    for number, text in enumerate(hints, 1):
        assert workbook("hint", "p17").stdout == f"Hint {number} of {len(hints)}: {text}\n"
    done = workbook("hint", "p17")
    assert done.returncode == 0
    assert done.stdout.startswith(f"You have seen all {len(hints)} hints. `workbook hint p17 --all` shows them again")


def test_all_hints_at_once(puzzle):
    told = workbook("hint", "p17", "--all").stdout
    assert all(text in told for text in puzzle.hints)
    assert answer("hint", "p17") == {"puzzle": "p17", "count": len(puzzle.hints), "hints": []}
    assert [hint["text"] for hint in answer("hint", "p17", "--all")["hints"]] == list(puzzle.hints)


def test_all_hints_are_shown_also_where_nothing_can_be_written(puzzle):
    shutil.rmtree(rooms.STATE)
    rooms.STATE.write_text("a file where a folder should be")
    assert all(text in workbook("hint", "p17", "--all").stdout for text in puzzle.hints)


def test_without_a_terminal_the_solution_waits_for_an_attempt(puzzle):
    done = workbook("reveal", "p17")
    assert (done.returncode, done.stdout) == (3, "")
    assert "worth more after an attempt. To see it all the same: workbook reveal p17 --yes" in done.stderr
    assert workbook("reveal", "p17", "--json").stdout == ""
    solution = read_region(puzzle.solution_file.read_text()).code
    assert answer("reveal", "p17", "--yes")["solution"] == solution
    assert progress.of(puzzle).revealed is not None


@pytest.mark.parametrize(
    ("types", "shown"), [("n\n", False), ("\n", False), ("\x04", False), ("y\n", True), ("YES\n", True)]
)
def test_at_a_terminal_it_asks_first(types, shown):
    seen, status = at_a_terminal("reveal", "p17", types=types)
    assert "Show the solution all the same? [y/N]" in seen
    assert ("A solution:" in seen, status) == (shown, 0 if shown else 3)


def test_reveal_shows_the_differences(puzzle):
    solution = read_region(puzzle.solution_file.read_text()).code
    write_attempt(puzzle, solution.replace("BLOCKS_PER_GRID", "1"))
    told = workbook("reveal", "p17").stdout
    assert puzzle.explanation.strip().splitlines()[0] in told
    lines = answer("reveal", "p17")["diff"]
    assert {line[0] for line in lines} == {" ", "-", "+"}
    for line in lines:
        assert f"    {line}\n" in told


# History


def test_the_history_is_listed_shown_and_restored(puzzle):
    assert workbook("history", "p17").stdout.startswith("No version of problems/p17/op.mojo is kept yet")
    write_attempt(puzzle, NO_GRID)
    workbook("check", "p17")
    told = workbook("reset", "p17").stdout
    assert "problems/p17/op.mojo is as it was at first." in told
    assert "To bring it back: workbook history p17 --restore 2" in told

    first, second, *rest = workbook("history", "p17").stdout.splitlines()
    assert first.startswith("·  1  ")
    assert second.startswith("✗  2  ")
    assert rest[0] == ""
    versions = answer("history", "p17")["versions"]
    assert [(one["number"], one["outcome"], one["code"]) for one in versions] == [
        (1, None, puzzle.placeholder),
        (2, "failed", NO_GRID),
    ]
    assert versions[1]["headline"] in second
    assert workbook("history", "p17", "--show", "2").stdout == f"{NO_GRID}\n"
    assert answer("history", "p17", "--show", "2")["versions"] == versions[1:]

    write_attempt(puzzle, NO_GRID)
    kept = answer("reset", "p17")["kept"]
    assert read_attempt(puzzle) == puzzle.placeholder
    assert NO_GRID.splitlines()[0] in (rooms.ROOT / kept["path"]).read_text()
    assert answer("reset", "p17") == {"puzzle": "p17", "file": "problems/p17/op.mojo", "kept": None}

    told = workbook("history", "p17", "--restore", "2").stdout
    assert told.startswith("problems/p17/op.mojo is version 2 again.")
    assert read_attempt(puzzle) == NO_GRID
    assert answer("history", "p17", "--restore", "1")["restored"] == 1
    assert read_attempt(puzzle) == puzzle.placeholder
    assert any(version.code == NO_GRID for version in history(puzzle))


# Progress


def test_the_list_says_how_far_one_has_come(puzzle):
    write_attempt(puzzle, NO_GRID)
    workbook("check", "p17")
    workbook("hint", "p17")
    lines = workbook("list").stdout.splitlines()
    assert lines[3].split()[:2] == ["✗", "p17"]
    assert lines[3].endswith(f"failed                1    1/{len(puzzle.hints)}")
    assert lines[-1].startswith("Next is t1: its file is problems/t1/op.mojo")
    listed = {one["puzzle"]: one for one in answer("list")["puzzles"]}
    assert list(listed) == list(all_puzzles())
    assert {key: listed["p17"][key] for key in ("outcome", "solved", "attempts", "hints")} == {
        "outcome": "failed",
        "solved": False,
        "attempts": 1,
        "hints": 1,
    }
    assert listed["t1"]["outcome"] == "not attempted"


def test_a_file_that_is_set_aside_is_told_of_once_each_time():
    rooms.PROGRESS.write_text("[p17")
    for _time in range(2):
        assert workbook("list").stderr.count("could not be read") == 1


def test_the_columns_stand_below_each_other_in_korean_too():
    lines = elsewhere("list", WORKBOOK_LANG="ko").stdout.splitlines()[1:5]
    assert len({width(line[: line.index("0/")]) for line in lines}) == 1


# For people and for scripts


def test_a_terminal_gets_colours_unless_it_wants_none(puzzle):
    write_attempt(puzzle, NO_GRID)
    red = "\x1b[31m✗ p17 failed\x1b[0m: "
    assert red in at_a_terminal("check", "p17")[0]
    for plain in (at_a_terminal("check", "p17", NO_COLOR="1"), at_a_terminal("check", "p17", TERM="dumb")):
        assert "\x1b" not in plain[0]
    assert "\x1b" not in workbook("check", "p17").stdout


def test_the_verdict_is_the_same_for_a_script(puzzle):
    write_attempt(puzzle, NO_GRID)
    verdict = answer("check", "p17", status=1)
    lines = [f"{SYMBOLS[verdict['outcome']]} p17 failed: {verdict['headline']}", *verdict["details"]]
    assert workbook("check", "p17").stdout == "\n".join(lines) + "\n"
    assert (verdict["stage"], verdict["cases"], verdict["device"], verdict["seed"]) == ("lint", [], None, None)


def test_run_answers_scripts_with_what_it_prints(puzzle):
    write_attempt(puzzle, NO_GRID)
    printed = workbook("run", "p17").stdout
    ran = answer("run", "p17", status=1)
    assert (ran["puzzle"], ran["outcome"], ran["output"]) == ("p17", "failed", printed)


def test_numbers_that_json_does_not_have_are_texts(capsys):
    case = CaseResult(
        sizes={"size": 4},
        inputs={},
        expected=np.array([1, 2, 3, 4], np.float32),
        output=np.array([1, np.nan, np.inf, -np.inf], np.float32),
        first_wrong=1,
        changed_inputs=("input",),
        written_elsewhere=None,
        recorded=True,
        launches=1,
        places={},
        passed=(),
        view=None,
    )
    print_json(verdict_json(Verdict("p17", FAILED, "1 of 1 case differs from NumPy.", cases=(case,), seed=3)))
    (read,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["cases"]
    assert read["output"] == [1, "NaN", "Infinity", "-Infinity"]
    assert (read["first_wrong"], read["right"], read["changed_inputs"]) == (1, False, ["input"])
