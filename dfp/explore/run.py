"""The page of a file: its densities, step by step, beside the moments of all steps."""

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, Div, LinearColorMapper, Slider

from dfp.errors import DFPError
from dfp.explore.live import panel
from dfp.problem.parameters import symbol, told
from dfp.results.figures import COLOURS
from dfp.results.files import load_any
from dfp.results.solution import Solution


def document(path: Path) -> Callable[[Any], None]:
    """Return what fills a Bokeh document with the solutions in a file, read once, here.

    Raises
    ------
    DFPError
        If the file holds no solution.
    """
    found: Any = load_any(path)
    solutions = {found.equation: found} if isinstance(found, Solution) else found
    if not isinstance(solutions, Mapping) or not all(isinstance(one, Solution) for one in solutions.values()):
        raise DFPError(f"{path}: explore shows what solve, compare and demo write; use dfp plot for other results.")
    shared = sorted(set.intersection(*(set(solution.steps.tolist()) for solution in solutions.values())))
    if not shared:
        raise DFPError(f"{path}: its solutions share no saved step; save common ones.")

    def fill(page: Any) -> None:
        _Page(page, path.name, dict(solutions), shared)

    return fill


class _Page:
    """A slider over the steps that all solutions share, and figures that follow it."""

    def __init__(self, page: Any, name: str, solutions: dict[str, Solution], steps: list[int]) -> None:
        self.solutions, self.steps = solutions, steps
        self.sources: dict[str, ColumnDataSource] = {}
        self.words = Div(name="words", sizing_mode="stretch_width")
        last = max(len(steps) - 1, 1)
        self.slider = Slider(start=0, end=last, step=1, value=len(steps) - 1, name="step", show_value=False,
                             disabled=len(steps) == 1, sizing_mode="stretch_width")  # fmt: skip
        self.slider.on_change("value", lambda _attribute, _old, _new: self.update())
        panels = [*self._densities(), self._variances()]
        for drawn in panels:
            drawn.frame_align = False  # or a legend below one makes all of them as flat
        board = row(*panels, styles={"flex-wrap": "wrap"}, sizing_mode="stretch_width")
        self.update()
        heading = Div(text=f"<h3>{escape(name)}</h3>")
        narrower = {"max-width": "calc(100% - 24px)"}  # or the margins of what it holds would make it scroll
        page.add_root(column(heading, self.slider, self.words, board, sizing_mode="stretch_width", styles=narrower))
        page.title = f"dfp explore {name}"

    def update(self) -> None:
        """Show the step that the slider points to."""
        step = self.steps[min(int(self.slider.value), len(self.steps) - 1)]
        self.slider.title = f"saved step {step}"
        lines = []
        for name, solution in self.solutions.items():
            frame = int(np.flatnonzero(solution.steps == step)[0])
            if name in self.sources and solution.density is not None:
                values = solution.density[frame]
                source = self.sources[name]
                if solution.grid is not None and solution.grid.dimension == 1:
                    source.data = {
                        "x": solution.grid.axes[0],
                        "y": values,
                        "positive": np.where(values > 0, values, np.nan),
                    }
                else:
                    source.data = {"image": [values.T / values.max()]}
            mean, spread = solution.mean[frame], np.sqrt(np.diag(solution.covariance[frame]))
            lines.append(f"<li>{escape(name)}: mean {mean.round(4)}, deviation {spread.round(4)}</li>")
            lines += [f"<li>! {escape(warning)}</li>" for warning in solution.certificate.warnings]
        self.words.text = f"<p><b>step {step}</b></p><ul>{''.join(lines)}</ul>"

    def _densities(self) -> list[Any]:
        lines = {n: s for n, s in self.solutions.items() if s.density is not None and s.grid and s.grid.dimension == 1}
        planes = {n: s for n, s in self.solutions.items() if s.density is not None and s.grid and s.grid.dimension == 2}
        drawn = []
        if lines:
            (only,) = next(iter(lines.values())).parameters
            theta, density = f"{symbol(only) if told([only]) else 'θ'} [parameter]", "density [1 / parameter]"
            plain = panel("How are the parameters distributed?", theta, density)
            tails = panel("How heavy are the tails?", theta, density, y_axis_type="log", x_range=plain.x_range)
            for name, colour, dash in zip(lines, _colours(len(lines)), _dashes(len(lines)), strict=True):
                self.sources[name] = source = ColumnDataSource(name=name)
                style = {"source": source, "color": colour, "line_width": 2, "line_dash": dash}
                plain.line("x", "y", legend_label=name, **style)
                tails.line("x", "positive", **style)
            _legend_below(plain)
            drawn += [plain, tails]
        for name, solution in planes.items():
            assert solution.grid is not None
            (left, right), (bottom, top) = zip(solution.grid.lower, solution.grid.upper, strict=True)
            self.sources[name] = source = ColumnDataSource(name=name)
            across, up = (f"{symbol(one)} [parameter]" for one in solution.parameters)
            plane = panel(f"{name}: density / its maximum", across, up, x_range=(left, right), y_range=(bottom, top))
            colours = LinearColorMapper(palette="Viridis256", low=0, high=1)
            plane.image(
                "image", source=source, x=left, y=bottom, dw=right - left, dh=top - bottom, color_mapper=colours
            )
            drawn.append(plane)
        return drawn

    def _variances(self) -> Any:
        drawn = panel("How fast do they spread?", "step", "variance [parameter²]")
        for (name, solution), colour in zip(self.solutions.items(), _colours(len(self.solutions)), strict=True):
            for i, parameter in enumerate(solution.parameters[:3]):
                dash = ("solid", "dashed", "dotted")[i]
                drawn.line(solution.steps, solution.covariance[:, i, i], color=colour, line_dash=dash, line_width=2,
                           legend_label=f"{name}, {symbol(parameter)}")  # fmt: skip
        _legend_below(drawn)
        return drawn


def _legend_below(drawn: Any) -> None:
    """Move a legend off the curves, in two columns that fit on a telephone."""
    (legend,) = drawn.legend
    legend.ncols, legend.label_text_font_size, legend.padding, legend.margin = 2, "10px", 2, 2
    drawn.height += 20 * -(-len(legend.items) // legend.ncols)
    drawn.add_layout(legend, "below")


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _dashes(count: int) -> list[str]:
    """Return one for each, another where colours begin again."""
    return [("solid", "dashed", "dotted")[i // len(COLOURS) % 3] for i in range(count)]
