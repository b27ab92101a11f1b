"""Batches that are refused for some of their deliveries: what is accepted alone arrives, the rest counts once."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from test_deliveries import metrics_of
from test_http_post import Receiver, forecast, served

from service.config.remote_write import RemoteWriteConfig
from service.deliveries import BatchLimit, Delivery, RefusedError, SendResult, Target, UnavailableError
from service.deliveries import sender as sender_module
from service.deliveries.delivery import Spooled
from service.deliveries.division import Division
from service.deliveries.remote_write import RemoteWriteTarget
from service.deliveries.segments import Written
from service.deliveries.sender import Sender
from service.deliveries.spool import DeliverySpool
from service.http.remote_write import RemoteWrite
from service.lifecycle import SystemClock

KIND = {"kind": "remote_write"}


class ProcessEnd(BaseException):
    """Ends a sender where a process would be killed."""


class Choosy:
    """A target that refuses every batch with one of some deliveries in it.

    Args:
        count: of all deliveries, whose identities are numbers. bad: those that it refuses.
        most: deliveries of a batch.
        answers: what else happens, by the number of the request.
    """

    name, kind, spool_bytes, divides = "choosy", "remote_write", 1 << 20, True

    def __init__(self, count: int, bad: set[int], most: int, answers: dict[int, BaseException]) -> None:
        self._bad, self._answers, self._count = bad, answers, count
        self.limit = BatchLimit(most, 1 << 20)
        self.accepted, self.alone = Counter[int](), Counter[int]()
        self.requests, self.sender = list[list[int]](), list[Sender]()

    def send(self, batch: Sequence[Spooled]) -> SendResult:
        """Answers; ends the sender once nothing is left."""
        numbers = [int(one.identity) for one in batch]
        self.requests.append(numbers)
        assert len(self.requests) < 60 * self._count + 200, "it does not come to an end"
        happens = self._answers.pop(len(self.requests), None)
        if isinstance(happens, UnavailableError):
            raise happens
        refused = self._bad.intersection(numbers)
        if not refused:
            self.accepted.update(numbers)
        elif len(numbers) == 1:
            self.alone.update(numbers)
        if happens is not None:
            raise happens
        if len({*self.accepted, *self.alone}) == self._count:
            self.sender[-1].end()
        if refused:
            msg = f"status 400: {min(refused)} is out of order"
            raise RefusedError(msg)
        return SendResult()

    def close(self) -> None:
        """Nothing is held."""


def spool_with(folder: Path, deliveries: Sequence[Delivery] = ()) -> DeliverySpool:
    """Returns an open spool."""
    spool = DeliverySpool(folder, 1 << 20)
    spool.open("o")
    for number, one in enumerate(deliveries):
        spool.append(("0", ""), Written(number), [one], 0)
    return spool


def sent_to_the_end(folder: Path, target: Choosy, count: int) -> float:
    """Runs a sender until nothing is left, again after every kill; returns how many deliveries count as refused."""
    metrics = metrics_of()
    spool_with(folder, [Delivery(target.name, 0, str(number), b"x") for number in range(count)]).close()
    while True:
        spool = spool_with(folder)
        target.sender.append(Sender(target, spool, metrics, SystemClock()))
        try:
            target.sender[-1]._run()
            break
        except ProcessEnd:
            pass
        finally:
            spool.close()
    value = metrics.registry.get_sample_value
    sent = value("forecaster_deliveries_sent_total", KIND)
    refused = value("forecaster_deliveries_refused_total", KIND)
    assert sent is not None
    assert refused is not None
    assert sent + refused == count
    return refused


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_set(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever is refused, and with kills and outages in between: nothing good is lost, nothing bad counts twice."""
    count = data.draw(st.integers(1, 40))
    bad = data.draw(st.sets(st.integers(0, count - 1)) | st.just(set(range(count))))
    most = data.draw(st.sampled_from([1, 2, 7, 32, 100]))
    event = st.sampled_from([ProcessEnd(), UnavailableError("busy")])
    answers = data.draw(st.dictionaries(st.integers(1, 200), event, max_size=12))
    target = Choosy(count, set(bad), most, dict(answers))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender_module, "DIVIDED_SECONDS", 0.0)
        patch.setattr("service.backoff.FIRST_SECONDS", 0.0)
        refused = sent_to_the_end(tmp_path_factory.mktemp("spool"), target, count)
    assert set(target.accepted) == set(range(count)) - bad
    assert set(target.alone) == bad
    assert refused == len(bad)
    if not answers:  # in their order, each once
        assert max([*target.accepted.values(), *target.alone.values()]) == 1
        assert [*target.accepted] == sorted(target.accepted)
        batches = math.ceil(count / most)
        assert len(target.requests) <= 2 * count + (2 * math.log2(min(most, count)) + 1) * batches


def requests_of(count: int, bad: set[int]) -> int:
    """Returns the number of requests for a batch."""
    division, at, requests = Division(1000), 0, 0
    while at < count:
        size = min(division.size, count - at)
        requests += 1
        if bad.isdisjoint(range(at, at + size)):
            division.accept(size)
            at += size
        else:
            division.refuse(size)
            at += size == 1
    return requests


def test_requests() -> None:
    """As many as the module says: a few for one, hardly more than deliveries where all are refused."""
    assert requests_of(1000, set()) == 1
    assert max(requests_of(1000, {number}) for number in range(1000)) <= 4 * math.log2(1000)
    assert requests_of(1000, set(range(1000))) <= 1000 + math.log2(1000)
    assert requests_of(1000, set(range(0, 1000, 2))) <= 2 * 1000 + 2 * math.log2(1000)


def test_progress_is_kept_over_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that never lives for more than twelve requests gets through a batch of 64 that are all refused."""
    monkeypatch.setattr(sender_module, "DIVIDED_SECONDS", 0.0)
    target = Choosy(64, set(range(64)), 1000, {12 * number: ProcessEnd() for number in range(1, 400)})
    assert sent_to_the_end(tmp_path / "spool", target, 64) == 64
    assert len(target.sender) <= 64


def test_requests_are_spread_and_reasons_logged(tmp_path: Path) -> None:
    """No more than a hundred requests a second while a batch is divided; each refusal is logged with its reason."""
    target, began = Choosy(30, set(range(30)), 1000, {}), time.monotonic()
    with capture_logs() as logs:
        sent_to_the_end(tmp_path / "spool", target, 30)
    assert time.monotonic() - began > 0.9 * sender_module.DIVIDED_SECONDS * (len(target.requests) - 1)
    assert [(one["event"], one["count"], one["error"]) for one in logs] == [
        ("deliveries refused", 1, f"status 400: {number} is out of order") for number in range(30)
    ]
    assert [one["first"] for one in logs] == [str(number) for number in range(30)]


def deliver(folder: Path, target: Target, batch: Sequence[Spooled]) -> tuple[float, float]:
    """Sends deliveries with a thread until nothing is left; returns how many were accepted and refused."""
    metrics = metrics_of()
    spool = spool_with(folder, [Delivery(target.name, 0, one.identity, one.body) for one in batch])
    sender = Sender(target, spool, metrics, SystemClock())
    sender.start()
    wait_until(lambda: not spool.pending_bytes)
    sender.end()
    sender.join(10)
    spool.close()
    value = metrics.registry.get_sample_value
    names = ("forecaster_deliveries_sent_total", "forecaster_deliveries_refused_total")
    return tuple(value(name, {"kind": target.kind}) or 0.0 for name in names)  # type: ignore[return-value]


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        threading.Event().wait(0.005)


def remote_write(url: str) -> RemoteWriteTarget:
    """Returns a target of forecasts."""
    return RemoteWriteTarget(RemoteWriteConfig.model_validate({"url": url, "tenant": "a"}))


@pytest.mark.parametrize("bad", [[], [0], [63], [5, 40], [17, 33, 49], range(1, 64)])
def test_only_forecasts_that_are_refused_are_left_out(tmp_path: Path, bad: Sequence[int]) -> None:
    """A receiver of remote write that refuses a request as a whole for one sample gets all the others."""
    receiver, names = Receiver(), [f"s{number:02d}-" for number in range(64)]
    receiver.refuses = {names[number] for number in bad} or {"none"}
    with served(receiver) as url:
        found = deliver(tmp_path / "spool", remote_write(url), [forecast(name) for name in names])
    assert found == (64 - len(bad), len(bad))
    accepted = [name for one in receiver.accepted for name in names if name in one]
    assert accepted == [name for number, name in enumerate(names) if number not in bad]
    assert {name.lower(): value for name, value in receiver.requests[0][0].items()}["x-scope-orgid"] == "a"


def test_older_samples_are_sent_first(tmp_path: Path) -> None:
    """A receiver in the manner of Prometheus: it refuses what is not newer than its newest sample of the series."""
    newest = {f"s{number}-": 1000 + 3 * number for number in range(3)}
    accepted, receiver = list[tuple[str, int]](), Receiver()

    def handle(_headers: dict[str, str], body: bytes) -> int:
        found = [(one.series.split('"')[-4], one.timestamp_ms) for one in RemoteWrite([], 1 << 24).decode(body)[0]]
        tried = dict(newest)
        for name, at in found:
            if at <= tried[name]:
                return 400
            tried[name] = at
        newest.update(tried)
        accepted.extend(found)
        return 204

    receiver.handle = handle  # type: ignore[method-assign]
    batch = [forecast(name, at) for at in range(1000, 1012) for name in newest]
    expected = [(name, at) for name, last in [*newest.items()] for at in range(last + 1, 1012)]
    with served(receiver) as url:
        found = deliver(tmp_path / "spool", remote_write(url), batch)
    assert found == (len(expected), len(batch) - len(expected))
    assert sorted(accepted) == sorted(expected)
