"""What the notebook of puzzle 20 has beyond other puzzles: things to try out, each in a process of its own."""

import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from IPython.display import HTML, display

from workbook import rooms
from workbook.language import _, ngettext
from workbook.notebook.puzzle import NotebookPuzzle
from workbook.notebook.rendering import folded_html, message_html, source_html
from workbook.puzzles import Puzzle
from workbook.pytorch import calls
from workbook.pytorch.experiments import LATER_CALLS, Demonstrator, Gradients, Integration, Outcome
from workbook.region import replace_region
from workbook.running.devices import default_device
from workbook.running.execution import Progress
from workbook.running.worker import Worker, WorkerLost
from workbook.verdict import FAILED, PASSED, STOPPED


class TorchPuzzle(NotebookPuzzle):
    """Each method is meant to be a cell of its own."""

    def __init__(self, puzzle: Puzzle):
        super().__init__(puzzle)
        if calls.missing():
            self._say(calls.missing(), STOPPED)

    def comparison(self) -> None:
        """The two ways of calling the op, side by side, from a run of each."""
        self._demonstrate(_comparison_html, "comparison", self._checked_text)

    def what_if(self, name: str) -> None:
        """Run one of the calls in solutions/p20/ as it stands, without the examination that a check makes."""
        file = _find_call(self.puzzle, name)
        if file is None:
            names = ", ".join(sorted(file.stem for file in (rooms.SOLUTIONS / self.puzzle.id).glob("*/*.py")))
            self._say(_("There is no call of the name `{name}`. There are: {names}.").format(name=name, names=names))
            return
        code = file.read_text()
        text = replace_region(self.puzzle.solution_file.read_text(), code)
        source = source_html(code, str(file.relative_to(rooms.ROOT)))
        self._demonstrate(lambda outcome: source + _outcome_html(outcome), "what_if", text)

    def gradients(self) -> None:
        """The gradients that autograd.py gives the op, beside those of PyTorch's own convolution."""
        file = self.puzzle.problem_file.with_name("autograd.py")
        title = str(file.relative_to(rooms.ROOT))
        display(HTML(folded_html(title, source_html(file.read_text()))))
        self._demonstrate(_gradients_html, "gradients", self._checked_text)

    def _demonstrate(self, render: Callable, question: str, text: str) -> None:
        """Ask a new worker, which is ended afterwards, and show its answer; or, if it died, how."""
        if self.verdict is None or not self.verdict.passed:
            self._say(_("This builds on your own call: it is shown once that has passed its check."))
            return

        def run(progress: Progress) -> str:
            worker = Worker(default_device(), executor=Demonstrator)
            try:
                return render(worker.ask((question, (text,)), progress))
            except WorkerLost as error:
                title = _("The process did not survive it. That was a process of its own, and nothing of yours.")
                return message_html(title, FAILED) + _folded_text(_("What is known of its end"), str(error))
            finally:
                worker.close()

        self._show_what_comes_of(run)


def _find_call(puzzle: Puzzle, name: str) -> Path | None:
    return next((rooms.SOLUTIONS / puzzle.id).glob(f"*/{name}.py"), None)


def _outcome_html(outcome: Outcome) -> str:
    if outcome.said:
        text = _("It failed after {seconds:.2f} s: {reason}")
        text = text.format(seconds=outcome.first, reason=_point(outcome.said))
        return message_html(text, FAILED) + _folded_text(_("Everything the tools said"), outcome.raw)
    right = (
        outcome.result is not None
        and outcome.result.shape == outcome.expected.shape
        and np.allclose(outcome.result, outcome.expected, rtol=1e-5, atol=1e-5)
    )
    sentences = [
        _("Nothing complained, and the result is right.")
        if right
        else _("Nothing complained. But the result is not what NumPy says."),
        _("It gave back: {what}.").format(what=f"`{outcome.gave}`"),
    ]
    if outcome.launches is not None:
        text = ngettext("{number} kernel was launched.", "{number} kernels were launched.", outcome.launches)
        sentences.append(text.format(number=outcome.launches))
    if outcome.later is not None:
        text = _("The first call took {first:.2f} s, a later one {later:.1f} ms.")
        sentences.append(text.format(first=outcome.first, later=outcome.later * 1000))
    rows = [[_("NumPy"), *_numbers(outcome.expected)]]
    if outcome.result is not None:
        rows.insert(0, [_("it gave"), *_numbers(outcome.result)])
    return message_html(" ".join(sentences), PASSED if right else FAILED) + _table([], rows)


def _point(said: str) -> str:
    """What the driver said, where it was the driver; else the first line."""
    by_driver = re.search(r"CUDA call failed: (.+)", said)
    return by_driver[1] if by_driver else said.strip().partition("\n")[0]


def _gradients_html(found: Gradients) -> str:
    rows = []
    agree = True
    for name, reference in found.with_pytorch.items():
        for title, gradient in (
            (_("op"), found.with_op[name]),
            (_("compiled"), found.compiled[name]),
            ("PyTorch", reference),
        ):
            rows.append([f"<code>{name}</code>", escape(title), *_numbers(gradient)])
            agree = agree and np.allclose(gradient, reference, rtol=1e-4, atol=1e-4)
    sentences = [
        _("The gradients with the op are those of `torch.nn.functional.conv1d`.")
        if agree
        else _("The gradients with the op are not those of `torch.nn.functional.conv1d`."),
        _("`torch.autograd.gradcheck` agrees with finite differences.")
        if not found.gradcheck
        else _("`torch.autograd.gradcheck` disagrees: {reason}").format(reason=found.gradcheck.partition("\n")[0]),
    ]
    if found.launches is not None:
        text = ngettext(
            "Forward and backward launched the kernel {number} time.",
            "Forward and backward launched the kernel {number} times.",
            found.launches,
        )
        sentences.append(text.format(number=found.launches))
    right = agree and not found.gradcheck
    return message_html(" ".join(sentences), PASSED if right else FAILED) + _table([], rows)


def _comparison_html(both: tuple[Integration, Integration]) -> str:
    pytorch, graph = both

    def row(title: str, describe: Callable[[Integration], str]) -> list[str]:
        return [escape(title), *map(describe, both)]

    address = _("{bytes} bytes at {address} on {device}")

    def output(one: Integration) -> str:
        place, device = one.output
        return address.format(bytes=one.result.nbytes, address=f"<code>{place:#x}</code>", device=escape(device))

    def memory(one: Integration) -> str:
        if one.launch is None:
            return escape(_("not recorded on this device"))
        sizes = [nbytes for nbytes, _written in one.launch.buffers.values()]
        text = ngettext("{bytes} bytes in {number} buffer", "{bytes} bytes in {number} buffers", len(sizes))
        return text.format(bytes=sum(sizes), number=len(sizes))

    def launch(one: Integration) -> str:
        if one.launch is None:
            return escape(_("not recorded on this device"))
        text = _("{kernel}: {blocks} blocks of {threads} threads")
        kernel = _code(one.launch.kernel)
        return text.format(kernel=kernel, blocks=one.launch.grid, threads=one.launch.block)

    rows = [
        [escape(_("Allocation")), escape(_("your code, before the call:")), escape(_("MAX, during the call:"))],
        row("", output),
        [escape(_("Call")), _code("conv1d(output, input, kernel)"), _code("model.execute(input, kernel)")],
        row(_("It gives back"), lambda one: _code(one.gave)),
        row(_("Parameters"), lambda one: _code(", ".join(f"{k}={v}" for k, v in one.parameters.items()))),
        row(_("Device of the tensors"), lambda one: _code(one.tensors)),
        row(_("Device of the op"), lambda one: _code(one.op_on)),
        row(_("Memory of the device at the launch"), memory),
        row(_("Launch"), launch),
        row(_("First call"), lambda one: f"{one.first:.2f} s"),
        row(_("A later call (median of {count})").format(count=LATER_CALLS), lambda one: f"{one.later * 1000:.2f} ms"),
    ]
    same = np.array_equal(pytorch.result, graph.result)
    text = _("Both give the same result.") if same else _("The two results differ.")
    return message_html(text, PASSED if same else FAILED) + _table(["", "PyTorch", "MAX Graph"], rows)


def _numbers(array: np.ndarray) -> list[str]:
    return [f"{value:.3g}" for value in array.reshape(-1)[:30].tolist()]


def _code(text: str) -> str:
    return f'<code style="overflow-wrap: anywhere">{escape(text)}</code>'


def _folded_text(title: str, text: str) -> str:
    return folded_html(title, f'<pre style="white-space: pre-wrap">{escape(text)}</pre>')


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML."""
    cell = "padding: 2px 6px; text-align: left; vertical-align: top; background: none"
    lines = [("th", headings)] if headings else []
    lines += [("td", row) for row in rows]
    body = "".join(
        '<tr style="background: none">' + "".join(f'<{tag} style="{cell}">{text}</{tag}>' for text in line) + "</tr>"
        for tag, line in lines
    )
    return f'<div style="overflow-x: auto"><table style="margin: 4px 0">{body}</table></div>'
