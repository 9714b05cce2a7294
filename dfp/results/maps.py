"""Figures of a number over one parameter or two: of sweeps and phase diagrams."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp.checks import Array
from dfp.results import layout, page, schema

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Positive numbers of a wider range are shown in equal ratios.
_RANGE = 1e3
# Colour where there is no number.
_NOTHING = "#DDDDDD"


def over_parameters(axes: Mapping[str, Array], numbers: Array, name: str) -> "Figure":
    """Return a curve, or a map in colours, of the number ``name``; what is not finite is left grey, or out.

    Parameters of one value are named in the title alone.
    """
    from matplotlib.patches import Patch

    fixed = {one: values.item() for one, values in axes.items() if len(values) == 1 and len(axes) > 1}
    axes = {one: values for one, values in axes.items() if one not in fixed} or dict(list(axes.items())[:1])
    numbers = numbers.reshape([len(values) for values in axes.values()])
    figure, ((axis,),) = page.canvas(1, 1, 5.6, 4.2)
    finite = np.ma.masked_invalid(numbers)
    wide = bool(finite.count()) and finite.min() > 0 and finite.max() > _RANGE * finite.min()
    names = tuple(axes)
    axis.set_xlabel(label(names[0]))
    if len(names) == 1:
        axis.plot(axes[names[0]], finite, marker=".")
        axis.set_ylabel(label(name))
        if wide:
            axis.set_yscale("log")
    else:
        axis.set_ylabel(label(names[1]))
        axis.set_facecolor(_NOTHING)
        if finite.count():
            settings: dict[str, Any] = {"norm": "log"} if wide else {}
            edges = [_edges(values) for values in axes.values()]
            drawn = axis.pcolormesh(*edges, finite.T, rasterized=True, **settings)
            page.bar(drawn, [axis], label(name))
        if finite.count() < finite.size:
            layout.legend(axis, [Patch(facecolor=_NOTHING, label=f"no {_plain(name)} there")])
    for scale, values in zip((axis.set_xscale, axis.set_yscale), axes.values(), strict=False):
        if page.geometric(values):
            scale("log")
    if len(names) > 1:
        layout.from_zero(axis, list(axes.values()))
    told = "".join(f", at {_plain(one)} = {value:g}" for one, value in fixed.items() if one not in names)
    figure.suptitle(f"How does {_plain(name)} depend on {' and '.join(map(_plain, names))}{told}?")
    return figure


def _edges(values: Array) -> Array:
    """Return the ends of cells about values: halfway, or on a logarithmic axis at their geometric means."""
    logarithmic = page.geometric(values)
    places = np.log(values) if logarithmic else np.asarray(values, dtype=np.float64)
    if len(places) == 1:
        return np.array([places[0] - 0.5, places[0] + 0.5])
    middle = (places[1:] + places[:-1]) / 2
    found = np.concatenate([[2 * places[0] - middle[0]], middle, [2 * places[-1] - middle[-1]]])
    return np.exp(found) if logarithmic else found


def label(name: str) -> str:
    """Return the label of a number: its name, where it is a user's own."""
    return schema.label(name) if name in schema.PHASE_VARIABLES else name


def _plain(name: str) -> str:
    return label(name).partition(" [")[0]
