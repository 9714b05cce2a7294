"""What is written on a figure, as drawn: which texts are cut by its ends, and which lie over each other."""

from itertools import combinations

# Texts touch, and ends of letters are rounded to pixels: this much is no overlap and no cut [pixel].
PIXELS = 1.0


def texts(figure):
    """Return all texts that are seen on a figure, with their places, once it is drawn."""
    figure.canvas.draw()
    found = [figure._suptitle] if figure._suptitle else []
    for axis in figure.axes:
        found += axis.texts
        if axis.axison:
            legend = axis.get_legend()
            found += [axis.title, *(legend.get_texts() if legend else [])]
            found += [text for side in (axis.xaxis, axis.yaxis) for text in _along(side)]
    return [(text.get_text(), text.get_window_extent()) for text in found if text.get_visible() and text.get_text()]


def _along(side):
    low, high = sorted(side.get_view_interval())
    ticks = [tick for tick in (*side.get_major_ticks(), *side.get_minor_ticks()) if low <= tick.get_loc() <= high]
    return [side.label, side.offsetText, *(label for tick in ticks for label in (tick.label1, tick.label2))]


def cut(figure):
    """Return the texts that go beyond the ends of a figure."""
    whole = figure.bbox.padded(PIXELS)
    return [
        text
        for text, box in texts(figure)
        if box.x0 < whole.x0 or box.y0 < whole.y0 or box.x1 > whole.x1 or box.y1 > whole.y1
    ]


def overlapping(figure):
    """Return the pairs of texts that lie over each other."""
    found = combinations(texts(figure), 2)
    return [(one, other) for (one, a), (other, b) in found if _common(a, b)]


def _common(a, b):
    across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    return min(across, up) > PIXELS
