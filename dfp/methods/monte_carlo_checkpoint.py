"""Checkpoints of MonteCarlo: sums of the trajectories so far, written whole, read only by the run they belong to."""

import hashlib
import io
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from dfp_solvers.trajectories import ensemble as kernels

from dfp.errors import DFPError
from dfp.results import writing


def fingerprint_of(*parts: Any) -> str:
    """Return what tells one run from another: a digest of all arrays and fields of ``parts``."""
    digest = hashlib.sha256()
    for part in parts:
        values = [getattr(part, f.name) for f in fields(part)] if hasattr(part, "__dataclass_fields__") else [part]
        for value in values:
            array = np.asarray(() if value is None else value)
            digest.update(f"{type(part).__name__}{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def store(path: Path, sums: kernels.Accumulators, fingerprint: str) -> None:
    """Write the sums, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, fingerprint=np.array(fingerprint), **{f.name: getattr(sums, f.name) for f in fields(sums)})
    writing.write(path, buffer.getvalue(), label="checkpoint")


def restored(path: Path, empty: kernels.Accumulators, fingerprint: str, trajectories: int) -> kernels.Accumulators:
    """Return the sums in the file.

    Raises
    ------
    DFPError
        If it cannot be read, or belongs to another run.
    """
    advice = "delete it or name another checkpoint"
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {f.name: stored[f.name] for f in fields(empty)}
            owner = str(stored["fingerprint"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DFPError(f"checkpoint={path.name}: not a readable checkpoint ({error}); {advice}.") from None
    if owner != fingerprint:
        raise DFPError(f"checkpoint={path.name}: belongs to another problem, grid or seed; {advice}.")
    done = int(values["trajectories"])
    if done != trajectories and (done > trajectories or done % kernels.BLOCK):
        raise DFPError(
            f"checkpoint={path.name}: holds {done} trajectories, which cannot be cut or extended to "
            f"trajectories={trajectories}; {advice}."
        )
    kept: dict[str, Any] = {name: value if value.ndim else int(value) for name, value in values.items()}
    return kernels.Accumulators(**kept)
