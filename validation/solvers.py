"""The one list of solvers, for tests and evidence alike: whatever the library exports."""

import dfp
from dfp.methods.solver import Solver


def kinds() -> dict[str, type[Solver]]:
    """Return the class of every public solver by its name."""
    exported = {name: getattr(dfp, name) for name in dfp.__all__}
    return {name: kind for name, kind in exported.items() if isinstance(kind, type) and issubclass(kind, Solver)}


def made(trajectories: int, seed: int = 0) -> dict[str, Solver]:
    """Return every public solver by its name, as it is by default but for the number of trajectories."""
    sampling = dfp.MonteCarlo(trajectories, seed=seed)
    return {name: sampling if kind is dfp.MonteCarlo else kind() for name, kind in kinds().items()}
