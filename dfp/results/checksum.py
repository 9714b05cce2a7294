"""Files whose bytes are checked before anything parses them.

A seal after the content holds its length and SHA-256. It is at the end because there HDF5, netCDF and xarray look past
it. It detects accidents, not forgery.
"""

import hashlib
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
    if seal != _seal(content):
        raise FileFormatError(f"path={path}: is damaged: its checksum is wrong; copy it again, or make it again.")
    return content


def _seal(content: bytes) -> bytes:
    return _SEAL.pack(_MAGIC, len(content), hashlib.sha256(content).digest())
