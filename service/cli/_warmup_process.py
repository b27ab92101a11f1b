"""The process of `forecaster warmup`: a daemon over generated events, with one training; reads settings from stdin."""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from service.cli._bench_daemon import STEP_MS, covariate_fields, throwaway, write_events
from service.cli._daemon import Daemon
from service.cli._logging import configure_logging
from service.config.sections import Config
from service.kernels import use_kernels_of_environment

_SERIES: Final = 4


def main(text: str) -> int:
    """Runs the daemon.

    Returns:
        The exit status: 1 where the training failed, so that some kernels may not be compiled.
    """
    use_kernels_of_environment()
    given = Config.model_validate_json(text)
    model, train = given.library_model(), given.library_train()
    # Twice what a training needs, because the newest part is held out and the first steps have no target yet.
    steps = 2 * (train.min_windows * train.k2 + model.horizon) // _SERIES + 4 * (train.k2 + model.horizon)
    with tempfile.TemporaryDirectory(prefix="forecaster-warmup-") as folder:
        path = Path(folder) / "events.jsonl"
        write_events(path, _SERIES, steps * _SERIES, covariate_fields(given), model.interval_ms or STEP_MS)
        settings = throwaway(given, path, _SERIES, steps * _SERIES).model_dump(mode="json")
        settings["retrain"] |= {"first_after_events": steps * _SERIES - _SERIES, "every_events": 10**9, "wait": "true"}
        settings["retrain"]["search"] = []
        settings["train"] |= {"max_steps": 2, "evaluate_every": 1}
        config = Config.model_validate(settings)
        configure_logging(config.log.model_copy(update={"level": "error"}), sys.stderr)
        daemon = Daemon(config)
        daemon.run(threading.Event())
        if daemon.trainings.failed_in_a_row or not daemon.trainings.ended:
            sys.stderr.write(f"Error: the training failed: {daemon.trainings.last_reason or 'no training ran'}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read()))
