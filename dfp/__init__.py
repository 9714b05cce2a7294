"""dfp: how the parameters of stochastic gradient descent are distributed, exactly and at finite learning rate.

The public names and their homes are listed in ``__init__.pyi``. They are imported when first used, so that ``import
dfp`` costs nothing and compilers load only for what needs them.
"""

from importlib.metadata import version
from typing import Any

import lazy_loader

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("dfp")
_ADAPTIVE = ("Adam", "AdamW", "Adagrad", "AdaGrad")


def __getattr__(name: str) -> Any:
    """Return a public name from its home; say what there is in place of optimisers that are not here."""
    if name in _ADAPTIVE:
        raise AttributeError(
            f"dfp has no {name}: the density of moving second moments is not known; there are dfp.RMSProp(...) in one "
            "dimension, and dfp.SGD(..., preconditioner=...) for second moments that have settled."
        )
    return _public(name)
