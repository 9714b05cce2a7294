"""Run the validation cases: ``python -m validation [--quick | --full] [--only NAME] [--out DIR] [--fresh]``."""

import time
import traceback
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from validation import records, report
from validation.case import Case, Result, Verdict, cases

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent / "README.md"


@app.command()
def main(
    quick: Annotated[bool, typer.Option("--quick/--full", help="Minutes, or large samples and grids.")] = True,
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Run this case; repeatable.")] = None,
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for all files.", show_default="validation/results"),
    ] = RESULTS,
    fresh: Annotated[bool, typer.Option(help="Run again what an earlier run has finished.")] = False,
    evidence: Annotated[bool, typer.Option(help="Renew the evidence and README that are kept with the code.")] = False,
    verbose: Annotated[bool, typer.Option(help="Print every verdict, not only failures.")] = False,
) -> None:
    """Gather the evidence: a verdict on every promise, an HTML report and an HDF5 file of the numbers.

    A finished case is kept until its code, the library's or the mode changes. The exit status is 1 if a verdict fails.
    """
    known = cases()
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        typer.echo(f"error: --only {unknown[0]}: no such case; choose from {', '.join(known)}.", err=True)
        raise typer.Exit(2)
    finished = []
    with tqdm(only or list(known), unit="case") as bar:
        for name in bar:
            bar.set_description(name)
            finished.append(_finish(known[name], quick, out, fresh))
            tqdm.write(_summary(finished[-1], verbose))
    report.write_html(finished, out / "report.html")
    records.write_numbers(finished, out / "validation.h5")
    typer.echo(f"Wrote {out / 'report.html'} and {out / 'validation.h5'}")
    if evidence:
        records.write_evidence(finished)
        README.write_text(report.with_claims(README.read_text(encoding="utf-8"), known.values()), encoding="utf-8")
    failed = [record.case.name for record in finished if not record.ok]
    if failed:
        typer.echo(f"FAILED: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def _finish(case: Case, quick: bool, out: Path, fresh: bool) -> records.Record:
    """Return the kept record of a case, or run it; what crashes has failed and is not kept."""
    mark = records.digest(case, quick)
    kept = None if fresh else records.restore(case, out, mark)
    if kept is not None:
        return kept
    began = time.perf_counter()
    try:
        result = case.run(quick)
    except Exception as error:
        reason, mark = f"{type(error).__name__}: {error}", ""
        crash = Verdict("the case itself", "run", "ends without an error", "yes", reason, passed=False)
        result = Result([crash], notes=traceback.format_exc().splitlines())
    return records.store(case, result, out, mark=mark, quick=quick, seconds=time.perf_counter() - began)


def _summary(record: records.Record, verbose: bool) -> str:
    if record.content["skipped"]:
        return f"{record.case.name}: skipped: {record.content['skipped']}"
    verdicts = record.verdicts
    good = sum(verdict.as_expected for verdict in verdicts)
    line = f"{record.case.name}: {good} of {len(verdicts)} as they must be, {record.content['seconds']:g} s"
    listed = [verdict for verdict in verdicts if verbose or not verdict.as_expected]
    return line + ("\n" + report.text_table(listed) if listed else "")


if __name__ == "__main__":
    app(prog_name="python -m validation")
