"""Small networks of the experiments: a perceptron, a convolutional network, and a transformer on characters."""

from typing import Any

import torch
from torch import nn


def mlp(pixels: int = 36, hidden: int = 8, classes: int = 10) -> nn.Module:
    """Return a perceptron with one hidden layer: 36-8-10 has 386 parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.Tanh(), nn.Linear(hidden, classes))


def cnn(size: int = 8, channels: int = 4, classes: int = 10) -> nn.Module:
    """Return a convolution of 3 x 3, pooling to a quarter, and a linear layer."""
    half = size // 2
    return nn.Sequential(
        _Channel(),
        nn.Conv2d(1, channels, 3, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(channels * half * half, classes),
    )


class _Channel(nn.Module):  # type: ignore[misc]
    """Gives images (n, h, w) one channel."""

    def forward(self, images: Any) -> Any:
        return images.unsqueeze(1)


class Transformer(nn.Module):  # type: ignore[misc]
    """A decoder of characters: causal attention and a perceptron per layer, normalised before each.

    Parameters
    ----------
    symbols
        Size of the alphabet.
    length
        Longest window T.
    width, heads, layers
        Of the residual stream; ``heads`` divides ``width``.
    """

    mask: Any

    def __init__(self, symbols: int, length: int = 32, width: int = 24, heads: int = 2, layers: int = 1) -> None:
        super().__init__()
        self.symbols = nn.Embedding(symbols, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, symbols))
        self.register_buffer("mask", torch.full((length, length), float("-inf")).triu(1))

    def forward(self, windows: Any) -> Any:
        """Return logits (n, T, symbols) of windows (n, T)."""
        count = windows.shape[1]
        # A product rather than a look-up, whose derivatives run slowly sample by sample.
        alphabet = torch.arange(self.symbols.num_embeddings, device=windows.device)
        x = (windows[..., None] == alphabet).to(self.places.dtype) @ self.symbols.weight
        x = x + self.places[:count]
        for layer in self.layers:
            x = layer(x, self.mask[:count, :count])
        return self.out(x)


class _Layer(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.look, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Any, mask: Any) -> Any:
        n, t, width = x.shape
        query, key, value = (
            part.reshape(n, t, self.heads, -1).transpose(1, 2) for part in self.look(self.before(x)).split(width, -1)
        )
        scores = query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5 + mask
        x = x + self.join((scores.softmax(-1) @ value).transpose(1, 2).reshape(n, t, width))
        return x + self.think(self.between(x))


def image_loss(outputs: Any, labels: Any) -> Any:
    """Return the cross-entropy of every image, shape (n,)."""
    return nn.functional.cross_entropy(outputs, labels, reduction="none")


def text_loss(outputs: Any, targets: Any) -> Any:
    """Return the cross-entropy of every window, averaged over its characters, shape (n,)."""
    return nn.functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(-1)
