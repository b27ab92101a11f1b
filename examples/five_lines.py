"""A notebook's worth: two series, forecasts before and after training."""

import numpy as np

from forecaster import Batch, Forecaster, ModelConfig, TrainConfig

hours = np.arange(24 * 7 * 6)  # six weeks
demand = 100 + 30 * np.sin(2 * np.pi * hours / 24) + np.random.default_rng(7).normal(0, 3, hours.size)
series = np.tile(["north", "south"], hours.size).tolist()
timestamp_ms = np.repeat(hours * 3_600_000, 2)

forecaster = Forecaster(ModelConfig(horizon=12, seasons=(24,)))
before = forecaster.observe(Batch(series, timestamp_ms, np.repeat(demand, 2)))
report = forecaster.fit(TrainConfig(max_steps=200))
after = forecaster.observe(Batch(["north"], timestamp_ms[-1:] + 3_600_000, np.array([101.0])))
print(f"trained {report.steps} steps; in 12 hours: {after.quantiles[0, -1].round(1)}")
