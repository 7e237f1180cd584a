"""The progress file: read and written by several processes, edited by a person, killed at any moment."""

import tomllib
from datetime import UTC, datetime

import pytest
from killed import run_and_kill, run_at_once

from workbook import rooms
from workbook.learner import attempts, progress
from workbook.puzzles import all_puzzles, find_puzzle
from workbook.verdict import FAILED, NOT_ATTEMPTED, PASSED, STOPPED, Verdict


def check(puzzle, code, outcome, headline="a sentence"):
    """What happens when an attempt is checked."""
    attempts.write_attempt(puzzle, code)
    progress.record(puzzle, attempts.read_problem(puzzle), Verdict(puzzle.id, outcome, headline))


def test_at_first_nothing_has_been_done():
    assert list(progress.read()) == list(all_puzzles())
    assert set(progress.read().values()) == {progress.PuzzleProgress()}
    assert not rooms.PROGRESS.exists()


def test_attempts_count_and_what_has_passed_stays_passed(puzzle):
    before = datetime.now(UTC).replace(microsecond=0)
    check(puzzle, "one()", FAILED)
    assert (progress.of(puzzle).outcome, progress.of(puzzle).is_solved) == (FAILED, False)
    check(puzzle, "two()", PASSED)
    passed_at = progress.of(puzzle).first_passed
    assert before <= passed_at <= datetime.now(UTC)
    check(puzzle, "broken_on_purpose()", FAILED)
    found = progress.of(puzzle)
    assert (found.outcome, found.attempts, found.first_passed, found.symbol) == (FAILED, 3, passed_at, "✓")
    assert progress.of(find_puzzle("t1")) == progress.PuzzleProgress()


def test_the_same_text_again_is_no_other_attempt(puzzle):
    for _ in range(3):
        check(puzzle, "one()", FAILED)
    assert progress.of(puzzle).attempts == 1


@pytest.mark.parametrize("outcome", [NOT_ATTEMPTED, STOPPED])
def test_what_was_no_attempt_is_not_recorded(puzzle, outcome):
    check(puzzle, "one()", outcome)
    assert progress.of(puzzle) == progress.PuzzleProgress()


def test_a_person_can_read_the_file(puzzle):
    check(find_puzzle("t1"), "one()", PASSED)
    progress.hint_shown(puzzle, 2)
    text = rooms.PROGRESS.read_text()
    assert text.startswith("# ")
    assert '\n[p17]\noutcome = "not attempted"\nattempts = 0\nhints = 2\n' in text
    assert text.index("[t1]") < text.index("[p17]"), "in the order of the workbook"


def test_a_person_can_edit_the_file(puzzle):
    rooms.PROGRESS.write_text(
        'a-note.text = "kept"\n'
        "[p17]\nhints = 1\nfirst_passed = 2026-11-01T10:00:00\nstars = 5\nnotes = ['halo', {when = 1979-05-27}]\n"
        '[p99]\nattempts = 3\n["a puzzle"]\nhints = 1\n'
    )
    before = tomllib.loads(rooms.PROGRESS.read_text())
    assert progress.of(puzzle).is_solved
    progress.hint_shown(puzzle, 3)
    after = tomllib.loads(rooms.PROGRESS.read_text())
    assert after["p17"] | {"hints": 1} == {"outcome": NOT_ATTEMPTED, "attempts": 0} | before["p17"]
    assert {id: after[id] for id in ("p99", "a puzzle", "a-note")} == {
        id: before[id] for id in ("p99", "a puzzle", "a-note")
    }
    assert progress.notices() == []


BROKEN = {
    b"[p17\nattempts = 3": "Expected ']' at the end of a table declaration",
    b"[p17]\nattempts = 'many'": "`attempts` of p17 cannot be 'many'",
    b"[p17]\nattempts = true": "`attempts` of p17 cannot be True",
    b"[p17]\noutcome = 'perfect'": "`outcome` of p17 cannot be 'perfect'",
    b"[p17]\noutcome = [1]": "`outcome` of p17 cannot be [1]",
    b"[p17]\nfirst_passed = 'yesterday'": "`first_passed` of p17 cannot be 'yesterday'",
    b"attempts = 3": "`attempts` stands outside of the puzzles",
    b"\xff\xfe": "It is not a text in UTF-8",
    b"\0\0\0\0": "Invalid statement",
}


@pytest.mark.parametrize("content", BROKEN)
@pytest.mark.parametrize("first", ["read", "write"])
def test_a_broken_file_is_set_aside_and_made_anew_from_the_history(puzzle, capsys, content, first):
    check(puzzle, "one()", FAILED)
    check(puzzle, "two()", PASSED)
    before = progress.of(puzzle)
    rooms.PROGRESS.write_bytes(content)
    if first == "write":
        progress.hint_shown(puzzle, 1)
    found = progress.of(puzzle)
    assert (found.outcome, found.attempts, found.hints) == (PASSED, 2, int(first == "write"))
    assert abs((found.first_passed - before.first_passed).total_seconds()) <= 1
    aside = next(rooms.STATE.glob("progress-unreadable-*.toml"))
    assert aside.read_bytes() == content
    said = capsys.readouterr().err
    assert f".workbook/{aside.name}" in said and BROKEN[content] in said
    assert progress.notices() == [said.rstrip("\n")]
    progress.read()
    assert len(list(rooms.STATE.glob("progress-unreadable-*.toml"))) == 1
    aside.unlink()
    assert progress.notices() == []


def test_where_nothing_can_be_saved_one_is_told_and_nothing_fails(puzzle, capsys):
    check(puzzle, "one()", PASSED)
    rooms.PROGRESS.unlink()
    rooms.PROGRESS.mkdir()  # as good as a full disk
    (rooms.PROGRESS / "file").touch()
    progress.hint_shown(puzzle, 1)
    assert "Your progress could not be saved in .workbook/progress.toml: Is a directory" in capsys.readouterr().err
    assert progress.of(puzzle) == progress.PuzzleProgress()
    assert "Your progress could not be read: Is a directory" in capsys.readouterr().err


def test_a_broken_file_that_cannot_be_set_aside_is_told_and_nothing_fails(puzzle, capsys):
    check(puzzle, "one()", PASSED)
    rooms.PROGRESS.write_text("[p17")
    rooms.LOCK.unlink()
    rooms.LOCK.mkdir()  # as good as a folder that cannot be written to
    assert progress.of(puzzle) == progress.PuzzleProgress()
    assert "Your progress could not be read: Is a directory" in capsys.readouterr().err


def test_two_writers_at_once_are_both_counted(puzzle):
    def record(name, say):
        for number in range(30):
            progress.record(puzzle, f"# attempt {name} {number}\n", Verdict("p17", FAILED, "a sentence"))

    run_at_once(record)
    assert progress.of(puzzle).attempts == 60


def test_writers_that_are_killed_at_any_moment_lose_no_record(puzzle):
    """Two at a time. What was said to be recorded is there, and beside it no more than what was just being recorded."""

    def record(name, say):
        number = 0
        while True:
            number += 1
            text = f"# attempt {name} {number}\n"
            progress.record(puzzle, text, Verdict("p17", FAILED, text))
            progress.hint_shown(find_puzzle(f"t{number % 2 + 1}"), number)
            say(text.strip())
            tomllib.loads(rooms.PROGRESS.read_text())  # at any moment whole

    said = run_and_kill(record, rounds=50)
    confirmed = [line for lines in said for line in lines]
    versions = {version.headline.strip() for version in attempts.history(puzzle) if version.outcome == FAILED}
    assert set(confirmed) <= versions
    assert len(confirmed) <= progress.of(puzzle).attempts <= len(confirmed) + len(said)
    most = max(int(line.split()[-1]) for line in confirmed)
    assert max(progress.of(find_puzzle(id)).hints for id in ("t1", "t2")) >= most
    assert progress.notices() == []
