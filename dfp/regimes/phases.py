"""Phase diagrams of one mode: its regime over any two parameters, for SGD and as Langevin believes (section 4)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dfp_solvers.trajectories.products import OptimiserStep
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, FileFormatError
from dfp.regimes.mode import REGIMES, Mode
from dfp.regimes.multiplier import GaussianMultiplier, MomentumMultiplier, Multiplier, Sampling
from dfp.result import Result, call_of, remembered
from dfp.results import hdf5, maps, schema
from dfp.results.files import load_kind
from dfp.results.keeper import Keeper
from dfp.results.schema import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Parameters of a mode, with what they are where neither an axis nor an argument gives them.
PARAMETERS: dict[str, float | None] = {
    "learning_rate": None, "curvature": None, "curvature_noise": 0.0, "gradient_noise": None, "batch_size": 1,
    "momentum": 0.0,
}  # fmt: skip
NUMBERS = (
    "growth", "lyapunov_exponent", "tail_index", "langevin_tail_index", "stationary_variance",
    "langevin_stationary_variance",
)  # fmt: skip
CODES = ("regime", "langevin_regime")
BOUNDARIES = ("sgd", "langevin", "stationary")
# Steps of each of the sampled products, where momentum leaves no closed form for ℓ.
_SAMPLED_STEPS = 1000


@dataclass(frozen=True, eq=False, repr=False)
class PhaseDiagram(Result):
    """The regimes of a mode over two of its parameters.

    Attributes
    ----------
    names
        The two parameters on the axes.
    x
        Values of the first, shape (X,).
    y
        Values of the second, shape (Y,).
    fixed
        The other parameters.
    values
        Arrays of shape (X, Y): ``growth`` ρ₂, ``lyapunov_exponent`` ℓ, ``tail_index`` κ, ``langevin_tail_index``,
        ``stationary_variance``, ``langevin_stationary_variance`` as in ``Mode``; ``regime`` and ``langevin_regime`` as
        indices into ``dfp.regimes.mode.REGIMES``. With momentum ℓ is sampled, and only where ρ₂ >= 1 leaves the regime
        open.

    Examples
    --------
    >>> import dfp
    >>> rates, noises = {"learning_rate": [0.1, 1.0, 3.0]}, {"curvature_noise": [0.0, 0.5]}
    >>> diagram = dfp.phase_diagram(rates, noises, curvature=1.0, gradient_noise=0.2)
    >>> print(diagram.values["growth"].round(2))
    [[0.81 0.82]
     [0.   0.5 ]
     [4.   8.5 ]]
    """

    names: tuple[str, str]
    x: Array
    y: Array
    fixed: dict[str, float]
    values: dict[str, NDArray[Any]]

    @cached_property
    def regime(self) -> NDArray[np.str_]:
        """Names of the regimes, shape (X, Y)."""
        return np.array(REGIMES)[self.values["regime"]]

    @cached_property
    def langevin_regime(self) -> NDArray[np.str_]:
        """Names of the regimes that Langevin (T6) believes in, shape (X, Y)."""
        return np.array(REGIMES)[self.values["langevin_regime"]]

    @property
    def gap(self) -> NDArray[np.bool_]:
        """Where Langevin promises a finite variance and SGD has none, shape (X, Y)."""
        return (self.langevin_regime == "confined") & (self.regime != "confined")

    @property
    def variance_difference(self) -> Array:
        """V_∞ of SGD minus that of Langevin, shape (X, Y) [parameter^2]; NaN where either has none."""
        sgd, langevin = self.values["stationary_variance"], self.values["langevin_stationary_variance"]
        finite = np.isfinite(sgd) & np.isfinite(langevin)
        return np.where(finite, np.where(finite, sgd, 0.0) - np.where(finite, langevin, 0.0), np.nan)

    def boundary(self, which: str) -> Array:
        """Return points (x, y) on a boundary, shape (P, 2), found along y at every x to rounding error.

        Parameters
        ----------
        which
            ``"sgd"``: ρ₂ = 1, where SGD loses its variance; ``"langevin"``: 2λ = ηΓ, where Langevin does;
            ``"stationary"``: ℓ = 0, where SGD loses its stationary law (without momentum).

        Examples
        --------
        >>> print(diagram.boundary("sgd").round(3))
        [[1. 1.]]
        """
        checks.choice("which", which, BOUNDARIES)
        if which == "stationary" and (self.fixed.get("momentum", 0.0) > 0 or "momentum" in self.names):
            raise DFPError(
                "which='stationary': with momentum ℓ is sampled, so its zero is not sharp; read the regimes."
            )
        if "batch_size" in self.names:
            raise DFPError(
                "which: a boundary is sought along a continuous axis; batch_size is not, so read the regimes."
            )
        points = []
        for x in self.x:
            excess = [self._excess(which, x, y) for y in self.y]
            for k in range(len(self.y) - 1):
                if excess[k] == 0:
                    points.append((x, self.y[k]))
                elif excess[k] * excess[k + 1] < 0:
                    root = brentq(lambda y, x=x: self._excess(which, x, y), self.y[k], self.y[k + 1], xtol=1e-300)
                    points.append((x, float(root)))
            if excess[-1] == 0:
                points.append((x, self.y[-1]))
        return np.array(points).reshape(-1, 2)

    def _excess(self, which: str, x: float, y: float) -> float:
        mode = _mode(self.fixed | {self.names[0]: x, self.names[1]: y})
        if which == "sgd":
            return mode.growth - 1
        if which == "langevin":
            return mode.effective_rate * mode.curvature_noise - 2 * mode.curvature
        return mode.lyapunov_exponent

    def plot(
        self,
        name: str | None = None,
        *,
        steps: Any = None,
        ax: Any = None,
        title: str | None = None,
        style: Any = None,
        width: float | None = None,
    ) -> "Figure":
        """Return a figure of the regimes and of what Langevin misses, or of one of the ``values``, by ``name``.

        Besides these, ``variance_difference`` can be drawn; other parameters as for any result.

        Examples
        --------
        >>> print(diagram.plot("growth").axes[1].get_ylabel())
        growth of the second moment per step, ρ₂
        """
        if steps is not None:
            raise DFPError(f"steps={steps}: a phase diagram has no saved steps; leave it out.")
        return self._plotted(lambda: self._drawn(name), ax, title, style, width)

    def _drawn(self, name: str | None) -> "Figure":
        from dfp.regimes import phases_plot

        values = self.values | {"variance_difference": self.variance_difference, "gap": self.gap}
        arguments = self.names, (self.x, self.y), self.fixed
        if name is None:
            return phases_plot.figure(*arguments, values)
        checks.choice("name", name, (*NUMBERS, "variance_difference", *CODES))
        if name not in CODES:
            return maps.over_parameters(dict(zip(self.names, arguments[1], strict=True)), values[name], name)
        figure = phases_plot.regimes(*arguments, values | {"regime": values[name]})
        whose = "SGD" if name == "regime" else "Langevin believe that SGD"
        figure.axes[0].set_title("")
        figure.suptitle(f"Where does {whose} settle{'s' if name != 'regime' else ''}?")
        return figure

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary of names and numbers for every point, as tables and CSV files have it.

        Examples
        --------
        >>> print(len(diagram.rows()), diagram.rows()[0]["regime"])
        4 confined
        """
        numbers = {name: values.ravel().tolist() for name, values in self.values.items() if name in NUMBERS}
        names = {name: getattr(self, name).ravel().tolist() for name in CODES}
        x, y = (axis.ravel().tolist() for axis in np.meshgrid(self.x, self.y, indexing="ij"))
        found = {self.names[0]: x, self.names[1]: y} | numbers | names
        return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]

    def __repr__(self) -> str:
        """Return the axes and how many cells have which regime."""
        names, counts = np.unique(self.regime, return_counts=True)
        shares = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
        return f"<PhaseDiagram of {self.names[0]} ({len(self.x)}) and {self.names[1]} ({len(self.y)}): {shares}>"


@remembered
def phase_diagram(
    axis_x: Mapping[str, ArrayLike],
    axis_y: Mapping[str, ArrayLike],
    *,
    learning_rate: float | None = None,
    curvature: float | None = None,
    curvature_noise: float | None = None,
    gradient_noise: float | None = None,
    batch_size: int | None = None,
    momentum: float | None = None,
    checkpoint: str | Path | Keeper | None = None,
) -> PhaseDiagram:
    """Return the regimes of one mode with Gaussian noise over any two of its parameters.

    A preconditioner p of the mode is the learning rate ηp, and a temperature T gradient noise 2T/(ηp) more.

    Parameters
    ----------
    axis_x, axis_y
        One name and its values, increasing: e.g. ``{"learning_rate": np.linspace(0.01, 2, 100)}``.
    learning_rate
        η > 0 [parameter^2 / loss].
    curvature
        λ, of either sign [loss / parameter^2].
    curvature_noise, gradient_noise
        Γ (0 if left out) and D of one sample, >= 0; divided by ``batch_size``.
    batch_size
        B >= 1; 1 if left out.
    momentum
        β of the heavy ball, 0 <= β < 1; 0 if left out.
    checkpoint
        HDF5 file, written every few seconds, from which an interrupted call goes on to the same bits: a place with
        momentum takes milliseconds. The finished diagram takes its place, and is returned if it is there.

    Raises
    ------
    DFPError
        If a parameter is unknown, missing, given twice or out of range.

    Examples
    --------
    >>> import dfp
    >>> noises = {"curvature_noise": [0.5, 5.0, 20.0]}
    >>> line = dfp.phase_diagram({"learning_rate": [0.6]}, noises, curvature=1.0, gradient_noise=0.2)
    >>> print(line.boundary("sgd").round(4), line.boundary("langevin").round(4))
    [[0.6    2.3333]] [[0.6    3.3333]]
    """
    arguments = {
        "learning_rate": learning_rate, "curvature": curvature, "curvature_noise": curvature_noise,
        "gradient_noise": gradient_noise, "batch_size": batch_size, "momentum": momentum,
    }  # fmt: skip
    (x_name, x), (y_name, y) = _axis("axis_x", axis_x), _axis("axis_y", axis_y)
    if x_name == y_name:
        raise DFPError(f"axis_y={y_name!r}: is on the other axis already; give two different parameters.")
    fixed: dict[str, float] = {}
    for name, given in arguments.items():
        if name in (x_name, y_name):
            if given is not None:
                raise DFPError(f"{name}={given}: is on an axis already; leave it out.")
            continue
        value = PARAMETERS[name] if given is None else given
        if value is None:
            raise DFPError(f"{name}: is missing; give a number, or put it on an axis.")
        fixed[name] = _parameter(name, value)

    def find(keeper: Keeper | None) -> PhaseDiagram:
        values = _Rows(fixed, (x_name, y_name), x, y).found(keeper)
        return PhaseDiagram((x_name, y_name), x, y, fixed, values)

    if checkpoint is None:
        return find(None)
    owner: dict[str, Any] = {"function": "phase_diagram", "axes": [x_name, y_name], "x": x.tolist(), "y": y.tolist()}
    owner |= fixed | {f"versions.{name}": version for name, version in schema.versions().items()}
    keeper = checkpoint if isinstance(checkpoint, Keeper) else Keeper(checkpoint)
    return keeper.carried(owner, call_of(phase_diagram, (axis_x, axis_y), arguments), find)


class _Rows:
    """Numbers and codes of the modes, row by row."""

    def __init__(self, fixed: dict[str, float], names: tuple[str, str], x: Array, y: Array) -> None:
        self._fixed, self._names, self._x, self._y, self._done = fixed, names, x, y, 0
        self._table = np.empty((len(x), len(NUMBERS) + len(CODES), len(y)))

    def found(self, keeper: Keeper | None) -> dict[str, Any]:
        """Return them by name, of all rows, those that a checkpoint holds as they are there."""
        if keeper is not None:
            keeper.resume(self._resume)
        for i in range(self._done, len(self._table)):
            at = [dict(zip(self._names, (float(self._x[i]), float(b)), strict=True)) for b in self._y]
            modes = [_mode(self._fixed | place) for place in at]
            numbers: list[list[float]] = [[_number(mode, name) for mode in modes] for name in NUMBERS]
            self._table[i] = numbers + [[REGIMES.index(getattr(mode, name)) for mode in modes] for name in CODES]
            if keeper is not None:
                keeper.keep({"rows": self._table[: i + 1]}, lambda _: None)
        layers = dict(zip((*NUMBERS, *CODES), self._table.transpose(1, 0, 2).copy(), strict=True))
        return layers | {name: layers[name].astype(np.int64) for name in CODES}

    def _resume(self, state: Mapping[str, Any]) -> str:
        self._done = len(state["rows"])
        self._table[: self._done] = state["rows"]
        return f"row {self._done} of {len(self._table)}"


def _number(mode: Mode, name: str) -> float:
    sampled = mode.step.beta > 0 and mode.curvature_noise > 0
    if sampled and name == "lyapunov_exponent" and mode.growth < 1:
        return np.nan  # negative, by Jensen's inequality; not worth sampling
    return float(getattr(mode, name))


def _axis(label: str, axis: Mapping[str, ArrayLike]) -> tuple[str, Array]:
    if not isinstance(axis, Mapping) or len(axis) != 1:
        raise DFPError(f"{label}={checks.shown(axis)}: must map one name to values; give e.g. {{'curvature': values}}.")
    ((name, given),) = axis.items()
    checks.choice(label, name, tuple(PARAMETERS))
    values = checks.array(f"{label}[{name!r}]", given)
    if np.any(np.diff(values) <= 0):
        raise DFPError(f"{label}[{name!r}]: must increase; sort the values and remove repeated ones.")
    return name, np.array([_parameter(name, float(value)) for value in values])


def _parameter(name: str, value: object) -> float:
    if name == "batch_size":
        number = checks.real(name, value, at_least=1)
        return float(checks.integer(name, int(number) if number == int(number) else value, at_least=1))
    if name == "learning_rate":
        return checks.real(name, value, above=0)
    if name == "momentum":
        return checks.real(name, value, at_least=0, below=1)
    return checks.real(name, value) if name == "curvature" else checks.real(name, value, at_least=0)


def _mode(parameters: Mapping[str, float]) -> Mode:
    """Return the mode with these parameters, at its critical point."""
    eta, beta, curvature = parameters["learning_rate"], parameters["momentum"], parameters["curvature"]
    batch = parameters["batch_size"]
    gamma, noise = parameters["curvature_noise"] / batch, parameters["gradient_noise"] / batch
    step, deviation = OptimiserStep(eta, 1.0, beta, beta), float(np.sqrt(gamma))
    multiplier: Multiplier = (
        GaussianMultiplier(1 - eta * curvature, eta * deviation)
        if beta == 0
        else MomentumMultiplier(curvature, deviation, step, Sampling(_SAMPLED_STEPS, 0))
    )
    collapsing = noise == 0 < gamma
    return Mode(np.ones(1), curvature, gamma, noise, 0.0, 0.0, noise, step, multiplier, collapsing=collapsing)


def columns(diagram: PhaseDiagram) -> dict[str, Column]:
    """Return the axes, the stored quantities and one that follows from them."""
    axes = {name: Column((name,), values, _about(name)) for name, values in zip(diagram.names, (diagram.x, diagram.y),
                                                                                strict=True)}  # fmt: skip
    numbers = {name: diagram.values[name] for name in NUMBERS} | {"variance_difference": diagram.variance_difference}
    codes = {name: diagram.values[name] for name in CODES}
    found = {name: Column(diagram.names, np.asarray(v, "<f8"), _about(name)) for name, v in numbers.items()}
    meanings = ", ".join(f"{code}: {name}" for code, name in enumerate(REGIMES))
    for name, values in codes.items():
        about = _about(name) | {"comment": meanings}
        found[name] = Column(diagram.names, np.asarray(values, "<i8"), about)
    return axes | found


def _about(name: str) -> dict[str, str]:
    found = schema.PHASE_VARIABLES[name]
    return {"units": found.unit, "long_name": found.long_name}


def attributes(diagram: PhaseDiagram) -> dict[str, Any]:
    """Return the names of the axes and the other parameters."""
    return {"axes": json.dumps(diagram.names), "fixed": json.dumps(diagram.fixed)}


def load_phase_diagram(path: str | Path) -> PhaseDiagram:
    """Return the phase diagram that ``PhaseDiagram.save`` wrote to ``path``, bit for bit.

    Raises
    ------
    DFPError
        If there is no such file, or it cannot be read.
    FileFormatError
        If it is no phase diagram of dfp, is damaged, or needs a newer dfp.

    Examples
    --------
    >>> import dfp
    >>> rates, noises = {"learning_rate": [0.1, 1.0]}, {"curvature_noise": [0.0, 0.5]}
    >>> diagram = dfp.phase_diagram(rates, noises, curvature=1.0, gradient_noise=0.2)
    >>> diagram.save("phases.h5")
    >>> print(dfp.load_phase_diagram("phases.h5").names)
    ('learning_rate', 'curvature_noise')
    """
    found: PhaseDiagram = load_kind(path, "phase diagram")
    return found


def read(root: hdf5.Stored) -> PhaseDiagram:
    """Return the phase diagram in the root of a file."""
    names, fixed = root.json("axes", list), root.json("fixed", dict)
    known = len(names) == 2 and names[0] != names[1] and set(names) | set(fixed) == set(PARAMETERS)
    if not known or not all(isinstance(value, (int, float)) for value in fixed.values()):
        raise FileFormatError("the attributes 'axes' and 'fixed' must name every parameter once; make it again.")
    x, y = (root.array(name, (None,)) for name in names)
    shape = (len(x), len(y))
    values = {name: root.array(name, shape) for name in NUMBERS}
    values |= {name: root.array(name, shape, "<i8") for name in CODES}
    for name in CODES:
        if values[name].size and not (values[name].min() >= 0 and values[name].max() < len(REGIMES)):
            raise FileFormatError(f"{name} has a code that is no regime: dfp writes none; make the file again.")
    return PhaseDiagram((names[0], names[1]), x, y, {k: float(v) for k, v in fixed.items()}, values)
