"""Seasons of any shape, seeded: what repeats, and how exactly."""

from __future__ import annotations

import numpy as np

from pretraining.dynamics import Rng, Series, smooth, standard


def shape(rng: Rng, length: int) -> Series:
    """One season of `length` steps, of mean 0 and spread 1: a few waves, blocks as of working hours, or pulses."""
    kind, phase = rng.random(), np.arange(length) / length
    if kind < 0.45 or length < 4:
        waves = np.arange(1, max(2, min(12, length // 2)) + 1)
        sizes = rng.normal(size=waves.size) * waves ** -rng.uniform(0.3, 2.5)
        turns = rng.random(waves.size)
        return standard((sizes * np.sin(2 * np.pi * (np.outer(phase, waves) + turns))).sum(axis=1))
    if kind < 0.8:
        knots = np.sort(rng.random(int(rng.integers(2, 9))))
        y = rng.normal(size=knots.size + 1)[np.searchsorted(knots, phase)]
        width = int(rng.integers(1, max(2, length // 6) + 1))
        window = np.ones(width) / width
        return standard(np.convolve(np.concatenate([y, y]), window, "same")[length // 2 : length // 2 + length])
    y = np.zeros(length)
    for _ in range(int(rng.integers(1, 4))):
        at, width = rng.random(), rng.uniform(0.3 / length, 0.1)
        away = np.abs((phase - at + 0.5) % 1.0 - 0.5)
        y += rng.exponential() * np.exp(-((away / width) ** 2))
    return standard(y)


def repeated(rng: Rng, length: int, n: int) -> Series:
    """A season over n steps: the same every time, of a strength that wanders, or slowly turning into another shape."""
    one, start = shape(rng, length), int(rng.integers(length))
    at = (start + np.arange(n)) % length
    y = one[at]
    if rng.random() < 0.3:
        y = y * np.exp(rng.uniform(0.1, 0.5) * smooth(rng, n))
    if rng.random() < 0.2:
        part = np.linspace(rng.uniform(0.0, 0.5), rng.uniform(0.5, 1.0), n)
        y = y * (1.0 - part) + shape(rng, length)[at] * part
    return y


def week(rng: Rng, day: int, length: int, n: int) -> Series:
    """A day within a longer season of whole days: days of two kinds (as weekends), or each of its own strength."""
    days = length // day
    start, t = int(rng.integers(length)), np.arange(n)
    which = ((start + t) // day) % days
    one = shape(rng, day)[(start + t) % day]
    if rng.random() < 0.5:
        other = shape(rng, day) if rng.random() < 0.5 else shape(rng, day) * rng.uniform(0.1, 0.6)
        free = np.arange(days) >= days - max(1, round(days * 2 / 7))
        kinds = free if rng.random() < 0.8 else rng.random(days) < 0.4
        lift = rng.normal(0.0, 0.7)
        return standard(np.where(kinds[which], other[(start + t) % day] + lift, one))
    strength = np.exp(rng.normal(0.0, 0.4, days))
    lift = rng.normal(0.0, rng.uniform(0.0, 0.7), days)
    return standard(one * strength[which] + lift[which])
