"""
Regimes: where does SGD settle, and where does Langevin only think so?
======================================================================

Every point of the map is one mode; boundaries are exact.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp
from dfp.regimes.mode import REGIMES

rates, noises = np.linspace(0.02, 2.4, 60), np.linspace(0.02, 8, 60)
axes = {"learning_rate": rates}, {"curvature_noise": noises}
diagram = dfp.phase_diagram(*axes, curvature=1.0, gradient_noise=0.2)
figure, axis = plt.subplots(layout="constrained")
regime = diagram.values["regime"].T
axis.pcolormesh(rates, noises, regime, cmap="Pastel1", vmin=0, vmax=8)
for index in np.unique(regime):
    where = np.argwhere(regime == index).mean(0).astype(int)
    axis.text(rates[where[1]], noises[where[0]], REGIMES[index], ha="center")
for which, style, name in (("sgd", "k-", "SGD"), ("langevin", "k--", "Langevin")):
    axis.plot(*diagram.boundary(which).T, style, label=f"finite variance ends: {name}")
axis.set(xlabel="learning rate η, λ = 1", ylabel="curvature noise Γ")
axis.set_title("Where does SGD settle?")
axis.legend(loc="upper right")
plt.show()
