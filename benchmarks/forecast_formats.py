"""Forecasts in JSON, Avro and Protobuf: bytes of each, and processor microseconds to encode one.

    python benchmarks/forecast_formats.py [--forecasts 2000]

24 steps with 7 quantiles, encoded in batches of 512 as the daemon does; the best of seven runs counts. The compressed
size is that of all of them together with gzip, as `kafka.compression` does with a batch. The figures are in
docs/performance.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping

import cramjam
import numpy as np

from forecaster import Forecasts
from service.messages.decode import Decoded
from service.messages.encode import JSON, OutputFormat, encode
from service.schemas.forecast_avro import AvroFormat
from service.schemas.forecast_protobuf import ProtobufFormat

STEPS, LEVELS, BATCH, RUNS = 24, (0.025, 0.05, 0.1, 0.5, 0.9, 0.95, 0.975), 512, 7
T0_MS = 1_767_571_200_000


def batches(count: int) -> list[tuple[Decoded, Forecasts]]:
    """Returns events and their forecasts: of values as a sensor has them, in float32."""
    found, random = [], np.random.default_rng(1)
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        middle = 20 + 5 * np.sin(np.arange(start, start + size)[:, None] / 9 + np.arange(STEPS) / 4)
        spread = np.sort(random.normal(0, 1, (size, STEPS, len(LEVELS))), axis=2)
        quantiles = (middle[:, :, None] + spread).astype(np.float32).astype(np.float64)
        times = T0_MS + 60_000 * np.arange(start, start + size)
        forecasts = Forecasts(
            status=np.zeros(size, np.uint8), origin_ms=times, interval_ms=np.full(size, 60_000),
            steps=np.ones(size, np.int64), quantiles=quantiles,
            anomaly=random.random(size).astype(np.float32), flagged=np.zeros(size, np.uint8),
        )  # fmt: skip
        series = [f"plant.north.sensor{at % 50}" for at in range(size)]
        positions = list(range(start, start + size))
        found.append((Decoded(series, times, np.ones(size), None, positions, list(range(size)), [], 0), forecasts))
    return found


def encoded(found: list[tuple[Decoded, Forecasts]], output: OutputFormat) -> list[bytes]:
    """Returns the records."""
    return [
        value
        for decoded, forecasts in found
        for value in encode(
            decoded, forecasts, partition="events-0", levels=LEVELS, model_sha256="0f" * 32, output=output
        ).forecasts
    ]


def table(count: int) -> str:
    """Returns the table."""
    rows = ["| output.format | bytes per forecast | with gzip | us to encode |", "|---|--:|--:|--:|"]
    formats: Mapping[str, OutputFormat] = {"json": JSON, "avro": AvroFormat(1), "protobuf": ProtobufFormat(1)}
    found = batches(count)
    for name, output in formats.items():
        best = float("inf")
        for _ in range(RUNS):
            began = time.thread_time()  # of the processor, so that other work on the machine counts less
            values = encoded(found, output)
            best = min(best, time.thread_time() - began)
        packed = len(cramjam.gzip.compress(b"".join(values), level=6))
        size = sum(map(len, values))
        rows.append(f"| `{name}` | {size / count:.0f} | {packed / count:.0f} | {best / count * 1e6:.1f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forecasts", type=int, default=2000)
    print(table(parser.parse_args().forecasts))
