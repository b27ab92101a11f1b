"""From two weeks of days to the next one: an encoder reads, a decoder writes, and knows the opening hours ahead.

Demand is made here: a daily shape, drifting levels, and a shop that on some days opens late, which is known in advance.
Many-to-many of unequal length; the decoder is trained on the truth and on its own outputs in turn.
"""

import numpy as np

from forecaster import SequenceConfig, Sequences, SequenceTrain, fit_sequences

DAY, PAST = 12, 36  # two-hour steps


def shop(days: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Demand and whether the shop is open, per step."""
    rng, step = np.random.default_rng(seed), np.arange(days * DAY)
    late = np.repeat(rng.random(days) < 0.3, DAY)
    opened = (step % DAY >= np.where(late, 7, 4)).astype(np.float32)
    level = 1.0 + 0.3 * np.cumsum(rng.normal(0, 0.05, len(step)))
    shape = 1.0 + np.sin(2 * np.pi * (step % DAY) / DAY)
    return (opened * level * shape + rng.normal(0, 0.05, len(step))).astype(np.float32), opened


def windows(days: int, seed: int) -> Sequences:
    """What was, what is known ahead, what came."""
    demand, opened = shop(days, seed)
    at = np.arange(0, len(demand) - PAST - DAY, DAY)[:, None]
    past, ahead = at + np.arange(PAST), at + PAST + np.arange(DAY)
    return Sequences(
        features=np.stack([demand[past], opened[past]], axis=2),
        targets=demand[ahead],
        future=opened[ahead][:, :, None],
    )


def main() -> None:
    """Train, and compare with the day before, on the days of another shop."""
    train, test = windows(600, 0), windows(120, 1)
    config = SequenceConfig(
        task="decode", features=2, future=1, horizon=DAY, output="quantiles", quantiles=(0.1, 0.5, 0.9)
    )
    settings = SequenceTrain(epochs=40, learning_rate=0.01, teacher_forcing=0.5)
    quantiles = fit_sequences(train, config, settings).model.predict(test)
    error = np.abs(test.targets - quantiles[:, :, 1]).mean()
    before = np.abs(test.targets - test.features[:, -DAY:, 0]).mean()
    within = ((test.targets >= quantiles[:, :, 0]) & (test.targets <= quantiles[:, :, 2])).mean()
    print(f"error {error:.3f}, baseline (the day before) {before:.3f}; the 80% interval holds {within:.0%}")


main()
