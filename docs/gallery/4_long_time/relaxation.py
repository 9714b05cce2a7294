"""
Spectrum: how fast is the start forgotten?
==========================================

Eigenvalues of one step of SGD and of its approximations; the modulus is the factor per step.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

landscape = dfp.QuadraticLandscape([1.0, 0.3], noise=dfp.GaussianNoise([0.3, 0.2]))
sgd = dfp.SGD(landscape, learning_rate=1.3)
figure, axis = plt.subplots(layout="constrained")
for equation, marker in ((dfp.MasterEquation(sgd), "o"), (dfp.Langevin(sgd), "x")):
    found = dfp.spectrum(equation, count=8)
    label = f"{equation.label}: {found.relaxation_steps[0]:.1f} steps"
    order = np.arange(1, len(found.eigenvalues) + 1)
    axis.plot(found.eigenvalues.real, order, marker, ms=8, label=label)
axis.axvline(0, color="0.7", lw=0.8)
axis.set_xlabel("eigenvalue of one step (negative: it alternates)")
axis.set_ylabel("mode, slowest first")
axis.set_title("How fast is the start forgotten?")
axis.legend()
plt.show()
