"""Starts daemons quickly for the kill tests: imports and compiles once, then forks a process per daemon.

    python launcher.py CONFIG        reads lines "start [STEP]" or "wait", answers with a pid or an exit status

A forked daemon is a process of its own, with its own locks, files and training process; only the start of Python is
saved. The launcher has no threads when it forks.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

from service.cli._daemon import Daemon
from service.cli._logging import configure_logging
from service.config.load import load_config
from service.engine.loop import _warm_up
from service.lifecycle import KILL_VARIABLE


def child(config_path: Path, kill_at: str) -> int:
    """Runs one daemon to its end."""
    os.environ[KILL_VARIABLE] = kill_at
    config = load_config(config_path)
    with (config_path.parent / "daemon.log").open("a") as log:
        configure_logging(config.log, log)
        try:
            Daemon(config).run(threading.Event())
        except BaseException:
            traceback.print_exc(file=log)
            raise
    return 0


def main(config_path: Path) -> None:
    """Executes commands until the end of the input."""
    from forecaster import Model

    _warm_up(Model.initial(load_config(config_path).library_model()))
    gc.collect()
    gc.freeze()  # a daemon collects at its start: it would visit and copy all that was imported and compiled here
    pid, status = 0, 0
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "start":
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    status = child(config_path, order.get("kill_at", ""))
                except BaseException:
                    traceback.print_exc()
                    raise
                finally:
                    os._exit(status)
            answer = pid
        else:  # waits up to the limit, then kills
            ends = time.monotonic() + order["seconds"]
            while not (done := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < ends:
                time.sleep(0.001)
            if not done[0]:
                os.kill(pid, 9)
                done = os.waitpid(pid, 0)
            answer = os.waitstatus_to_exitcode(done[1])
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
