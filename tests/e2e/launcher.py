"""Starts daemons quickly for the kill tests: imports and compiles once, then forks a process per daemon.

    python launcher.py FD        forks launchers: each request at this socket has a configuration, a socket, and stderr

A launcher reads orders from its socket, {"do": "start", "kill_at": ""} or {"do": "wait", "seconds": 1.0}, and answers
with a pid or an exit status; it ends when its socket is closed. A forked daemon is a process of its own, with its own
locks, files and training process; only the start of Python is saved. No process has threads when it forks.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from compile_once import compile_once

from forecaster import Model
from service.cli._logging import configure_logging
from service.cli._starts import Starts
from service.config.load import load_config
from service.errors import ConfigurationError
from service.kafka import group
from service.lifecycle import KILL_VARIABLE
from service.trainer.compile import compile_kernels


def child(config_path: Path, kill_at: str, max_poll: int) -> int:
    """Runs one daemon to its end."""
    os.environ[KILL_VARIABLE] = kill_at
    if max_poll:
        group._MAX_POLL_SECONDS = max_poll
    config = load_config(config_path)
    with (config_path.parent / "daemon.log").open("a") as log:
        configure_logging(config.log, log)
        try:
            Starts(config, config_path, {}).run(threading.Event())
        except BaseException:
            traceback.print_exc(file=log)
            raise
    return 0


def serve(config_path: Path, orders: socket.socket) -> None:
    """Executes orders until the socket is closed."""
    pid, status = 0, 0
    with orders.makefile() as lines, orders.makefile("w") as answers:
        for line in lines:
            order = json.loads(line)
            if order["do"] == "start":
                pid = os.fork()
                if pid == 0:
                    status = 1
                    try:
                        status = child(config_path, order.get("kill_at", ""), order.get("max_poll", 0))
                    except BaseException:
                        traceback.print_exc()
                        raise
                    finally:
                        os._exit(status)
                answer = pid
            else:  # waits up to the limit, then kills
                ends = time.monotonic() + order["seconds"]
                while not (done := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < ends:
                    time.sleep(0.005)  # a core is for the tests
                if not done[0]:
                    os.kill(pid, 9)
                    done = os.waitpid(pid, 0)
                answer = os.waitstatus_to_exitcode(done[1])
            answers.write(f"{answer}\n")
            answers.flush()


def main(requests: socket.socket) -> None:
    """Forks a launcher per request: the path of a configuration, and the launcher's socket and standard error."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended launchers leave nothing
    while True:
        text, files, _, _ = socket.recv_fds(requests, 4096, 2)
        if not text:
            return
        config_path = Path(text.decode())
        with contextlib.suppress(ConfigurationError):  # its daemons will report it
            compile_kernels(
                Model.initial(load_config(config_path).library_model())
            )  # at once where the network is known
        gc.collect()
        gc.freeze()  # a daemon collects at its start: it would visit and copy all that was imported and compiled here
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(files[1], 2)
            requests.close()
            status = 1
            try:
                serve(config_path, socket.socket(fileno=files[0]))
                status = 0
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(status)
        for file in files:
            os.close(file)


if __name__ == "__main__":
    compile_once()
    main(socket.socket(fileno=int(sys.argv[1])))
