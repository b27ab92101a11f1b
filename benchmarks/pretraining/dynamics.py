"""Series without a season, seeded: what a level does by itself, of mean 0 and spread 1 where it has these."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]
Rng = np.random.Generator


def standard(y: Series) -> Series:
    """Shifted and scaled to mean 0 and spread 1; a constant becomes zero."""
    spread = float(y.std())
    return (y - y.mean()) / spread if spread > 1e-12 else np.zeros_like(y)


def white(rng: Rng, n: int) -> Series:
    """Normal noise, or with the tails of Student's t (2 to 8 degrees of freedom), or skewed."""
    kind = rng.random()
    if kind < 0.5:
        return rng.normal(size=n)
    if kind < 0.8:
        nu = rng.uniform(2.0, 8.0)
        return np.clip(rng.standard_t(nu, n), -40.0, 40.0) / math.sqrt(nu / (nu - 1.0))
    shape = rng.uniform(0.3, 4.0)
    return (rng.gamma(shape, size=n) - shape) / math.sqrt(shape)


def autoregression(rng: Rng, n: int) -> Series:
    """ARMA(1 to 3, 0 or 1) with random roots within the unit circle, real or in pairs, 100 steps after its start."""
    roots: list[complex] = [complex(1.0 - 10.0 ** rng.uniform(-2.5, 0.0))]
    if rng.random() < 0.4:
        radius, angle = 1.0 - 10.0 ** rng.uniform(-2.0, -0.2), math.pi * rng.uniform(0.02, 1.0)
        roots += [radius * np.exp(1j * angle), radius * np.exp(-1j * angle)]
    polynomial = [-float(c.real) for c in np.atleast_1d(np.poly(roots))[1:]]
    shocks = white(rng, n + 100)
    if rng.random() < 0.3:
        shocks[1:] += rng.uniform(-0.9, 0.9) * shocks[:-1]
    past, out = [0.0] * len(polynomial), []
    for shock in shocks.tolist():
        value = shock + sum(c * p for c, p in zip(polynomial, past, strict=True))
        past = [value, *past[:-1]]
        out.append(value)
    return standard(np.array(out[100:]))


def random_walk(rng: Rng, n: int) -> Series:
    """Sums of noise whose size may change, with and without a drift."""
    steps = white(rng, n) * volatility(rng, n)
    drift = rng.normal(0.0, 0.1) if rng.random() < 0.3 else 0.0
    return np.cumsum(steps + drift)


def volatility(rng: Rng, n: int) -> Series:
    """Sizes of noise around 1: constant, in stretches, or rising after large shocks (GARCH(1, 1))."""
    kind = rng.random()
    if kind < 0.5:
        return np.ones(n)
    if kind < 0.75:
        return np.exp(stretches(rng, n, rng.uniform(0.3, 1.0)))
    alpha, beta = rng.uniform(0.05, 0.2), rng.uniform(0.6, 0.79)
    variance, out = 1.0, []
    for shock in rng.normal(size=n).tolist():
        out.append(math.sqrt(variance))
        variance = (1.0 - alpha - beta) + variance * (alpha * shock * shock + beta)
    return np.array(out)


def stretches(rng: Rng, n: int, size: float) -> Series:
    """A level that stays for a random while and then jumps by a normal step of that size, or to one drawn anew."""
    jumps = rng.random(n) < 1.0 / (10.0 ** rng.uniform(1.5, 3.2))
    steps = np.where(jumps, rng.normal(0.0, size, n), 0.0)
    if rng.random() < 0.5:
        return np.cumsum(steps)
    levels = np.concatenate([[rng.normal(0.0, size)], steps[jumps]])
    return levels[np.cumsum(jumps)]


def trend(rng: Rng, n: int) -> Series:
    """Straight, damped, or in pieces; it moves by a few units over the whole."""
    t = np.linspace(0.0, 1.0, n)
    kind, size = rng.random(), rng.normal(0.0, 3.0)
    if kind < 0.35:
        return size * t
    if kind < 0.6:
        rate = rng.uniform(2.0, 12.0)
        return size * (1.0 - np.exp(-rate * t))
    knots = np.concatenate([[0.0], np.sort(rng.random(int(rng.integers(1, 6)))), [1.0]])
    return np.interp(t, knots, np.cumsum(rng.normal(0.0, abs(size), knots.size)))


def smooth(rng: Rng, n: int) -> Series:
    """A slow wave without a period: noise averaged twice over 5 to 100 steps."""
    width = int(10.0 ** rng.uniform(0.7, 2.0))
    window = np.ones(width) / width
    y = rng.normal(size=n + 2 * width)
    return standard(np.convolve(np.convolve(y, window, "valid"), window, "valid")[:n])


def bursts(rng: Rng, n: int) -> Series:
    """Rare upward shocks that fade: quiet in between."""
    sizes = rng.exponential(1.0, n) ** rng.uniform(0.7, 2.0)
    shocks = np.where(rng.random(n) < 1.0 / rng.uniform(20.0, 200.0), sizes, 0.0)
    decay, value, out = rng.uniform(0.0, 0.97), 0.0, []
    for shock in shocks.tolist():
        value = value * decay + shock
        out.append(value)
    return standard(np.array(out))


def logistic_map(rng: Rng, n: int) -> Series:
    """Chaos in one dimension: x <- r x (1 - x), r from 3.6 to 4; each value may be held for a few steps."""
    r, x, held, out = rng.uniform(3.6, 4.0), rng.uniform(0.1, 0.9), int(rng.integers(1, 5)), []
    for _ in range(n // held + 1):
        x = r * x * (1.0 - x)
        out.append(x)
    return standard(np.repeat(out, held)[:n])


def mackey_glass(rng: Rng, n: int) -> Series:
    """The delay equation x' = 0.2 x(t - d) / (1 + x(t - d)^10) - 0.1 x (Mackey and Glass 1977), every 1 to 6 units."""
    delay, every = int(rng.integers(15, 31)), int(rng.integers(1, 7))
    x = (0.9 + 0.4 * rng.random(delay + 1)).tolist()
    for _ in range(n * every + 200):
        late = x[-1 - delay]
        x.append(x[-1] + 0.2 * late / (1.0 + late**10) - 0.1 * x[-1])
    return standard(np.array(x[delay + 201 :: every])[:n])


def level_jumps(rng: Rng, n: int) -> Series:
    """Stretches of one level."""
    return stretches(rng, n, 1.0)


def wandering(rng: Rng, n: int) -> Series:
    """A random walk over the whole series, of spread 1."""
    return standard(random_walk(rng, n))


DYNAMICS: list[tuple[Callable[[Rng, int], Series], float]] = [
    (white, 0.14),
    (autoregression, 0.36),
    (level_jumps, 0.12),
    (smooth, 0.12),
    (wandering, 0.12),
    (bursts, 0.06),
    (logistic_map, 0.03),
    (mackey_glass, 0.05),
]


def any_dynamics(rng: Rng, n: int) -> Series:
    """One of them, drawn."""
    shares = np.array([share for _, share in DYNAMICS])
    chosen, _ = DYNAMICS[int(rng.choice(len(DYNAMICS), p=shares / shares.sum()))]
    return chosen(rng, n)
