"""The lint of puzzle t1: what is certainly wrong with a call of foreach is refused, and nothing that is right."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbook.lint.foreach import lint_foreach
from workbook.lint.launch import Finding
from workbook.region import read_region

ROOT = Path(__file__).parent.parent
OP = (ROOT / "problems/t1/op.mojo").read_text()
CALL = "foreach[target=target](add_one, output, ctx)"
OWN = (
    "def mine[width: Int](idx: Coord) {var input} -> SIMD[output.dtype, width]:\n    return input.load[width](idx) + 1"
)


def findings(region: str) -> list[Finding]:
    return lint_foreach(region, OP, {})


RIGHT = {
    "plain": CALL,
    "on lines": "foreach[\n    target=target,\n](\n    add_one,  # (\n    output,\n    ctx,\n)",
    "keywords": "foreach[target=target](func=add_one, tensor=output, ctx=ctx)",
    "keywords in another order": "foreach[target=target](ctx=ctx, tensor=output, func=add_one)",
    "more parameters": "foreach[simd_width=1, target=target](add_one, output, ctx)",
    "own function": f"{OWN}\nforeach[target=target](mine, output, ctx)",
    "named target": "comptime device = target\nforeach[target=device](add_one, output, ctx)",
    "device by device": (
        'comptime if target == "gpu":\n    foreach[target="gpu"](add_one, output, ctx)\n'
        "else:\n    foreach(add_one, output, ctx)"
    ),
    "twice": f"{CALL}\n{CALL}",
    "unpacked": "foreach[target=target](*everything())",
    "helper": "helper(ctx)",
}


@pytest.mark.parametrize("region", RIGHT.values(), ids=RIGHT)
def test_what_may_be_right_passes(region: str) -> None:
    assert findings(region) == []


def test_the_solution_and_all_right_variants_pass() -> None:
    assert findings(read_region((ROOT / "solutions/t1/op.mojo").read_text()).code) == []
    for file in (ROOT / "solutions/t1/right").iterdir():
        assert findings(file.read_text()) == [], file


WRONG = [
    ("missing-target", "foreach(add_one, output, ctx)", (1, 1), "for which device"),
    ("missing-target", "foreach[](add_one, output, ctx)", (1, 1), "for which device"),
    ("fixed-target", 'foreach[target="gpu"](add_one, output, ctx)', (1, 9), 'always "gpu"'),
    ("fixed-target", "comptime t = 'cpu'\nforeach[target=t](add_one, output, ctx)", (2, 9), "always 'cpu'"),
    ("unknown-parameter", "foreach[device=target](add_one, output, ctx)", (1, 9), "no parameter `device`"),
    ("target-by-position", "foreach[target](add_one, output, ctx)", (1, 9), "`foreach[target=target]`"),
    ("target-by-position", 'foreach["gpu"](add_one, output, ctx)', (1, 9), "by keyword"),
    ("target-in-parentheses", "foreach(add_one, output, ctx, target=target)", (1, 31), "square brackets"),
    ("target-in-parentheses", "foreach(add_one, output, ctx, target)", (1, 31), "square brackets"),
    ("argument-order", "foreach[target=target](output, add_one, ctx)", (1, 24), "cannot be `output`"),
    ("argument-order", "foreach[target=target](add_one, ctx, output)", (1, 33), "cannot be `ctx`"),
    ("input-passed", "foreach[target=target](add_one, input, ctx)", (1, 33), "`input` is an input"),
    ("too-few-arguments", "foreach[target=target](add_one, output)", (1, 1), "Missing is `ctx`"),
    ("too-few-arguments", "foreach[target=target](output, ctx)", (1, 1), "Missing is `add_one`"),
    ("too-few-arguments", "foreach[target=target](something())", (1, 1), "Here are fewer"),
    ("too-many-arguments", "foreach[target=target](add_one, output, ctx, 4)", (1, 46), "Here are more"),
    ("unknown-keyword", "foreach[target=target](add_one, out=output, ctx=ctx)", (1, 33), "no argument `out`"),
    ("function-called", "foreach[target=target](add_one[4](), output, ctx)", (1, 24), "the name alone"),
    ("foreach-method", "ctx.foreach[target=target](add_one, output)", (1, 1), "without `ctx.`"),
    ("foreach-not-called", "foreach[target=target]", (1, 1), "goes into parentheses"),
    ("old-mojo", "foreach[add_one, target=target](output, ctx)", (1, 9), "older Mojo"),
    ("old-mojo", "foreach[add_one[4], target=target](output, ctx)", (1, 9), "first argument"),
    ("function-called-directly", "var x = add_one[1](Coord(0, 0))", (1, 9), "`add_one` is called directly"),
    ("loop-on-the-cpu", "\nfor i in range(5):\n    output[i] = 1", (2, 1), "memory of the GPU"),
    ("no-foreach", "var x = 1", (1, 1), "`foreach` calls `add_one` for all"),
]


@pytest.mark.parametrize(("rule", "region", "place", "words"), WRONG)
def test_what_is_wrong_is_refused_once_and_at_the_right_place(rule, region, place, words) -> None:
    (finding,) = findings(region)
    assert (finding.rule, (finding.line, finding.column)) == (rule, place)
    assert words in finding.message


def test_every_rule_is_tested() -> None:
    source = (ROOT / "workbook/lint/foreach.py").read_text()
    assert set(re.findall(r'make_finding\(\s*"([a-z-]+)"', source)) == {case[0] for case in WRONG}


@pytest.mark.parametrize("region", ["", "# foreach", "pass"])
def test_an_empty_region_has_no_findings(region: str) -> None:
    assert findings(region) == []


PIECES = st.sampled_from([*CALL, *re.split(r"\b", CALL), "\n", '"', "def ", "=", "for "])


@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
def test_no_text_makes_the_lint_raise(text: str) -> None:
    findings(text)
    lint_foreach(CALL, text, {})
