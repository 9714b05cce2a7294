"""What is the same: objects made of the same arguments are equal, have one hash, and show themselves in one line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, Self

import numpy as np

# Arrays are shown up to this many entries, and by their shape beyond.
_SHOWN = 4
# Letters of a list that are.
_LETTERS = 60
# Entries of an array that its hash looks at: equality reads all of them.
_HASHED = 64
# Where SciPy keeps the distributions that are known by name and parameters; others hold tables or code of their own.
_NAMED = ("scipy.stats._continuous_distns", "scipy.stats._discrete_distns", "scipy.stats._levy_stable")

_Arguments = ParamSpec("_Arguments")


def takes_fields(
    **names: str,
) -> Callable[[Callable[_Arguments, None]], Callable[_Arguments, None]]:
    """Let a constructor take fields in place of the arguments they come from, as ``dataclasses.replace`` gives them.

    Parameters
    ----------
    names
        By field, the name of the argument, which goes before the field where both are given.
    """

    def decorated(construct: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
        @wraps(construct)
        def made(*given: _Arguments.args, **named: _Arguments.kwargs) -> None:
            for field, name in names.items():
                if field in named:
                    named.setdefault(name, named.pop(field))
            construct(*given, **named)

        return made

    return decorated


class Value:
    """Common face of what users describe a problem with: equal where all arguments are.

    Arrays are equal entry by entry, SciPy's frozen laws by name and parameters, functions if they are the same object.
    """

    def _arguments(self) -> dict[str, Any]:
        """Return what it is made of, by the names its constructor takes."""
        known = fields(self)  # type: ignore[arg-type]
        return {f.name: getattr(self, f.name) for f in known if f.init and f.compare}

    def _state(self) -> tuple[Any, ...]:
        """Return what must agree for two to be equal: the object itself, of classes from outside that do not say."""
        return tuple(self._arguments().values()) if self._told else (id(self),)

    @property
    def _told(self) -> bool:
        """Whether its class says what it is made of: as a data class, or by ``_arguments`` of its own."""
        return is_dataclass(type(self)) or type(self)._arguments is not Value._arguments

    def __replace__(self, /, **changes: Any) -> Self:
        """Return the same with other arguments, as ``copy.replace`` asks."""
        return type(self)(**(self._arguments() | changes))

    def __eq__(self, other: object) -> bool:
        """Return whether both are of one kind and made of the same."""
        if self is other:
            return True
        if not isinstance(other, Value) or type(self) is not type(other):
            return NotImplemented
        return bool(_key(self._state(), None) == _key(other._state(), None))

    def __hash__(self) -> int:
        """Return a number that equal objects share."""
        return hash((type(self), _key(self._state(), _HASHED)))

    def __repr__(self) -> str:
        """Return the call that makes it, in one line, without defaults: arrays of more than four entries by shape."""
        if not self._told:
            return object.__repr__(self)
        defaults = {name: parameter.default for name, parameter in signature(type(self)).parameters.items()}
        given = {name: value for name, value in self._arguments().items() if not _left_out(value, defaults.get(name))}
        parts = [f"{name}={shown(value)}" for name, value in given.items()]
        return f"{type(self).__name__}({', '.join(parts)})"


def _left_out(value: Any, default: Any) -> bool:
    if isinstance(value, np.ndarray):
        return isinstance(default, int | float) and bool(np.all(value == default))
    return value is None or (isinstance(value, str | int | float) and value == default)


def _key(value: Any, most: int | None) -> Any:
    """Return what ``value`` is as something hashable; of arrays, the first ``most`` entries."""
    if isinstance(value, Value):
        return type(value), _key(value._state(), most)
    if isinstance(value, Mapping):
        return tuple((name, _key(entry, most)) for name, entry in sorted(value.items()))
    if isinstance(value, np.ndarray | np.generic | Sequence) and not isinstance(value, str | bytes):
        if not (isinstance(value, np.ndarray) or _numeric(value)):
            return tuple(_key(entry, most) for entry in value)  # type: ignore[union-attr]
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            return _numbers(array, most)
    law = getattr(value, "law", value)  # of a law with its mean taken off
    if hasattr(law, "dist") and hasattr(law, "kwds"):
        return _distribution(law)
    try:
        hash(value)
    except TypeError:
        return type(value), id(value)
    return value


def _numeric(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except ValueError:  # ragged
        return False


def _numbers(array: Any, most: int | None) -> Any:
    if not array.ndim:
        return float(array)
    flat = array.ravel()[:most].astype(np.float64) + 0.0  # −0 is 0
    return array.shape, flat.tobytes()


def _distribution(law: Any) -> Any:
    if type(law.dist).__module__ not in _NAMED or type(law.dist).__name__ == "rv_histogram":
        return law
    shapes, place, scale = law.dist._parse_args(*law.args, **law.kwds)
    return type(law.dist), law.dist.name, *(_key(np.asarray(part), None) for part in (*shapes, place, scale))


def shown(value: Any) -> str:
    """Return an argument in a few words: long arrays by their shape, laws and functions by their names."""
    if isinstance(value, np.ndarray):
        return f"<array {value.shape}>" if value.size > _SHOWN else str(value.tolist())
    if isinstance(value, list | tuple) and (
        np.size(np.asarray(value, dtype=object)) > _SHOWN or len(str(value)) > _LETTERS
    ):
        return f"<{len(value)} entries>"
    law = getattr(value, "law", value)
    if hasattr(law, "dist") and hasattr(law, "kwds"):
        given = [f"{part:g}" if isinstance(part, int | float) else str(part) for part in law.args]
        return f"{law.dist.name}({', '.join(given + [f'{name}={part}' for name, part in law.kwds.items()])})"
    if callable(value) and not isinstance(value, Value):
        return str(getattr(value, "__qualname__", type(value).__qualname__))
    return repr(value)
