"""Rare exits of sampled trajectories by splitting: with momentum, schedules, any noise law, in any dimension."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from dfp_solvers import splitting

from dfp.checks import Array
from dfp.errors import DFPError
from dfp.long_time.exit_law import ExitSteps
from dfp.methods.draws import Walk
from dfp.problem.equation import Equation
from dfp.problem.state import State
from dfp.results.keeper import Keeper

# Independent replicates: the spread of as many tells standard errors to a sixth.
_REPLICATES = 20
# Share of the weight beyond a level that is beyond the next.
_SHARE = float(np.exp(-1.5))
# Places of a level, in the run that finds the levels.
_PILOT = 400
# Fewest and most steps where their number is left open, relaxation times that it is, and without any its number.
_LEAST, _MOST, _RELAXED, _USUAL = 400, 10_000, 60.0, 2_000
# Exits, were all of one weight, below which their rate is not known by its spread.
_FEW = 100.0
# Standard errors by which the rates of the last two quarters of the steps differ where it has not settled.
_SETTLED = 4.0


class SplitExits:
    """The law of exit from a box, whose corners may be infinite, of a cloud of trajectories with weights.

    A first run finds where they stay and the levels, between which weights fall by 4.5; then so many replicates walk,
    each with as many trajectories on every level.
    """

    def __init__(
        self,
        equation: Equation,
        lower: Array,
        upper: Array,
        initial: State,
        last: int | None,
        trajectories: int,
        seed: int,
    ) -> None:
        self._problem, self._lower, self._upper = (equation, initial), lower, upper
        self._steps = _enough(equation, initial) if last is None else last
        self._trajectories, self._rng = trajectories, np.random.default_rng(seed)
        self._levels: Array = np.empty(0)
        self._centre, self._deviation = initial.mean, np.ones(equation.dimension)
        self._step = 0
        self.inside, self.left = (np.zeros((self._steps + 1, _REPLICATES)) for _ in range(2))
        self.squares, self.walking = np.zeros(self._steps + 1), 0  # of the weights that left; how many walk

    def law(self, keeper: Keeper | None) -> ExitSteps:
        """Return the law of exit that they show; beyond the last step survival goes on by the rate of the second half.

        Raises
        ------
        DFPError
            If the box holds nothing of the initial state.
        """
        if keeper is None or not keeper.resume(self._resume):
            self._prepare()
            self._begin()
        while self._step < self._steps and len(self._walk.theta):
            self._walk.advance()
            self._leave()
            if keeper is not None:
                keeper.keep(self._state(), self._so_far)
        return _law(self.inside, self.left, self.squares, self.walking)

    @property
    def _groups(self) -> int:
        """How many levels there are, that of the bulk included, in all replicates."""
        return _REPLICATES * (len(self._levels) + 1)

    @property
    def _places(self) -> int:
        """How many trajectories there are on a level of a replicate."""
        return max(self._trajectories // self._groups, 2)

    def _started(self) -> Walk:
        return Walk(*self._problem, self._groups * self._places, self._rng)

    def _prepare(self) -> None:
        """Find where trajectories stay, and levels that lead from there to the walls, by a cloud of its own."""
        steps, count = self._steps // 4 + 1, 10 * _PILOT
        walk, weights = Walk(*self._problem, count, self._rng), np.full(count, 1.0 / count)
        for split in (False, True):
            for _ in range(steps):
                walk.advance()
                within = self._within(walk)
                walk.only(within)
                weights = weights[within]
                if split:
                    score = self._score(walk)
                    self._levels = splitting.levels(score, weights, _SHARE)
                    group = np.searchsorted(self._levels, score)
                    kept, weights = splitting.resampled(group, score, weights, _PILOT, self._rng)
                    walk.only(kept)
            if len(weights) < _PILOT:  # what leaves so fast is not rare
                self._levels = np.empty(0)
                return
            if not split:
                self._centre, self._deviation = walk.theta.mean(axis=0), walk.theta.std(axis=0)

    def _begin(self) -> None:
        """Let all replicates start."""
        self._walk = self._started()
        count = len(self._walk.theta)
        self._replicate = np.arange(count) % _REPLICATES
        self._weights = np.full(count, _REPLICATES / count)
        self._leave()
        if not self.inside[0].any():
            raise DFPError(
                f"domain: {self._lower} … {self._upper} holds none of {count} draws of the initial state; widen it."
            )

    def _within(self, walk: Walk) -> Any:
        return np.all((walk.theta >= self._lower) & (walk.theta <= self._upper), axis=1)

    def _score(self, walk: Walk) -> Array:
        return splitting.nearness(walk.theta, self._centre, self._deviation, self._lower, self._upper)

    def _leave(self) -> None:
        """Count what is outside, let it go, and draw the rest anew."""
        self._step, within = self._walk.step, self._within(self._walk)
        gone = self._weights[~within]
        self.left[self._step] = np.bincount(self._replicate[~within], gone, _REPLICATES)
        self.squares[self._step] = gone @ gone
        self._walk.only(within)
        self._replicate, self._weights = self._replicate[within], self._weights[within]
        self.inside[self._step] = np.bincount(self._replicate, self._weights, _REPLICATES)
        score = self._score(self._walk)
        group = self._replicate * (len(self._levels) + 1) + np.searchsorted(self._levels, score)
        kept, self._weights = splitting.resampled(group, score, self._weights, self._places, self._rng)
        self._walk.only(kept)
        self._replicate, self.walking = self._replicate[kept], max(self.walking, len(kept))

    def _state(self) -> dict[str, Any]:
        """Return what another run goes on from; what is after the step of the walk does not count."""
        cloud = {"replicate": self._replicate, "weights": self._weights, "walk": self._walk.state()}
        found = {"inside": self.inside, "left": self.left, "squares": self.squares, "walking": self.walking}
        return cloud | found | {"levels": self._levels, "centre": self._centre, "deviation": self._deviation}

    def _resume(self, state: Mapping[str, Any]) -> str:
        if state["inside"].shape != self.inside.shape or state["squares"].shape != self.squares.shape:
            raise ValueError("other steps")
        self._levels, self._centre, self._deviation = state["levels"], state["centre"], state["deviation"]
        self.inside, self.left = state["inside"], state["left"]
        self.squares, self.walking = state["squares"], int(state["walking"])
        self._replicate, self._weights = state["replicate"], state["weights"]
        self._walk = self._started()
        self._walk.resume(state["walk"])
        self._step = self._walk.step
        return f"step {self._step}"

    def _so_far(self, state: Mapping[str, Any]) -> ExitSteps:
        """Return what the steps so far show."""
        done = state["walk"]["step"] + 1
        law = _law(state["inside"][:done], state["left"][:done], state["squares"][:done], state["walking"])
        note = f"a run on its way: {done - 1} of {self._steps} steps so far."
        return replace(law, warnings=(note, *law.warnings))


def _enough(equation: Equation, initial: State) -> int:
    """Return steps in which the rate of exits settles and is measured: many relaxation times of the slowest mode."""
    sgd = equation.sgd
    hessian = sgd.hessian if sgd.affine else sgd.local.hessian_at(initial.mean[None])[0]
    curvatures = np.linalg.eigvals(hessian).real
    rising = curvatures[curvatures > 1e-3 * np.abs(curvatures).max()]
    if not len(rising):
        return _USUAL
    inertia = 1 - sgd.momentum
    relaxation = inertia / (sgd.learning_rates.at(0) * rising.min()) + 2 / inertia
    return int(np.clip(_RELAXED * relaxation, _LEAST, _MOST))


def _law(inside: Array, left: Array, squares: Array, walking: int) -> ExitSteps:
    """Return the law that weights ``inside`` and ``left`` at each step, shape (n + 1, replicates), show."""
    survival, count = inside.mean(axis=1), inside.shape[1]
    spread = inside.std(axis=1, ddof=1) / np.sqrt(count)
    steps, warnings = len(inside) - 1, list[str]()
    rates = [_rate(inside[part], left[part]) for part in _parts(steps)]
    (rate, rate_error), third, last = rates
    counted, counted_error = survival[:-1].sum(), inside[:-1].sum(axis=0).std(ddof=1) / np.sqrt(count)
    mean, mean_error = counted, counted_error
    if survival[-1]:
        gone, squared = left[_parts(steps)[0]].sum(axis=0), float(squares[_parts(steps)[0]].sum())
        exits = float(gone.sum() ** 2 / squared) if squared else 0.0
        if 2 * np.count_nonzero(gone) > count:
            # Of one over a mean: so far from it as that errs in the first order, and in the second.
            relative = np.hypot(rate_error / rate, 1 / np.sqrt(exits))
            beyond = survival[-1] / rate
            mean, mean_error = counted + beyond, np.hypot(counted_error, beyond * relative * (1 + relative))
        else:
            mean, mean_error, rate = np.nan, np.nan, 0.0
        warnings = _doubts(bool(rate), exits, third, last)
    return ExitSteps(
        np.arange(steps + 1), survival, float(mean), 1 - rate, float(spread.max()), float(mean_error), rate,
        tuple(warnings), walking, spread,
    )  # fmt: skip


def _parts(steps: int) -> list[slice]:
    """Return the second half of the steps, and its halves, as of ``left``: the steps after the middle."""
    bounds = [steps // 2 + 1, (steps // 2 + steps) // 2 + 1, steps + 1]
    return [slice(bounds[0], bounds[2]), slice(bounds[0], bounds[1]), slice(bounds[1], bounds[2])]


def _rate(inside: Array, left: Array) -> tuple[float, float]:
    """Return what leaves of what is inside in a step, and its standard error, from several steps."""
    gone, exposed = left.sum(axis=0), (inside + left).sum(axis=0)
    if not exposed.sum() > 0:
        return 0.0, 0.0
    rate = gone.sum() / exposed.sum()
    error = (gone - rate * exposed).std(ddof=1) / np.sqrt(len(gone)) / exposed.mean()
    return float(rate), float(error)


def _doubts(known: bool, exits: float, third: tuple[float, float], last: tuple[float, float]) -> list[str]:
    """Return what standard errors do not say of the rate."""
    if not known:
        return [
            "fewer than half of the replicates have met an exit in the second half of the steps: the mean is unknown "
            "(NaN); raise trajectories."
        ]
    found = list[str]()
    if exits < _FEW:
        found.append(
            f"the rate rests on as much as {exits:.0f} exits of one weight: standard errors may be too small; raise "
            "trajectories."
        )
    if abs(third[0] - last[0]) > _SETTLED * np.hypot(third[1], last[1]):
        found.append(
            f"the rate of exits has not settled: {third[0]:.3g} a step in the third quarter of the steps, "
            f"{last[0]:.3g} in the last; raise steps."
        )
    return found
