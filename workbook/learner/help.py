"""Help that waits to be asked: hints one at a time, then the solution, beside what the learner wrote."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from workbook.language import _
from workbook.learner import attempts, progress
from workbook.lint.launch import is_attempted
from workbook.puzzles import Puzzle
from workbook.region import RegionError, read_region


@dataclass(frozen=True)
class Hint:
    number: int
    """From 1."""
    count: int
    """How many the puzzle has."""
    text: str
    """In the learner's language, with code in backquotes."""


@dataclass(frozen=True)
class Line:
    """A line of a diff: `sign` is "-" in the learner's code, "+" in the solution's, " " in both."""

    sign: str
    pieces: tuple[tuple[str, bool], ...]
    """The line in pieces, each with whether it is in this code only."""

    def __str__(self) -> str:
        return f"{self.sign} {''.join(text for text, _changed in self.pieces)}".rstrip()


@dataclass(frozen=True)
class Solution:
    code: str
    explanation: str
    """In the learner's language, with code in backquotes and empty lines between paragraphs."""
    attempt: str | None
    """What the learner's region holds; None where nothing is filled in."""
    has_passed: bool
    """Whether that very code has passed its check."""
    diff: tuple[Line, ...]
    """From the learner's code to the solution; empty where there is nothing to compare."""

    @property
    def remark(self) -> str:
        """A sentence on the learner's code beside the solution; empty where there is none."""
        if self.attempt is None:
            return ""
        if not self.diff:
            return _("Your code is this very solution.")
        if self.has_passed:
            return _("Your own code passed: it is right, too. This is one way among several.")
        return _("From your code (-) to the solution (+):")


def hints_shown(puzzle: Puzzle) -> tuple[Hint, ...]:
    """The hints that the learner has asked for so far."""
    return _hints(puzzle)[: progress.of(puzzle).hints]


def next_hint(puzzle: Puzzle) -> Hint | None:
    """The next hint, which counts as shown from now on; None where all have been shown."""
    shown = len(hints_shown(puzzle))
    hints = _hints(puzzle)
    if shown == len(hints):
        return None
    progress.hint_shown(puzzle, shown + 1)
    return hints[shown]


def all_hints(puzzle: Puzzle) -> tuple[Hint, ...]:
    """All hints, which count as shown from now on."""
    progress.hint_shown(puzzle, len(puzzle.hints))
    return _hints(puzzle)


def has_attempted(puzzle: Puzzle) -> bool:
    """Whether the learner has tried: something is filled in, or was checked before."""
    return _attempt(puzzle) is not None or progress.of(puzzle).attempts > 0


def reveal(puzzle: Puzzle) -> Solution:
    """The solution, which counts as revealed from now on. Whoever calls this has asked first: see has_attempted."""
    progress.revealed(puzzle)
    code = read_region(puzzle.solution_file.read_text()).code
    attempt = _attempt(puzzle)
    return Solution(
        code=code,
        explanation=_(puzzle.explanation),
        attempt=attempt,
        has_passed=attempt is not None and _has_passed(puzzle, attempt),
        diff=() if attempt is None else diff(attempt, code),
    )


def _hints(puzzle: Puzzle) -> tuple[Hint, ...]:
    return tuple(Hint(number, len(puzzle.hints), _(text)) for number, text in enumerate(puzzle.hints, 1))


def _attempt(puzzle: Puzzle) -> str | None:
    """What the region of the learner's file holds, as far as it can be read."""
    try:
        code = attempts.read_attempt(puzzle)
    except (RegionError, OSError, UnicodeDecodeError):
        return None
    return code if is_attempted(code) else None


def _has_passed(puzzle: Puzzle, code: str) -> bool:
    versions = (version for version in reversed(attempts.history(puzzle)) if version.outcome is not None)
    return next((version.outcome == "passed" for version in versions if version.code == code), False)


# The diff

TOKEN = re.compile(r"\w+|[^\w\s,]|,(?!\s*[)\]])")
"""A comma before a closing bracket is a matter of taste."""
ALIKE = 0.6
"""From which similarity on two names are taken for one that was misspelt, and compared letter by letter."""


def diff(before: str, after: str) -> tuple[Line, ...]:
    """The lines of two codes, marked where their tokens differ; nothing if only comments and white space do."""
    before, after = _without_comments(before), _without_comments(after)
    removed, added = _differing(before, after)
    if not removed and not added:
        return ()
    old, new = list(_marked_lines(before, removed)), list(_marked_lines(after, added))
    lines: list[Line] = []
    for kind, i, i_end, j, j_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            lines += [Line(" ", pieces) for pieces in new[j:j_end]]
        else:
            lines += [Line("-", pieces) for pieces in old[i:i_end]]
            lines += [Line("+", pieces) for pieces in new[j:j_end]]
    return tuple(lines)


def _without_comments(code: str) -> str:
    """The code without lines that are nothing but a comment, as the one that the region is handed out with."""
    return "\n".join(line for line in code.splitlines() if not line.lstrip().startswith("#"))


def _differing(before: str, after: str) -> tuple[set[int], set[int]]:
    """The positions of the letters that stand in one text only, white space aside."""
    old, new = list(TOKEN.finditer(before)), list(TOKEN.finditer(after))
    matcher = SequenceMatcher(None, [one[0] for one in old], [one[0] for one in new], autojunk=False)
    removed: set[int] = set()
    added: set[int] = set()
    for kind, i, i_end, j, j_end in matcher.get_opcodes():
        if kind == "equal":
            continue
        both = (old[i:i_end], removed), (new[j:j_end], added)
        if all(len(tokens) == 1 for tokens, _marked in both):
            letters = SequenceMatcher(None, old[i][0], new[j][0])
            if letters.ratio() >= ALIKE:
                for letter_kind, k, k_end, m, m_end in letters.get_opcodes():
                    if letter_kind != "equal":
                        removed.update(range(old[i].start() + k, old[i].start() + k_end))
                        added.update(range(new[j].start() + m, new[j].start() + m_end))
                continue
        for tokens, marked in both:
            if tokens:
                marked.update(range(tokens[0].start(), tokens[-1].end()))
    return removed, added


def _marked_lines(text: str, marked: set[int]) -> Iterator[tuple[tuple[str, bool], ...]]:
    """Each line in pieces that are marked or not."""
    start = 0
    for line in text.splitlines():
        pieces: list[tuple[str, bool]] = []
        margin = len(line) - len(line.lstrip())
        for position, letter in enumerate(line, start):
            is_marked = position in marked and position >= start + margin
            if pieces and pieces[-1][1] == is_marked:
                pieces[-1] = (pieces[-1][0] + letter, is_marked)
            else:
                pieces.append((letter, is_marked))
        yield tuple(pieces)
        start += len(line) + 1
