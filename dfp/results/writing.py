"""Files that appear whole or not at all: the one way in which anything is written."""

import contextlib
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from dfp.checks import shown
from dfp.errors import DFPError

# Signals that end a process, or a run, unless somebody listens.
_DEADLY = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)]


def write(path: str | Path, *parts: bytes, label: str = "path") -> None:
    """Write ``parts`` to ``path``, one after the other: the file is the old one or all of the new one, come what may.

    Parameters
    ----------
    path
        An existing file is replaced; of a symbolic link the target is, and the link stays.
    parts
        All of the file.
    label
        What errors call the path.

    Raises
    ------
    DFPError
        If it cannot be written; nothing is left behind at any end but ``kill -9`` or, in a thread, another signal.
    """
    target = Path(os.path.realpath(checked(path, label)))
    try:
        if not target.parent.is_dir():
            folder = target.parent
            raise DFPError(f"{label}={path}: the directory {folder} does not exist; create it or choose another.")
        if target.exists() and not target.is_file():
            raise DFPError(f"{label}={path}: is not a regular file; give the name of a file, such as run.h5.")
        with _temporary(target) as name:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(name, flags, 0o666), "wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            name.replace(target)
    except OSError as error:
        cause = error.strerror or str(error)
        raise DFPError(
            f"{label}={path}: cannot be written ({cause}); check free space and permissions, or choose another place."
        ) from error
    _sync(target.parent)


def checked(path: object, label: str = "path") -> str:
    """Return ``path`` as text if it can be the name of a file."""
    if not isinstance(path, (str, Path)) or "\0" in str(path):
        raise DFPError(f"{label}={shown(path)}: must be the name of a file; give e.g. 'run.h5'.")
    return str(path)


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """Yield the name of a file beside ``target`` that does not outlast the block, nor a signal in it."""
    name = target.with_name(f".dfp-{secrets.token_hex(8)}.tmp")

    def remove() -> None:
        with contextlib.suppress(OSError):
            name.unlink()  # fails, and should, if it has become the target

    def end(number: int, _frame: FrameType | None) -> None:
        remove()
        signal.signal(number, previous[number])
        signal.raise_signal(number)  # and let it do what it would have done

    # Python's own handlers alone are replaced, and only the main thread may do so.
    main = threading.current_thread() is threading.main_thread()
    own = (signal.SIG_DFL, signal.default_int_handler)
    previous = {number: signal.getsignal(number) for number in _DEADLY if main and signal.getsignal(number) in own}
    try:
        for number in previous:
            signal.signal(number, end)
        yield name
    finally:
        remove()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _sync(directory: Path) -> None:
    # Some file systems cannot sync a directory; the file in it is complete either way.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
