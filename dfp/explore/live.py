"""The page with sliders: one mode of SGD, solved anew whenever a slider moves."""

from html import escape
from typing import Any

import numpy as np
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, Div, LinearColorMapper, Slider
from bokeh.plotting import figure
from scipy.ndimage import distance_transform_edt

from dfp.explore import picture as pictures
from dfp.explore.picture import EQUATIONS, MAP, REGIMES, Knobs, Picture
from dfp.results.figures import COLOURS

# Name, label with unit, first and last value, step.
SLIDERS = (
    ("curvature", "curvature λ [loss / parameter²]", -0.5, 2.0, 0.01),
    ("curvature_noise", "curvature noise Γ [loss² / parameter⁴]", 0.0, 4.0, 0.02),
    ("gradient_noise", "gradient noise D [loss² / parameter²]", 0.02, 2.0, 0.02),
    ("learning_rate", "learning rate η [parameter² / loss]", 0.005, 1.95, 0.005),
    ("batch_size", "batch size B", 1, 64, 1),
    ("momentum", "momentum β", 0.0, 0.95, 0.05),
)
_STYLES = dict(zip(EQUATIONS, (("black", "solid"), (COLOURS[0], "dashed"), (COLOURS[1], "solid")), strict=True))
# Of the regimes, in their order.
_PALE = ("#c6dbef", "#fdd0a2", "#ffffb3", "#dadaeb", "#d9d9d9", "#f7f7f7", "#f7f7f7")
_HEIGHT = 300


def panel(title: str, x: str, y: str, **options: Any) -> Any:
    """Return an empty figure of the page, as wide as there is room."""
    drawn = figure(
        title=title, x_axis_label=x, y_axis_label=y, height=_HEIGHT, min_width=300, sizing_mode="stretch_width",
        styles={"flex": "1 1 40%"}, toolbar_location="above", tools="pan,wheel_zoom,reset,save", **options,
    )  # fmt: skip
    drawn.toolbar.logo = None
    return drawn


def shown(source: Any, **columns: Any) -> None:
    """Give a source its columns if any has changed: a figure is painted for every change that is sent."""
    before = source.data
    if set(before) != set(columns) or not all(
        np.array_equal(before[name], values, equal_nan=True) for name, values in columns.items()
    ):
        source.data = columns


class Page:
    """The models of one browser's page, and what moves them."""

    def __init__(self, document: Any) -> None:
        self.document, self.waiting = document, False
        self.plain: list[Any] = []
        first = Knobs()
        self.sliders = {
            name: Slider(title=label, start=start, end=end, step=step, value=getattr(first, name), name=name,
                         sizing_mode="stretch_width")
            for name, label, start, end, step in SLIDERS
        }  # fmt: skip
        self.words = Div(name="words", sizing_mode="stretch_width")
        self.density, self.variance, self.dot, self.edge = (ColumnDataSource(name=name) for name in (
            "density", "variance", "dot", "edge"))  # fmt: skip
        self.update()
        for slider in self.sliders.values():
            slider.on_change("value", self.moved)
        self.lay_out()

    def moved(self, _attribute: str, _old: float, _new: float) -> None:
        """Solve once the events that have arrived are all known: a fast hand does not queue work."""
        if not self.waiting:
            self.waiting = True
            self.document.add_next_tick_callback(self.update)

    def update(self) -> None:
        """Show what the sliders say."""
        self.waiting = False
        values = {name: float(slider.value) for name, slider in self.sliders.items()}
        knobs = Knobs(**(values | {"batch_size": round(values["batch_size"])}))  # type: ignore[arg-type]
        seen = pictures.picture(knobs)
        x, y = pictures.boundary(knobs.momentum)
        shown(self.edge, x=x, y=y)
        shown(self.dot, x=np.array([seen.dot[0]]), y=np.array([seen.dot[1]]))
        shown(self.variance, x=seen.steps, **seen.variances)
        self.words.text = said(knobs, seen)
        # Colours and names are those of plain SGD; with momentum the line alone is exact.
        for drawn in self.plain:
            drawn.visible = knobs.momentum == 0
        shown(self.density, x=seen.theta, **seen.densities)

    def lay_out(self) -> None:
        """Put sliders, words and the four figures in rows that break where the window is narrow."""
        theta, density = "θ [parameter]", "density [1 / parameter]"
        plain = panel("Where does SGD settle?", theta, density)
        tails = panel("How heavy are its tails?", theta, density, y_axis_type="log", x_range=plain.x_range)
        steps = panel("How fast does it spread, from θ = 0?", "step", "variance [parameter²]",
                      x_axis_type="log", y_axis_type="log")  # fmt: skip
        for name, (colour, dash) in _STYLES.items():
            for drawn, source in ((plain, self.density), (tails, self.density), (steps, self.variance)):
                legend = {"legend_label": name} if drawn is steps else {}
                drawn.line("x", name, source=source, color=colour, line_dash=dash, line_width=2, **legend)
        steps.legend.location = "bottom_right"
        for drawn in (steps, regimes := self.regimes()):
            drawn.legend.label_text_font_size = "8pt"
            drawn.legend.background_fill_alpha = 0.6
        words = column(
            *self.sliders.values(), self.words, width=300, styles={"flex": "1 1 300px", "max-width": "420px"}
        )
        board = row(
            plain, tails, steps, regimes, styles={"flex": "3 1 620px", "flex-wrap": "wrap"}, sizing_mode="stretch_width"
        )
        self.document.add_root(row(words, board, styles={"flex-wrap": "wrap"}, sizing_mode="stretch_width"))
        self.document.title = "dfp explore"

    def regimes(self) -> Any:
        """Return the map of regimes with a dot where the mode is."""
        (left, right), (bottom, top), _ = MAP
        drawn = panel("Which regime is this?", "ηλ [1]", "η²Γ/B [1]", x_range=(left, right), y_range=(bottom, top))
        codes = pictures.regimes()
        colours = LinearColorMapper(palette=_PALE, low=-0.5, high=len(REGIMES) - 0.5)
        self.plain.append(
            drawn.image([codes], x=left, y=bottom, dw=right - left, dh=top - bottom, color_mapper=colours)
        )
        for code in np.unique(codes):
            # A name where there is most room for it; of lines without room none.
            room = distance_transform_edt(np.pad(codes == code, 1))[1:-1, 1:-1]
            if room.max() > 3:
                down, along = np.unravel_index(room.argmax(), room.shape)
                x = left + (right - left) * (along + 0.5) / codes.shape[1]
                y = bottom + (top - bottom) * (down + 0.5) / codes.shape[0]
                named = drawn.text([x], [y], [REGIMES[code]], text_align="center", text_font_size="9pt")
                self.plain.append(named)
        drawn.line("x", "y", source=self.edge, color="black", legend_label="finite variance ends, at this β")
        drawn.scatter("x", "y", source=self.dot, size=12, color="crimson", line_color="white", name="place")
        return drawn


def said(knobs: Knobs, seen: Picture) -> str:
    """Return the regime and every note as HTML."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in seen.notes)
    langevin = "" if knobs.momentum == 0 else " Langevin is that of η/(1−β)."
    (left, right), (_, top), _ = MAP
    beyond = "" if left <= seen.dot[0] <= right and seen.dot[1] <= top else " Its place is beyond the map."
    return f"<p><b>This mode is {escape(seen.regime)}.</b>{langevin}{beyond}</p><ul>{notes}</ul>"


def document(page: Any) -> None:
    """Fill a Bokeh document with the page."""
    Page(page)
