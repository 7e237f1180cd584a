"""The place of a cell's output where a result will stand, and the bar and the button that stand there until then."""

from pathlib import Path
from threading import Event
from typing import Any

import anywidget
import traitlets
from IPython.display import HTML, DisplayHandle, display

from workbook.language import _
from workbook.running.durations import Estimate

FOLDER = Path(__file__).parent


class Cancelled(Exception):
    """The learner pressed the button."""


class Interrupted(Exception):
    """Ends the cell, and with it a Run All, without a traceback: what there is to say has been shown."""

    def _render_traceback_(self) -> list[str]:
        return [_("If this was Run All, it stops here.")]


class Waiting(anywidget.AnyWidget):
    """Shows how far an attempt is. Call it with each stage that a worker reports, and while it lasts: it raises
    Cancelled once the button was pressed.

    JupyterLab sends what is pressed to a thread of its own in the kernel (a subshell), so that the button works while
    the cell runs. Other front ends may not: there, the browser's side points to their own button.
    """

    _esm = FOLDER / "waiting.js"
    _css = FOLDER / "waiting.css"
    fraction = traitlets.Float(0.0).tag(sync=True)
    words = traitlets.Unicode().tag(sync=True)
    elapsed = traitlets.Unicode().tag(sync=True)
    overdue = traitlets.Bool(False).tag(sync=True)
    strings = traitlets.Dict().tag(sync=True)

    def __init__(self, estimate: Estimate, foreseen: str = ""):
        """`foreseen` is what can already be said of the result."""
        self.estimate = estimate
        self._cancelled = Event()
        self._shown: tuple[str, int] | None = None
        super().__init__(
            strings={
                "attempt": _("Progress of the attempt"),
                "foreseen": foreseen,
                "cancel": _("Cancel"),
                "cancelling": _("Cancelling …"),
                "advice": _("If it goes on: interrupt the kernel, with the button ■ above the notebook."),
            }
        )
        self._show()
        self.on_msg(self._answer)

    def __call__(self, stage: str) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        self.estimate.hear(stage)
        self._show()

    def _show(self) -> None:
        """Tell the browser, once a second and when a stage begins."""
        seconds = self.estimate.elapsed()
        if self._shown == (self.estimate.step.stage, seconds):
            return
        self._shown = (self.estimate.step.stage, seconds)
        with self.hold_sync():
            self.fraction = self.estimate.fraction()
            self.words = self.estimate.words()
            self.elapsed = _("{seconds} s").format(seconds=seconds)
            self.overdue = self.estimate.is_overdue()
        # ipykernel hands what the browser sends to the loop that sent last on the same comm: that is this one, which
        # the cell keeps busy. Without a last one it goes to the subshell that JupyterLab asks for.
        getattr(self.comm, "__dict__", {}).pop("_reply_subshell_id", None)

    def _answer(self, widget: object, content: dict, buffers: object) -> None:
        if content.get("cancel"):
            self._cancelled.set()


class Place:
    """A part of a cell's output whose content can be exchanged, also when the cell has long been done."""

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None
        self._content: Any = None

    def show(self, html: str) -> None:
        self._put(HTML(html))

    def wait(self, estimate: Estimate, foreseen: str = "") -> Waiting:
        """Show a bar. What is shown next takes its place."""
        waiting = Waiting(estimate, foreseen)
        self._put(waiting)
        return waiting

    def done(self, waiting: Waiting) -> None:
        """Take the bar away: what was shown since then stays, or nothing."""
        if self._content is waiting:
            self._put(HTML(""))
        waiting.close()

    def _put(self, content: Any) -> None:
        self._content = content
        if self._handle is None:
            self._handle = display(content, display_id=True)
        else:
            self._handle.update(content)
