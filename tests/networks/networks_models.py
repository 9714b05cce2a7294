"""Small networks that the tests share."""

import numpy as np
import torch

import dfp


def cross_entropy(out, y):
    return torch.nn.functional.cross_entropy(out, y, reduction="none")


def classifier(samples=60, pixels=4, hidden=3, classes=3, seed=0):
    """A perceptron with one hidden layer, trained a little, and its data."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    y = torch.as_tensor(rng.integers(0, classes, samples))
    x = torch.as_tensor(rng.standard_normal((samples, pixels))) + y[:, None] * 0.7
    model = torch.nn.Sequential(torch.nn.Linear(pixels, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, classes))
    model.double()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        cross_entropy(model(x), y).mean().backward()
        optimiser.step()
    return model, x, y


def problem(**options):
    model, x, y = classifier(**options)
    return dfp.networks.Problem(model, cross_entropy, (x, y), weight_decay=0.01)
