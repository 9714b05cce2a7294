"""Room in memory, looked at before it is asked for: a refusal in words instead of a ``MemoryError`` after minutes."""

import os
from pathlib import Path

from dfp.errors import DFPError

# Where the system does not tell.
_UNKNOWN = 8 * 2**30
# Share of what is there that one result may take.
_SHARE = 0.8


def available_memory() -> int:
    """Return the bytes that can be had now, by the system and by the limits of this process."""
    found = [_UNKNOWN]
    try:
        found = [
            int(line.split()[1]) * 1024 for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvail" in line
        ]
    except (OSError, ValueError, IndexError):
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        found += [limit] if limit != resource.RLIM_INFINITY else []
    except ImportError:  # there are none on this system
        pass
    return min(found or [_UNKNOWN])


def require_memory(what: str, needed: float, remedy: str) -> None:
    """Raise ``DFPError`` if ``what`` takes more bytes than there are.

    Parameters
    ----------
    what
        With the name and the value that ask for them.
    needed
        Bytes.
    remedy
        What to do instead.
    """
    if needed < 2**27:  # not worth a look
        return
    room = available_memory()
    if not needed <= _SHARE * room:
        raise DFPError(f"{what} takes {needed / 2**30:.3g} GiB, and {room / 2**30:.3g} GiB are there; {remedy}.")
