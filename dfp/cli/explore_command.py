"""The command ``explore``: a page on this machine, with sliders or of a file."""

from pathlib import Path
from typing import Annotated

import typer

from dfp.errors import DFPError


def explore(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN.h5]", help="File written by solve, compare or demo; sliders if left out."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page; else its address is printed alone.")] = True,
) -> None:
    """Open a page that solves as its sliders move, or that shows the densities of a file step by step.

    The page is for this machine and this user alone: it listens on 127.0.0.1, its address holds a random token, and it
    loads nothing from elsewhere. Ctrl-C ends it. Needs the extra dfp[explore].

    \b
    Example:
      dfp explore
      dfp explore run.h5 --no-browser
    """
    try:
        import bokeh  # noqa: F401
    except ImportError:
        raise DFPError("explore: needs Bokeh, which is not installed; pip install 'dfp[explore]'.") from None
    from dfp.explore import live, server
    from dfp.explore import run as runs

    document = live.document if run is None else runs.document(run)

    def ready(url: str) -> None:
        print(f"listening at {url} (Ctrl-C ends it)", flush=True)
        if browser:
            import webbrowser

            webbrowser.open(url)

    server.serve(document, port, ready)
