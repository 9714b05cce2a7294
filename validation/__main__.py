"""Run the validation cases: ``python -m validation [--only NAME] [--out DIR]``."""

import time
from pathlib import Path
from typing import Annotated

import typer

from validation.case import cases, table, write

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
RESULTS = Path(__file__).parent / "results"


@app.command()
def main(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for figures and evidence.", show_default="validation/results")
    ] = RESULTS,
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Run this case; repeatable.")] = None,
) -> None:
    """Gather the evidence: print a verdict on every promise, write figures and numbers; exit 1 if a verdict fails."""
    known = cases()
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        typer.echo(f"error: --only {unknown[0]}: no such case; choose from {', '.join(known)}.", err=True)
        raise typer.Exit(2)
    failed = []
    for name in only or known:
        case, began = known[name], time.perf_counter()
        result = case.run()
        files = write(case, result, out)
        typer.echo(f"{name}: {case.question}\n\n{table(result)}\n")
        for note in result.notes:
            typer.echo(note)
        count, good = len(result.verdicts), sum(verdict.as_expected for verdict in result.verdicts)
        typer.echo(f"\n{good} of {count} verdicts as they must be, in {time.perf_counter() - began:.1f} s")
        typer.echo(f"Wrote {', '.join(map(str, files))}\n")
        failed += [] if result.ok else [name]
    if failed:
        typer.echo(f"FAILED: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="python -m validation")
