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

from dfp.checks import finite
from dfp.errors import DFPError, FileFormatError
from dfp.methods.solver import Problem, Run, SamplingRun, Solver, saved_gaps
from dfp.results import hdf5, schema, writing
from dfp.results.files import read_solution
from dfp.results.frame import Frame
from dfp.results.solution import Solution, attributes, columns
from dfp.solving.recipe import recorded

# Seconds between two writings, and how many times as long as a writing takes.
_EVERY, _SHARE = 2.0, 20.0
# Settings of solvers that change no bit.
_IDLE = ("threads", "checkpoint", "executor", "retries")
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
        self.path, self.resumed = Path(writing.checked(path, "checkpoint")), -1
        self._resume, self._fingerprint, self._key = resume, "", ""
        self._found: dict[str, Any] | None = None
        self._make: Callable[[list[Frame]], Solution] | None = None
        self._pending: tuple[list[Frame], dict[str, Any] | None] | None = None
        self._written, self._cost, self._own = time.perf_counter(), 0.0, False

    @contextmanager
    def held(self, problem: Problem, arguments: Mapping[str, Any]) -> Iterator[Solution | None]:
        """Hold the file for one problem; give its solution if it is finished already.

        Raises
        ------
        DFPError
            If it belongs to another problem, or another process holds it.
        """
        self._fingerprint = _fingerprint(problem, arguments)
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
            solution = read_solution(root)
            told = root.json("checkpoint", dict) if root.labelled("checkpoint") else None
            owner = solution.provenance.get("checkpoint") if told is None else told.get("fingerprint")
            if owner != self._fingerprint:
                raise DFPError("is of another problem, solver, seed or version; name another checkpoint, or delete it.")
            if told is None:
                return solution
            state = _decoded(told["state"], root.array("state", (None,))) if told["state"] is not None else None
            frames = [_frame(solution, s, extra) for s, extra in enumerate(told["frames"])]
            if len(frames) not in (0, len(solution.steps)):
                raise FileFormatError("the checkpoint has other frames than steps: dfp writes no such file; delete it.")
            self._found = {"key": told["key"], "frames": frames, "state": state}
        return None

    def start(
        self, solver: Solver, run: Run | SamplingRun, steps: Sequence[int], make: Callable[[list[Frame]], Solution]
    ) -> list[Frame]:
        """Take a run to where it was; return the frames up to there.

        A run whose state is not kept walks there again, without making the frames: to the same bits.
        """
        settings = {name: repr(value) for name, value in vars(solver).items() if name not in _IDLE}
        self._key = json.dumps([type(solver).__name__, settings, repr(run.grid)])
        self._make, self._pending, self._written = make, None, time.perf_counter()
        found = self._found
        if found is None or found["key"] != self._key:
            return []
        frames: list[Frame] = found["frames"]
        if isinstance(run, SamplingRun):
            run.resume(found["state"])
            self.resumed = int(run.drawn)
        else:
            self.resumed = int(steps[len(frames) - 1])
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
        due = time.perf_counter() - self._written >= max(_EVERY, _SHARE * self._cost)
        self._pending = (list(frames) if isinstance(run, Run) else run.frames() if due else [], _copied(run.state()))
        if isinstance(run, SamplingRun) and not due:
            self._pending = None  # its frames cost a sum over all cells
        if due:
            self._write()

    def _write(self) -> None:
        if self._pending is None or self._make is None:
            return
        began, (frames, state) = time.perf_counter(), self._pending
        solution, sampled = self._make(frames), frames[0].errors is not None
        layout, flat = _encoded(state)
        told = {
            "fingerprint": self._fingerprint, "key": self._key, "state": layout,
            "frames": [] if sampled else [_extra(frame) for frame in frames],
        }  # fmt: skip
        extra = {}
        if state is not None:
            about = {"units": "1", "long_name": "state of the run, from which it goes on"}
            extra = {
                "state_entry": schema.Column(("state_entry",), np.arange(len(flat)), about | {"long_name": "entry"}),
                "state": schema.Column(("state_entry",), flat, about),
            }
        hdf5.save(self.path, columns(solution) | extra, attributes(solution) | {"checkpoint": json.dumps(told)})
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


def _fingerprint(problem: Problem, arguments: Mapping[str, Any]) -> str:
    """Return what tells problems apart: the arguments by value, exact or pilot moments where they have none, versions.

    Functions have no value: their effect on the moments of a pilot run of the same random numbers stands for them.
    """
    told: dict[str, Any] = {name: recorded(**{name: value}) for name, value in arguments.items()}
    told |= {"equation_label": problem.equation.label, "versions": dict(schema.versions())}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for values in (problem.steps, problem.moments.mean, problem.moments.covariance):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


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
