"""
Epochs: how much noise does shuffling take away?
================================================

Without replacement the minibatches of an epoch exclude each other, and their noises nearly cancel at its end (T18).
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

rng = np.random.default_rng(0)
hessians, gradients = np.ones((100, 1, 1)), rng.standard_normal((100, 1))
losses = dfp.QuadraticLandscape.from_samples(hessians, gradients, batch_size=5)
figure, axis = plt.subplots(layout="constrained")
names = {True: "with replacement", False: "shuffled epochs of 20 steps"}
for replace, name in names.items():
    sgd = dfp.SGD(losses, 0.02, replace=replace)
    exact = dfp.moments(dfp.MasterEquation(sgd), dfp.Point([0.0]), 80)
    axis.plot(exact.steps, exact.covariance[:, 0, 0], label=name)
axis.set(xlabel="step", ylabel="variance [parameter²]", xticks=range(0, 81, 20))
axis.set_title("How much noise does shuffling take away?")
axis.legend()
plt.show()
