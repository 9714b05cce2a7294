"""
Averages: how much quieter is an exponential average?
=====================================================

The pair of iterate and average moves by an affine map too, so its moments are exact (T20).
"""

import matplotlib.pyplot as plt

import dfp

sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0], [0.2])), learning_rate=0.2)
followed = {"last iterate": sgd, "exponential, γ = 0.9": dfp.ExponentialAverage(sgd, 0.9)}
followed |= {"exponential, γ = 0.99": dfp.ExponentialAverage(sgd, 0.99), "mean after step 50": dfp.TailAverage(sgd, 50)}
figure, axis = plt.subplots(layout="constrained")
for name, what in followed.items():
    exact = dfp.moments(dfp.MasterEquation(what), dfp.Point([3.0]), 400)
    risk = 0.5 * (exact.mean[:, 0] ** 2 + exact.covariance[:, 0, 0])
    axis.loglog(exact.steps[1:], risk[1:], label=name)
best = dfp.best_decay(sgd, dfp.Point([3.0]), 400)
axis.axhline(best.risk, color="k", ls=":", label=f"best decay at step 400: γ = {best.decay:.3f}")
axis.set(xlabel="step", ylabel="excess loss [loss]", title="How much quieter is an average?", ylim=(3e-5, 8))
axis.legend(loc="lower left")
plt.show()
