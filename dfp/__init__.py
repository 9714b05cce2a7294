"""dfp: how the parameters of stochastic gradient descent are distributed, exactly and at finite learning rate.

The public names and their homes are listed in ``__init__.pyi``. They are imported when first used, so that ``import
dfp`` costs nothing and compilers load only for what needs them.
"""

from importlib.metadata import version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("dfp")
