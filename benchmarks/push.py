"""Pushed events: how many are acknowledged per second, and how long a sender waits; and what remembering costs.

    python benchmarks/push.py         a daemon in this process, one and eight senders beside it, bodies of three sizes
    python benchmarks/push.py live    microseconds per event: observe, encode, and what the API remembers of it

Senders share the processors with the daemon, so these are lower bounds. Bodies are sent again after twenty, as a sender
does that got no answer: what is measured is the way to the disk, not the forecasts.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time

import httpx
import numpy as np
import orjson

from forecaster import Forecaster, ModelConfig, use_kernels
from service.cli._daemon import Daemon
from service.config.sections import Config
from service.messages.decode import Decoded
from service.messages.encode import encode
from service.recent import RecentStore

SECONDS = 4.0
SIZES = (1, 100, 5000)  # events of a body
SERIES, BATCHES, PER_BATCH = (1, 100, 1000, 20_000), 40, 4096
NETWORK = ModelConfig()
HEADERS = {"content-type": "application/x-ndjson"}


def bodies(size: int, sender: int) -> list[bytes]:
    """Twenty bodies of so many events, over 500 series per sender."""
    return [
        b"".join(
            orjson.dumps({
                "series": f"s{sender}-{at % 500}", "timestamp": 1_700_000_000_000 + step * 3_600_000 + at * 1000,
                "value": at / 7,
            }) + b"\n"
            for at in range(size)
        )
        for step in range(20)
    ]  # fmt: skip


def push(url: str, senders: int, size: int) -> None:
    """Prints one row."""
    times: list[float] = []
    ends = time.perf_counter() + SECONDS

    def send(sender: int) -> None:
        with httpx.Client(trust_env=False) as client:
            mine, at = bodies(size, sender), 0
            while not at or time.perf_counter() < ends:
                before = time.perf_counter()
                client.post(url, content=mine[at % len(mine)], headers=HEADERS).raise_for_status()
                times.append(time.perf_counter() - before)
                at += 1

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    median, worst = np.quantile(times, [0.5, 0.99]) * 1000
    print(f"{senders:7} {size:6} {len(times) * size / SECONDS:10,.0f} {median:10.1f} {worst:8.1f}", flush=True)


def pushed() -> None:
    """Rows for one and eight senders."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "input": {"push": True}, "state": {"data_dir": folder}, "http": {"port": 0}, "log": {"level": "error"},
            "model": {"hidden_size": NETWORK.hidden_size, "head_size": NETWORK.head_size},
        }  # fmt: skip
        daemon, stop = Daemon(Config.model_validate(settings)), threading.Event()
        running = threading.Thread(target=daemon.run, args=(stop,))
        running.start()
        while not daemon._http.url or httpx.get(f"{daemon._http.url}/readyz", trust_env=False).status_code != 200:
            time.sleep(0.05)
        print("senders   body   events/s  median ms   p99 ms")
        for senders in (1, 8):
            for size in SIZES:
                push(f"{daemon._http.url}/api/v1/events", senders, size)
        stop.set()
        running.join()


def remembered() -> None:
    """Rows for so many series; the first batches are left out, in which memory is touched for the first time."""
    config, n = NETWORK, PER_BATCH
    print(" series  observe   encode  remember  share")
    for series in SERIES:
        forecaster, live = Forecaster(config, history_events=0), RecentStore(200, 500)
        live.serve({"0": {"": forecaster}})
        spent, counted = np.zeros(3), 0
        for batch in range(BATCHES):
            at = batch * n + np.arange(n)
            times, values = 1_700_000_000_000 + 60_000 * (at // series), np.sin(at / 100) + at % 7
            names = [f"s{one:05d}" for one in (at % series).tolist()]
            decoded = Decoded(names, times, values, None, at.tolist(), list(range(n)), [], 0)
            marks = [time.perf_counter()]
            answer = forecaster.observe(decoded.batch)
            marks.append(time.perf_counter())
            encode(decoded, answer, partition="0", levels=config.quantiles, model_sha256="0" * 64)
            marks.append(time.perf_counter())
            live.record("0", decoded, answer, forecaster)
            marks.append(time.perf_counter())
            if batch > 3 * BATCHES // 8:
                spent, counted = spent + np.diff(marks), counted + n
        observe, encoding, remembering = spent / counted * 1e6
        share = remembering / (observe + encoding)
        print(f"{series:7} {observe:8.2f} {encoding:8.2f} {remembering:9.2f} {share:6.1%}", flush=True)


if __name__ == "__main__":
    use_kernels("literal")  # what a daemon that runs for long uses
    (remembered if sys.argv[1:] == ["live"] else pushed)()
