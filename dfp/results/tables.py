"""Printed tables, of columns that are aligned, and tables for files."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dfp.errors import DFPError

if TYPE_CHECKING:
    import pandas


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = (), overflowing: Collection[int] = ()) -> list[str]:
    """Return one line per row, with columns two spaces apart and as wide as their widest entry.

    Parameters
    ----------
    rows
        Entries; the header is a row like any other.
    right
        Columns whose entries end, rather than begin, at the same place.
    overflowing
        Rows that may run over their columns, such as one of units.
    """
    counted = [row for place, row in enumerate(rows) if place not in overflowing]
    widths = [max(len(row[c]) for row in counted) for c in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if c in right else cell.ljust(width)
            for c, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def turned(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return rows of the same keys, at least one, as columns."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def together(tables: Mapping[str, Mapping[str, Sequence[Any]]]) -> dict[str, list[Any]]:
    """Return tables of several solutions below each other, after a column with their names; None where one lacks it."""
    names = [name for table in tables.values() for name in table]
    sizes = {name: len(next(iter(table.values()))) for name, table in tables.items()}
    found = {"solution": [name for name, size in sizes.items() for _ in range(size)]}
    for column in dict.fromkeys(names):
        found[column] = [one for name, table in tables.items() for one in table.get(column, [None] * sizes[name])]
    return found


def comma_separated(table: Mapping[str, Sequence[Any]]) -> bytes:
    """Return columns of the same length as a CSV file; numbers with all their digits, None as nothing."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return buffer.getvalue().encode()


def data_frame(given: Any) -> "pandas.DataFrame":
    """Return columns by name as a data frame.

    Raises
    ------
    DFPError
        If pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise DFPError("pandas is not installed: data frames need it; run pip install 'dfp[pandas]'.") from None
    return pandas.DataFrame(given)
