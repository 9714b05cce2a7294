"""The errors dfp raises. Each message names the cause, the value that caused it, and what to do instead."""


class DFPError(ValueError):
    """Base of every error that dfp raises on purpose."""


class UnsupportedError(DFPError):
    """The chosen solver cannot solve this equation, noise law or dimension."""


class UnresolvedError(DFPError):
    """No affordable grid resolves the density."""


class SeriesError(DFPError):
    """A Hermite series does not converge for this problem."""


class NoStationaryDensity(DFPError):
    """The dynamics has no stationary density; the message names the regime and the numbers that decide."""


class FileFormatError(DFPError):
    """A file was not written by dfp, or by a version this one cannot read."""
