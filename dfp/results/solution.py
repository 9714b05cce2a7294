"""Solutions: frames of density and moments on a grid, with a certificate and provenance."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.problem import questions
from dfp.problem.grid import Grid
from dfp.problem.parameters import either, listed, told
from dfp.problem.state import Density, Joint, StateMoments
from dfp.result import Result
from dfp.results import apart, axes, schema
from dfp.results.certificate import Certificate
from dfp.results.gridded import cells_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Most steps whose planes are drawn, unless they are chosen.
_PLANES = 12


@dataclass(frozen=True, eq=False, repr=False)
class Solution(Result):
    """What ``dfp.solve`` returns.

    Attributes
    ----------
    equation
        Label of the equation, with its number.
    solver
        Name of the solver.
    reason
        Why this solver was used.
    steps
        Saved steps, shape (S,) [step].
    learning_rate
        η; slow time is τ = η · steps. NaN if it is a schedule.
    grid
        Where densities are; None if the solver has none.
    density
        Shape (S, n_1, …, n_d) [1 / parameter^d]: values at cell centres, or means over cells if sampled; or None.
    mean
        Shape (S, d) [parameter].
    covariance
        Shape (S, d, d) [parameter^2].
    third
        Third central moments, shape (S, d, d, d), or None.
    fourth
        Fourth central moments, shape (S, d, d, d, d), or None.
    errors
        Standard errors of ``mean``, ``covariance``, ``third``, ``fourth`` where they are sampled, by name.
    trajectories
        Number of sampled trajectories; 0 for deterministic solvers.
    certificate
        How accurate it is.
    provenance
        Configuration, versions, seed, wall time: what is needed to make it again.
    slow_time
        With a schedule, τ_n = Σ_{s<n} η_s of the saved steps, shape (S,); None otherwise.
    joint_mean, joint_covariance
        With momentum, the exact moments of (θ, v), shapes (S, 2d), (S, 2d, 2d), from which a run goes on; None without,
        or if they are not known.
    parameters
        What is on its axes, d names: ``theta_1``, …, ``direction 1``, …, or those that the landscape gives.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.1), steps=10, save=[0, 5, 10])
    >>> print(solution.steps, solution.mean.ravel().round(3), solution.density.shape[0])
    [ 0  5 10] [1.    0.328 0.107] 3
    >>> print(solution.probability(-0.5, 0.5).round(3))
    [0.057 0.692 0.847]
    """

    equation: str
    solver: str
    reason: str
    steps: NDArray[np.int64]
    learning_rate: float
    grid: Grid | None
    density: Array | None
    mean: Array
    covariance: Array
    certificate: Certificate
    third: Array | None = None
    fourth: Array | None = None
    errors: dict[str, Array] = field(default_factory=dict)
    trajectories: int = 0
    provenance: dict[str, Any] = field(default_factory=dict)
    slow_time: Array | None = None
    joint_mean: Array | None = None
    joint_covariance: Array | None = None
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", either(self.parameters, self.dimension))

    @property
    def _made_by(self) -> Any:
        recipe = self.provenance.get("recipe")
        return None if recipe is None else lambda: {"function": "solve", "arguments": dict(recipe)}

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return int(self.mean.shape[1])

    @property
    def directions(self) -> Array | None:
        """U (d, k), where densities are those of Uᵀθ; None where they are of the parameters themselves."""
        given = self.provenance.get("directions")
        return None if given is None else np.array(given, dtype=np.float64)

    @property
    def time(self) -> Array:
        """Slow time τ = ηn of the saved steps, or the sum of a schedule's η, shape (S,).

        With momentum β the mean moves as far in η/(1−β) a step, by which ``compare`` counts.
        """
        return self.steps * self.learning_rate if self.slow_time is None else self.slow_time

    @property
    def sampled(self) -> bool:
        """Whether densities are histograms of sampled trajectories."""
        return self.trajectories > 0

    def at(self, steps: int | Sequence[int]) -> "Solution":
        """Return the solution at one of its saved steps, or some.

        Raises
        ------
        DFPError
            If a step was not saved.

        Examples
        --------
        >>> print(solution.at([10]).mean.round(3))
        [[0.107]]
        """
        kept = checks.places_of(steps, self.steps)

        def part(values: Array | None) -> Array | None:
            return None if values is None else values[kept]

        return replace(
            self,
            steps=self.steps[kept],
            density=part(self.density),
            mean=self.mean[kept],
            covariance=self.covariance[kept],
            third=part(self.third),
            fourth=part(self.fourth),
            errors={name: values[kept] for name, values in self.errors.items()},
            certificate=self.certificate.at(kept),
            slow_time=part(self.slow_time),
            joint_mean=part(self.joint_mean),
            joint_covariance=part(self.joint_covariance),
        )

    def gridded(self) -> tuple[Grid, Array]:
        """Return grid and densities.

        Raises
        ------
        DFPError
            If the solver produced none.

        Examples
        --------
        >>> grid, density = solution.gridded()
        >>> print(density.shape == (len(solution.steps), *grid.cells))
        True
        """
        if self.grid is None or self.density is None:
            if self.dimension > 3:
                raise DFPError(
                    f"d = {self.dimension}: no density, which needs d <= 3; give directions=... to dfp.solve."
                )
            raise DFPError(f"solver={self.solver} has no density; use solver='auto' or, e.g., dfp.MonteCarlo(...).")
        return self.grid, self.density

    def marginal(self, axes: questions.Axes) -> "Solution":
        """Return the solution for the parameters ``axes``, by place from 0 or name; its certificate bounds theirs.

        Examples
        --------
        >>> print(plane.marginal(1).mean.round(3).ravel())
        [0.5   0.174]
        """
        kept = questions.kept_axes(axes, self.parameters)
        grid, density = self.grid, self.density
        if grid is not None and density is not None:
            grid, density = questions.marginal(grid, density, kept)

        def part(name: str, values: Array | None) -> Array | None:
            order = schema.MOMENTS.index(name) + 1
            place: tuple[Any, ...] = (slice(None), *np.ix_(*(kept,) * order))
            return None if values is None else values[place]

        moments: dict[str, Any] = {name: part(name, getattr(self, name)) for name in schema.MOMENTS}
        errors: dict[str, Any] = {name: part(name, values) for name, values in self.errors.items()}
        if self.joint_mean is not None and self.joint_covariance is not None:
            both = [*kept, *(i + self.dimension for i in kept)]
            moments["joint_mean"] = self.joint_mean[:, both]
            moments["joint_covariance"] = self.joint_covariance[:, both][:, :, both]
        told = self.provenance if len(kept) == self.dimension else self.provenance | {"marginal": kept}
        if self.directions is not None:
            told = told | {"directions": self.directions[:, kept].tolist()}
        names = tuple(self.parameters[i] for i in kept)
        return replace(self, grid=grid, density=density, errors=errors, provenance=told, parameters=names, **moments)

    def probability(self, lower: ArrayLike, upper: ArrayLike) -> Array:
        """Return the probability of the box from ``lower`` to ``upper`` (d,), infinite or not, at every step, (S,).

        What is outside the grid counts in a box without ends. It may be in others that go on beyond the grid, which
        then lack at most 1e-6, or a hundredth of the answer.

        Raises
        ------
        DFPError
            If a corner is malformed, or more than that may be missing.

        Examples
        --------
        >>> print(solution.probability(-0.5, np.inf).round(3))
        [1.    0.994 0.966]
        """
        grid, density = self.gridded()
        return np.array(
            [
                questions.probability(grid, values, lower, upper, outside, steps=self.sampled)
                for values, outside in zip(density, self._outside, strict=True)
            ]
        )

    def quantile(self, q: ArrayLike, axis: int | str = 0) -> Array:
        """Return the quantiles ``q`` in (0, 1) of a parameter at every saved step [parameter].

        Shape (S,) for one share, (S, Q) for a list.

        Raises
        ------
        DFPError
            If a share or the axis is malformed, or what is outside the grid is much of the tail that is asked for.

        Examples
        --------
        >>> print(solution.quantile([0.05, 0.95]).round(3))
        [[ 0.48   1.52 ]
         [-0.218  0.873]
         [-0.441  0.655]]
        """
        (grid, density), kept = self.gridded(), questions.kept_axes(axis, self.parameters)
        return np.array(
            [
                questions.quantile(grid, values, q, kept, outside, steps=self.sampled)
                for values, outside in zip(density, self._outside, strict=True)
            ]
        )

    @property
    def _outside(self) -> list[questions.Outside]:
        """What is known of the mass outside the grid, frame by frame."""
        found, unplaced = np.nan_to_num(self.certificate.mass_outside), bool(self.provenance.get("marginal"))
        return [questions.Outside(max(float(mass), 0.0), unplaced=unplaced) for mass in found]

    def sample(self, n: int, seed: int = 0) -> Array:
        """Return ``n`` independent points of the law at the last step, shape (n, d) [parameter].

        Examples
        --------
        >>> print(solution.sample(1000, seed=1).shape)
        (1000, 1)
        """
        grid, density = self.gridded()
        return questions.drawn(grid, density[-1], n, seed, steps=self.sampled)

    def interpolate(self, points: ArrayLike) -> Array:
        """Return the density at ``points`` (..., d) at every saved step, shape (S, ...); zero outside the grid.

        Examples
        --------
        >>> print(solution.interpolate([[0.0], [0.5]]).round(3))
        [[0.009 0.361]
         [0.738 1.051]
         [1.137 0.598]]
        """
        grid, density = self.gridded()
        return np.array([questions.interpolated(grid, values, points, steps=self.sampled) for values in density])

    def state(self) -> Density | StateMoments:
        """Return the law at the last step as a state to go on from, with its exact moments where it has them.

        Negative values, as of (T5), are cut off; the error of the state is what the certificate says. With momentum it
        has the moments of (θ, v), so that ``dfp.moments`` goes on exactly; of an average it is the law of the average
        alone, and within an epoch it does not know which samples are left. Without a density it is mean and covariance.

        Examples
        --------
        >>> later = dfp.solve(dfp.MasterEquation(sgd), solution.state(), steps=10)
        >>> print(later.mean.round(3).ravel())
        [0.107 0.012]
        """
        joint = self._joint
        if self.grid is None or self.density is None:
            return StateMoments(self.mean[-1], self.covariance[-1], joint)
        grid, density = self.grid, self.density
        values, outside = np.maximum(density[-1], 0.0), float(self.certificate.mass_outside[-1])
        outside = min(max(outside, 0.0), 1.0) if np.isfinite(outside) else 0.0
        values = values * ((1 - outside) / (values.sum() * grid.cell_volume))
        error = float(self.certificate.error[-1])
        mean, covariance = self.mean[-1], self.covariance[-1]
        known = checks.finite(mean) and checks.finite(covariance)
        told = (
            () if known else (f"mean or covariance do not exist at step {self.steps[-1]} of the run that ends here.",)
        )
        unplaced = bool(self.provenance.get("marginal"))
        error = error if np.isfinite(error) else 0.0
        result = Density(grid, values, outside, error, self.parameters, told, unplaced=unplaced)
        return result.with_moments(mean, covariance, joint)

    @property
    def _joint(self) -> Joint | None:
        """Moments of (θ, v) at the last step; NaN where θ is not all that moves, and the rest is not known."""
        told = self.provenance
        within_epoch = int(self.steps[-1]) % int(told.get("epoch") or 1) > 0  # some samples are used up
        if self.joint_mean is not None and self.joint_covariance is not None and not within_epoch:
            return Joint(self.joint_mean[-1], self.joint_covariance[-1])
        if not (told.get("momentum") or "average" in told or within_epoch):
            return None
        return Joint.unknown(self.dimension)

    def _figure(self) -> "Figure":
        """Densities (d <= 2: curves or contours; d = 3: marginals) or, without densities, moments."""
        return self._drawn(f"{self.equation}, by {self.solver}")

    def _drawn(self, title: str) -> "Figure":
        from dfp.results import figures
        from dfp.results.cells import Cells

        if self.density is None or self.grid is None:
            variance = np.einsum("sii->si", self.covariance)
            asked = f"How do mean and variance evolve? {title}"
            return figures.moments(self.steps, self.mean, variance, asked, self.parameters)
        cells = [Cells(self.grid.axes, values, self.trajectories) for values in self.density]
        if self.dimension > 2 or self.directions is not None:
            from dfp.results.corner import corner

            return corner(cells[-1], self.parameters, f"Where are the parameters at step {self.steps[-1]}? {title}")
        titles = [f"step {step}" for step in self.steps]
        if self.dimension == 1:
            drawn = dict(zip(titles, cells, strict=True))
            return figures.curves(drawn, f"Where is the parameter? {title}", self.steps.tolist(), self.parameters[0])
        from dfp.results.planes import planes

        chosen = np.unique(np.linspace(0, len(self.steps) - 1, min(_PLANES, len(self.steps))).astype(int))
        shown = {titles[i]: cells[i] for i in chosen}
        return planes(shown, f"Where are the parameters? {title}", figures.COLOURS[0], self.parameters)

    def animate(self, path: str | Path, *, frames_per_second: int = 10) -> None:
        """Write the densities, one frame per saved step, as a film at ``path``: .gif, or .mp4 where ffmpeg is.

        Examples
        --------
        >>> solution.animate("run.gif")
        """
        from dfp.results import animation
        from dfp.results.cells import Cells

        grid, density = self.gridded()
        checks.integer("frames_per_second", frames_per_second, at_least=1, at_most=60)
        if self.dimension > 2:
            raise DFPError(f"solution has {self.dimension} parameters: animations need 1 or 2.")
        asked = "Where is the parameter" if self.dimension == 1 else "Where are the parameters"
        titles = [f"{asked} at step {step}? {self.equation}" for step in self.steps]
        cells = [Cells(grid.axes, values, self.trajectories) for values in density]
        animation.animate(path, cells, titles, frames_per_second, self.parameters)

    def __repr__(self) -> str:
        """Return equation, solver, steps and grid in one line."""
        cells = "no grid" if self.grid is None else "×".join(map(str, self.grid.cells)) + " cells"
        state = "certificate passes" if self.certificate.ok else f"{len(self.certificate.warnings)} warning(s)"
        of = f" for {listed(self.parameters)}" if told(self.parameters) else ""
        return f"<Solution of the {self.equation} by {self.solver}{of}: {len(self.steps)} frames, {cells}, {state}>"

    def _repr_html_(self) -> str:
        """Return what notebooks show: the line and the certificate."""
        return f"<pre>{escape(repr(self))}\n{escape(str(self.certificate))}</pre>"


def columns(solution: Solution) -> dict[str, schema.Column]:
    """Return every variable of ``solution`` by name, coordinates first.

    Raises
    ------
    DFPError
        If an array does not have the shape its dimensions ask for, or a standard error belongs to no moment.
    """
    data: dict[str, Any] = {"time": solution.time, "density": solution.density}
    data |= {name: getattr(solution, name) for name in schema.MOMENTS}
    for name, values in solution.errors.items():
        if name not in schema.MOMENTS:
            known = ", ".join(schema.MOMENTS)
            raise DFPError(f"errors has the entry {name!r}: standard errors are of {known}; remove it.")
        data[f"{name}_standard_error"] = values
    data |= {name: getattr(solution.certificate, name) for name in schema.FIGURES}
    coordinates: dict[str, Any] = {"step": solution.steps}
    named = axes.described(solution.parameters)
    if solution.grid is not None:
        coordinates |= cells_of(solution.grid, named)
    elif solution.density is not None:
        raise DFPError("density is given without a grid: it says where the values are; set solution.grid.")
    told = schema.columns(coordinates, data, named, solution.sampled)
    told |= axes.indices(told, solution.parameters)
    for name, (variable, values) in _joints(solution).items():
        about = {"units": variable.unit, "long_name": variable.long_name}
        told[name] = schema.Column(variable.dims, np.asarray(values, "<f8"), about)
    return told | apart.columns(solution.provenance.get("recipe"))


def _joints(solution: Solution) -> dict[str, tuple[schema.Variable, Array]]:
    given = {"joint_mean": solution.joint_mean, "joint_covariance": solution.joint_covariance}
    return {name: (schema.JOINT_VARIABLES[name], values) for name, values in given.items() if values is not None}


def attributes(solution: Solution) -> dict[str, Any]:
    """Return what is known of ``solution`` as a whole: text and scalars, none of them boolean (netCDF has no such).

    ``config_json`` holds its provenance and ``warnings`` those of its certificate, both as JSON.

    Raises
    ------
    DFPError
        If the provenance does not fit in JSON.
    """
    known = solution.provenance
    try:
        if "recipe" in known:
            known = known | {"recipe": apart.taken(known["recipe"])[0]}
        config = json.dumps(known, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise DFPError(f"provenance cannot be written as JSON ({error}); use numbers, text, lists and dicts.") from None
    made_with = solution.provenance.get("versions")
    libraries = made_with if isinstance(made_with, dict) else schema.versions()
    result = {
        "equation": solution.equation,
        "solver": solution.solver,
        "reason": solution.reason,
        "learning_rate": np.float64(solution.learning_rate),
        "trajectories": np.int64(solution.trajectories),
        "gridded": np.int8(solution.grid is not None),
        "certificate_sampled": np.int8(solution.certificate.sampled),
        "warnings": json.dumps(solution.certificate.warnings, ensure_ascii=False),
        "versions": ", ".join(f"{name} {version}" for name, version in libraries.items()),
        "config_json": config,
    }
    result |= axes.attribute(solution.parameters)
    if "seed" in solution.provenance:
        result["seed"] = str(solution.provenance["seed"])  # as text: seeds may exceed 64 bits
    return result


def _plain(value: object) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{checks.shown(value)} is no number, text, list or dict")
