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
start, runs = dfp.Gaussian(0.0, 0.05), dfp.MonteCarlo(50_000, seed=1)
figure, axis = plt.subplots(layout="constrained")
for equation in (dfp.MasterEquation(sgd), dfp.ModifiedLangevin(sgd)):
    solution = dfp.solve(equation, start, steps=20, save=[20])
    density = solution.density[0].clip(1e-12)
    axis.semilogy(solution.grid.axes[0], density, label=equation.label)
sampled = dfp.solve(dfp.MasterEquation(sgd), start, 20, [20], runs, grid=60)
(places,), density = sampled.grid.axes, sampled.density[0]
seen = density > 0
axis.semilogy(places[seen], density[seen], "k.", ms=4, label="SGD, sampled")
axis.set(xlabel="θ [parameter]", ylabel="density [1 / parameter]")
axis.set(xlim=(-2.5, 1.8), ylim=(1e-4, 3))
axis.set_title("What does a Fokker–Planck equation not see?")
axis.legend(fontsize="small")
plt.show()
