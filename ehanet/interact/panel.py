"""The one widget of the walkthroughs: controls above a picture that follows them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape

import ipywidgets as widgets

from ehanet.interact.canvas import Picture

WRAPPED = widgets.Layout(flex_flow="row wrap", align_items="center")


class Panel(widgets.VBox):
    """Controls above a picture that is drawn anew whenever one of them changes.

    Where no kernel runs (GitHub, HTML) the notebook keeps the picture as it was drawn first. What ``draw`` refuses with a ``ValueError`` or an
    ``OSError`` stands in one line below the controls; the last good picture stays.

    Args:
        draw: called with the value of every control by name; returns the picture.
        controls: name -> widget with a ``value``.
    """

    def __init__(self, draw: Callable[..., Picture], controls: dict[str, widgets.Widget]):
        self.draw, self.controls = draw, controls
        self.picture, self.message = widgets.Image(format="png", layout=widgets.Layout(max_width="100%", object_fit="contain")), widgets.HTML()
        super().__init__([widgets.HBox(list(controls.values()), layout=WRAPPED), self.message, self.picture])
        for control in controls.values():
            control.style.description_width = "initial"
            control.observe(lambda change: self.refresh(), names="value")
        self.refresh()

    def refresh(self) -> None:
        """Draw with the controls as they stand."""
        try:
            self.picture.value = self.draw(**{name: control.value for name, control in self.controls.items()}).png()
            self.message.value = ""
        except (ValueError, OSError) as error:
            self.message.value = f"<b>{escape(' '.join(str(error).split()), quote=False)}</b>"

    def __repr__(self) -> str:
        return f"Panel({', '.join(self.controls)})"

    def _repr_mimebundle_(self, **kwargs) -> dict:
        return {**super()._repr_mimebundle_(**kwargs), "image/png": base64.b64encode(self.picture.value).decode(), "text/plain": repr(self)}


def slider(label: str, value: float, low: float, high: float, step: float = 0.05) -> widgets.FloatSlider | widgets.IntSlider:
    """A slider for a whole number where value and step are whole, else for a decimal one."""
    kind = widgets.IntSlider if isinstance(value, int) and isinstance(step, int) else widgets.FloatSlider
    return kind(value=value, min=low, max=high, step=step, description=label)


def choice(label: str, options: list | dict, value=None) -> widgets.Dropdown:
    """A list to choose one from; the first, unless ``value`` says another."""
    items = list(options.items()) if isinstance(options, dict) else [(str(option), option) for option in options]
    return widgets.Dropdown(options=items, value=items[0][1] if value is None else value, description=label)
