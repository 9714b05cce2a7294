"""
The ladder: which moments does a truncation get right?
======================================================

With m terms of the Kramers–Moyal expansion, moments up to order m are those of SGD (T25).
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([0.3], [0.2]))
sgd = dfp.SGD(bowl, learning_rate=0.3)
start, steps, highest = dfp.Gaussian(1.0, 0.1), 12, 8
exact = dfp.raw_moments(dfp.MasterEquation(sgd), start, steps, highest, [steps])[0]
figure, axis = plt.subplots(layout="constrained")
for order in (1, 2, 4, 6):
    equation = dfp.DiscreteFokkerPlanck(sgd, order=order)
    kept = dfp.raw_moments(equation, start, steps, highest, [steps])[0]
    errors = np.abs(kept / exact - 1)
    errors = np.maximum(errors[1:], 1e-14)
    axis.semilogy(range(1, highest + 1), errors, "o-", label=f"m = {order}")
axis.set(xlabel="order of the moment E θʲ", ylabel="relative error (1e-14: rounding)")
axis.set_title("Which moments does a truncation get right?")
axis.legend()
plt.show()
