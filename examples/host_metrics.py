"""This machine's own processor load and memory, a forecast after every sample; `forecaster demo` is the whole of it."""

import time

import numpy as np
import psutil

from forecaster import Batch, Forecaster, ModelConfig

forecaster = Forecaster(ModelConfig(horizon=12, seasons=(24,)))
psutil.cpu_percent()
for _ in range(20):
    time.sleep(0.05)
    now_ms = int(time.time() * 1000)
    sample = {"cpu": psutil.cpu_percent(), "memory": psutil.virtual_memory().percent}
    batch = Batch(list(sample), np.full(2, now_ms), np.array(list(sample.values())))
    forecasts = forecaster.observe(batch)

for series, value, ahead in zip(sample, sample.values(), forecasts.quantiles, strict=True):
    print(f"{series}: {value:.1f} % now; next {ahead[0, 3]:.1f} %, between {ahead[0, 0]:.1f} and {ahead[0, -1]:.1f} %")
