"""
xarray: how do labelled results travel?
=======================================

A file opens in xarray as it is, with names, units and coordinates; this figure was made by xarray alone.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import xarray

import dfp

bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0]))
equation = dfp.MasterEquation(dfp.SGD(bowl, 0.1))
solution = dfp.solve(equation, dfp.Gaussian(1.5, 0.05), 40, [0, 3, 10, 40])
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "run.h5"
    solution.save(path)
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        figure, axis = plt.subplots(layout="constrained")
        data["density"].plot.line(x="theta_1", hue="step", ax=axis)
axis.set_title("How do labelled results travel?")
plt.show()
