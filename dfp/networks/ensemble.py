"""Where an ensemble is kept while it is made: one file per finished block of runs, and one for where the next stands.

Each file is written whole or not at all, so that an interruption at any moment costs less than a minute.
"""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import dfp
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.networks import stored
from dfp.networks.runs import Runs
from dfp.results import hdf5

Block = Mapping[str, Any]
_KIND = "part of network runs"
# Seconds between files within a block.
_PATIENCE = 30.0


class Ensemble:
    """The files of an ensemble; nothing is written without a path.

    Parameters
    ----------
    path
        File of the finished runs, or None.
    fingerprint
        Hash of what decides their bits.
    count
        Number of runs R.
    """

    def __init__(self, path: Path | None, fingerprint: str, count: int) -> None:
        self.path, self.fingerprint, self.count, self.told = path, fingerprint, count, time.monotonic()
        self.parts = None if path is None else path.with_name(path.name + ".part")
        if path is not None and not path.absolute().parent.is_dir():
            raise DFPError(f"path={path}: the directory {path.absolute().parent} does not exist; create it.")

    def finished(self) -> Runs | None:
        """Return the runs if they are there already."""
        if self.path is None or not self.path.exists():
            return None
        found = dfp.load(self.path)
        with hdf5.opened(self.path) as root:
            made = root.json("record_json", dict).get("fingerprint") if root.labelled("record_json") else None
        if not isinstance(found, Runs) or made != self.fingerprint or found.count != self.count:
            raise DFPError(f"path={self.path}: holds other runs; remove it, or give another path.")
        return found

    def block(self, first: int) -> Block | None:
        """Return a finished block."""
        return self._read(f"{first:06d}.h5")

    def standing(self, first: int) -> Block | None:
        """Return where a block that was interrupted stands."""
        found = self._read("standing.h5")
        return found if found is not None and found["first"] == first else None

    def keep(self, first: int, positions: Array, final: Array) -> Block:
        """Keep a finished block: displacements at the saved steps and in the end."""
        self._write(f"{first:06d}.h5", {"positions": positions, "final": final}, {})
        return {"positions": positions, "final": final}

    def stand(self, first: int, step: int, positions: Array, theta: Array, velocity: Array) -> None:
        """Keep where a block stands, every half minute."""
        if time.monotonic() - self.told >= _PATIENCE:
            self.told = time.monotonic()
            arrays = {"positions": positions, "theta": theta, "velocity": velocity}
            self._write("standing.h5", arrays, {"first": first, "step": step})

    def close(self, runs: Runs) -> Runs:
        """Write the finished runs, and remove the parts."""
        if self.path is not None and self.parts is not None:
            kind, table, record = runs.kept()
            hdf5.save(self.path, *stored.packed(runs, kind, table, record | {"fingerprint": self.fingerprint}))
            shutil.rmtree(self.parts)
        return runs

    def _read(self, name: str) -> Block | None:
        if self.parts is None or not (self.parts / name).exists():
            return None
        with hdf5.opened(self.parts / name) as root:
            record = root.json("record_json", dict)
            if record.pop("fingerprint") != self.fingerprint:
                raise DFPError(f"path={self.parts}: holds parts of other runs; remove it, or give another path.")
            return record | stored.read(root, stored.PART)

    def _write(self, name: str, arrays: dict[str, np.ndarray], rest: dict[str, Any]) -> None:
        if self.parts is not None:
            self.parts.mkdir(exist_ok=True)
            record = stored.attributes(_KIND, rest | {"fingerprint": self.fingerprint})
            hdf5.save(self.parts / name, stored.columns(arrays, stored.PART), record)
