"""Commands of long times: ``stationary``, ``spectrum``, ``exit``, ``phase``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dfp.cli.options import (
    FIGURES,
    NUMBERS,
    File,
    Force,
    Output,
    Resume,
    Style,
    Table,
    Which,
    Width,
    check_look,
    check_output,
    check_table,
    chosen,
    keep,
    parameters,
    shown,
    tabulate,
)  # fmt: skip
from dfp.cli.wording import in_a_file
from dfp.errors import DFPError

if TYPE_CHECKING:
    from dfp.config.config import Problem, Task
    from dfp.problem.equation import Equation
    from dfp.regimes.phases import PhaseDiagram
    from dfp.results.keeper import Keeper


def stationary(
    file: File,
    output: Output = None,
    equation: Which = None,
    table: Table = None,
    force: Force = False,
) -> None:
    """Print mean and covariance of the stationary law of an equation, or why there are none; and keep its density.

    A file with [landscape], [sgd] and [[equation]] is enough.

    \b
    Example:
      dfp stationary one_mode.toml -o law.h5
    """
    if output is not None:
        check_output("--output", output, (".h5",), force)
    check_table(table, force)
    from dfp.long_time.stationary_law import stationary as law_of
    from dfp.long_time.stationary_moments import stationary_moments
    from dfp.problem.equation import Equation

    problem, task = _asked(file, equation)
    print(f"stationary law of the {task.equation.label}")
    try:
        law = law_of(task.equation, problem.grid)
    except DFPError as failure:
        if output is not None or table is not None or not isinstance(task.equation, Equation):
            raise
        try:
            settled = stationary_moments(task.equation)
        except DFPError:
            raise failure from None
        print(*parameters(settled), f"mean         {shown(settled.mean)}", sep="\n")
        print(f"covariance   {shown(settled.covariance)}")
        print(f"  ! no density: {in_a_file(str(failure))}")
        return
    print(*parameters(law), f"mean         {shown(law.mean)}", sep="\n")
    print(f"covariance   {shown(law.covariance)}")
    print(f"outside      {law.outside:.2e} of the mass is outside the grid")
    print(f"error        {law.error:.2e} in L1 on the grid (estimate)")
    for warning in law.warnings:
        print(f"  ! {in_a_file(warning)}")
    keep(law, output)
    tabulate(law, table)


def spectrum(
    file: File,
    count: Annotated[int, typer.Option(help="Number of modes.")] = 6,
    output: Output = None,
    equation: Which = None,
    table: Table = None,
    force: Force = False,
) -> None:
    """Print the slowest modes in which an equation relaxes, and how many steps they take.

    A file with [landscape], [sgd] and [[equation]] is enough.

    \b
    Example:
      dfp spectrum one_mode.toml --count 4
    """
    if output is not None:
        check_output("--output", output, (".h5",), force)
    check_table(table, force)
    from dfp.long_time.relaxation import spectrum as modes_of

    _, task = _asked(file, equation)
    found = modes_of(task.equation, count)
    print(f"relaxation of the {task.equation.label}")
    print(str(found))
    keep(found, output)
    tabulate(found, table)


def exit_law(
    file: File,
    lower: Annotated[
        str | None, typer.Option(metavar=NUMBERS, help="Corner of the box, e.g. -1,-1; -inf: no wall.")
    ] = None,
    upper: Annotated[str | None, typer.Option(metavar=NUMBERS, help="Opposite corner; [grid] if left out.")] = None,
    steps: Annotated[int | None, typer.Option(help="Last step of the survival; long enough if left out.")] = None,
    trajectories: Annotated[
        int | None, typer.Option(help="Draw so many instead of computing the law: any momentum, schedule, noise.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    splitting: Annotated[
        bool, typer.Option("--splitting", help="Split trajectories near walls: exits too rare to be met otherwise.")
    ] = False,
    output: Output = None,
    equation: Which = None,
    table: Table = None,
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Print after how many steps the parameters first leave a box: mean, quantiles and final decay.

    A file with [landscape], [sgd], [initial] and [[equation]] is enough. With --trajectories, the law of those drawn so
    far is in RESULT.h5 every few seconds; if the command is killed, --resume goes on from there, to the same bits.

    \b
    Example:
      dfp exit one_mode.toml --lower -0.3 --upper 0.7
    """
    keeper = _keeper(output, resume, force)
    check_table(table, force or resume)
    from dfp.long_time.first_passage import exit_steps

    problem, task = _asked(file, equation)
    if lower is None and upper is None and problem.grid is not None:
        box: Any = problem.grid
    elif lower is None or upper is None:
        raise DFPError("--lower, --upper: the box has two corners; give both, or a [grid] in the file.")
    else:
        box = _numbers("--lower", lower, task.equation), _numbers("--upper", upper, task.equation)
    law = exit_steps(
        task.equation, box, problem.initial, steps, trajectories=trajectories, seed=seed, splitting=splitting,
        checkpoint=keeper,
    )  # fmt: skip
    print(f"exit of the {task.equation.label}")
    print(in_a_file(str(law)))
    _told(keeper)
    tabulate(law, table)


def phase(
    file: File,
    x: Annotated[str, typer.Option(metavar="NAME:FIRST:LAST:COUNT", help="First axis, in equal ratios.")] = (
        "learning_rate:0.01:10:40"
    ),
    y: Annotated[
        str, typer.Option(metavar="NAME:FIRST:LAST:COUNT", help="Second axis.")
    ] = "curvature_noise:0.01:10:40",
    output: Output = None,
    mode: Annotated[int, typer.Option(help="Which mode, from 0, in ascending order of curvature.")] = 0,
    table: Table = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE.png", help="The diagram: .png, .pdf or .svg.")
    ] = None,
    width: Width = None,
    style: Style = None,
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Print where one mode is confined, heavy-tailed or unstable over two parameters; the others are the file's.

    Noise is taken to be Gaussian, and told as that of one sample where the file has a batch size. A file with
    [landscape] and [sgd] is enough. If the command is killed, --resume goes on from the rows at --output.

    \b
    Example:
      dfp phase one_mode.toml --x learning_rate:0.01:4:60 --figure phase.png
    """
    keeper = _keeper(output, resume, force)
    check_table(table, force or resume)
    if figure is not None:
        check_output("--figure", figure, FIGURES, force or resume)
    check_look(figure, width, style)
    from dfp.results import figures as plots

    axes = dict([_axis("--x", x)]), dict([_axis("--y", y)])
    found, size = _diagram(file, mode, *axes, keeper)
    counts: dict[tuple[str, str], int] = {}
    for pair in zip(found.regime.ravel().tolist(), found.langevin_regime.ravel().tolist(), strict=True):
        counts[pair] = counts.get(pair, 0) + 1
    print(", ".join(f"{name}={value:.5g}" for name, value in found.fixed.items()))
    told = "one sample; a step averages batch_size of them"
    print(f"noise is that of {told if size else 'one step: the file has no batch size, which counts as 1'}")
    print(f"{'SGD':14}{'Langevin':14}places")
    for (exact, believed), count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"{exact:14}{believed:14}{count}")
    _told(keeper)
    tabulate(found, table)
    if figure is not None:
        plots.save(found.plot(width=width, style=style), figure)
        print(f"written to {figure}")


def _asked(file: Path, equation: str | None) -> "tuple[Problem, Task]":
    """Return what a file describes, of which long times need no steps and seldom a state, and its equation."""
    from dfp.config.config import load

    problem = load(file, partial=True).build()
    if not problem.tasks:
        raise DFPError(f"{file}: equation: is missing; add the table [[equation]].")
    return problem, problem.tasks[chosen([task.name for task in problem.tasks], equation)]


def _keeper(output: Path | None, resume: bool, force: bool) -> "Keeper | None":
    """Return who keeps what is found so far at --output."""
    if output is None:
        if resume:
            raise DFPError("--resume: goes on from what is at --output; give that, or leave this out.")
        return None
    check_output("--output", output, (".h5",), force or resume, resumes=True)
    from dfp.results.keeper import Keeper

    return Keeper(output, resume=resume)


def _told(keeper: "Keeper | None") -> None:
    """Say where a run went on, and what is written."""
    if keeper is not None:
        print(f"resumed from {keeper.place}\n" * bool(keeper.place) + f"written to {keeper.path}")


def _diagram(
    file: Path, number: int, x: dict[str, Any], y: dict[str, Any], keeper: "Keeper | None"
) -> "tuple[PhaseDiagram, int | None]":
    """Return the diagram of a mode of the file, by the noise of one sample, and the batch size, if it has one."""
    from dfp.config.config import load
    from dfp.regimes.mode_report import modes
    from dfp.regimes.phases import phase_diagram

    sgd = load(file, partial=True).build().sgd
    if sgd.nesterov:
        raise DFPError("nesterov=true: phase diagrams know the heavy ball alone; leave it out.")
    if not sgd.replace:
        raise DFPError("replace=false: phase diagrams draw minibatches with replacement; leave it out.")
    if sgd.temperature and {"learning_rate", "batch_size"} & {*x, *y}:
        raise DFPError(
            f"temperature={sgd.temperature:g}: its noise is 2T/η at any batch size, and those of a diagram do not know "
            "of η; choose other axes, or leave it out."
        )
    found = modes(sgd)
    if not sgd.noise.finite:
        raise DFPError("noise: it has no variance, which a phase diagram is of; give noise that has one.")
    if not 0 <= number < len(found):
        raise DFPError(f"--mode={number}: must be at least 0 and below {len(found)}, the number of modes.")
    own = found[number]
    size = sgd.averaged_samples
    if size is None and "batch_size" in {*x, *y}:
        raise DFPError("batch_size: the file has none, so the noise of one sample is not known; add it to [sgd].")
    count = size or 1
    fixed: dict[str, Any] = {
        "learning_rate": own.learning_rate, "curvature": own.curvature, "momentum": sgd.momentum, "batch_size": count,
        "curvature_noise": count * own.curvature_noise, "gradient_noise": count * own.critical_noise,
    }  # fmt: skip
    given = {name: value for name, value in fixed.items() if name not in {*x, *y}}
    return phase_diagram(x, y, **given, checkpoint=keeper), size


def _numbers(option: str, text: str, equation: "Equation") -> list[float]:
    """Return the numbers in an option, one for every parameter."""
    try:
        none = "-inf" if option == "--lower" else "inf"  # no wall
        found = [float(none if part.strip().lower() == "none" else part) for part in text.split(",")]
    except ValueError:
        raise DFPError(
            f"{option}={text!r}: must be numbers with commas between and no spaces; write e.g. {option}=-1,-1."
        ) from None
    d, names = equation.dimension, equation.parameters
    if len(found) != d:
        which = f", {', '.join(names)}" if names else ""
        raise DFPError(
            f"{option}={text}: must have one number for each of the {d} parameters{which}; write e.g. "
            f"{option}={','.join(['-1'] * d)}."
        )
    return found


def _axis(option: str, text: str) -> tuple[str, Any]:
    import numpy as np

    try:
        name, first, last, count = text.split(":")
        ends = float(first), float(last)
        places = int(count)
    except ValueError:
        raise DFPError(f"{option}={text!r}: must be NAME:FIRST:LAST:COUNT; give learning_rate:0.01:10:40.") from None
    if not (0 < ends[0] < ends[1] < np.inf and 2 <= places <= 1000):
        raise DFPError(f"{option}={text!r}: needs 0 < FIRST < LAST and 2 <= COUNT <= 1000; mend these.")
    values = np.geomspace(*ends, places)
    return name, np.unique(values.round()) if name == "batch_size" else values
