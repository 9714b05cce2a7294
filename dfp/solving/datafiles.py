"""Data of finite sums from files: columns of a CSV table."""

import csv
import difflib
import io
from collections.abc import Iterator, Sequence

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError


def read_columns(content: bytes, columns: Sequence[str], label: str) -> Array:
    """Return ``columns`` of a comma-separated table, shape (rows, columns).

    Parameters
    ----------
    content
        UTF-8 text with a header row; blank rows are skipped, and so are lines before it that begin with ``#``.
    columns
        Names in the header.
    label
        What errors call the file.

    Raises
    ------
    DFPError
        If a column is missing, or an entry is not a finite number; names file, column and row. Rows count from 1, the
        header.
    """
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        header = _header(reader)
        places = [_place(header, name, label) for name in columns]
        rows = [
            [_entry(row, place, f"{label}, column {header[place]!r}, row {reader.line_num}") for place in places]
            for row in reader
            if any(row)
        ]
    except UnicodeDecodeError:
        raise DFPError(f"{label}: is not UTF-8 text; save it as CSV in UTF-8.") from None
    except csv.Error as error:
        raise DFPError(f"{label}: cannot be read ({error}); check the file.") from None
    if not rows:
        raise DFPError(f"{label}: has no rows below the header; give at least one.")
    return np.array(rows)


def header_of(content: bytes) -> list[str]:
    """Return the names of the columns of a comma-separated table; none where it is no such text."""
    try:
        found = _header(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error):
        return []
    return found if all(name.isprintable() for name in found) else []


def _header(reader: Iterator[list[str]]) -> list[str]:
    first = next((row for row in reader if not (row and row[0].startswith("#"))), [])
    return [name.strip() for name in first]


def _place(header: list[str], name: str, label: str) -> int:
    if header.count(name) == 1:
        return header.index(name)
    if name in header:
        raise DFPError(f"{label}, column {name!r}: appears {header.count(name)} times; give every column its own name.")
    other = next((mark for mark in ";\t" if len(header) == 1 and mark in header[0]), None)
    if other is not None:
        raise DFPError(f"{label}: columns have {other!r} between them; save it with commas, and points in numbers.")
    near = difflib.get_close_matches(name, header, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "give one of its names."
    listed = ", ".join(map(repr, header[:12])) + (", ..." if len(header) > 12 else "")
    raise DFPError(f"{label}, column {name!r}: is not in the header; {hint} The header has: {listed or 'nothing'}.")


def _entry(row: list[str], place: int, where: str) -> float:
    if place >= len(row):
        raise DFPError(f"{where}: the row has only {len(row)} entries; fill it in or remove the row.")
    try:
        value = float(row[place])
    except ValueError:
        raise DFPError(f"{where}: {checks.shown(row[place])} is not a number; correct it or remove the row.") from None
    if not np.isfinite(value):
        raise DFPError(f"{where}: {value} is not finite; remove NaN and infinite entries.")
    return value
