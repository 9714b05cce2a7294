"""Files that appear whole or not at all, and whose bytes are checked before anything parses them.

A seal after the content holds its length and SHA-256. It is at the end because there HDF5, netCDF and xarray look past
it. It detects accidents, not forgery.
"""

import contextlib
import hashlib
import os
import secrets
import struct
from pathlib import Path

from dfp.checks import shown
from dfp.errors import DFPError, FileFormatError

_SEAL = struct.Struct("<8sQ32s")
_MAGIC = b"dfp-seal"


def write(path: str | Path, content: bytes) -> None:
    """Write ``content`` and its seal to ``path``: whatever happens, the file is the old one or all of the new one.

    Raises
    ------
    DFPError
        If it cannot be written; nothing is left behind.
    """
    target = Path(os.path.realpath(_checked(path)))  # a symbolic link stays, and its target is replaced
    temporary = target.with_name(f".dfp-{secrets.token_hex(8)}.tmp")
    try:
        if not target.parent.is_dir():
            raise DFPError(f"path={path}: the directory {target.parent} does not exist; create it or choose another.")
        if target.exists() and not target.is_file():
            raise DFPError(f"path={path}: is not a regular file; give the name of a file, such as run.h5.")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
            file.write(content)
            file.write(_SEAL.pack(_MAGIC, len(content), hashlib.sha256(content).digest()))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        cause = error.strerror or str(error)
        raise DFPError(
            f"path={path}: cannot be written ({cause}); check free space and permissions, or choose another place."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()  # fails, and should, if all went well
    _sync(target.parent)


def read(path: str | Path) -> bytes:
    """Return the content of ``path`` without its seal.

    Raises
    ------
    DFPError
        If there is no such file, or it cannot be read.
    FileFormatError
        If there is no seal, or the content is not what was sealed.
    """
    source = Path(_checked(path))
    try:
        if not source.is_file():
            raise DFPError(f"path={path}: no such file; check the name.")
        sealed = source.read_bytes()
    except OSError as error:
        raise DFPError(f"path={path}: cannot be read ({error.strerror}); check its name and permissions.") from error
    content, seal = sealed[: -_SEAL.size], sealed[-_SEAL.size :]
    if len(seal) < _SEAL.size or not seal.startswith(_MAGIC):
        raise FileFormatError(
            f"path={path}: is not as dfp wrote it: not a dfp file, cut short, or changed by another program; xarray "
            "may still open it, or make it again with solution.save(path)."
        )
    if seal != _SEAL.pack(_MAGIC, len(content), hashlib.sha256(content).digest()):
        raise FileFormatError(f"path={path}: is damaged: its checksum is wrong; copy it again, or make it again.")
    return content


def _checked(path: object) -> str:
    if not isinstance(path, (str, Path)) or "\0" in str(path):
        raise DFPError(f"path={shown(path)}: must be the name of a file; give e.g. 'run.h5'.")
    return str(path)


def _sync(directory: Path) -> None:
    # Some file systems cannot sync a directory; the file in it is complete either way.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
