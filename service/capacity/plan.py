"""Estimates the resources of a daemon from its network and from measurements: memory, cores, disk, topics.

Bytes are computed from the real arrays and an encoded forecast; times are measured, and scaled by the operations of the
network where it differs from the measured one. Results are rounded up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import orjson

from forecaster import Forecaster, Forecasts, ModelConfig
from forecaster.inspection import operations
from service.capacity.bench import Measured
from service.messages.decode import Decoded
from service.messages.encode import encode

# Measured by `forecaster bench` for the default network; used unless other measurements are given.
SHIPPED: Final = Measured(
    machine="AMD EPYC of 2023 (AVX-512), one core of a busy virtual machine",
    model=ModelConfig().to_dict(),
    operations=operations(ModelConfig()),
    peak_gflops=112.422,
    step_ns=212.502,
    step_share=0.675,
    observe_us=5.242,
    observe_spread=0.026,
    single_us=54.571,
    pipeline_us=29.673,
)

BUSY_SHARE: Final = 0.6  # a busier core has no reserve for bursts and replays
PROCESS_BYTES: Final = 300 << 20  # Python, numpy, compiled code
TRAINER_BYTES: Final = 400 << 20  # the training process without its events
STEP_BYTES, MOST_STEPS = 240, 4_000_000  # per training step, and the largest number of steps
SNAPSHOT_BYTES_PER_SECOND: Final = 100 << 20  # written in the background; depends on the disk
NAME_BYTES: Final = (
    200  # a series' identifier in the index: str, dict entry, row number, two list entries, its write epoch
)
CHARACTER_BYTES: Final = 4  # Python stores all characters of a text with the width of the widest
DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Load:
    """The expected load.

    Attributes:
        series: number of series.
        rate: events per second, all series together.
        model: the network.
        history_events: events kept for training.
        snapshots_kept: snapshots on disk.
        input_bytes: bytes per input event.
        max_series_bytes: largest length of a series' name.
        late_within: steps within which late events are put in their place.
    """

    series: int
    rate: float
    model: ModelConfig
    history_events: int
    snapshots_kept: int
    input_bytes: int
    max_series_bytes: int = 1024
    late_within: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The estimated resources. Bytes, seconds, cores.

    Attributes:
        bytes_per_series: state of a series, with its name in the index.
        state_bytes: of all series.
        history_bytes: recent events for training.
        memory_bytes: of the daemon at its peak, while a snapshot is written.
        training_memory_bytes: additional memory while a training runs.
        microseconds_per_event: from input bytes to committed bytes, on one core.
        events_per_second_per_core: the inverse.
        busy_cores: cores in use on average.
        cores: cores to provide, with a reserve for bursts, and one for training.
        partitions: smallest number of partitions of the input topic that lets the work be distributed.
        restart_seconds: to read a minute of input again after a crash; snapshots are written every minute.
        snapshot_bytes: on disk, all that are kept and the one being written.
        forecast_bytes: of one forecast, as JSON.
        output_bytes_per_day: of the SQLite file or the topic of forecasts, uncompressed.
        input_bytes_per_day: of the topic of events, uncompressed.
        measured_on: machine of the measurements.
        longest_names_bytes: memory in addition to `state_bytes`, if all names have the largest permitted length.
    """

    bytes_per_series: int
    state_bytes: int
    history_bytes: int
    memory_bytes: int
    training_memory_bytes: int
    microseconds_per_event: float
    events_per_second_per_core: int
    busy_cores: float
    cores: int
    partitions: int
    restart_seconds: float
    snapshot_bytes: int
    forecast_bytes: int
    output_bytes_per_day: int
    input_bytes_per_day: int
    measured_on: str
    longest_names_bytes: int = 0


def make_plan(load: Load, measured: Measured) -> Plan:
    """Estimates the resources for a load from measurements."""
    forecaster = Forecaster(load.model, max_series=1, history_events=0, late_within=load.late_within)
    per_series = forecaster.bytes_per_series + NAME_BYTES
    state = load.series * per_series
    known = len(load.model.future_covariates)
    numbers = len(load.model.covariates) + known * load.model.horizon
    history = load.history_events * (8 + 8 + 4 + 4 * numbers)
    step = STEP_BYTES + (16 + 16 * known if known else 0)
    reference = ModelConfig.from_dict(measured.model)
    observe = measured.observe_us * operations(load.model) / measured.operations
    glue = max(0.0, measured.pipeline_us - measured.observe_us) * _numbers(load.model) / _numbers(reference)
    each = observe + glue
    busy = load.rate * each / 1e6
    aside = min(load.series, load.rate * state / SNAPSHOT_BYTES_PER_SECOND)  # rows that change while one is written
    forecast = forecast_bytes(load.model)
    working = max(1, math.ceil(busy / BUSY_SHARE))
    # all kept ones are full; or half-size incremental ones, with a fourth, on two full ones; and one is being written
    files = max(load.snapshots_kept + 1, load.snapshots_kept / 2 + 3.5)
    return Plan(
        bytes_per_series=per_series,
        state_bytes=state,
        history_bytes=history,
        memory_bytes=PROCESS_BYTES + state + 2 * history + math.ceil(aside * per_series),
        training_memory_bytes=TRAINER_BYTES + 3 * history + step * min(MOST_STEPS, load.history_events),
        microseconds_per_event=each,
        events_per_second_per_core=int(1e6 / each),
        busy_cores=busy,
        cores=working + 1,
        partitions=working,
        restart_seconds=60 * busy / working,
        snapshot_bytes=math.ceil(files * (state + history)),
        forecast_bytes=forecast,
        output_bytes_per_day=math.ceil(load.rate * DAY_SECONDS * forecast),
        input_bytes_per_day=math.ceil(load.rate * DAY_SECONDS * load.input_bytes),
        measured_on=measured.machine,
        longest_names_bytes=load.series * CHARACTER_BYTES * load.max_series_bytes,
    )


def _numbers(model: ModelConfig) -> int:
    return model.horizon * len(model.quantiles) + 20  # 20: fixed cost of an event, in numbers


def forecast_bytes(model: ModelConfig) -> int:
    """Returns the bytes of one published forecast, with values of seven digits."""
    shape = (1, model.horizon, len(model.quantiles))
    quantiles = (
        (np.arange(math.prod(shape), dtype=np.float32) * np.float32(1.000123) + 100).reshape(shape).astype(np.float64)
    )
    time = np.full(1, 1_767_571_200_000, np.int64)
    forecasts = Forecasts(
        status=np.zeros(1, np.uint8), origin_ms=time, interval_ms=np.full(1, 60_000), steps=np.ones(1, np.int64),
        quantiles=quantiles, anomaly=np.full(1, 0.1234567, np.float32), flagged=np.zeros(1, np.uint8),
    )  # fmt: skip
    decoded = Decoded(["a.typical.series.name"], time, np.ones(1), None, [123_456_789], [0], [], 0)
    encoded = encode(decoded, forecasts, partition="events-0", levels=model.quantiles, model_sha256="0" * 64)
    return len(encoded.forecasts[0])


def load_measured(text: bytes) -> Measured:
    """Parses the output of `Measured.to_json`.

    Raises:
        ValueError: the file is something else.
    """
    values = orjson.loads(text)
    if not isinstance(values, dict) or set(values) != set(Measured.__dataclass_fields__):
        msg = "got another type of file, expected the output of `forecaster bench --save`"
        raise ValueError(msg)
    return Measured(**values)
