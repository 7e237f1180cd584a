"""What the notebook shows, as HTML."""

import re
from dataclasses import replace

import numpy as np

from workbook.notebook.rendering import source_html, verdict_html
from workbook.verdict import FAILED, NOT_ATTEMPTED, PASSED, STOPPED, CaseResult, Verdict, quote_line


def failed_case():
    expected = np.arange(12, dtype=np.float32)
    output = expected.copy()
    output[11] = np.nan
    return CaseResult(
        sizes={"input_size": 12},
        inputs={"input": expected},
        expected=expected,
        output=output,
        first_wrong=11,
        changed_inputs=(),
        written_elsewhere=None,
        recorded=False,
        launches=0,
        places={},
        passed=(),
        view=None,
    )


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_a_failed_verdict_shows_the_numbers_beside_numpys_and_marks_the_wrong_ones():
    verdict = Verdict("p17", FAILED, "1 of 1 cases differs.", cases=(failed_case(),))
    html = verdict_html(verdict)
    assert "✗ 1 of 12 elements differ" in text_of(html)
    assert re.findall(r"font-weight: bold; outline[^>]*>([^<]*)<", html) == ["nan"]
    assert "index 10 11 your op 10 nan NumPy 10 11" in text_of(html)


def test_what_a_learner_or_a_tool_wrote_cannot_become_html():
    verdict = Verdict("p17", FAILED, "`<b>`", details=("line 1:  a<b>\n         ^",), raw="<script>")
    html = verdict_html(verdict)
    assert "<script>" not in html and "<b>" not in html
    assert "line 1:  a&lt;b&gt;\n         ^" in html


CONTRAST = """node => {
    const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    context.fillStyle = getComputedStyle(node).color;
    context.fillRect(0, 0, 1, 1);
    const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const [red, green, blue] = [...context.getImageData(0, 0, 1, 1).data].map((part) => linear(part / 255));
    return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05);  // on white
}"""


def test_the_title_of_every_verdict_stands_out_from_its_ground(page):
    for outcome in (PASSED, FAILED, NOT_ATTEMPTED, STOPPED):
        page.set_content(verdict_html(Verdict("p17", outcome, "")))  # the colours of JupyterLab's light theme
        assert page.locator(".workbook-verdict div").first.evaluate(CONTRAST) >= 4.5, outcome


def test_mojos_newer_keywords_are_highlighted():
    html = source_html("comptime TPB = 15")
    assert re.search(r'<span class="k">comptime</span>', html)


def test_a_matrix_is_shown_row_by_row_with_both_indices():
    expected = np.arange(24, dtype=np.float32).reshape(2, 12)
    output = expected.copy()
    output[1, 11] = 7
    case = replace(failed_case(), expected=expected, output=output, first_wrong=23)
    shown = text_of(verdict_html(Verdict("t1", FAILED, "1 of 1 cases differs.", cases=(case,))))
    assert "✗ 1 of 24 elements differ" in shown
    assert "index 0, 10 0, 11 your op 10 11 NumPy 10 11" in shown
    assert "index 1, 10 1, 11 your op 22 7 NumPy 22 23" in shown


def test_of_many_rows_those_with_wrong_elements_are_shown():
    expected = np.zeros((100, 10), np.float32)
    output = expected.copy()
    output[70, 3] = 1
    case = replace(failed_case(), expected=expected, output=output, first_wrong=703)
    shown = text_of(verdict_html(Verdict("t1", FAILED, "1 of 1 cases differs.", cases=(case,))))
    assert "index 70, 0 70, 1" in shown
    assert "10 of 1000 elements are shown." in shown


def test_the_caret_of_a_long_line_stands_where_one_sees_it():
    code = "x = " + "a + " * 40 + "b"
    quoted, caret = quote_line(3, code, len(code)).splitlines()
    assert quoted.startswith("line 3:  … ") and quoted.endswith("a + b")
    assert len(caret) == len(quoted) < 80
    assert quoted[caret.index("^")] == "b"
