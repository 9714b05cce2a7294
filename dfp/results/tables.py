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


def comma_separated(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows of the same keys, at least one, as a CSV file; numbers with all their digits, None as nothing."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def data_frame(given: Any) -> "pandas.DataFrame":
    """Return columns by name, or rows of the same keys, as a data frame.

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
