"""Colours of figures: a few that stay apart for every reader, and a ramp for what has an order."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp.results import layout, page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that stay apart for colour-blind readers (Okabe and Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# A ramp of one direction in lightness, seen in grey and by colour-blind readers, as far as it stands out from white.
_RAMP, _LIGHTEST = "plasma", 0.85
# Value of a ground, in 0 … 1, below which it is dark.
_DARK = 0.4
# Lines of text by which labels of a bar of colours are apart.
_APART = 1.6
# Share of the height of axes that titles leave.
_KEPT = 0.7


def colours(count: int) -> list[Any]:
    """Return so many different colours: those of names, or a ramp where there are more."""
    return list(COLOURS[:count]) if count <= len(COLOURS) else ramp(count)


def ramp(count: int) -> list[Any]:
    """Return so many colours in an order, which stand out from the ground of the style."""
    from matplotlib import colormaps, rcParams
    from matplotlib.colors import rgb_to_hsv, to_rgb

    dark = rgb_to_hsv(to_rgb(rcParams["axes.facecolor"]))[2] < _DARK
    low, high = (2 * (1 - _LIGHTEST), 1.0) if dark else (0.0, _LIGHTEST)
    return [colormaps[_RAMP](place) for place in np.linspace(low, high, count)]


def key(
    axes: Sequence["Axes"], lines: Sequence[Any], labels: Sequence[str], quantity: str, others: Sequence[Any] = ()
) -> None:
    """Say what lines in the colours of ``ramp`` are: in a legend, or with a bar of colours where there are many.

    Parameters
    ----------
    axes
        Those that show them; the legend is above the first, the bar beside all.
    lines
        Of the first axes, of one colour each, in their order.
    labels
        What each stands for, as short as can be.
    quantity
        What the labels are, with its unit.
    others
        What the legend has to explain as well.
    """
    many = len(lines) > len(COLOURS)
    layout.legend(axes[0], [*([] if many else lines), *others])
    if not many:
        return
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    count = len(lines)
    edges, tones = np.arange(count + 1) - 0.5, ListedColormap([line.get_color() for line in lines])
    bar = page.bar(ScalarMappable(BoundaryNorm(edges, count), tones), axes, quantity, below=False)
    height = _KEPT * layout.room(axes[0])[1]
    fitting = max(int(height / (_APART * bar.ax.yaxis.label.get_fontsize())), 2)
    named = np.unique(np.linspace(0, count - 1, min(fitting, count)).astype(int))
    bar.set_ticks(named, labels=[labels[i] for i in named])
