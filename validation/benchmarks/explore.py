"""From a slider of ``dfp explore`` to its picture, in a headless Chromium: solved, sent, and painted."""

import asyncio
import tempfile
import time
from importlib.util import find_spec
from typing import Any

import numpy as np

from validation.benchmarks.verdict import Verdict

# A hand feels no delay below this [ms].
_MOST = 100.0
_MOVES = {"learning_rate": 0.01, "curvature": 0.02, "gradient_noise": 0.02, "curvature_noise": 0.02}
# Moves the slider; what changes last are the densities; two frames later it is all on the screen.
_MOVE = """new Promise(painted => {
    const found = name => Bokeh.documents[0].get_model_by_name(name), begin = performance.now();
    found("density").properties.data.change.connect(() =>
        requestAnimationFrame(() => requestAnimationFrame(() => painted(performance.now() - begin))));
    found("%s").value = %r;
})"""


def explore(*, quick: bool) -> list[Verdict]:
    """Print the table and return verdicts on the median time from a slider to its picture."""
    goal = f"dfp explore: from a slider to its picture within {_MOST:g} ms"
    missing = [Verdict(goal, "needs dfp[explore] and Chromium", None)]
    if find_spec("bokeh") is None:
        return missing
    from validation.browser import CHROMIUM

    if not CHROMIUM:
        return missing
    moves = asyncio.run(_measured(3 if quick else 20))
    print("\ndfp explore, one mode: from a slider to its picture, milliseconds; the last two in time of a processor")
    print(f"  {'slider':<18}{'median':>8}{'worst':>8}{'solved':>8}{'painted':>9}")
    for name, rows in moves.items():
        median, worst = np.median(rows, axis=0), max(row[0] for row in rows)
        print(f"  {name:<18}{median[0]:>8.0f}{worst:>8.0f}{median[1]:>8.0f}{median[2]:>9.0f}")
    whole, solved, painted = np.median([row for rows in moves.values() for row in rows], axis=0)
    busy = "dfp explore: the same in time of a processor, whatever else runs"
    return [Verdict.at_most(goal, whole, _MOST, "ms"), Verdict.at_most(busy, solved + painted, _MOST, "ms")]


async def _measured(count: int) -> dict[str, list[tuple[float, float, float]]]:
    """Return of every slider, for each move, the time to the picture, and the processor's here and in the browser."""
    from dfp.explore import live, server
    from validation.browser import Tab

    spent = [0.0]

    def document(page: Any) -> None:
        shown = live.Page(page)
        update = shown.update

        def timed() -> None:
            begin = time.thread_time()
            update()
            spent.append(1e3 * (time.thread_time() - begin))

        shown.update = timed  # type: ignore[method-assign]

    found: dict[str, list[tuple[float, float, float]]] = {}
    running = server.start(document)
    with tempfile.TemporaryDirectory() as folder:
        async with Tab(folder) as tab:
            await tab.call("Performance.enable", timeDomain="threadTicks")
            await tab.call("Page.navigate", url=running.url)
            while not await tab.evaluate("Boolean(window.Bokeh?.documents[0]?.get_model_by_name('density'))"):
                await asyncio.sleep(0.1)
            await asyncio.sleep(2.0)  # the first picture
            for name, step in _MOVES.items():
                found[name] = []
                value = await tab.evaluate(f"Bokeh.documents[0].get_model_by_name('{name}').value")
                for i in range(1, count + 1):
                    before = await _painting(tab)
                    whole = await tab.evaluate(_MOVE % (name, round(value + i * step, 6)))
                    await asyncio.sleep(0.1)
                    found[name].append((whole, spent[-1], await _painting(tab) - before))
    running.stop()
    return found


async def _painting(tab: Any) -> float:
    """Return the processor time that the page has had [ms]."""
    told = {one["name"]: one["value"] for one in (await tab.call("Performance.getMetrics"))["metrics"]}
    return 1e3 * float(told["TaskDuration"])
