"""What the notebook shows as HTML: verdicts, source code, short messages. Colours are JupyterLab's own, so that they
suit its light and its dark theme; each has a fallback for pages that have left Jupyter."""

from html import escape

import numpy as np

from workbook.highlighting import highlighted
from workbook.language import N_, _, ngettext
from workbook.verdict import FAILED, NOT_ATTEMPTED, PASSED, STOPPED, CaseResult, CodeLine, Quote, Verdict, further_title

COLOURS = {
    PASSED: "var(--jp-success-color1, #388e3c)",
    FAILED: "var(--jp-error-color1, #d32f2f)",
    NOT_ATTEMPTED: "var(--jp-info-color1, #1976d2)",
    STOPPED: "var(--jp-warn-color1, #f57c00)",
}

INKS = {
    outcome: f"color-mix(in srgb, {colour} 65%, var(--jp-content-font-color1, #000))"
    for outcome, colour in COLOURS.items()
}
"""The same for text, for which JupyterLab's own are too pale in its light theme."""

CODE = "font-family: var(--jp-code-font-family, monospace); font-size: var(--jp-code-font-size, 13px)"

TOKEN_COLOURS = {
    "k": "var(--jp-mirror-editor-keyword-color, #008000); font-weight: bold",
    "s": "var(--jp-mirror-editor-string-color, #ba2121)",
    "c": "var(--jp-mirror-editor-comment-color, #408080); font-style: italic",
    "m": "var(--jp-mirror-editor-number-color, #080)",
    "nf": "var(--jp-mirror-editor-def-color, #00f)",
    "nc": "var(--jp-mirror-editor-def-color, #00f)",
    "nd": "var(--jp-mirror-editor-meta-color, #a2f)",
    "o": "var(--jp-mirror-editor-operator-color, #a2f)",
}
ELEMENTS_IN_A_ROW = 10
MAX_ROWS = 40
TIMES = {
    "precompile": N_("precompiled in {seconds:.1f} s"),
    "graph": N_("graph built in {seconds:.1f} s"),
    "run": N_("run in {seconds:.1f} s"),
    "open": N_("library opened in {seconds:.1f} s"),
    "call": N_("called in {seconds:.1f} s"),
}


def message_html(text: str, kind: str = NOT_ATTEMPTED) -> str:
    """A short message with a coloured edge."""
    return _box(COLOURS[kind], f"<div>{_sentence(text)}</div>")


def source_html(text: str, title: str = "") -> str:
    """Mojo source, highlighted."""
    heading = f'<div style="color: var(--jp-ui-font-color2, #666)">{escape(title)}</div>' if title else ""
    return (
        f"{heading}{_token_style()}"
        f'<pre class="workbook-source" style="{CODE}; line-height: 1.45; overflow-x: auto; padding: 8px 12px; '
        "background: var(--jp-cell-editor-background, #f5f5f5); "
        f'border: 1px solid var(--jp-cell-editor-border-color, #e0e0e0)">{highlighted(text)}</pre>'
    )


def folded_html(title: str, body: str) -> str:
    """Something that is shown when one clicks on its title."""
    return _box(
        COLOURS[NOT_ATTEMPTED], f'<details><summary style="cursor: pointer">{escape(title)}</summary>{body}</details>'
    )


def text_html(text: str) -> str:
    """Paragraphs, with `code` set as code."""
    paragraphs = text.strip().split("\n\n")
    return "".join(f'<p style="margin: 4px 0; max-width: 80em">{_sentence(paragraph)}</p>' for paragraph in paragraphs)


def verdict_html(verdict: Verdict, cell_line: int | None = None) -> str:
    """The verdict, what is wrong, and the op's numbers beside NumPy's. `cell_line` is the line in which the code begins
    in the cell that the learner looks at; without it lines are those of the file."""

    def shown(detail: str) -> str:
        return _detail(detail.in_cell(cell_line) if cell_line and isinstance(detail, CodeLine) else detail)

    parts = [
        f'<div style="font-weight: bold; color: {INKS[verdict.outcome]}">{escape(verdict.title)}</div>',
        f'<div style="margin: 4px 0">{_sentence(verdict.headline)}</div>',
    ]
    parts += [shown(detail) for detail in verdict.details]
    if verdict.more:
        errors = "".join(shown(part) for error in verdict.more for part in error)
        title = further_title(verdict)
        parts.append(f'<details><summary style="cursor: pointer">{escape(title)}</summary>{errors}</details>')
    parts += [_detail(_("Note: {remark}").format(remark=remark)) for remark in verdict.remarks]
    telling = verdict.first_wrong_case or next(iter(verdict.cases), None)
    parts += [_comparison(case, case is telling) for case in verdict.cases if case.output is not None]
    if verdict.cases:
        parts.append(_small(f"{verdict.origin} {_times(verdict)}"))
    if verdict.known_since is not None:
        call = f"p.check(seed={(verdict.seed or 0) + 1})"
        parts.append(_small(_("To run it again, with other data: {call}").format(call=call)))
    if verdict.raw:
        title = _("Everything the tools said")
        parts.append(
            f'<details><summary style="cursor: pointer">{title}</summary>'
            f'<pre style="{CODE}; white-space: pre-wrap">{escape(verdict.raw)}</pre></details>'
        )
    return _box(COLOURS[verdict.outcome], "".join(parts))


def _comparison(case: CaseResult, unfolded: bool) -> str:
    """What the op gave beside what NumPy gives."""
    assert case.output is not None
    wrong = ~np.isclose(case.output, case.expected, rtol=1e-5, atol=1e-5)
    verdict = (
        _("✓ all elements match NumPy")
        if case.right
        else _("✗ all elements match NumPy, by chance")
        if case.right_by_chance
        else ngettext(
            "✗ {number} of {count} element differs", "✗ {number} of {count} elements differ", wrong.size
        ).format(number=wrong.sum(), count=wrong.size)
    )
    pieces = _pieces(case, wrong)
    rows = [_comparison_rows(case, wrong, piece) for piece in pieces]
    shown = sum(map(len, pieces))
    if shown < wrong.size:
        text = _("{shown} of {count} elements are shown.").format(shown=shown, count=wrong.size)
        rows.append(f'<tr style="background: none"><td colspan="{ELEMENTS_IN_A_ROW + 1}">{text}</td></tr>')
    return (
        f'<details {"open" if unfolded else ""} style="margin: 2px 0"><summary style="cursor: pointer">'
        f"{escape(case.name)}: {verdict}</summary>"
        f'<table style="{CODE}; border-collapse: collapse; margin: 4px 0">{"".join(rows)}</table></details>'
    )


def _pieces(case: CaseResult, wrong: np.ndarray) -> list[range]:
    """The elements, by their indices in the flattened output, in pieces of a row. Of many, those with wrong ones."""
    columns = max(case.expected.shape[-1], 1)
    pieces = [
        range(row + start, row + min(start + ELEMENTS_IN_A_ROW, columns))
        for row in range(0, wrong.size, columns)
        for start in range(0, columns, ELEMENTS_IN_A_ROW)
    ]
    if len(pieces) > MAX_ROWS and wrong.any():
        pieces = [piece for piece in pieces if wrong.flat[piece.start : piece.stop].any()]
    return pieces[:MAX_ROWS]


def _comparison_rows(case: CaseResult, wrong: np.ndarray, indices: range) -> str:
    """Three rows of a table: indices, the op's numbers, NumPy's."""
    assert case.output is not None
    cell = "padding: 0 6px; text-align: right; white-space: nowrap; background: none"
    mark = f"; color: {INKS[FAILED]}; font-weight: bold; outline: 1px solid {COLOURS[FAILED]}"

    def row(name: str, cells: list[str], styles: list[str], style: str = "") -> str:
        columns = "".join(f'<td style="{cell}{one}">{text}</td>' for text, one in zip(cells, styles, strict=True))
        return f'<tr style="background: none{style}"><th style="{cell}; text-align: left">{name}</th>{columns}</tr>'

    plain = [""] * len(indices)
    output, expected = case.output.flat, case.expected.flat
    return (
        row(_("index"), [case.element(i) for i in indices], plain, "; color: var(--jp-ui-font-color2, #666)")
        + row(_("your op"), [_number(output[i]) for i in indices], [mark if wrong.flat[i] else "" for i in indices])
        + row(_("NumPy"), [_number(expected[i]) for i in indices], plain, "; border-bottom: 8px solid transparent")
    )


def _detail(text: str) -> str:
    """A sentence; or a quote, as it stands."""
    if isinstance(text, Quote) or "\n" in text:
        return f'<pre style="{CODE}; margin: 4px 0; overflow-x: auto; white-space: pre">{escape(text)}</pre>'
    return f'<div style="margin: 4px 0">{_sentence(text)}</div>'


def _sentence(text: str) -> str:
    """Text with `code` set as code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))


def _times(verdict: Verdict) -> str:
    times = ", ".join(_(TIMES[stage]).format(seconds=seconds) for stage, seconds in verdict.seconds.items())
    return _("Times: {times}.").format(times=times)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _small(text: str) -> str:
    return f'<div style="margin-top: 4px; color: var(--jp-ui-font-color2, #666); font-size: 90%">{escape(text)}</div>'


def _box(colour: str, body: str) -> str:
    return (
        f'<div class="workbook-verdict" style="border-left: 4px solid {colour}; padding: 4px 12px; margin: 4px 0; '
        f'line-height: 1.5; color: var(--jp-content-font-color1, #000)">{body}</div>'
    )


def _token_style() -> str:
    rules = "".join(f".workbook-source [class^={name}] {{ color: {style} }}" for name, style in TOKEN_COLOURS.items())
    return f"<style>{rules}</style>"
