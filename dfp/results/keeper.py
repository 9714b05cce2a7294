"""The file of a run that may end at any time: of one problem, held by one process, written seldom and whole."""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dfp.checks import shown
from dfp.errors import DFPError, FileFormatError
from dfp.result import Result
from dfp.results import hdf5, kinds, schema, writing
from dfp.results.files import read_solution

# Seconds between two writings, and how many times as long as a writing takes.
_EVERY, _SHARE = 2.0, 20.0
# What digests begin with.
DIGEST = "sha256 "
# The kind of file that holds no result yet.
EARLY = "checkpoint"
_TYPES = {"<f8", "<i8", "<u8", "<c16", "|b1"}

Made = TypeVar("Made", bound=Result)


@contextmanager
def unkept() -> Iterator[None]:
    """Tell whoever interrupts work without a checkpoint that one would have kept what was done."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note("Nothing is kept. With checkpoint='run.h5' the same call goes on from what was done before.")
        raise


class Keeper:
    """The file in which a run keeps the result so far and what it goes on from; the finished result takes its place.

    Parameters
    ----------
    path
        Where.
    resume
        Whether to go on from what is there; else it is replaced.

    Attributes
    ----------
    place
        Where a run was that went on, in words.
    finished
        Whether the file holds the finished result.
    """

    def __init__(self, path: str | Path, *, resume: bool = True) -> None:
        self.path = Path(writing.checked(path, "checkpoint"))
        self.place, self.finished = "", False
        self._resume = resume
        self._state: Any = None
        self._fingerprint: Mapping[str, Any] = {}
        self._call: Callable[[], dict[str, Any]] | None = None
        self._pending: Any = None
        self._written, self._cost, self._own = time.perf_counter(), 0.0, False

    def carried(
        self, fingerprint: Mapping[str, Any], call: Callable[[], dict[str, Any]], run: Callable[["Keeper"], Made]
    ) -> Made:
        """Return what ``run`` gives, or the file, if that is finished.

        Parameters
        ----------
        fingerprint
            What tells the problem from others, by part: numbers and words.
        call
            Writes down the call that makes the result, by value.
        run
            Goes on from where ``resume`` says, and tells ``keep``.

        Raises
        ------
        DFPError
            If the file belongs to another problem, or another process holds it.
        """
        self._call = call
        with self._held(fingerprint) as found:
            finished: Made = run(self) if found is None else found
            if found is None:
                self._save(finished, None, {"finished": True})
        self.finished = True
        return finished

    def resume(self, take: Callable[[Any], str]) -> bool:
        """Let ``take`` have the state that was kept, of which it returns in words what it is; tell if there was one."""
        if self._state is None:
            return False
        try:
            self.place = take(self._state)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FileFormatError(
                f"checkpoint={self.path}: says of its run what cannot be ({type(error).__name__}: {error}); delete it."
            ) from None
        logging.getLogger("dfp").info("resumed from %s", self.place)
        return True

    def keep(self, state: Any, so_far: Callable[[Any], Result | None]) -> None:
        """Take note of a state, of which nobody alters what counts, and write it if it is time to, with its result."""
        self._pending = state, so_far
        if self._due():
            self._write()

    @contextmanager
    def _held(self, fingerprint: Mapping[str, Any]) -> Iterator[Any]:
        """Hold the file for one problem; give the result in it if that is finished."""
        self._fingerprint = fingerprint
        with locked(self.path):
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

    def _read(self) -> Any:
        with hdf5.opened(self.path) as root:
            kind = root.attribute("kind", "str") if root.labelled("kind") else None
            found: Any = None if kind == EARLY else read_solution(root) if kind is None else kinds.read(root, kind)
            told = root.json("checkpoint", dict) if root.labelled("checkpoint") else None
            solved = found.provenance.get("checkpoint") if kind is None else None
            owner = solved if told is None else told["fingerprint"]
            if told is not None and owner == self._fingerprint:
                state = _decoded(told["state"], root.array("state", (None,))) if told["state"] is not None else None
                self._take(told, state, found)
        if owner != self._fingerprint:
            raise DFPError(
                f"checkpoint={self.path}: belongs to another problem: {_difference(owner, self._fingerprint)}; name "
                "another checkpoint, delete this one, or go on with the problem that it is of."
            )
        return found if told is None or told.get("finished") else None

    def _take(self, told: Mapping[str, Any], state: Any, found: Any) -> None:
        """Take what a file of this problem says."""
        self._state = state

    def _due(self) -> bool:
        return time.perf_counter() - self._written >= max(_EVERY, _SHARE * self._cost)

    def _write(self) -> None:
        if self._pending is not None:
            state, so_far = self._pending
            self._save(so_far(state), state, {})

    def _save(self, found: Any, state: Any, told: Mapping[str, Any]) -> None:
        """Write the result so far, a state to go on from, and what else is ``told``."""
        began, (layout, flat) = time.perf_counter(), _encoded(state)
        extra = {}
        if state is not None:
            about = {"units": "1", "long_name": "state of the run, from which it goes on"}
            extra = {
                "state_entry": schema.Column(("state_entry",), np.arange(len(flat)), about | {"long_name": "entry"}),
                "state": schema.Column(("state_entry",), flat, about),
            }
        if found is not None and self._call is not None:
            found._remember(self._call)
        known = {"kind": EARLY} if found is None else kinds.attributes(found)
        kept = {} if found is None else kinds.columns(found)
        told = {"fingerprint": self._fingerprint, "state": layout} | dict(told)
        self._own = False  # what is there stays if this fails
        hdf5.save(self.path, kept | extra, known | {"checkpoint": json.dumps(told)})
        self._pending, self._own = None, True
        self._written = time.perf_counter()
        self._cost = self._written - began


def _difference(there: Any, here: Mapping[str, Any]) -> str:
    """Return the first part in which two fingerprints differ, in words."""
    if not isinstance(there, dict):
        return "an older dfp made it, or a call without checkpoint"
    name = next(name for name in (*here, *there) if there.get(name, there) != here.get(name, there))
    told = [shown(one[name]) if name in one else "not given" for one in (there, here)]
    digests = any(DIGEST in part for part in told)
    return f"{name} differs" if digests else f"{name} is {told[0]} there and {told[1]} here"


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
def locked(path: Path) -> Iterator[None]:
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
