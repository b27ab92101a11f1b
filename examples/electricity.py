"""A city's electricity, made up: work days, evenings, cold spells. The fitted network against yesterday's value."""

import numpy as np

from forecaster import Batch, Forecaster, ModelConfig, TrainConfig

rng = np.random.default_rng(3)
hours = np.arange(24 * 7 * 12)  # twelve weeks
day, weekday = hours % 24, hours // 24 % 7
evening = np.exp(-(((day - 19) / 3.0) ** 2))
morning = np.exp(-(((day - 8) / 2.0) ** 2)) * (weekday < 5)
cold = np.convolve(rng.normal(0, 1, hours.size + 96), np.ones(97) / 97**0.5, "valid")  # spells of some days
load = 400 + 120 * evening + 90 * morning + 25 * cold + rng.normal(0, 6, hours.size)

start_ms = 1_767_571_200_000  # a Monday
events = Batch(["city"] * hours.size, start_ms + hours * 3_600_000, load)
config = ModelConfig(horizon=12, seasons=(24,))
learner = Forecaster(config)
learner.observe(Batch(events.series[:-336], events.timestamp_ms[:-336], events.value[:-336]))  # all but two weeks
report = learner.fit(TrainConfig(max_steps=200))

forecasts = Forecaster(report.model).observe(events).quantiles  # (events, steps, levels)
origins = np.arange(hours.size - 336, hours.size - 12)
target = load[origins[:, None] + np.arange(1, 13)]
ours = np.abs(target - forecasts[origins, :, 3]).mean()
naive = np.abs(target - load[origins[:, None] + np.arange(1, 13) - 24]).mean()
inside = ((target >= forecasts[origins, :, 1]) & (target <= forecasts[origins, :, 5])).mean()
print(f"mean error over two weeks that it had not seen: {ours:.1f} MW; yesterday's value: {naive:.1f} MW")
print(f"of the values, {inside:.0%} lay within the 80 % interval")
