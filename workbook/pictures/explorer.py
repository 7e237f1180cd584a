"""A view for the notebook: choose a case and a block, and see its picture."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping

import ipywidgets as widgets

from workbook.language import _
from workbook.pictures.figure import figure
from workbook.pictures.launch_view import LaunchView, Provenance, describe

PIXELS_PER_INCH = 96  # of the page; the picture has twice as many, for sharp text on every screen

ALL_BLOCKS = -1  # as a choice; a dropdown shows nothing for None


def explorer(views: Mapping[str, LaunchView]) -> widgets.Widget:
    """The launches of the cases that were run, by the names of the cases, drawn from what their threads did.

    It opens with the case that has most to tell: the first with a wrong output, else the first with a halo, else the
    first vector that takes several blocks.
    """
    if not views:
        text = _("No launch has been recorded yet.")
        return widgets.HTML(f"<p>{text}</p>")
    case = widgets.Dropdown(
        options=list(views), value=telling(views), description=_("Case"), layout=widgets.Layout(width="auto")
    )
    block = widgets.Dropdown(
        options=_blocks(views[case.value]), description=_("Block"), layout=widgets.Layout(width="auto")
    )
    picture = widgets.HTML()

    def offer_blocks(change: object) -> None:
        block.unobserve(draw, names="value")  # new options select the first of them: not to be drawn twice
        block.options = _blocks(views[case.value])
        block.observe(draw, names="value")
        draw()

    def draw(change: object = None) -> None:
        picture.value = picture_html(views[case.value], None if block.value == ALL_BLOCKS else block.value)

    case.observe(offer_blocks, names="value")
    block.observe(draw, names="value")
    draw()
    return widgets.VBox([widgets.HBox([case, block]), picture])


def _blocks(view: LaunchView) -> list[tuple[str, int]]:
    return [(_("all blocks"), ALL_BLOCKS), *((view.block_name(one.index), one.number) for one in view.blocks)]


def telling(views: Mapping[str, LaunchView]) -> str:
    """The name of the launch that has most to tell."""

    def wrong(view: LaunchView) -> bool:
        return not all(output.ok for output in view.outputs)

    def halo(view: LaunchView) -> bool:
        return any(array.count(Provenance.HALO) for block in view.blocks for array in block.shared)

    def several_blocks(view: LaunchView) -> bool:
        return len(view.shape) == 1 and len(view.blocks) > 1

    found = (name for says in (wrong, halo, several_blocks) for name, view in views.items() if says(view))
    return next(found, next(iter(views)))


def picture_html(view: LaunchView, block: int | None = None) -> str:
    """An <img> of the figure that carries its data and its description."""
    drawn = figure(view, block)
    png = io.BytesIO()
    drawn.savefig(png, format="png", dpi=2 * PIXELS_PER_INCH)
    data = base64.b64encode(png.getvalue()).decode()
    width = round(drawn.get_size_inches()[0] * PIXELS_PER_INCH)
    alt = html.escape(describe(view), quote=True)
    return f'<img src="data:image/png;base64,{data}" alt="{alt}" style="width: {width}px; max-width: 100%">'
