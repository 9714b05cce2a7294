"""
Law of the loss: how unlucky can one run be?
============================================

The loss of a Gaussian state is a generalised χ², at any step and in any dimension.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

landscape = dfp.QuadraticLandscape([2.0, 1.0, 0.2], noise=dfp.GaussianNoise(0.3))
equation = dfp.MasterEquation(dfp.SGD(landscape, learning_rate=0.2))
losses = np.linspace(0, 0.5, 120)[1:]
figure, axis = plt.subplots(layout="constrained")
for step in (5, 10, 20, 100):
    law = dfp.loss_law(equation, dfp.Point([0.5, 0.5, 0.5]), step)
    told = f"step {step}: mean {law.mean:.3f}, one in 100 {law.quantile(0.99):.3f}"
    axis.semilogy(losses, 1 - law.cdf(losses), label=told)
axis.set(xlabel="loss above the minimum [loss]", ylabel="probability of more")
axis.set_ylim(1e-3, 1.1)
axis.set_title("How unlucky can one run be?")
axis.legend(fontsize="small")
plt.show()
