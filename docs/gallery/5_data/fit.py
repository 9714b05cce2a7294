"""
Fit: which curvatures and noise do recorded parameters speak for?
=================================================================

The exact likelihood of SGD's steps; a Langevin fit of the same data would miss the curvature of sharp modes.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

rng, rate, true = np.random.default_rng(0), 0.4, np.array([2.0, 0.5])
theta, recorded = np.zeros(2), []
for _ in range(4000):
    theta = theta - rate * (true * theta + rng.standard_normal(2) * [1.0, 0.5])
    recorded.append(theta)
found = dfp.fit(np.array(recorded), learning_rate=rate)
figure, axis = plt.subplots(layout="constrained")
lower, upper = (bound.diagonal() for bound in found.intervals.hessian)
middle = found.hessian.diagonal()
bars = [middle - lower, upper - middle]
axis.errorbar([0, 1], middle, bars, fmt="o", capsize=6, label="fit, 95 %")
axis.plot([0.05, 1.05], found.langevin.hessian.diagonal(), "s", label="Langevin fit")
axis.plot([-0.05, 0.95], true, "k_", ms=18, label="truth")
axis.set(xlim=(-0.5, 1.5), ylabel="curvature [loss / parameter²]")
axis.set_xticks([0, 1], ["θ₁", "θ₂"])
axis.set_title("Which curvatures do recorded parameters speak for?")
axis.legend()
plt.show()
