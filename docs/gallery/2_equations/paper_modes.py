"""
The paper's picture: which modes settle, and which diffuse?
===========================================================

Gradient noise γ(λ + ε): sharp modes settle at ηγ/2, whatever their curvature; flat ones diffuse, V = η²Dn.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

rate, gamma, epsilon = 0.05, 0.4, 0.01
curvatures = np.array([2.0, 0.5, 0.05, 0.0])
bowl = dfp.QuadraticLandscape.from_curvatures(curvatures, gamma=gamma, epsilon=epsilon)
equation = dfp.MasterEquation(dfp.SGD(bowl, rate))
exact = dfp.moments(equation, dfp.Point(np.zeros(4)), 5000)

figure, axis = plt.subplots(layout="constrained")
for i, curvature in enumerate(curvatures):
    variance = exact.covariance[1:, i, i]
    axis.loglog(exact.steps[1:], variance, label=f"λ = {curvature:g}")
axis.axhline(rate * gamma / 2, color="0.6", ls=":", label="ηγ/2")
diffusing = rate**2 * gamma * epsilon * exact.steps[1:]
axis.loglog(exact.steps[1:], diffusing, "k--", lw=0.8, label="η²Dn, λ = 0")
axis.set(xlabel="step", ylabel="variance [parameter²]")
axis.set_title("Which modes settle, and which diffuse?")
axis.legend()
plt.show()
