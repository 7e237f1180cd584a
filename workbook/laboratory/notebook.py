"""The experiments in a notebook: each method of `Laboratory` is meant to be a cell of its own."""

import difflib
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
from IPython.display import HTML, display

from workbook.diagnosis.messages import explain
from workbook.laboratory import experiments
from workbook.laboratory.experiments import (
    LEFT,
    MATRIX,
    RIGHT,
    SIGNS,
    STAGES,
    USUAL_STAGES,
    Attempt,
    Experimenter,
    Package,
    Place,
    Run,
    Silent,
)
from workbook.laboratory.mistakes import MISTAKES, Mistake, changed_text
from workbook.language import N_, _, ngettext
from workbook.notebook import waiting
from workbook.notebook.rendering import CODE, folded_html, message_html, source_html, text_html
from workbook.notebook.waiting import Cancelled, Interrupted
from workbook.running.devices import SOFTGPU_RUNS_HERE
from workbook.running.durations import SAID, Estimate
from workbook.running.worker import Worker, WorkerLost
from workbook.verdict import FAILED, NOT_ATTEMPTED, STOPPED, quote_line

FOUND = {
    "precompile": N_("Found by Mojo, when it compiled the package."),
    "build": N_("Found by MAX, while Python built the graph: nothing had been compiled for a device yet."),
    "compile": N_("Found by MAX, when it compiled the graph for its device."),
    "run": N_("Found only when the op ran."),
    "": N_("Found by nobody."),
}
"""Where a mistake comes to light."""

TIMES = {
    "precompile": N_("Mojo compiles the package"),
    "build": N_("Python builds the graph, and MAX verifies the op's signature"),
    "compile": N_("MAX compiles graph, op and kernel for both devices"),
    "first run": N_("the first run"),
    "run": N_("a later run"),
}


class EstimateOfExperiment(Estimate):
    """How far an experiment has come. What it has compiled before, it does not compile again."""

    said = SAID | {
        "precompile": N_("Mojo compiles the package"),
        "build": N_("Python builds the graph"),
        "compile": N_("MAX compiles the graph"),
        "run": N_("The op runs"),
    }


class Laboratory:
    """Answers the cells of the notebook. The experiments run in a worker, on the software GPU."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def source(self, file: str) -> HTML:
        """A file of experiments/."""
        return HTML(source_html(experiments.source(file), f"experiments/{file}"))

    def package(self) -> None:
        """What `mojo precompile` makes, and what MAX finds in it."""
        self._show(_package_html, "package")

    def both_devices(self) -> None:
        """One source, two devices."""
        self._show(_both_html, "both_devices")

    def data_flow(self) -> None:
        """What happened to the op's buffers, in its order."""
        self._show(_flow_html, "both_devices")

    def memory(self) -> None:
        """What an output holds that a kernel has not written."""
        self._show(_memory_html, "silent")

    def views(self) -> None:
        """A matrix through views that are right and wrong."""
        self._show(_views_html, "silent")

    def stale_package(self) -> None:
        """A package that takes the place of another."""
        self._show(_stale_html, "stale_package")

    def mistake(self, name: str) -> None:
        """Make a mistake, and see what one is told."""
        mistake = MISTAKES[name]
        display(HTML(_change_html(mistake)))
        self._show(lambda attempt: _mistake_html(mistake, attempt), "mistake", name)

    def _show(self, render: Callable[[Any], str], question: str, *arguments: str) -> None:
        """Ask the worker, showing progress where its answer will stand."""
        if not SOFTGPU_RUNS_HERE:
            display(HTML(message_html(_("The experiments run on the software GPU, which needs Linux on x86-64."))))
            return
        if self._worker is None:
            self._worker = Worker("softgpu", executor=Experimenter)
        place = waiting.Place()
        name = " ".join(["experiment", question, *arguments])
        bar = place.wait(EstimateOfExperiment(name, ["softgpu"], stages=STAGES.get(question, USUAL_STAGES)))
        try:
            answer = self._worker.ask((question, arguments), bar)
            bar.estimate.remember()
            place.show(render(answer))
        except WorkerLost as error:
            place.show(message_html(str(error), FAILED))
        except (KeyboardInterrupt, Cancelled):
            text = _("You interrupted the experiment. A new worker is starting; run the cell again when you like.")
            place.show(message_html(text, STOPPED))
            raise Interrupted from None
        finally:
            place.done(bar)


def _package_html(package: Package) -> str:
    numbers = _("`mojo precompile` took {seconds:.1f} s and wrote {kilobytes:.0f} kB. The file begins with {bytes}.")
    text = numbers.format(
        seconds=package.seconds, kilobytes=package.nbytes / 1000, bytes=f"`{package.first_bytes.decode()}`"
    )
    rows = [
        [f"<code>{name}</code>", _code(", ".join(tensors[:outputs])), _code(", ".join(tensors[outputs:]))]
        for name, (tensors, outputs, declaration) in package.ops.items()
    ]
    table = _table([_("name"), _("outputs"), _("inputs")], rows)
    declarations = "\n\n".join(declaration for _tensors, _count, declaration in package.ops.values())
    others = _("MAX itself has {count} ops, which a graph can ask for as well.").format(count=package.ops_of_max)
    return (
        message_html(text)
        + table
        + text_html(others)
        + folded_html(_("MAX's own account of these ops"), _pre(declarations))
    )


def _both_html(run: Run) -> str:
    outputs = _table(
        ["", *map(str, range(len(LEFT)))],
        [
            [_("NumPy"), *_numbers(LEFT - RIGHT)],
            [_("CPU"), *_numbers(run.on_cpu)],
            [_("GPU"), *_numbers(run.on_gpu)],
        ],
    )
    times = _table(
        ["", _("seconds")],
        [[escape(_(TIMES[stage])), f"{seconds:.3f}"] for stage, seconds in run.seconds.items()],
    )
    text = _(
        "On the GPU the op launched the kernel {kernel}: {blocks} blocks of {threads} threads. "
        "On the CPU it launched nothing."
    )
    launched = text.format(kernel=f"`{run.launch.kernel}`", blocks=run.launch.grid, threads=run.launch.block)
    return outputs + text_html(launched) + times


def _flow_html(run: Run) -> str:
    """Each row of the table is something that was observed: addresses, what was written when the kernel began."""
    rows: list[list[str]] = []

    def row(where: str, what: str) -> None:
        rows.append([str(len(rows) + 1), _code(where), text_html(what)])

    for name in ("left", "right"):
        text = _("The array `{name}` is copied to the device: {bytes} bytes at address {address}.")
        row("Buffer.to(device)", _described(text, name, run.places[name]))
    launch = run.launch
    text = _(
        "MAX allocates the output: {bytes} bytes at address {address}. "
        "{written} of them have been written when the kernel begins."
    )
    nbytes, written = run.on_gpu.nbytes, launch.written[: run.on_gpu.nbytes].sum()
    row("model.execute", text.format(bytes=nbytes, address=f"`{launch.output:#x}`", written=written))
    text = _("`execute` launches `{kernel}`: {blocks} blocks of {threads} threads, which write the output.")
    row("execute", text.format(kernel=launch.kernel, blocks=launch.grid, threads=launch.block))
    row("Buffer.to(CPU())", _("The result is copied back: {values}.").format(values=" ".join(_numbers(run.on_gpu))))
    return _table(["", _("called"), _("what happened")], rows)


def _memory_html(silent: Silent) -> str:
    rows = [[_("input"), *_numbers(SIGNS), ""]]
    for name, launch in silent.launches.items():
        nbytes = silent.outputs[name].nbytes
        text = _("{written} of {bytes} bytes were written before the launch")
        text = text.format(written=launch.written[:nbytes].sum(), bytes=nbytes)
        rows.append([_code(f"zero_first={name == 'zero_first'}"), *_numbers(silent.outputs[name]), escape(text)])
    return _table(["", *map(str, range(len(SIGNS))), ""], rows)


VIEWS = {
    "right": ("row_major[2, 3], float32", N_("As MAX stores it: one row after the other.")),
    "other_order": ("col_major[2, 3], float32", N_("The same bytes, one column after the other.")),
    "swapped_sizes": ("row_major[3, 2], float32", N_("Rows and columns exchanged.")),
    "other_dtype": ("row_major[2, 3], int32", N_("The bits of a `float32`, read as an integer.")),
}


def _views_html(silent: Silent) -> str:
    rows = [[_pre(_matrix(MATRIX)), _("NumPy"), ""]]
    rows += [
        [_pre(_matrix(silent.outputs[name])), _code(view), text_html(_(meaning))]
        for name, (view, meaning) in VIEWS.items()
    ]
    return _table([_("elements"), _("view"), ""], rows)


def _stale_html(said: tuple[str, str]) -> str:
    at_old_place, at_new_place = said
    text = (
        _("At the same path MAX still goes by the old op: {reason} In a new place the new one is accepted.")
        if at_old_place and not at_new_place
        else _("MAX took the new package as it is.")
    )
    shown = message_html(text.format(reason=explain(at_old_place)), FAILED if at_old_place else NOT_ATTEMPTED)
    return shown + _all_that_was_said(at_old_place)


def _change_html(mistake: Mistake) -> str:
    """The lines that make the mistake, and those they take the place of."""
    right = experiments.source(mistake.file).splitlines()
    wrong = changed_text(mistake, mistake.file).splitlines()
    lines = [line for line in difflib.unified_diff(right, wrong, n=0, lineterm="") if line[:3] not in ("---", "+++")]
    styles = {"+": "font-weight: bold", "-": "opacity: 0.6; text-decoration: line-through"}
    shown = "\n".join(
        f'{line[1 : -len(line[1:].lstrip())]}<span style="{styles[line[0]]}">{escape(line[1:].lstrip())}</span>'
        for line in lines
        if line[0] in styles and line[1:].strip()
    )
    title = f'<div style="color: var(--jp-ui-font-color2, #666)">experiments/{mistake.file}</div>'
    return f'{title}<pre style="{CODE}; line-height: 1.45; overflow-x: auto">{shown}</pre>'


def _mistake_html(mistake: Mistake, attempt: Attempt) -> str:
    where = _(FOUND[attempt.stage])
    if attempt.output is not None:
        comparison = _table(
            ["", *map(str, range(len(LEFT)))],
            [[_("NumPy"), *_numbers(LEFT - RIGHT)], [_("the op"), *_numbers(attempt.output)]],
        )
        return message_html(f"{_(mistake.silent)} {where}", STOPPED) + comparison
    if attempt.diagnostics:
        said = "\n\n".join(
            f"{one.file}:{one.line}:{one.column}: error: {one.message}\n{one.source}" for one in attempt.diagnostics
        )
        first = attempt.diagnostics[0]
        quote = _pre(quote_line(first.line, first.source, first.column))
    else:
        said, quote = attempt.text, ""
    return message_html(f"{explain(attempt.reason or said)} {where}", FAILED) + quote + _all_that_was_said(said)


def _all_that_was_said(text: str) -> str:
    count = len(text.splitlines())
    title = ngettext("Everything the tool said ({count} line)", "Everything the tool said ({count} lines)", count)
    return folded_html(title.format(count=count), _pre(text)) if text else ""


def _described(text: str, name: str, place: Place) -> str:
    return text.format(name=name, bytes=place.nbytes, address=f"`{place.address:#x}`")


def _numbers(array: np.ndarray) -> list[str]:
    return [f"{value:.4g}" for value in array.tolist()]


def _matrix(array: np.ndarray) -> str:
    return "\n".join(" ".join(f"{number:>10}" for number in _numbers(row)) for row in array)


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _pre(text: str) -> str:
    return f'<pre style="{CODE}; white-space: pre-wrap; background: none; margin: 4px 0">{escape(text)}</pre>'


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Headings are text, cells HTML."""
    cell = "padding: 2px 10px; text-align: left; vertical-align: top; background: none"
    head = "".join(f'<th style="{cell}">{escape(heading)}</th>' for heading in headings)
    body = "".join(
        '<tr style="background: none">' + "".join(f'<td style="{cell}">{text}</td>' for text in row) + "</tr>"
        for row in rows
    )
    return f'<table style="margin: 4px 0"><tr style="background: none">{head}</tr>{body}</table>'


_laboratory: Laboratory | None = None


def open_laboratory() -> Laboratory:
    """The laboratory of this notebook."""
    global _laboratory
    if _laboratory is None:
        _laboratory = Laboratory()
    return _laboratory
