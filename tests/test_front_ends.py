"""The browser's side of the widgets, each with a model that stands in for JupyterLab's."""

import pytest
from launches import conv1d

from workbook.notebook import panels, waiting
from workbook.stepper import widget
from workbook.stepper.data import launch_data

STEPPER = {"data": {"strings": widget.strings(), "selected": 0, "launches": [launch_data(conv1d())]}, "sources": []}
PANEL = {"html": "<button data-ask='hint'>Show a hint</button>", "late": ""}
WAITING = {"strings": {"cancel": "Cancel", "attempt": "Progress"}, "fraction": 0, "words": "", "elapsed": "0 s"}

LISTENERS = """async ([code, state]) => {
    const place = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    const { render } = (await import(place)).default;
    let heard = [];
    const model = {
        get: (name) => state[name],
        on: (event, act) => heard.push([event, act]),
        off: (event, act) => { heard = heard.filter(([one, other]) => one !== event || other !== act); },
    };
    const root = document.createElement("div");
    document.body.append(root);
    const end = render({ model, el: root });
    const before = heard.length;
    end();
    return [before, heard.length];
}"""


@pytest.mark.parametrize(
    "file, state",
    [
        (widget.FOLDER / "stepper.js", STEPPER),
        (panels.FOLDER / "panel.js", PANEL),
        (waiting.FOLDER / "waiting.js", WAITING),
    ],
    ids=["stepper", "panel", "waiting"],
)
def test_a_view_that_is_gone_listens_no_more(page, file, state):
    before, after = page.evaluate(LISTENERS, [file.read_text(), state])
    assert before > 0
    assert after == 0
