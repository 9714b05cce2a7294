"""Files whose bytes are checked before anything parses them.

A seal after the content holds its length and SHA-256. It is at the end because there HDF5, netCDF and xarray look past
it. It detects accidents, not forgery.
"""

import hashlib
import math
import os
import struct
from pathlib import Path

from dfp.errors import DFPError, FileFormatError
from dfp.results import writing

_SEAL = struct.Struct("<8sQ32s")
_MAGIC = b"dfp-seal"


def write(path: str | Path, content: bytes) -> None:
    """Write ``content`` and its seal to ``path``, whole or not at all.

    Raises
    ------
    DFPError
        If it cannot be written.
    """
    writing.write(path, content, _seal(content))


def read(path: str | Path) -> bytes:
    """Return the content of ``path`` without its seal.

    Raises
    ------
    DFPError
        If there is no such file, or it cannot be read.
    FileFormatError
        If there is no seal, or the content is not what was sealed.
    """
    source = Path(writing.checked(path))
    try:
        if not source.is_file():
            what = "is no regular file; give the name of one" if source.exists() else "no such file; check the name"
            raise DFPError(f"path={path}: {what}.")
        with source.open("rb") as file:
            size = file.seek(0, os.SEEK_END) - _SEAL.size
            file.seek(max(size, 0))
            seal = file.read(_SEAL.size)
            if size < 0 or not seal.startswith(_MAGIC):
                raise FileFormatError(
                    f"path={path}: is not as dfp wrote it: not a dfp file, cut short, or changed by another program; "
                    "xarray may still open it, or make it again with solution.save(path)."
                )
            # The length is checked first, and nothing is read that has no room.
            damaged = FileFormatError(
                f"path={path}: is damaged: its checksum is wrong; copy it again, or make it again."
            )
            if _SEAL.unpack(seal)[1] != size:
                raise damaged
            if size > _memory():
                raise DFPError(f"path={path}: has {size / 1e9:.3g} GB, more than there is memory; open it with xarray.")
            file.seek(0)
            content = file.read(size)
    except OSError as error:
        raise DFPError(f"path={path}: cannot be read ({error.strerror}); check its name and permissions.") from error
    if seal != _seal(content):
        raise damaged
    return content


def _memory() -> float:
    """Return the bytes of memory of this machine, infinite where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf


def _seal(content: bytes) -> bytes:
    return _SEAL.pack(_MAGIC, len(content), hashlib.sha256(content).digest())
