"""The training process: `python -m service.trainer.process REQUEST`, started by `service.trainer.supervisor`.

It lowers its own priority, trains, writes the result next to the request, and ends with the daemon: its standard input
is a pipe from the daemon, whose end of file means that the daemon has ended.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.config.sections import Config

RESULT_SUFFIX = ".result"


def main(path: Path) -> None:
    """Runs the training of a request file."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    request: dict[str, Any] = json.loads(path.read_text("utf-8"))
    os.nice(int(request["nice"]))
    # Imported only now: loading compiled kernels is work that should have the lower priority already.
    from service.kernels import use_kernels_of_environment  # noqa: PLC0415 - see above
    from service.lifecycle import SystemClock  # noqa: PLC0415 - see above
    from service.monitoring.metrics import Metrics  # noqa: PLC0415 - see above
    from service.registry.models import Registry  # noqa: PLC0415 - see above
    from service.snapshots.store import SnapshotStore  # noqa: PLC0415 - see above
    from service.trainer.job import retrain  # noqa: PLC0415 - see above

    use_kernels_of_environment()
    config = Config.model_validate(request["config"])
    data_dir = config.state.data_dir
    store = SnapshotStore(data_dir / "snapshots", config.state.snapshots_kept, Metrics())
    result = retrain(
        config,
        Registry(data_dir / "models", SystemClock(), str(request["group"])),
        store,
        champion=request["champion"],
        job=request["job"],
        start=str(request["start"]),
        wait=bool(request["job"]),
    )
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(result)), encoding="utf-8")
    temporary.replace(path.with_suffix(RESULT_SUFFIX))


def _die_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
