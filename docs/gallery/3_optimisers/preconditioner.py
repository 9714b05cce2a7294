"""
Preconditioners: what does the inverse Hessian make of the spread?
==================================================================

Gradients multiplied by P: every direction then contracts alike, but the noise is multiplied too.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

hessian = np.array([[1.0, 0.6], [0.6, 0.5]])
landscape = dfp.QuadraticLandscape(hessian, noise=dfp.GaussianNoise([0.3, 0.3]))
angle = np.linspace(0, 2 * np.pi, 200)
figure, axis = plt.subplots(layout="constrained")
matrices = {"P = 1": np.eye(2), "P = inverse Hessian": np.linalg.inv(hessian)}
for name, matrix in matrices.items():
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.3, preconditioner=matrix))
    law = dfp.stationary_moments(equation)
    ellipse = 2 * np.linalg.cholesky(law.covariance) @ [np.cos(angle), np.sin(angle)]
    axis.plot(*ellipse, label=f"{name}: two deviations")
axis.set(xlabel="θ₁ [parameter]", ylabel="θ₂ [parameter]")
axis.set(aspect="equal", xlim=(-6, 6))
axis.set_title("What does a preconditioner make of the spread?")
axis.legend(loc="upper right")
plt.show()
