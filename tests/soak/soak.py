"""`make soak`: daemons under mixed load are killed, stopped, restarted and retrained for an hour, then evaluated.

    SOAK_MINUTES=60 python tests/soak/soak.py

One daemon reads a file (SOAK_FILES=0 leaves it out); at the same time two share a topic of a real broker, see
`kafka_soak` (SOAK_KAFKA=0 leaves these out). Ends with status 0 and a report if memory and descriptors stayed flat,
lag did not grow, and the output equals that of an undisturbed daemon byte by byte; otherwise with status 1 and the
same report.
"""

from __future__ import annotations

import math
import os
import signal
import statistics
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from daemon import CONFIG, DaemonProcess
from kafka_soak import PARTITIONS, KafkaSoak, soak_kafka
from load import Feeder
from report import Life, compare, descriptors, growth

KAFKA_RATE = 200.0  # steps per second
ENDINGS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Plan:
    """Duration, load and limits of the soak.

    Attributes:
        minutes: duration of the load. rate: steps of the load per second. life: seconds for which a daemon stays ready.
        retrain: events between two trainings. history: events kept for training.
        settle: seconds until memory should be flat. window: length in seconds of the windows of minimum memory.
        growth: maximum relative memory growth within lives over the whole duration.
        descriptors: maximum increase of open descriptors from the first to the last third.
        behind: seconds of load by which the lag of the last third may exceed twice that of the first.
    """

    minutes: float
    rate: float = 1000.0
    life: float = 360.0
    retrain: int = 50_000
    history: int = 5_000
    settle: float = 180.0
    window: float = 30.0
    growth: float = 0.02
    descriptors: int = 8
    behind: float = 5.0

    def seconds_of_life(self, left: float) -> float:
        """Returns how long the next daemon lives, with `left` seconds of load.

        Short lives with kills come first, and one life for the second half: in the first minutes memory that was
        reserved at the start is used for the first time, and only a long life shows whether it grows on.
        """
        half = self.minutes * 30
        return max(0.0, left) if left < half + self.life / 2 else self.life


def live(daemon: DaemonProcess, life: Life, began: float, seconds: float, feeder: Feeder, stood: float) -> None:
    """Samples a daemon twice a second until it has been ready for `seconds`; `stood` is the feeder's at its start."""
    while daemon.alive() and not time.monotonic() - daemon.began > life.ready_after + seconds:
        found = daemon.metrics()
        if found:
            life.counted = found
            now = time.monotonic()
            if found.get("forecaster_ready") and life.ready_after != life.ready_after:
                life.ready_after, life.stood = now - daemon.began, feeder.stood - stood
            if life.ready_after == life.ready_after:
                daemon.browse()
                life.samples.append(
                    (now - began, now - daemon.began, daemon.memory(), found.get("forecaster_lag", 0.0))
                )
                life.descriptors.append(daemon.descriptors())
        time.sleep(0.5)
    assert daemon.alive(), "the daemon ended by itself"


def soak(plan: Plan, folder: Path) -> tuple[list[Life], Feeder]:
    """Runs load and daemons until everything is answered."""
    (folder / "config.toml").write_text(CONFIG.format(retrain=plan.retrain, history=plan.history))
    feeder = Feeder(folder / "events.jsonl", plan.rate)
    lives: list[Life] = []
    began = time.monotonic()
    ends = began + plan.minutes * 60
    feeder.start()
    try:
        while time.monotonic() < ends or len(lives) < len(ENDINGS):
            life = Life(ended_by=ENDINGS[len(lives) % len(ENDINGS)].name)
            lives.append(life)
            stood, seconds = feeder.stood, plan.seconds_of_life(ends - time.monotonic())
            daemon = DaemonProcess(folder, "soaked", follow=True)
            try:
                live(daemon, life, began, seconds, feeder, stood)
            finally:
                daemon.end(signal.Signals[life.ended_by])
                sys.stderr.write(f"{(time.monotonic() - began) / 60:5.1f} min: {life.summary(plan.settle)}\n")
    finally:
        feeder.stop()
    last = DaemonProcess(folder, "soaked", follow=False)  # reads the whole file and ends by itself
    assert last.end(None, 3600.0) == 0
    assert DaemonProcess(folder, "quiet", follow=False).end(None, 3600.0) == 0
    return lives, feeder


def judge(plan: Plan, lives: list[Life], feeder: Feeder, folder: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Returns the report and the exceeded limits."""
    seen = [life for life in lives if life.samples]
    flat = Flatness.of(plan, seen)
    first, last = ([size for _, _, size, _ in life.samples][-1] for life in (seen[0], seen[-1]))
    third = plan.minutes * 20
    thirds = [[lag for life in seen for at, _, _, lag in life.samples if at // third == i] for i in range(3)]
    lags = [statistics.median(found) if found else 0.0 for found in thirds]
    peak = max(lag for life in seen for *_, lag in life.samples)
    found = compare(folder / "soaked", folder / "quiet")
    trainings = sum(life.counted.get("forecaster_training_runs_total", 0.0) for life in lives)
    second = plan.rate * 80  # approximate bytes per second of load
    again = [life.ready_after - life.stood for life in seen]
    table = [
        ("load", f"{plan.minutes:g} min, {feeder.records:,} records, {plan.rate:g} steps/s"),
        ("ends", ", ".join(f"{sum(life.ended_by == s for life in lives)} {s}" for s in ("SIGKILL", "SIGTERM"))),
        ("ready again after", f"{statistics.median(again):.1f} s (median), {max(again):.1f} s (most)"),
        ("stopped by somebody", f"{feeder.stood:.0f} s of the time"),
        ("trainings", f"{trainings:.0f}, models adopted {found['models']}"),
        ("forecasts", f"{found['forecasts']:,}, rejects {found['rejects']:,}"),
        ("lost, doubled, of other bytes", f"{found['lost']}, {found['doubled']}, {found['different']}"),
        ("memory at the end of a life", f"{first / 2**20:.1f} MiB (first), {last / 2**20:.1f} MiB (last)"),
        *flat.rows(),
        ("lag, median by thirds of the time", ", ".join(f"{lag / 1024:.1f} KiB" for lag in lags)),
        ("lag, most", f"{peak / 1024:.0f} KiB, {peak / second:.1f} s of the load"),
    ]  # fmt: skip
    wrong = flat.wrong(plan)
    if found["lost"] or found["doubled"] or found["different"]:
        wrong.append("the output differs from that of an undisturbed daemon")
    if last > 1.3 * first:
        wrong.append("the last life took far more memory than the first")
    if lags[2] > 2 * lags[0] + plan.behind * second:
        wrong.append("lag grows")
    if found["models"] < 2:
        wrong.append("there was no training")
    return table, wrong


@dataclass(frozen=True, slots=True)
class Flatness:
    """Relative memory growth with its standard error; maximum descriptors of the first and of the last third."""

    share: float
    spread: float
    first: int
    last: int

    @classmethod
    def of(cls, plan: Plan, lives: list[Life]) -> Flatness:
        """Evaluates lives with samples."""
        return cls(*growth(lives, plan.settle, plan.window, plan.minutes / 60), *descriptors(lives))

    def rows(self) -> list[tuple[str, str]]:
        """Returns rows of the report."""
        return [
            ("memory, growth within lives", f"{self.share:+.2%} in all, standard error {self.spread:.2%}"),
            ("descriptors, most", f"{self.first} (first third), {self.last} (last third)"),
        ]

    def wrong(self, plan: Plan) -> list[str]:
        """Returns the exceeded limits."""
        found = []
        if self.share - 3 * self.spread > plan.growth:
            found.append(f"memory grows by {self.share:.1%}, expected at most {plan.growth:.0%}")
        if self.last > self.first + plan.descriptors:
            found.append(f"descriptors grow from {self.first} to {self.last}")
        return found


def judge_kafka(plan: Plan, seen: KafkaSoak) -> tuple[list[tuple[str, str]], list[str]]:
    """Returns the report on the daemons of a group and the exceeded limits."""
    flat, found = Flatness.of(plan, [seen.steady]), seen.compared
    ends = ", ".join(f"{seen.ends.count(name)} {name}" for name in sorted(set(seen.ends)))
    lag = max((lag for *_, lag in seen.steady.samples), default=math.nan)
    table = [
        ("load", f"{seen.records:,} records into {PARTITIONS} partitions"),
        ("the second daemon came and went", f"{len(seen.ends)} times ({ends}); partitions moved {seen.moves} times"),
        ("forecasts", f"{found['forecasts']:,}, rejects {found['rejects']:,}"),
        ("lost, doubled, of other bytes", f"{found['lost']}, {found['doubled']}, {found['different']}"),
        *flat.rows(),
        ("lag, most", f"{lag:,.0f} records"),
    ]
    wrong = flat.wrong(plan)
    if found["lost"] or found["doubled"] or found["different"]:
        wrong.append("the output differs from that of an undisturbed daemon")
    if seen.moves < 3:
        wrong.append("there was no rebalance")
    return [(f"Kafka: {name}", text) for name, text in table], [f"Kafka: {text}" for text in wrong]


def write_samples(path: Path, lives: list[Life]) -> None:
    """Writes the samples of all lives as CSV: memory and lag over time."""
    lines = ["life,seconds,life_seconds,bytes,lag"]
    for number, life in enumerate(lives):
        lines += [f"{number},{at:.1f},{age:.1f},{size},{lag:.0f}" for at, age, size, lag in life.samples]
    path.write_text("\n".join(lines) + "\n")


def main() -> int:
    """Reads the plan from the environment, runs the soak and prints the report."""
    minutes = float(os.environ.get("SOAK_MINUTES", "60"))
    life = max(20.0, min(360.0, minutes * 60 / 3))
    settle = min(180.0, life / 2)
    plan = Plan(minutes=minutes, life=life, settle=settle, window=min(30.0, (life - settle) / 3))
    kept = os.environ.get("SOAK_FOLDER")  # for logs and outputs, which are removed otherwise
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
    with (
        nullcontext(kept) if kept else tempfile.TemporaryDirectory(prefix="forecaster-soak-") as folder,
        ThreadPoolExecutor(1) as pool,
    ):
        beside: Future[KafkaSoak] | None = None
        if os.environ.get("SOAK_KAFKA", "1") != "0":
            (Path(folder) / "kafka").mkdir(exist_ok=True)
            turn = max(15.0, min(75.0, minutes * 60 / 8))
            beside = pool.submit(soak_kafka, Path(folder) / "kafka", minutes, KAFKA_RATE, turn)
        table, wrong = list[tuple[str, str]](), list[str]()
        if os.environ.get("SOAK_FILES", "1") != "0":
            lives, feeder = soak(plan, Path(folder))
            table, wrong = judge(plan, lives, feeder, Path(folder))
            write_samples(Path(folder) / "memory.csv", lives)
        if beside is not None:
            seen = beside.result()
            write_samples(Path(folder) / "memory-kafka.csv", [seen.steady])
            more, worse = judge_kafka(plan, seen)
            table, wrong = table + more, wrong + worse
    for name, text in table:
        sys.stdout.write(f"{name:<40}{text}\n")
    for text in wrong:
        sys.stdout.write(f"WRONG: {text}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
