"""The configuration of the demo."""

from __future__ import annotations

from pathlib import Path

from service.config.load import load_config
from service.config.sections import Config
from service.demo.sampler import SHARES

# Seconds of samples before the first training, so that a viewer sees it, and between later ones.
FIRST_TRAINING_SECONDS, NEXT_TRAINING_SECONDS = 60, 120


def settings(folder: Path, port: int, series: int) -> Config:
    """Creates the demo's configuration: one-second steps, a small network, frequent trainings."""
    return load_config(
        overrides={
            "input.files": [str(folder / "samples" / "*.jsonl")],
            "input.follow": True,
            "state.data_dir": str(folder),
            "state.snapshot_every": "10s",
            "state.history_events": 600 * series,
            "model.interval": "1s",
            "model.horizon": 12,
            "model.hidden_size": 16,
            "model.head_size": 16,
            "model.calendar": False,
            "model.non_negative": True,  # shares, loads and rates
            "train.k1": 16,
            "train.k2": 24,
            "train.batch": 16,
            "train.max_steps": 300,
            "train.evaluate_every": 25,
            "train.validation_fraction": 0.25,
            "retrain.first_after_events": FIRST_TRAINING_SECONDS * series,
            "retrain.every_events": NEXT_TRAINING_SECONDS * series,
            "output.limits": [{"series": series, "greatest": 100} for series in SHARES],
            "http.port": port,
        }
    )
