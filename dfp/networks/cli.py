"""The commands ``dfp networks run vision``, ``dfp networks run language`` and ``dfp networks run FILE.toml``."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from dfp.errors import DFPError

app = typer.Typer(
    help="Real networks: predict how SGD moves them, and run it beside (extra networks).", no_args_is_help=True
)


@app.callback()
def _networks() -> None:
    pass


@app.command()
def run(
    experiment: Annotated[str, typer.Argument(metavar="vision|language|FILE.toml", help="What to run.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for report.html, HDF5 files and figures.")] = Path(
        "networks"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="A smaller form of vision or language: minutes.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads of PyTorch; small networks are fastest on one.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Train a network to a plateau, measure it, predict how SGD moves it, run SGD, and say what holds.

    Interrupted, it goes on where it ended when called again with the same folder.

    \b
    Example:
      dfp networks run vision --quick --out vision
    """
    if out.exists() and not out.is_dir():
        raise DFPError(f"--out={out}: is not a folder; give the name of a folder.")
    try:
        import torch
    except ImportError:
        raise DFPError("PyTorch is not installed: networks need it; run pip install 'dfp[networks]'.") from None
    from dfp.networks import experiment as experiments
    from dfp.networks import settings

    torch.set_num_threads(threads)
    if experiment in ("vision", "language"):
        wanted = settings.named(experiment, quick)
    elif quick:
        raise DFPError("--quick: is for vision and language; make the numbers of your file smaller instead.")
    else:
        wanted = [settings.load(Path(experiment))]
    with ExitStack() as bars:
        outcomes = [experiments.run(one, out, print, _bars(bars, quiet)) for one in wanted]
    page = experiments.write(outcomes, out)
    print(f"written to {page}")


def _bars(stack: ExitStack, quiet: bool) -> Callable[[str], Callable[[int, int], None] | None]:
    """Return a function that gives a progress bar on stderr, or nothing if that is no terminal or ``quiet``."""

    def bar(label: str) -> Callable[[int, int], None] | None:
        if quiet or not sys.stderr.isatty():
            return None
        from tqdm import tqdm

        shown = stack.enter_context(tqdm(desc=label, file=sys.stderr, leave=False, unit="run-step", unit_scale=True))

        def update(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        return update

    return bar
