"""The command line: ``demo``, ``solve``, ``compare``, ``modes``, ``sweep``, ``plot``, ``explore``, long times.

Libraries are imported inside the commands, so that help appears at once. Wrong input ends in one message on stderr
and exit code 2, before anything is written. Results of an unstable SGD (ηλ > 2) are written, and end with exit code 1.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from dfp.cli import long_time_commands, terminal
from dfp.cli.explore_command import explore
from dfp.cli.options import (
    FIGURES,
    File,
    Force,
    Output,
    Quiet,
    Resume,
    Style,
    Table,
    Which,
    Width,
    check_look,
    check_output,
    check_table,
    check_words,
    chosen,
    keep,
    parameters,
    shown,
    tabulate,
    write_table,
)
from dfp.cli.wording import in_a_file, logged_in_words
from dfp.errors import DFPError
from dfp.networks import cli as networks

if TYPE_CHECKING:
    from dfp.config.config import Config, Problem, Task
    from dfp.results.solution import Solution
    from dfp.solving.checkpoints import Checkpoint
    from dfp.solving.running import Progress


class _Commands(TyperGroup):
    """Commands whose wrong input ends in a message, not a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        terminal.prepare()
        invoke = super().invoke
        try:
            with logged_in_words():
                return terminal.interruptible(lambda: invoke(ctx))
        except DFPError as error:
            message = in_a_file(str(error))
        except OSError as error:
            if error.filename is None:
                raise
            message = f"{error.filename}: {error.strerror}; choose another name or place."
        print(f"error: {message}", file=sys.stderr)
        raise typer.Exit(2)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, and look at the words behind it as click does not."""
        name, command, words = super().resolve_command(ctx, args)
        check_words(command, words)
        return name, command, words


app = typer.Typer(
    cls=_Commands,
    help="How the parameters of stochastic gradient descent are distributed, at finite learning rate.",
    epilog="Start with: dfp demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(networks.app, name="networks")


def _version(wanted: bool) -> None:
    if wanted:
        from dfp.results.schema import versions

        print(", ".join(f"{name} {number}" for name, number in versions().items()))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show versions and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="HDF5 file; the figure goes beside it.")] = Path("demo.h5"),
    trajectories: Annotated[int, typer.Option(help="Number of sampled SGD runs.")] = 1_000_000,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Compare four routes to the distribution of two weights fitted to real data.

    \b
    Example:
      dfp demo --out demo.h5 --trajectories 1_000_000
    """
    check_output("--out", out, (".h5",), force)
    check_output("figure", out.with_suffix(".png"), FIGURES, force)
    from dfp.demo import run

    with _progress("demo", quiet) as progress:
        run(out, trajectories, progress)


@app.command()
def solve(
    file: File,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUN.h5", help="HDF5 file to write.")],
    equation: Which = None,
    table: Table = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Solve one equation and write densities, moments and certificate to an HDF5 file.

    The saved steps so far are in RUN.h5 every few seconds, as a solution that can be plotted; if the solve is killed,
    --resume goes on from there, to the bits of an uninterrupted one.

    \b
    Example:
      dfp solve one_mode.toml -o run.h5
    """
    check_output("--output", output, (".h5",), force or resume, resumes=True)
    check_table(table, force or resume)
    from dfp.config.config import load
    from dfp.solving.checkpoints import Checkpoint

    config = load(file)
    problem = config.build()
    place = chosen([task.name for task in problem.tasks], equation)
    task = problem.tasks[place]
    with _progress(task.name, quiet) as progress:
        solution = _solved(config, problem, place, progress, Checkpoint(output, resume=resume))
    solution.save(output)
    if "resumed" in solution.provenance:
        what = "trajectories" if solution.sampled else "step"
        print(f"resumed from {what} {solution.provenance['resumed']}")
    print(_summary(solution))
    print(f"written to {output}")
    tabulate(solution, table)
    _end([task])


@app.command()
def compare(
    file: File,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.h5", help="HDF5 file for all solutions.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE.png", help="Figure of the densities: .png, .pdf or .svg.")
    ] = None,
    width: Width = None,
    style: Style = None,
    table: Table = None,
    at: Annotated[
        str, typer.Option(help="step; or time: frames of equal slow time, as of other learning rates.")
    ] = "step",
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Solve every [[equation]] of a file and print how far each is from the first.

    An equation may have an SGD of its own, in [equation.sgd], with steps and save of its own. With --output, what is
    solved so far is beside it, a file for each equation, from which --resume goes on if the command is killed.

    \b
    Example:
      dfp compare compare.toml -o compare.h5 --figure compare.png --table compare.csv
    """
    check_table(table, force or resume)
    if output is not None:
        check_output("--output", output, (".h5",), force or resume, resumes=True)
    if figure is not None:
        check_output("--figure", figure, FIGURES, force or resume)
    check_look(figure, width, style)
    from dfp.config.config import load
    from dfp.solving.checkpoints import Checkpoint

    config = load(file)
    problem = config.build()
    from dfp.checks import choice

    choice("--at", at, ("step", "time"))
    _check_comparison(file, problem, figure is not None)
    solutions, kept = {}, list[Checkpoint]()
    for place, task in enumerate(problem.tasks):
        if output is not None:
            kept.append(Checkpoint(output.with_suffix(f".{place + 1}.h5"), resume=resume))
        with _progress(task.name, quiet) as progress:
            solutions[task.name] = _solved(config, problem, place, progress, kept[-1] if kept else None)
    _report(solutions, output, figure, table, at, width, style)
    for checkpoint in kept:
        checkpoint.path.unlink()
    _end(problem.tasks)


@app.command()
def modes(
    file: File,
    output: Output = None,
    table: Table = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE.png", help="Spectrum and variances: .png, .pdf or .svg.")
    ] = None,
    width: Width = None,
    style: Style = None,
    horizon: Annotated[
        float | None, typer.Option(help="Steps of interest: modes that settle later are called diffusive.")
    ] = None,
    step: Annotated[
        int | None, typer.Option(help="Step of a schedule whose learning rate and batch size are kept.")
    ] = None,
    force: Force = False,
) -> None:
    """Print the regime of every mode: does it settle, with which tails, and what does Langevin believe?

    A file with [landscape] and [sgd] is enough.

    \b
    Example:
      dfp modes regression.toml --figure modes.png
    """
    if output is not None:
        check_output("--output", output, (".h5",), force)
    check_table(table, force)
    if figure is not None:
        check_output("--figure", figure, FIGURES, force)
    check_look(figure, width, style)
    from dfp.config.config import load
    from dfp.regimes.mode_report import modes as report
    from dfp.results import figures as plots

    found = report(load(file, partial=True).build().sgd, step=step, horizon=horizon)
    print(in_a_file(str(found)))
    keep(found, output)
    tabulate(found, table)
    if figure is not None:
        plots.save(found.plot(width=width, style=style), figure)
        print(f"written to {figure}")


for _command in (long_time_commands.stationary, long_time_commands.spectrum, long_time_commands.exit_law):
    app.command(_command.__name__.removesuffix("_law"))(_command)
app.command()(long_time_commands.phase)
app.command()(explore)


@app.command()
def plot(
    run: Annotated[Path, typer.Argument(metavar="RUN.h5", help="File of a result, as solve and compare write.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="RUN.png", help="Figure; RUN.png beside RUN.h5 if left out."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of a sweep or a phase diagram: which number to draw.")] = None,
    width: Width = None,
    style: Style = None,
    force: Force = False,
) -> None:
    """Draw the result, or the solutions, in a file.

    \b
    Example:
      dfp plot run.h5 -o run.pdf --width 3.3
    """
    target = run.with_suffix(".png") if output is None else output
    check_output("--output", target, FIGURES, force)
    check_look(target, width, style)
    from dfp.results import page
    from dfp.results.drawn import plot as drawn
    from dfp.results.files import load_any

    page.save(drawn(load_any(run), name=name, width=width, style=style), target)
    print(f"written to {target}")


@app.command()
def table(
    run: Annotated[Path, typer.Argument(metavar="RUN.h5", help="File of a result, as solve and compare write.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="RUN.csv", help="CSV file; RUN.csv beside RUN.h5 if left out."),
    ] = None,
    force: Force = False,
) -> None:
    """Write the result, or the solutions, in a file as CSV: one row a step, a mode, a place or a cell.

    \b
    Example:
      dfp table run.h5 -o run.csv
    """
    target = run.with_suffix(".csv") if output is None else output
    check_output("--output", target, (".csv",), force)
    from dfp.results.files import load_any

    tabulate(load_any(run), target)


@app.command()
def rerun(
    run: Annotated[Path, typer.Argument(metavar="RUN.h5", help="File of a result, as solve and compare write.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="NEW.h5", help="HDF5 file for the new result.")
    ] = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Make the result of a file again, and say whether its numbers have the same bits.

    \b
    Example:
      dfp rerun run.h5 -o again.h5
    """
    if output is not None:
        check_output("--output", output, (".h5",), force or resume, resumes=True)
    from dfp.config.rerun import rerun as again
    from dfp.config.rerun import same_bits
    from dfp.results.files import load_any, save_many
    from dfp.results.keeper import Keeper
    from dfp.results.solution import Solution
    from dfp.solving.checkpoints import Checkpoint

    before = load_any(run)
    several = isinstance(before, dict)
    kind = Checkpoint if several or isinstance(before, Solution) else Keeper
    keeper = None if output is None or (several and not resume) else kind(output, resume=resume)
    with _progress("rerun", quiet) as progress:
        found = again(run, progress=progress, checkpoint=keeper)
    if output is not None and (keeper is None or not keeper.finished):
        save_many(found, output) if several else found.save(output)
    for name, one in found.items() if several else [("", found)]:
        solved = isinstance(one, Solution)
        print("\n".join([*filter(None, [name]), _summary(one) if solved else in_a_file(str(one))]))
        print(f"same bits    {'yes' if same_bits(before[name] if several else before, one) else 'NO'}")
        for note in one.provenance["rerun"] if solved else ():
            print(f"! {in_a_file(note)}")
    if output is not None:
        print(f"written to {output}")


@app.command()
def sweep(
    file: File,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="CUBE.h5", help="HDF5 file that grows, and resumes.")
    ],
    quantity: Annotated[str, typer.Option(help="stationary: where it settles; moments: at the saved steps.")] = (
        "stationary"
    ),
    table: Table = None,
    workers: Annotated[int, typer.Option(help="Processes on this machine; 1 needs none.")] = 1,
    dask: Annotated[
        str | None, typer.Option("--dask", metavar="ADDRESS", help="Scheduler of a Dask cluster; 'local' starts one.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Compute mean and covariance of every [[equation]] over the lists in [sweep]; started again, it goes on.

    \b
    Example:
      dfp sweep map.toml -o map.h5 --workers 4
    """
    check_output("--output", output, (".h5",), force=True)
    check_table(table, force=True)
    from dfp.config.sweeps import load, pool
    from dfp.solving.sweeping import sweep as over

    function, axes = load(file, quantity)
    with pool(workers, dask) as executor:
        found = over(function, axes, executor, save=output, quiet=quiet)
    print(in_a_file(str(found)))
    print(f"written to {output}")
    tabulate(found, table)


def _check_comparison(file: Path, problem: "Problem", drawn: bool) -> None:
    """Refuse what could not be compared, or drawn, once everything has been solved."""
    if len(problem.tasks) < 2:
        raise DFPError(f"{file}: equation has 1 entry: compare needs at least two; add a second [[equation]] table.")
    if not drawn:
        return
    dimension = problem.sgd.dimension if problem.directions is None else problem.directions.shape[1]
    if dimension > 3:
        raise DFPError(f"--figure: densities have {dimension} axes; leave it out for more than 3.")
    for task in problem.tasks:
        if not isinstance(task.solver, str) and not task.solver.gridded:
            raise DFPError(f"--figure: {task.solver.name} of {task.name!r} has no density; leave out one or the other.")


def _solved(
    config: "Config",
    problem: "Problem",
    place: int,
    progress: "Progress | None",
    checkpoint: "Checkpoint | None" = None,
) -> "Solution":
    """Return the solution of one equation, with the configuration that makes it again in its provenance."""
    from dfp.solving.driver import solve

    task: Task = problem.tasks[place]
    solution = solve(
        task.equation,
        problem.initial,
        task.steps,
        task.save,
        task.solver,
        problem.grid,
        tolerance=task.tolerance,
        progress=progress,
        directions=problem.directions,
        checkpoint=checkpoint,
    )
    alone = config.model_copy(update={"equation": [config.equation[place]]})
    record = alone.model_dump(mode="json", exclude_none=True)
    return replace(solution, provenance=solution.provenance | {"configuration": record})


def _summary(solution: "Solution") -> str:
    """Return equation, solver, the last moments, marked if they are not exact, and the certificate, in lines."""
    doubted = solution.certificate.at([-1]).doubted

    def moment(name: str) -> str:
        mark = "  ! not the exact one, see below" if f"{name}_error" in doubted else ""
        return f"{name:12s} {shown(getattr(solution, name)[-1])}{mark}"

    return "\n".join(
        (
            f"equation     {solution.equation}",
            f"solver       {solution.solver}: {solution.reason}",
            f"last step    {solution.steps[-1]}",
            *parameters(solution),
            moment("mean"),
            moment("covariance"),
            in_a_file(str(solution.certificate)),
        )
    )


def _report(
    solutions: "dict[str, Solution]",
    output: Path | None,
    figure: Path | None,
    table: Path | None,
    at: str,
    width: float | None,
    style: str | None,
) -> None:
    """Print the comparison and write what was asked for."""
    from dfp.results import page
    from dfp.results.comparison import compare
    from dfp.results.drawn import plot as drawn
    from dfp.results.files import save_many

    # Before a file is written: it may be refused.
    drawing = None if figure is None else drawn(solutions, at=at, width=width, style=style)
    if output is not None:
        save_many(solutions, output)
    if figure is not None and drawing is not None:
        page.save(drawing, figure)
    found = compare(solutions, at=at)
    if table is not None:
        write_table(found, table)
    # Printed last: whoever reads may have gone.
    print(in_a_file(str(found)))
    for name, solution in solutions.items():
        print(f"{name}: by {solution.solver}, certificate {'passes' if solution.certificate.ok else 'WARNS'}")
        for warning in solution.certificate.warnings:
            print(f"! {name}: {in_a_file(warning)}")
    for path in filter(None, (output, figure, table)):
        print(f"written to {path}")


def _end(tasks: "Iterable[Task]") -> None:
    """End with exit code 1 where SGD is unstable: what was found is right, and hardly what was wanted."""
    from dfp.exact.stability import overshooting

    if any(overshooting(task.equation, task.steps) for task in tasks):
        raise typer.Exit(1)


@contextmanager
def _progress(label: str, quiet: bool) -> "Iterator[Progress | None]":
    """Give a progress bar on stderr, or nothing if it is not a terminal or ``quiet``."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=label, file=sys.stderr, leave=False, unit_scale=True) as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update
