"""Sweeps from configuration files: a problem, and a ``[sweep]`` table with lists of values for keys of it."""

import copy
import functools
import hashlib
import json
import multiprocessing
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dfp import checks
from dfp.checks import Array
from dfp.config.config import Config, Problem, explained, parsed
from dfp.errors import DFPError
from dfp.exact.moments import moments
from dfp.long_time.stationary_moments import stationary_moments
from dfp.solving.stored_landscape import StoredLandscape

QUANTITIES = ("stationary", "moments")


class Member:
    """Mean and covariance of every equation of a configuration at one point: what workers call.

    Parameters
    ----------
    data
        The configuration as read.
    source
        Its file, beside which data files are.
    keys
        Dotted keys by the name of the axis.
    quantity
        One of ``QUANTITIES``.
    """

    def __init__(self, data: dict[str, Any], source: Path, keys: dict[str, str], quantity: str) -> None:
        self.data, self.source, self.keys, self.quantity = data, source, keys, quantity
        # What it computes is part of the name that files keep, so that other problems do not go on in them.
        digest = hashlib.sha256(json.dumps([data, keys, quantity], sort_keys=True, default=str).encode())
        self.__qualname__ = f"sweep-{digest.hexdigest()[:16]}"

    def by_value(self) -> str:
        """Return what it computes, as text that files hold."""
        return json.dumps([self.data, self.keys, self.quantity], default=str)

    @classmethod
    def of(cls, text: str, source: Path) -> "Member":
        """Return what ``by_value`` has written, with data files beside ``source``."""
        data, keys, quantity = json.loads(text)
        return cls(data, source, keys, checks.choice("quantity", quantity, QUANTITIES))

    def problem(self, **point: Any) -> Problem:
        """Return the problem at one point."""
        data = copy.deepcopy(self.data)
        for name, value in point.items():
            number = int(value) if float(value).is_integer() else float(value)  # a batch size must stay whole
            *path, last = self.keys[name].split(".")
            functools.reduce(lambda table, key: table[key], path, data)[last] = number
        try:
            config = Config.model_validate(data)
        except ValidationError as error:
            raise DFPError("; ".join(explained(item) for item in error.errors())) from None
        config._source = self.source
        return config.build()

    def __call__(self, **point: Any) -> dict[str, Array]:
        """Return the arrays by name."""
        problem, found = self.problem(**point), dict[str, Array]()
        for task in problem.tasks:
            if self.quantity == "stationary":
                law: Any = stationary_moments(task.equation)
            else:
                law = moments(task.equation, problem.initial, task.steps, save=task.save or [task.steps])
            name = re.sub(r"\W+", "_", task.name).strip("_")
            found |= {f"{name}_mean": law.mean, f"{name}_covariance": law.covariance}
        return found


def load(path: str | Path, quantity: str) -> tuple[Member, dict[str, Array]]:
    """Return what to call, and the axes, of the TOML file at ``path``.

    Raises
    ------
    DFPError
        If the file, its ``[sweep]`` table or its first member is wrong.
    """
    checks.choice("--quantity", quantity, QUANTITIES)
    source = Path(path)
    data = parsed(source)
    table = data.pop("sweep", None)
    if not isinstance(table, dict) or not table:
        raise DFPError(f'{source}: sweep: is missing; add [sweep] with e.g. "sgd.learning_rate" = [0.01, 0.1].')
    keys: dict[str, str] = {}
    for key in table:
        *above, last = key.split(".")
        home: Any = data
        for part in above:
            home = home.get(part) if isinstance(home, dict) else None
        if not isinstance(home, dict) or last in keys:
            raise DFPError(
                f"{source}: sweep.{key}: must be a dotted key in quotes of a table of this file, each with its own "
                'last part; write e.g. "sgd.learning_rate".'
            )
        keys[last] = key
    axes = {last: checks.array(f"{source}: sweep.{key}", table[key]) for last, key in keys.items()}
    member = Member(data, source.resolve(), keys, quantity)
    try:
        first = member.problem(**{name: values[0] for name, values in axes.items()})
    except DFPError as error:
        raise DFPError(f"{source}: its first member cannot be built: {error}") from None
    if isinstance(first.sgd.landscape, StoredLandscape):  # every member, here and on workers, is to see these data
        data["landscape"]["sha256"] = first.sgd.landscape.sha256
        member = Member(data, source.resolve(), keys, quantity)
    return member, axes


@contextmanager
def pool(workers: int, address: str | None) -> Iterator[Any]:
    """Give an executor: of processes, of a Dask cluster, or None for one worker."""
    checks.integer("--workers", workers, at_least=1, at_most=1024)
    if address is None:
        if workers == 1:
            yield None
            return
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as processes:
            yield processes
        return
    try:
        import distributed
    except ImportError:
        raise DFPError("--dask: Dask is not installed; run pip install 'dfp[dask]'.") from None
    if address == "local":
        with (
            distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise DFPError(f"--dask={address}: no scheduler answers ({error}); give e.g. tcp://host:8786.") from None
    with client:
        yield client
