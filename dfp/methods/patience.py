"""How long work will take: announced by the clock, and left to other ways by operation counts, the same everywhere."""

import time

import numpy as np

from dfp.checks import TELLING, duration, foretell
from dfp.errors import UnresolvedError

# Seconds after which a forecast is made.
_SEEN = 3.0

# Nanoseconds on one core of a 2.5 GHz server, measured once and kept: a choice must not depend on what else runs.
MULTIPLICATION, MOVE, FRAME = 0.1, 3.0, 3e5
"""Of a multiplication in products of dense matrices; of a number that a step of one trajectory moves; of the moments,
the density and the figures of one saved step, at the least."""


class TooLong(UnresolvedError):
    """It would be resolved, but later than anyone waits for who sees no progress."""


class Patience:
    """Watches work whose parts are alike.

    Parameters
    ----------
    what
        Who works, in words.
    limit
        Seconds, counted by operations and never by the clock, of a forecast at which the work is given up; infinite to
        announce it only.
    silent
        Whether nobody is told of progress.
    instead
        What else could be asked for, in words.
    """

    def __init__(self, what: str, limit: float = np.inf, silent: bool = True, instead: str = "") -> None:
        self.what, self.limit, self.silent, self.instead = what, limit, silent, instead
        self._told = False
        self._share, self._part = 0.0, 1.0
        self._origin: tuple[float, float] | None = None
        self._spent = 0.0

    def foretell(self, operations: float, nanoseconds: float) -> None:
        """Tell of long work before it begins, by what it takes at the least."""
        seconds = 1e-9 * operations * nanoseconds
        if seconds <= self.limit:  # else it is given up, and nobody waits for it
            self._told = self._told or (self.silent and foretell(self.what, seconds))

    def spend(self, operations: float, nanoseconds: float) -> None:
        """Take note of operations done, each of so many ``nanoseconds`` wherever it runs."""
        self._spent += 1e-9 * operations * nanoseconds

    def part(self, done: float, next_part: float) -> None:
        """Take note that a share ``done`` of all is done, and that ``look`` will speak of the ``next_part`` of all."""
        self._share, self._part = done, next_part
        self.look(0.0, 1.0)

    def look(self, done: float, total: float) -> None:
        """Take note that ``done`` of ``total`` is done, of this part if there are several.

        Raises
        ------
        TooLong
            If the operations spent so far make it longer than ``limit``.
        """
        share = self._share + self._part * done / total
        if not share > 0:
            return
        if self._spent >= _SEEN and self._spent / share > self.limit:
            raise TooLong(
                f"{self.what} would take some {duration(self._spent / share)}; to wait for it give progress=... or "
                f"that solver, or ask for fewer steps{self.instead}."
            )
        if self.silent and not self._told and self._spent / share <= self.limit:
            self._tell(time.perf_counter(), share)

    def _tell(self, now: float, share: float) -> None:
        if self._origin is None:  # what came before has compiled kernels, and says nothing of the rest
            self._origin = now, share
        elapsed, gained = now - self._origin[0], share - self._origin[1]
        if elapsed >= _SEEN and gained > 0 and elapsed / gained > TELLING:
            self._told = foretell(self.what, elapsed / gained)
