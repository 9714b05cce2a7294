"""
SGLD: at which learning rate does it sample the posterior?
==========================================================

Langevin dynamics in steps adds noise of temperature T. The bias of its steps, and of minibatches, is exact here.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

temperature, curvature = 0.1, 1.0
rates = np.geomspace(1e-3, 1, 40)
figure, axis = plt.subplots(layout="constrained")
for noise in (0.0, 0.1, 1.0):
    bowl = dfp.QuadraticLandscape([curvature], noise=dfp.GaussianNoise([noise]))
    sgds = [dfp.SGD(bowl, rate, temperature=temperature) for rate in rates]
    laws = [dfp.stationary_moments(dfp.MasterEquation(sgd)) for sgd in sgds]
    ratio = [law.covariance.item() * curvature / temperature for law in laws]
    axis.semilogx(rates, ratio, label=f"minibatch noise D = {noise:g}")
axis.axhline(1, color="k", ls=":", label="posterior, T/λ")
axis.set(xlabel="learning rate η [parameter² / loss]", ylabel="variance / (T/λ)")
axis.set_ylim(0.9, 3)
axis.set_title("At which learning rate does SGLD sample the posterior?")
axis.legend()
plt.show()
