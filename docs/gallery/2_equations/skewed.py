"""
Skewed gradients: what does a Fokker–Planck equation not see?
=============================================================

The master equation takes the law of the noise itself; every Fokker–Planck equation knows its covariance alone.
"""

import matplotlib.pyplot as plt
from scipy import stats

import dfp

noise = dfp.AdditiveNoise(stats.gamma(0.5))  # skewness 2.8
sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=noise), learning_rate=0.3)
figure, axis = plt.subplots(layout="constrained")
for equation in (dfp.MasterEquation(sgd), dfp.ModifiedLangevin(sgd)):
    solution = dfp.solve(equation, dfp.Gaussian(0.0, 0.05), steps=20, save=[20])
    axis.semilogy(solution.grid.axes[0], solution.density[0].clip(1e-12), label=equation.label)
sampled = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(0.0, 0.05), 20, [20], dfp.MonteCarlo(50_000, seed=1), grid=60)
seen = sampled.density[0] > 0
axis.semilogy(sampled.grid.axes[0][seen], sampled.density[0][seen], "k.", ms=4, label="SGD, sampled")
axis.set(xlim=(-2.5, 1.8), ylim=(1e-4, 3), xlabel="θ [parameter]", ylabel="density [1 / parameter]")
axis.set_title("What does a Fokker–Planck equation not see?")
axis.legend(fontsize="small")
plt.show()
