"""
First passage: after how many steps does SGD leave a valley?
============================================================

The probability to be still inside: of SGD, which leaves at a step, and of Langevin, which leaves when it touches.
"""

import matplotlib.pyplot as plt

import dfp

bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0]))
sgd = dfp.SGD(bowl, learning_rate=0.2)
figure, axis = plt.subplots(layout="constrained")
for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd)):
    law = dfp.exit_steps(equation, (-0.6, 0.6), dfp.Point(0.0), steps=120)
    label = f"{equation.label}: mean {law.mean:.1f} steps"
    axis.semilogy(law.steps, law.survival, label=label)
axis.set(xlabel="step", ylabel="probability to be inside", ylim=(1e-2, 1.1))
axis.set_title("After how many steps does SGD leave |θ| < 0.6?")
axis.legend()
plt.show()
