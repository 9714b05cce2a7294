"""Checkpoints: the frames so far as a file of a solution, readable at any time, from which a run goes on bit by bit."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dfp.checks import finite
from dfp.errors import FileFormatError
from dfp.methods.solver import Problem, Run, SamplingRun, Solver, saved_gaps
from dfp.problem.averaged_equation import AveragedEquation
from dfp.problem.equation import Equation
from dfp.results import schema
from dfp.results.frame import Frame
from dfp.results.keeper import DIGEST, Keeper
from dfp.results.solution import Solution
from dfp.solving.recipe import Recipe, recorded

# Settings of solvers that change no bit.
_IDLE = ("threads", "checkpoint", "executor", "retries")
# Lists up to this length are told apart entry by entry, others by digests.
_LISTED = 16


class Checkpoint(Keeper):
    """The file of a solve: the saved steps so far as a solution, between them the state of the run as well."""

    def __init__(self, path: str | Path, *, resume: bool = True) -> None:
        super().__init__(path, resume=resume)
        self.resumed, self.left, self._key = -1, 0, ""
        self._recipe: Recipe | None = None
        self._found: dict[str, Any] | None = None
        self._make: Callable[[list[Frame]], Solution] | None = None

    @contextmanager
    def held(self, problem: Problem, arguments: Mapping[str, Any]) -> Iterator[Solution | None]:
        """Hold the file for one problem; give its solution if it is finished already.

        Raises
        ------
        DFPError
            If it belongs to another problem, or another process holds it.
        """
        self._recipe = Recipe(arguments)
        effect = problem.steps, problem.moments.mean, problem.moments.covariance
        with self._held(fingerprint(problem.equation, arguments, effect)) as finished:
            yield finished

    def _take(self, told: Mapping[str, Any], state: Any, found: Solution | None) -> None:
        if "frames" not in told:  # of directions
            super()._take(told, state, found)
            return
        extras = told["frames"]
        frames = [] if found is None else [_frame(found, s, extra) for s, extra in enumerate(extras)]
        if len(frames) != len(extras) or (extras and found and len(extras) != len(found.steps)):
            raise FileFormatError("the checkpoint has other frames than steps: delete it.")
        self._found = {"key": told["key"], "frames": frames, "state": state, "left": int(told.get("left", 0))}

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

    def _write(self) -> None:
        if self._make is None:
            super()._write()
        elif self._pending is not None:
            frames, state, left = self._pending
            sampled = bool(frames) and frames[0].errors is not None
            extras = [] if sampled else [_extra(frame) for frame in frames]
            solution = self._make(frames) if frames else None
            self._save(solution, state, {"key": self._key, "left": left, "frames": extras})

    def _save(self, found: Solution | None, state: Any, told: Mapping[str, Any]) -> None:
        if found is not None:
            found.provenance["recipe"] = self._recipe
        super()._save(found, state, told)

    def finish(self, solution: Solution) -> Solution:
        """Put the finished solution in the place of the checkpoint and return it."""
        solution.provenance["checkpoint"] = self._fingerprint
        if self.resumed >= 0:
            solution.provenance["resumed"] = self.resumed
        self._own = False  # what is there stays if this fails
        solution.save(self.path)
        return solution


def fingerprint(
    equation: Equation | AveragedEquation, arguments: Mapping[str, Any], effect: Iterable[Any]
) -> dict[str, Any]:
    """Return what tells problems apart, by part: arguments by value, and arrays of their ``effect``.

    Functions have no value: what they do to some random numbers, the same each time, stands for them.
    """
    told: dict[str, Any] = {name: recorded({name: value}, whole=(name,)) for name, value in arguments.items()}
    told = {name: entry.get(name, entry) for name, entry in told.items()} | {"versions": dict(schema.versions())}
    found = {"equation": equation.label} | dict(_parts(told, ""))
    return found | {"what functions do": _digest(b"".join(np.ascontiguousarray(part).tobytes() for part in effect))}


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
    return f"{DIGEST}{hashlib.sha256(content).hexdigest()}"


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
