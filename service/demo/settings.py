"""The configuration of the demo."""

from __future__ import annotations

from pathlib import Path

from service.config.load import load_config
from service.config.sections import Config
from service.demo.city import DAY, HISTORY_STEPS, STEP_SECONDS, UNITS, WEEK
from service.demo.sampler import MACHINE_SERIES, SHARES
from service.registry import exclusions
from service.registry.exclusions import Exclusion

# Seconds of live samples before the first training, so that a viewer sees it, and between later ones.
FIRST_TRAINING_SECONDS, NEXT_TRAINING_SECONDS = 20, 90
CITY, MACHINE = "city", "machine"
"""Folders of the samples."""


def settings(folder: Path, port: int) -> Config:
    """Creates the demo's configuration: the default network with the city's seasons, and trainings that can be watched.

    Args:
        folder: all files are in it.
        port: of the page and the metrics.
    """
    # Each of the two inputs counts its own events towards half of the first training; the machine's never reach it.
    per_second = len(UNITS) / STEP_SECONDS
    before_first = HISTORY_STEPS * len(UNITS) + FIRST_TRAINING_SECONDS * per_second
    return load_config(
        overrides={
            "input.files": [str(folder / name / "*.jsonl") for name in (CITY, MACHINE)],
            "input.follow": True,
            "state.data_dir": str(folder),
            "state.snapshot_every": "10s",
            "model.seasons": [DAY, WEEK],
            "model.non_negative": True,  # loads, rates and shares
            "train.max_steps": 400,
            "retrain.first_after_events": round(2 * before_first),
            "retrain.every_events": round(NEXT_TRAINING_SECONDS * per_second),
            "output.sink": "sqlite",
            "output.format": "json",  # which the observer reads
            "output.limits": [{"series": series, "greatest": 100} for series in SHARES],
            "http.port": port,
        }
    )


def exclude_machine(folder: Path) -> None:
    """Excludes the machine's series from trainings: some minutes of seconds say nothing about weeks of half hours.

    Raises:
        ExclusionError: the exclusions of an earlier run cannot be read.
    """
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    known = {each.series for each in exclusions.read(models)}
    for series in MACHINE_SERIES:
        if series not in known:
            exclusions.add(models, Exclusion(series, 0, 2**53, "the demo trains on the city"))
