"""Data that need no download: scikit-learn's digits, MNIST's files, and English text of the Python distribution."""

import gzip
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dfp import checks
from dfp.errors import DFPError

_IDX_IMAGES, _IDX_LABELS = 2051, 2049


class Text(NamedTuple):
    """Windows of a text as numbers of its symbols, and the same one symbol later."""

    inputs: np.ndarray
    """Shape (N, T)."""
    targets: np.ndarray
    """Shape (N, T)."""
    symbols: str
    """The alphabet."""


def digits(size: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's 1797 digits pooled to ``size`` x ``size`` pixels, between 0 and 1, and their labels.

    Raises
    ------
    DFPError
        If scikit-learn is not installed, or ``size`` is not between 1 and 8.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DFPError("scikit-learn is not installed: digits need it; run pip install 'dfp[networks]'.") from None
    bunch: Any = load_digits()
    return pooled(bunch.images / 16.0, size), bunch.target.astype(np.int64)


def mnist(
    images: str | Path, labels: str | Path, size: int = 6, count: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first ``count`` images of MNIST's idx files (``.gz`` or not), pooled, and their labels."""
    pixels = _idx(images, _IDX_IMAGES, 3)[:count]
    answers = _idx(labels, _IDX_LABELS, 1)[:count]
    if len(pixels) != len(answers):
        raise DFPError(
            f"{images} and {labels} hold {len(pixels)} images and {len(answers)} labels; give a matching pair."
        )
    return pooled(pixels / 255.0, size), answers.astype(np.int64)


def pooled(images: np.ndarray, size: int) -> np.ndarray:
    """Return images (N, h, h) averaged over areas to (N, size, size)."""
    full = images.shape[1]
    checks.integer("size", size, at_least=1, at_most=full)
    edges = np.linspace(0, full, size + 1)
    cells = np.arange(full)
    # Share of every pixel that lies in each cell.
    weights = np.clip(np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells), 0, 1)
    weights /= weights.sum(axis=1, keepdims=True)
    result: np.ndarray = np.einsum("ai,nij,bj->nab", weights, images, weights)
    return result


def text(path: str | Path | None = None, length: int = 32, count: int = 512) -> Text:
    """Return ``count`` windows of ``length`` characters, spread evenly over a text.

    Parameters
    ----------
    path
        A text file in UTF-8; the help topics of the Python distribution if left out.
    length, count
        Characters of a window, and windows.
    """
    whole = _topics() if path is None else _read(path)
    checks.integer("length", length, at_least=2)
    checks.integer("count", count, at_least=2)
    if len(whole) < count + length + 1:
        raise DFPError(f"text has {len(whole)} characters: {count} windows of {length} need more; give a longer text.")
    symbols = "".join(sorted(set(whole)))
    place = {symbol: i for i, symbol in enumerate(symbols)}
    coded = np.array([place[symbol] for symbol in whole], dtype=np.int64)
    starts = np.linspace(0, len(coded) - length - 1, count).astype(np.int64)
    windows = coded[starts[:, None] + np.arange(length + 1)]
    return Text(windows[:, :-1], windows[:, 1:], symbols)


def _topics() -> str:
    from pydoc_data.topics import topics

    joined = "\n".join(topics[name] for name in sorted(topics)).lower()
    # Few symbols keep the model's share of embeddings small.
    return "".join(c if c.isascii() and (c.isalnum() or c in " .,:;'()\n") else " " for c in joined)


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DFPError(f"{path}: cannot be read as a text in UTF-8 ({error}); check its name.") from error


def _idx(path: str | Path, magic: int, dimensions: int) -> np.ndarray:
    try:
        raw = Path(path).read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError) as error:
        raise DFPError(f"{path}: cannot be read ({error}); give an idx file of MNIST.") from error
    head = 4 + 4 * dimensions
    if len(content) < head or int.from_bytes(content[:4], "big") != magic:
        raise DFPError(f"{path}: is no idx file of this kind; give e.g. t10k-images-idx3-ubyte.gz.")
    shape = np.frombuffer(content, ">i4", dimensions, 4)
    if len(content) != head + int(np.prod(shape.astype(np.int64))):
        raise DFPError(f"{path}: is cut short; copy it again.")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)
