"""The drift test: rare false alarms, and a bounded delay of true ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from evaluated_streams import CONFIG, part
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forecaster import Batch, CheckpointError, DriftTest, Forecaster, Forecasts


class TestDrift:
    """The drift test."""

    @staticmethod
    def statistics(noise: np.ndarray, size: int = 50) -> list[float]:
        """Returns the statistic after every part of a noisy constant level of two series."""
        live, test = Forecaster(CONFIG), DriftTest(10)
        n, found = len(noise), []
        batch = Batch(["a", "b"] * (n // 2), (np.arange(n) // 2) * 60_000, 100 + noise)
        for start in range(0, n, size):
            now = part(batch, start, start + size)
            test.observe(now, live.observe(now), CONFIG.quantiles)
            found.append(test.statistic)
        return found

    def test_rises_with_the_errors(self) -> None:
        """The statistic stays low while errors are as usual, and rises when they triple."""
        noise = np.random.default_rng(5).normal(size=2000)
        calm = self.statistics(noise)
        noise[1500:] *= 3
        changed = self.statistics(noise)

        assert max(calm) < 25
        assert changed[:29] == calm[:29]
        assert max(changed[30:]) > 50

    def test_batched_saved_and_resumed(self) -> None:
        """Batching and restoring a saved state do not change the statistic."""
        noise = np.random.default_rng(6).normal(size=600)
        assert self.statistics(noise, 600)[-1] == self.statistics(noise, 1)[-1]
        live, test = Forecaster(CONFIG), DriftTest(10)
        batch = Batch(["a", "b"] * 300, (np.arange(600) // 2) * 60_000, 100 + noise)
        for start in (0, 300):
            now = part(batch, start, start + 300)
            test.observe(now, live.observe(now), CONFIG.quantiles)
            copy = DriftTest(10)
            copy.restore(test.state())
            test = copy

        assert test.statistic == self.statistics(noise, 600)[-1]

    MINUTE, DAY = 60_000, 1440

    def follow(
        self,
        test: DriftTest,
        errors: NDArray[np.float64],
        *,
        interval: int = MINUTE,
        first: int = 0,
        size: int = 20,
    ) -> list[int]:
        """Returns the steps at which the statistic for these 1-step-ahead errors reached 50 and was reset."""
        alarms = []
        for start in range(0, len(errors), size):
            value = errors[start : start + size]
            n, at = len(value), first + start
            ts = 1_700_000_000_000 + np.arange(at, at + n) * interval
            forecasts = Forecasts(
                np.zeros(n, np.uint8), ts, np.full(n, interval), np.arange(at, at + n) + 1,
                np.zeros((n, 1, 1), np.float32), np.zeros(n, np.float32), np.zeros(n, np.uint8),
            )  # fmt: skip
            test.observe(Batch(["a"] * n, ts, value), forecasts, (0.5,))
            if test.statistic >= 50.0:
                alarms.append(start + n)
                test.reset()
        return alarms

    def noisy_days(self, days: int, seed: int) -> NDArray[np.float64]:
        """Returns errors per minute, five times as large from 8 to 20 o'clock as at night."""
        hour = np.arange(days * self.DAY) // 60 % 24
        return np.random.default_rng(seed).normal(size=days * self.DAY) * np.where((hour >= 8) & (hour < 20), 5.0, 1.0)

    @pytest.mark.parametrize("seed", range(2))
    def test_days_are_noisier_than_nights(self, seed: int) -> None:
        """60 days of minutes raise at most two alarms, all within the first two days."""
        alarms = self.follow(DriftTest(10), self.noisy_days(60, seed), size=120)

        assert len(alarms) <= 2
        assert all(at < 2 * self.DAY for at in alarms)

    @pytest.mark.parametrize("hour", [2, 12])
    def test_lasting_change_within_a_season(self, hour: int) -> None:
        """Errors that double on the fifth day are detected at any hour as fast as in a stream without daily phases."""
        change, delays = 5 * self.DAY + hour * 60, []
        for seed in range(4):
            errors = self.noisy_days(6, seed)
            errors[change:] *= 2.0
            found = [at - change for at in self.follow(DriftTest(10), errors, size=20) if at > change]
            assert len(found) <= 1  # one change, one alarm
            delays += found or [600]

        assert np.median(delays) <= 1.3 * 125

    @pytest.mark.parametrize(("seasons", "interval"), [((), 60_000), ((24,), 3_600_000), ((7,), 86_400_000)])
    def test_lasting_change(self, seasons: tuple[int, ...], interval: int) -> None:
        """Errors that double are detected within 1.3 times the 125 steps needed without phases."""
        delays = []
        for seed in range(6):
            errors = np.random.default_rng(seed).normal(size=2600)
            errors[2000:] *= 2.0
            alarms = self.follow(DriftTest(10, seasons), errors, interval=interval, size=20)
            assert all(at > 2000 for at in alarms)
            delays.append(alarms[0] - 2000 if alarms else 600)

        assert np.median(delays) <= 1.3 * 125
        assert max(delays) < 600

    @pytest.mark.parametrize("wrong", [-9999.0, 65535.0, 1e20, 3e38])
    def test_one_wrong_value(self, wrong: float) -> None:
        """One value of any size changes the usual error by at most 4 %, and that of a constant series not at all."""
        errors = np.random.default_rng(3).normal(size=400)
        plain, moved, constant = DriftTest(10), DriftTest(10), DriftTest(10)
        self.follow(plain, errors[:300])
        self.follow(constant, np.zeros(300))
        moved.restore(plain.state())
        self.follow(plain, errors[300:301], first=300)
        self.follow(moved, np.array([wrong]), first=300)
        self.follow(constant, np.array([wrong, 0.0, 0.0]), first=300)

        np.testing.assert_allclose(moved.state()["usual"], plain.state()["usual"], rtol=0.04)
        assert moved.state()["phases"].max() <= plain.state()["phases"].max() + 10 * plain.state()["usual"].max()
        assert constant.state()["usual"] == 0.0

    @settings(deadline=None, max_examples=15)
    @given(st.lists(st.integers(1, 700), min_size=1, max_size=6), st.sampled_from([(), (24,), (6, 32)]))
    def test_splits_do_not_matter(self, sizes: list[int], seasons: tuple[int, ...]) -> None:
        """Batching, and saving and restoring at any point, change no number of the state."""
        errors, interval = np.random.default_rng(1).normal(size=1440), 1_200_000  # without alarms, which reset the sums
        whole, parts, at = DriftTest(10, seasons), DriftTest(10, seasons), 0
        self.follow(whole, errors, interval=interval, size=len(errors))
        for size in itertools.chain(sizes, [len(errors)]):
            now = errors[at : at + size]
            self.follow(parts, now, interval=interval, first=at, size=max(1, len(now)))
            read = DriftTest(10, seasons)
            read.restore(parts.state())
            parts, at = read, at + len(now)
        for name, array in parts.state().items():
            np.testing.assert_array_equal(array, whole.state()[name], err_msg=name)

    def test_parts_that_do_not_fit(self) -> None:
        """A state with a part that is missing, of another shape or type, or impossible, is rejected."""
        test = DriftTest(10)
        self.follow(test, self.noisy_days(2, 0))
        state = test.state()
        broken = [{key: array for key, array in state.items() if key != name} for name in state]
        broken += [state | {name: array[:-1]} for name, array in state.items()]
        for name, array in state.items():
            broken.append(state | {name: array.astype(np.float32 if array.dtype != np.float32 else np.float64)})
        broken += [state | {name: np.full_like(state[name], np.nan)} for name in ("usual", "last", "phases", "sums")]
        broken += [state | {name: -1 - state[name]} for name in ("usual", "last", "count", "phases", "sums")]
        broken += [state | {"seasonal": state["seasonal"] + 9}, state | {"sums": state["sums"] + 1}]
        broken += [state | {"count": state["count"] + [[0, 10_000]]}]
        for arrays in broken:
            fresh = DriftTest(10)
            with pytest.raises(CheckpointError):
                fresh.restore(arrays)
            assert fresh.statistic == 0.0
        test.restore(state)
