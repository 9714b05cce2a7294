"""
Schedules: which learning rates leave the least risk?
=====================================================

On streaming Gaussian features one run forth and one back give the gradient of the final risk in every learning rate.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

steps = 200
features = dfp.GaussianFeatures(1 / np.arange(1, 101) ** 1.5, noise=0.3, batch_size=8)
best = dfp.optimal_schedule(features, steps, initial=1.0).learning_rates
cosine = (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
families = {"optimal": (best, [1]), "best cosine": (cosine, np.geomspace(0.1, 2, 30))}
for name, (shape, heights) in families.items():
    rates = [height * shape for height in heights]
    sgds = [dfp.SGD(features, dfp.Schedule(rate)) for rate in rates]
    risks = [dfp.risk_curve(sgd, 1.0, steps).excess_risk for sgd in sgds]
    least = int(np.argmin([risk[-1] for risk in risks]))
    left.plot(rates[least], label=name)
    right.semilogy(risks[least], label=f"{name}: {risks[least][-1]:.4f} in the end")
left.set(xlabel="step", ylabel="learning rate η [parameter² / loss]")
right.set(xlabel="step", ylabel="excess risk [loss]")
right.legend()
figure.suptitle("Which learning rates leave the least risk?")
plt.show()
