"""Checkpoints: the frames so far as a file of a solution, readable at any time, from which a run goes on bit by bit."""

import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from dfp.checks import finite, shown
from dfp.errors import DFPError, FileFormatError
from dfp.methods.solver import Problem, Run, SamplingRun, Solver, saved_gaps
from dfp.results import hdf5, schema, writing
from dfp.results.files import read_solution
from dfp.results.frame import Frame
from dfp.results.solution import Solution, attributes, columns
from dfp.solving.recipe import Recipe, recorded

# Seconds between two writings, and how many times as long as a writing takes.
_EVERY, _SHARE = 2.0, 20.0
# Settings of solvers that change no bit.
_IDLE = ("threads", "checkpoint", "executor", "retries")
# Lists up to this length are told apart entry by entry, others by digests, which begin like this.
_LISTED, _DIGEST = 16, "sha256 "
# The kind of file that holds no saved step yet.
EARLY = "checkpoint"
_TYPES = {"<f8", "<i8", "<u8", "<c16", "|b1"}


class Checkpoint:
    """The file of a run that may end at any time.

    Parameters
    ----------
    path
        Where; the finished solution takes its place.
    resume
        Whether to go on from what is there; else it is replaced.
    """

    def __init__(self, path: str | Path, *, resume: bool = True) -> None:
        self.path, self.resumed, self.left = Path(writing.checked(path, "checkpoint")), -1, 0
        self._resume, self._key = resume, ""
        self._fingerprint: dict[str, Any] = {}
        self._recipe: Recipe | None = None
        self._found: dict[str, Any] | None = None
        self._make: Callable[[list[Frame]], Solution] | None = None
        self._pending: tuple[list[Frame], dict[str, Any] | None, int] | None = None
        self._written, self._cost, self._own = time.perf_counter(), 0.0, False

    @contextmanager
    def held(self, problem: Problem, arguments: Mapping[str, Any]) -> Iterator[Solution | None]:
        """Hold the file for one problem; give its solution if it is finished already.

        Raises
        ------
        DFPError
            If it belongs to another problem, or another process holds it.
        """
        self._fingerprint, self._recipe = _fingerprint(problem, arguments), Recipe(arguments)
        with _locked(self.path):
            finished = self._read() if self._resume and self.path.exists() else None
            try:
                yield finished
            except DFPError:
                if self._own:  # nothing will come of it
                    self.path.unlink(missing_ok=True)
                raise
            except BaseException:
                self._write()
                raise

    def _read(self) -> Solution | None:
        with hdf5.opened(self.path) as root:
            early = root.labelled("kind") and root.attribute("kind", "str") == EARLY  # before the first saved step
            solution = None if early else read_solution(root)
            told = root.json("checkpoint", dict) if root.labelled("checkpoint") else None
            owner = solution.provenance.get("checkpoint") if told is None and solution else (told or {})["fingerprint"]
            if told is not None and owner == self._fingerprint:
                state = _decoded(told["state"], root.array("state", (None,))) if told["state"] is not None else None
                extras = told["frames"]
                frames = [] if solution is None else [_frame(solution, s, extra) for s, extra in enumerate(extras)]
                if len(frames) != len(extras) or (extras and solution and len(extras) != len(solution.steps)):
                    raise FileFormatError("the checkpoint has other frames than steps: delete it.")
                self._found = {"key": told["key"], "frames": frames, "state": state, "left": int(told.get("left", 0))}
        if owner != self._fingerprint:
            raise DFPError(
                f"checkpoint={self.path}: belongs to another problem: {_difference(owner, self._fingerprint)}; name "
                "another checkpoint, delete this one, or go on with the problem that it is of."
            )
        return solution if told is None else None

    def start(
        self, solver: Solver, run: Run | SamplingRun, steps: Sequence[int], make: Callable[[list[Frame]], Solution]
    ) -> list[Frame]:
        """Take a run to where it was; return the frames up to there, and keep how many steps of a gap are ``left``.

        A run whose state is not kept walks there again, without making the frames: to the same bits.
        """
        settings = {name: repr(value) for name, value in vars(solver).items() if name not in _IDLE}
        self._key = json.dumps([type(solver).__name__, settings, repr(run.grid)])
        self._make, self._pending, self._written, self.left = make, None, time.perf_counter(), 0
        found = self._found
        if found is None or found["key"] != self._key:
            return []
        frames: list[Frame] = found["frames"]
        if isinstance(run, SamplingRun):
            run.resume(found["state"])
            self.resumed = int(run.drawn)
        else:
            self.left, gaps = found["left"], [*saved_gaps(np.array(steps)), 1]
            if not 0 <= self.left < gaps[len(frames)] or (self.left and found["state"] is None):
                raise FileFormatError(f"checkpoint={self.path}: says of its steps what cannot be; delete it.")
            self.resumed = steps[len(frames)] - self.left if self.left else steps[len(frames) - 1]
            if found["state"] is not None:
                run.resume(found["state"])
            else:
                for gap in saved_gaps(np.array(steps[: len(frames)])):
                    run.advance(gap)
        what = f"{self.resumed} trajectories" if isinstance(run, SamplingRun) else f"step {self.resumed}"
        logging.getLogger("dfp").info("resumed from %s", what)
        return list(frames)

    def reached(self, frames: list[Frame], run: Run | SamplingRun) -> None:
        """Take note of a further frame, or portion of trajectories, and write if it is time to."""
        if isinstance(run, Run) and not (finite(frames[-1].mean) and finite(frames[-1].covariance)):
            return  # the last good one stays
        due = self._due()
        self._pending = (list(frames) if isinstance(run, Run) else run.frames() if due else [], _copied(run.state()), 0)
        if isinstance(run, SamplingRun) and not due:
            self._pending = None  # its frames cost a sum over all cells
        if due:
            self._write()

    def passed(self, frames: list[Frame], run: Run, left: int) -> None:
        """Write, if it is time to, that ``left`` steps are left to the next frame."""
        state = run.state() if self._due() else None
        if state is not None:
            self._pending = list(frames), state, left
            self._write()

    def _due(self) -> bool:
        return time.perf_counter() - self._written >= max(_EVERY, _SHARE * self._cost)

    def _write(self) -> None:
        if self._pending is None or self._make is None:
            return
        began, (frames, state, left) = time.perf_counter(), self._pending
        layout, flat = _encoded(state)
        sampled = bool(frames) and frames[0].errors is not None
        told = {
            "fingerprint": self._fingerprint, "key": self._key, "state": layout, "left": left,
            "frames": [] if sampled else [_extra(frame) for frame in frames],
        }  # fmt: skip
        extra = {}
        if state is not None:
            about = {"units": "1", "long_name": "state of the run, from which it goes on"}
            extra = {
                "state_entry": schema.Column(("state_entry",), np.arange(len(flat)), about | {"long_name": "entry"}),
                "state": schema.Column(("state_entry",), flat, about),
            }
        solution = self._make(frames) if frames else None
        if solution is not None:
            solution.provenance["recipe"] = self._recipe
        known = {"kind": EARLY} if solution is None else attributes(solution)
        kept = {} if solution is None else columns(solution)
        hdf5.save(self.path, kept | extra, known | {"checkpoint": json.dumps(told)})
        self._pending, self._own = None, True
        self._written = time.perf_counter()
        self._cost = self._written - began

    def finish(self, solution: Solution) -> Solution:
        """Put the finished solution in the place of the checkpoint and return it."""
        solution.provenance["checkpoint"] = self._fingerprint
        if self.resumed >= 0:
            solution.provenance["resumed"] = self.resumed
        solution.save(self.path)
        return solution


def _fingerprint(problem: Problem, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells problems apart, by part: arguments by value, exact or pilot moments where they have none.

    Functions have no value: their effect on the moments of a pilot run of the same random numbers stands for them.
    """
    told: dict[str, Any] = {name: recorded({name: value}, whole=(name,)) for name, value in arguments.items()}
    moments = problem.steps, problem.moments.mean, problem.moments.covariance
    told = {name: entry.get(name, entry) for name, entry in told.items()} | {"versions": dict(schema.versions())}
    found = {"equation": problem.equation.label} | dict(_parts(told, ""))
    effect = _digest(b"".join(np.ascontiguousarray(values).tobytes() for values in moments))
    return found | {"what functions do to the moments": effect}


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield numbers and words of a record, and digests of its arrays and long lists, by their paths."""
    if (isinstance(value, list) and len(value) > _LISTED) or (isinstance(value, dict) and value.get("kind") == "array"):
        yield path, _digest(json.dumps(value, default=_hashed).encode())
    elif isinstance(value, (dict, list)):
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _parts(one, f"{path}.{name}" if path else str(name))
    else:
        yield path, value if value == value else "nan"


def _hashed(array: Any) -> str:
    return _digest(np.ascontiguousarray(array).tobytes())


def _digest(content: bytes) -> str:
    return f"{_DIGEST}{hashlib.sha256(content).hexdigest()}"


def _difference(there: Any, here: dict[str, Any]) -> str:
    """Return the first part in which two fingerprints differ, in words."""
    if not isinstance(there, dict):
        return "an older dfp made it, or a solve without checkpoint"
    name = next(name for name in (*here, *there) if there.get(name, there) != here.get(name, there))
    told = [shown(one[name]) if name in one else "not given" for one in (there, here)]
    digests = any(_DIGEST in part for part in told)
    return f"{name} differs" if digests else f"{name} is {told[0]} there and {told[1]} here"


def _extra(frame: Frame) -> dict[str, Any]:
    """Return what a file of solutions does not say of a frame; JSON keeps every bit of its numbers."""
    told = {"truncation": float(frame.truncation), "gridded_moments": bool(frame.gridded_moments)}
    return told | {
        "outside": None if frame.outside is None else float(frame.outside),
        "warnings": list(frame.warnings),
    }


def _frame(solution: Solution, s: int, extra: dict[str, Any]) -> Frame:
    def part(values: Any) -> Any:
        return None if values is None else values[s]

    return Frame(
        solution.mean[s], solution.covariance[s], part(solution.density), part(solution.third), part(solution.fourth),
        extra["truncation"], extra["outside"], extra["gridded_moments"], None, tuple(extra["warnings"]),
    )  # fmt: skip


def _copied(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {name: _copied(one) for name, one in value.items()}
    return tuple(map(_copied, value)) if isinstance(value, (tuple, list)) else value


def _encoded(state: Any) -> tuple[Any, Any]:
    """Return the layout of a state as JSON, and all entries of its arrays as one array of 8 bytes each."""
    parts: list[Any] = []

    def laid(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            kind = value.dtype.newbyteorder("<").str
            if kind not in _TYPES:
                raise TypeError(f"a state has an array of type {kind}")
            wide = value.astype("<i8") if kind == "|b1" else value
            parts.append(np.ascontiguousarray(wide).reshape(-1).view("<f8"))
            return {"type": kind, "shape": list(value.shape)}
        if isinstance(value, dict):
            return {"table": {name: laid(one) for name, one in value.items()}}
        if isinstance(value, (tuple, list)):
            return [laid(one) for one in value]
        if value is None or isinstance(value, (bool, str)):
            return value
        return int(value) if isinstance(value, (int, np.integer)) else float(value)

    layout = laid(state)
    return layout, np.concatenate(parts) if parts else np.zeros(1)


def _decoded(layout: Any, flat: Any) -> Any:
    """Return the state of a layout.

    Raises
    ------
    FileFormatError
        If the file holds fewer entries, or other types than are written.
    """
    place = 0

    def made(told: Any) -> Any:
        nonlocal place
        if isinstance(told, list):
            return tuple(map(made, told))
        if not isinstance(told, dict):
            return told
        if "table" in told:
            return {name: made(one) for name, one in told["table"].items()}
        kind, shape = told["type"], tuple(int(n) for n in told["shape"])
        count = int(np.prod(shape, dtype=object)) * (2 if kind == "<c16" else 1)
        if kind not in _TYPES or not 0 <= count <= len(flat) - place:
            raise FileFormatError("the checkpoint says of its state what it does not hold; delete it.")
        part, place = flat[place : place + count], place + count
        return (part.view("<i8").astype(bool) if kind == "|b1" else part.view(kind)).reshape(shape).copy()

    return made(layout)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from the file; the operating system lets go of the lock whatever ends this one."""
    try:
        import fcntl
    except ImportError:  # no such locks here
        yield
        return
    name = path.with_name(f".{path.name}.lock")
    while True:
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise DFPError(f"checkpoint={path}: cannot be written ({error.strerror}); choose another place.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(descriptor, 200).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise DFPError(f"checkpoint={path}: is in use by {owner}; wait for it, or name another file.") from None
        with suppress(OSError):
            if os.fstat(descriptor).st_ino == name.stat().st_ino:
                break
        os.close(descriptor)  # its owner has just removed it
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        name.unlink(missing_ok=True)
        os.close(descriptor)
