"""A landscape of data in a file, which the files of solutions name by path and digest where they are too large."""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.problem.landscape import QuadraticLandscape, standardised
from dfp.problem.noise import GaussianNoise, NoiseLaw
from dfp.problem.parameters import named
from dfp.results import writing
from dfp.solving.datafiles import header_of, read_columns


class DataError(DFPError):
    """Data that a file names are not there, or are others."""


# Columns of a table that a message names.
_NAMED = 6


@dataclass(frozen=True, eq=False, init=False, repr=False)
class StoredLandscape(QuadraticLandscape):
    """A quadratic landscape of arrays in a file, which files of results name by path and digest where it is large.

    Parameters
    ----------
    path
        Archive of ``numpy.savez`` with ``features`` (N, d) and ``targets`` (N,), as ``from_regression`` takes them;
        with ``hessians`` and ``gradients``, as ``from_samples``; or with ``hessian``, (d,) or (d, d), and, where they
        are not 0, ``gradient``, ``gradient_noise`` and ``curvature_noise``: the gradient, and the covariance of g̃ and
        the variances of H̃ of a ``GaussianNoise``; and, if they have any, the names ``parameters`` (d,). With columns
        named, a CSV table in UTF-8 with a header.
    batch_size
        Samples per minibatch of a finite sum, >= 1.
    sha256
        Digest that the file must have, in hexadecimal; whatever it has if left out.
    features, target
        Of a table, the names of the columns for ``from_regression``; those of the features name the parameters.
    standardise
        Whether each of these columns is shifted and scaled to mean 0 and variance 1 over the rows (divisor N).

    Raises
    ------
    DFPError
        If there is no such file, it lacks arrays or columns, or it has another digest.

    Notes
    -----
    A file of a solution holds arrays of up to 2¹⁸ entries in all by value; of larger ones it keeps the path as given
    here, shapes and digest. ``dfp.rerun`` then reads the data, there or beside the file, and refuses another digest.

    Examples
    --------
    >>> import numpy as np
    >>> import dfp
    >>> features = np.random.default_rng(0).standard_normal((200_000, 2))
    >>> np.savez("data.npz", features=features, targets=features @ [1.0, 0.5])
    >>> sgd = dfp.SGD(dfp.StoredLandscape("data.npz", batch_size=8), learning_rate=0.1)
    >>> start = dfp.Point([0.0, 0.0])
    >>> dfp.solve(dfp.MasterEquation(sgd), start, 9, solver="moment_recursion").save("run.h5")
    >>> print(dfp.rerun("run.h5").mean.round(2))
    [[0.61 0.31]]
    """

    path: str
    batch_size: int
    sha256: str
    features: tuple[str, ...] | None
    target: str | None
    standardise: bool
    shapes: tuple[tuple[Any, ...], ...] = field(init=False)
    """Name and lengths of every array."""
    # What follows from these:
    _given: Array = field(init=False)
    gradient: Array = field(init=False)
    law: NoiseLaw = field(init=False)
    parameters: tuple[str, ...] | None = field(default=None, init=False, compare=False)

    def __init__(
        self,
        path: str | Path,
        batch_size: int = 1,
        sha256: str | None = None,
        *,
        features: Sequence[str] | None = None,
        target: str | None = None,
        standardise: bool = False,
    ) -> None:
        name = writing.checked(path)
        content = _content(name)
        digest = hashlib.sha256(content).hexdigest()
        if sha256 not in (None, digest):
            raise DataError(
                f"path={name!r}: holds other data than it did: its SHA-256 begins with {digest[:16]}, and not "
                f"with {str(sha256)[:16]}; put the former file back, or solve anew with this one."
            )
        columns = {"features": None if features is None else tuple(features), "target": target}
        if features is None and target is None and not standardise:
            arrays = _archive(name, content)
        elif features and isinstance(target, str) and all(isinstance(column, str) for column in features):
            if target in features:
                raise DFPError(f"target={target!r}: is among the features, which would tell it; leave it out there.")
            arrays = _table(name, content, [*features, target], standardise)
        else:
            raise DFPError(
                f"features={checks.shown(features)}, target={checks.shown(target)}: must name the columns of a table, "
                "such as features=['x1', 'x2'], target='y'; leave both out for an archive."
            )
        called, source = (features, "features") if features else (arrays.pop("parameters", None), "parameters")
        names = {} if called is None else {"parameters": named(called, len(called), source)}
        made = _landscape(name, arrays, checks.integer("batch_size", batch_size, at_least=1), names)
        shapes = tuple((one, *values.shape) for one, values in arrays.items())
        kept = {"path": name, "batch_size": batch_size, "sha256": digest, "standardise": standardise, "shapes": shapes}
        for key, value in (kept | columns | made.__dict__).items():
            object.__setattr__(self, key, value)

    def _arguments(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.init}


def _landscape(name: str, arrays: dict[str, Any], batch_size: int, names: dict[str, Any]) -> QuadraticLandscape:
    make: dict[frozenset[str], Any] = {
        frozenset(("features", "targets")): QuadraticLandscape.from_regression,
        frozenset(("hessians", "gradients")): QuadraticLandscape.from_samples,
    }
    for wanted, maker in make.items():
        if wanted <= set(arrays):
            return maker(**{one: arrays[one] for one in wanted}, batch_size=batch_size, **names)
        if wanted & set(arrays):
            (other,) = wanted - set(arrays)
            known = ", ".join(map(repr, arrays))
            raise DFPError(f"path={name!r}: has no array {other!r}, only {known}; add it with numpy.savez.")
    if "hessian" not in arrays:
        known = ", ".join(map(repr, arrays)) or "nothing"
        raise DFPError(
            f"path={name!r}: has no array 'features', 'hessians' or 'hessian', only {known}; add it with numpy.savez."
        )
    if batch_size != 1:
        raise DFPError(f"batch_size={batch_size}: {name!r} holds no samples; give it to dfp.SGD(...).")
    noise = GaussianNoise(arrays.get("gradient_noise", 0.0), arrays.get("curvature_noise", 0.0))
    return QuadraticLandscape(arrays["hessian"], arrays.get("gradient", 0.0), noise, **names)


def _content(name: str) -> bytes:
    try:
        if not Path(name).is_file():
            raise DataError(f"path={name!r}: there is no file of this name; correct or move it.")
        return Path(name).read_bytes()
    except (OSError, MemoryError) as error:
        raise DataError(f"path={name!r}: cannot be read ({_reason(error)}); check the file.") from None


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _table(name: str, content: bytes, columns: list[str], standardise: bool) -> dict[str, Any]:
    """Return features and targets of a CSV table."""
    label = f"path={name!r}"
    table = read_columns(content, columns, label)
    if standardise:
        table = standardised(table, columns, label)
    return {"features": table[:, :-1], "targets": table[:, -1]}


def _archive(name: str, content: bytes) -> dict[str, Any]:
    """Return the arrays of an NPZ archive."""
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DFPError(f"path={name!r}: holds a single array; write it with numpy.savez(file, features=...).")
        return {one: np.asarray(archive[one]) for one in archive.files}
    except (OSError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise DataError(f"path={name!r}: cannot be read ({_reason(error)}); check the file.") from None
    except ValueError as error:
        if isinstance(error, DFPError):
            raise
        *first, last = header_of(content) or [""]
        if first:
            raise DFPError(
                f"path={name!r}: is a table, of which columns are data; say which, as features={first[:_NAMED]}, "
                f"target={last!r}."
            ) from None
        raise DFPError(f"path={name!r}: is not an archive of plain arrays; write it with numpy.savez.") from None
