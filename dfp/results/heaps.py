"""Global heaps of HDF5 files, where text of variable length lies: checked before the library walks them.

The library follows the sizes in a heap without asking whether they lead anywhere: a size of nothing, or one that
overflows, keeps it busy for ever. Files of dfp before 0.2 have such text. Source: HDF5 File Format Specification,
section III.E, "Global Heap".
"""

import struct

from dfp.errors import FileFormatError

_MAGIC = b"GCOL"
_HEAD = struct.Struct("<4sB3xQ")
_OBJECT = struct.Struct("<HH4xQ")


def check(content: bytes) -> None:
    """Walk every heap in a file, one pass over its bytes.

    Raises
    ------
    FileFormatError
        If one does not end where it says, or holds what could be taken for the beginning of another.
    """
    place = content.find(_MAGIC)
    while place >= 0:
        end = _end(content, place)
        if content.find(_MAGIC, place + 1, end) >= 0:
            raise FileFormatError("has text in a heap within a heap: dfp writes no such file; do not trust it.")
        place = content.find(_MAGIC, end)


def _end(content: bytes, start: int) -> int:
    """Return where the heap at ``start`` ends, after having walked its objects."""
    broken = FileFormatError("has a heap of text whose sizes lead nowhere: it is damaged or forged; make it again.")
    if start + _HEAD.size > len(content):
        raise broken
    _, version, size = _HEAD.unpack_from(content, start)
    end, place = start + size, start + _HEAD.size
    if version != 1 or end > len(content) or end < place:
        raise broken
    while place + _OBJECT.size <= end:
        index, _, length = _OBJECT.unpack_from(content, place)
        # The size of free space counts its header, that of an object does not and is rounded up to 8.
        taken = length if index == 0 else _OBJECT.size + (length + 7) // 8 * 8
        if taken < _OBJECT.size or place + taken > end:
            raise broken
        place += taken
    return end
