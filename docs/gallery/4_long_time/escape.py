"""
Escape: does SGD climb out of a well, or is it thrown across?
=============================================================

The path of least action out of the left well over the barrier, at two learning rates (T24).
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

well = dfp.Landscape(lambda t: t**3 - t, 0.05, hessian=lambda t: 3 * t**2 - 1)
figure, axis = plt.subplots(layout="constrained")
for rate, style in ((0.1, ".-"), (0.6, "o-")):
    found = dfp.escape(dfp.SGD(well, rate), start=-1.0, domain=(-np.inf, 0.0))
    late = found.langevin_mean_steps / found.mean_steps
    path = found.path[:, 0]
    moving = path[(abs(path + 1) > 1e-2) & (abs(path) > 1e-2)]
    label = f"η = {rate}: {found.mechanism}, mean steps Langevin / SGD = {late:.3g}"
    axis.plot(moving, style, label=label)
axis.axhline(0, color="0.6", ls=":")
axis.set(xlabel="step since it left the bottom", ylabel="θ [parameter]")
axis.set_ylim(-1.8, 0.6)
axis.set_title("Does SGD climb out of a well, or is it thrown across?")
axis.legend(fontsize="small", loc="upper left")
plt.show()
