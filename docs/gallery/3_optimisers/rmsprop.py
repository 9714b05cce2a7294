"""
RMSProp: may its second moment be held fixed?
=============================================

The exact stationary law of (θ, v) in one parameter, beside the usual approximation of a frozen v.
"""

import matplotlib.pyplot as plt

import dfp

bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0]))
decays = [0.9, 0.95, 0.99]
laws = [dfp.RMSProp(bowl, 0.3, decay).stationary() for decay in decays]
figure, axis = plt.subplots(layout="constrained")
axis.plot(range(3), [law.variance for law in laws], "o-", label="exact")
frozen = [law.frozen_variance for law in laws]
axis.plot(range(3), frozen, "s--", label="v frozen at its mean")
axis.set(xticks=range(3), xticklabels=decays)
axis.set(xlabel="decay β of the second moment", ylabel="variance of θ [parameter²]")
axis.set_title("May the second moment of RMSProp be held fixed?")
axis.legend()
plt.show()
