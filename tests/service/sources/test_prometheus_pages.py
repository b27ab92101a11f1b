"""The pages of a query: what they hold, however it is cut, interrupted or refused."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import service.sources.prometheus_pages as module
from service.config.bootstrap import BootstrapConfig
from service.errors import ConfigurationError, UnreachableError
from service.sources.prometheus_client import Series, TooManySamplesError
from service.sources.prometheus_pages import PrometheusPages, delete_pages

NOW_MS = 1_700_000_000_123
RANGE_MS = 7_200_000


class Server:
    """Has a sample of each of some series every `every_ms`; answers at most `most` samples."""

    def __init__(self, every_ms: int = 15_000, series: int = 3, most: int = 10**9, failures: int = 0) -> None:
        self.every_ms, self.series, self.most, self.failures = every_ms, series, most, failures
        self.asked: list[tuple[int, int]] = []

    def samples(self, from_ms: int, to_ms: int) -> Series:
        """Includes the sample at the begin, as older releases do."""
        if self.failures:
            self.failures -= 1
            msg = "no answer"
            raise UnreachableError(msg)
        first = -(-from_ms // self.every_ms) * self.every_ms
        times = range(first, to_ms + 1, self.every_ms)
        if len(times) * self.series > self.most:
            raise TooManySamplesError
        self.asked.append((from_ms, to_ms))
        return [
            {"metric": {"__name__": "up", "job": f"j{number}"}, "values": [[at / 1000, str(number)] for at in times]}
            for number in range(self.series)
        ]

    def expected(self) -> list[tuple[int, str]]:
        """Returns time and series of all samples of the range, in the order of the pages."""
        begin = NOW_MS - RANGE_MS
        first = begin // self.every_ms * self.every_ms + self.every_ms
        times = range(first, NOW_MS + 1, self.every_ms)
        return [(at, f'up{{job="j{number}"}}') for at in times for number in range(self.series)]


def pages(folder: Path, server: Any, **more: Any) -> PrometheusPages:
    """Returns the pages of a query."""
    given = {"url": "http://localhost:1", "query": "up", "range": RANGE_MS / 1000} | more
    return PrometheusPages(BootstrapConfig.model_validate(given), folder, server)


def read(folder: Path) -> list[tuple[int, str]]:
    """Returns time and series of all lines of all pages."""
    lines = [json.loads(line) for path in sorted(folder.glob("0*.jsonl")) for line in path.read_text().splitlines()]
    return [(one["timestamp"], one["series"]) for one in lines]


@settings(max_examples=12, deadline=None)
@given(
    every_ms=st.integers(5_000, 600_000),
    target=st.integers(500, 5_000),
    most=st.integers(500, 5_000),
    stops=st.integers(0, 4),
)
def test_any_cut(tmp_path_factory: pytest.TempPathFactory, every_ms: int, target: int, most: int, stops: int) -> None:
    """Whatever the server permits and whenever it is interrupted: every sample once, by time and series."""
    folder = tmp_path_factory.mktemp("pages") / "p"
    server = Server(every_ms, most=most)
    before, module.PAGE_SAMPLES = module.PAGE_SAMPLES, target  # type: ignore[misc]

    class Killed(BaseException):
        pass

    class Dying:
        left = 0

        def samples(self, from_ms: int, to_ms: int) -> Series:
            self.left -= 1
            if not self.left:
                raise Killed
            return server.samples(from_ms, to_ms)

    dying = Dying()
    try:
        for number in range(stops):
            dying.left = number + 2
            try:
                pages(folder, dying).fetch(NOW_MS + number * 50_000, threading.Event())  # a later start, a later time
            except Killed:
                (folder / "000099.part").write_text("half")
        assert pages(folder, server).fetch(NOW_MS, threading.Event())
    finally:
        module.PAGE_SAMPLES = before  # type: ignore[misc]
    assert read(folder) == server.expected()


def test_steps_are_on_a_grid(tmp_path: Path) -> None:
    """With a step, bounds are multiples of it; a page has no more evaluations than a server permits."""
    server = Server(15_000, series=1)
    pages(tmp_path, server, step="15s", range="90d").fetch(NOW_MS, threading.Event())
    assert {bound % 15_000 for asked in server.asked for bound in asked} == {0}
    assert max(end - begin for begin, end in server.asked) <= 10_000 * 15_000
    assert [end for _, end in server.asked[:-1]] == [begin for begin, _ in server.asked[1:]]


def test_only_once(tmp_path: Path) -> None:
    """A complete history is not fetched again, not even where its pages were deleted."""
    pages(tmp_path, Server()).fetch(NOW_MS, threading.Event())
    delete_pages(tmp_path)
    server = Server()
    assert pages(tmp_path, server).is_complete()
    assert pages(tmp_path, server).fetch(NOW_MS, threading.Event())
    assert not server.asked


def test_a_server_that_is_down(tmp_path: Path) -> None:
    """It is asked again until it answers, or a stop is requested."""
    assert pages(tmp_path / "a", Server(failures=3)).fetch(NOW_MS, threading.Event())
    stop = threading.Event()
    stop.set()
    assert not pages(tmp_path / "b", Server(failures=3)).fetch(NOW_MS, stop)


def test_too_many_series(tmp_path: Path) -> None:
    """Where even a second has too many samples, the message says what to ask for."""
    with pytest.raises(ConfigurationError, match=r"too many samples within .* ms .*expected a query with fewer series"):
        pages(tmp_path, Server(series=20, most=10, every_ms=1000)).fetch(NOW_MS, threading.Event())


def test_another_query(tmp_path: Path) -> None:
    """Pages of another query are not continued."""

    class Down:
        def samples(self, _from_ms: int, _to_ms: int) -> Series:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pages(tmp_path, Down()).fetch(NOW_MS, threading.Event())
    with pytest.raises(ConfigurationError, match="are of 'up' with 0 ms; remove that folder"):
        pages(tmp_path, Server(), query="down").fetch(NOW_MS, threading.Event())


def test_values(tmp_path: Path) -> None:
    """Numbers keep all digits; what is no number is a missing value."""

    class ExactTexts:
        def samples(self, _from_ms: int, to_ms: int) -> Series:
            texts = ["1e-300", "0.30000000000000004", "NaN", "+Inf", "3"]
            times = [(to_ms - number) / 1000 for number in range(5)]
            return [{"metric": {}, "values": [list(one) for one in zip(times, texts, strict=True)]}]

    pages(tmp_path, ExactTexts(), range="1s").fetch(NOW_MS, threading.Event())
    (page,) = tmp_path.glob("0*.jsonl")
    found = [json.loads(line)["value"] for line in page.read_text().splitlines()]
    assert found == [3, None, None, 0.30000000000000004, 1e-300]
