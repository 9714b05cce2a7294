"""Figures that tests leave open are closed, and none opens a window; signals end what they end at a terminal."""

import os
import signal
import sys

import pytest

os.environ["MPLBACKEND"] = "agg"
# Under nohup, or in the background of a shell, processes are started to ignore these, and so are all they start.
for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.fixture(autouse=True)
def _figures_closed():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
