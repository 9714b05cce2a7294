"""Law of Q = ½ Σ_j σ_j (z_j + m_j)², z_j independent standard normals: contour integrals through the saddle point.

The cumulant generating function is K(s) = Σ_j [−½ log(1 − σ_j s) + σ_j s m_j² / (2 (1 − σ_j s))], singular on the real
axis alone. The vertical line of the inverse Laplace transform, moved through the saddle point of the integrand and bent
towards where e^{−sx} decays, makes it decay exponentially, where the trapezoidal rule converges exponentially, also
for one dominant weight (Rice 1980; Helstrom 1996).
"""

import numpy as np

from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel

# Halvings of the trapezoidal spacing at most, what two of them may differ by, and where terms are rounding.
_HALVINGS, _AGREED, _ROUNDING = 9, 1e-13, 1e-18
# Contours that are tried: less and less bent, for a bend may lead past a pole behind which terms are huge and cancel;
# the error of a sum of terms relative to the largest, and the error with which no other contour is tried.
_BENDS, _CANCELLED, _ENOUGH = 6, 1e-15, 1e-11


@kernel()
def _slope(s: float, weights: Array, shifts: Array) -> float:
    """Return K'(s)."""
    total = 0.0
    for j in range(weights.size):
        left = 1.0 - weights[j] * s
        total += weights[j] * (1.0 + shifts[j] * shifts[j] / left) / (2.0 * left)
    return total


@kernel()
def _saddle(x: float, side: float, weights: Array, shifts: Array) -> float:
    """Return where K'(s) − x − side/s = 0: in the strip if ``side`` is 0, else on the side of 0 of its sign.

    ``side`` is −1 or 1 for s < 0 or s > 0, where the integrand has the factor 1/|s|.
    """
    least, most = min(weights.min(), 0.0), max(weights.max(), 0.0)
    scale = np.abs(weights).max()
    low = 1.0 / least if least < 0 else -np.inf
    high = 1.0 / most if most > 0 else np.inf
    if side > 0:
        low = 0.0
    elif side < 0:
        high = 0.0
    if low == -np.inf:
        low = min(-1.0 / scale, high - 1.0 / scale)
        while _slope(low, weights, shifts) - x - (1.0 / low if side != 0 else 0.0) > 0 and low > -1e300:
            low *= 2.0
    if high == np.inf:
        high = max(1.0 / scale, low + 1.0 / scale)
        while _slope(high, weights, shifts) - x - (1.0 / high if side != 0 else 0.0) < 0 and high < 1e300:
            high *= 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if _slope(middle, weights, shifts) - x - (1.0 / middle if side != 0 else 0.0) > 0:
            high = middle
        else:
            low = middle
    return 0.5 * (low + high)


@kernel()
def _exponent(s: complex, x: float, weights: Array, shifts: Array) -> complex:
    """Return K(s) − s x."""
    total = -s * x
    for j in range(weights.size):
        left = 1.0 - weights[j] * s
        total += -0.5 * np.log(left) + weights[j] * s * shifts[j] * shifts[j] / (2.0 * left)
    return total


@kernel()
def _term(t: float, place: float, width: float, bend: float, x: float, divided: bool, w: Array, m: Array) -> float:
    """Return the integrand over t, y = width sinh t along the contour s = place + bend y²/width + iy, over π."""
    y, dy = width * np.sinh(t), width * np.cosh(t)
    s = complex(place + bend * y * y / width, y)
    value = np.exp(_exponent(s, x, w, m)) * complex(1.0, -2.0 * bend * y / width) * dy
    if divided:
        value = value / s
    return value.real / np.pi


@kernel()
def _integral(x: float, side: float, weights: Array, shifts: Array) -> float:
    """Return the density at x (``side`` 0), P(Q > x) (side 1) or −P(Q < x) (side −1)."""
    place = _saddle(x, side, weights, shifts)
    curvature = 1.0 / (place * place) if side != 0 else 0.0
    for j in range(weights.size):
        left = 1.0 - weights[j] * place
        share = (weights[j] / left) ** 2
        curvature += share * (0.5 + shifts[j] * shifts[j] / left)
    width = 1.0 / np.sqrt(curvature)
    bend, best, least = 0.25 * np.sign(x), 0.0, np.inf
    for _ in range(_BENDS):
        found, error = _along(place, width, bend, x, side != 0, weights, shifts)
        if error < least:
            best, least = found, error
        if error <= _ENOUGH * abs(found) or bend == 0.0:
            break
        bend *= 0.25
    return best


@kernel()
def _along(
    place: float, width: float, bend: float, x: float, divided: bool, weights: Array, shifts: Array
) -> tuple[float, float]:
    """Return the integral along one contour, and its error: where terms are large, and cancel, what that rounds to."""
    total, h, largest = 0.0, 0.5, 0.0
    before, error = 0.0, np.inf
    for halving in range(_HALVINGS):
        # Only new nodes are summed after the first time; the integrand is even in t.
        t = 0.0 if halving == 0 else h
        step = h if halving == 0 else 2.0 * h
        quiet = 0
        while quiet < 4 and t < 40.0:
            term = _term(t, place, width, bend, x, divided, weights, shifts)
            total += term * (0.5 if t == 0.0 else 1.0)
            largest = max(largest, abs(term))
            quiet = quiet + 1 if abs(term) <= _ROUNDING * largest else 0
            t += step
        found = total * h
        if halving > 0:
            error = abs(found - before) + _CANCELLED * largest * h
            if abs(found - before) <= _AGREED * abs(found):
                return found, error
        before = found
        h *= 0.5
    return before, error


@kernel()
def density(x: Array, weights: Array, shifts: Array) -> Array:
    """Return the density of Q at ``x`` (n,), for weights σ_j ≠ 0 and shifts m_j, shape (d,)."""
    out, lowest, highest = np.zeros(x.size), weights.min(), weights.max()
    for i in range(x.size):
        if (x[i] > 0 or lowest < 0) and (x[i] < 0 or highest > 0):
            out[i] = _integral(x[i], 0.0, weights, shifts)
    return out


@kernel()
def cumulative(x: Array, weights: Array, shifts: Array) -> Array:
    """Return P(Q <= x) at ``x`` (n,)."""
    out, lowest, highest, mean = np.empty(x.size), weights.min(), weights.max(), 0.0
    for j in range(weights.size):
        mean += weights[j] * (1.0 + shifts[j] * shifts[j]) / 2.0
    for i in range(x.size):
        if x[i] <= 0 and lowest >= 0:
            out[i] = 0.0
        elif x[i] >= 0 and highest <= 0:
            out[i] = 1.0
        elif (x[i] > mean and highest > 0) or (lowest >= 0 and x[i] > mean):
            out[i] = 1.0 - _integral(x[i], 1.0, weights, shifts)
        else:
            out[i] = -_integral(x[i], -1.0, weights, shifts)
    return out
