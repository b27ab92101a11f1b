"""Recent events: ring buffers compared with lists, assignment of slots, forecasts matched with their events."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict, deque

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.recent.anomalies import Anomaly, AnomalyLog
from service.recent.event_rings import EventRings
from service.recent.slots import SILENT_ROUNDS, Slots

LEVELS, HORIZON, EVENTS = (0.1, 0.5, 0.9), 5, 7
BATCHES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=20), min_size=1, max_size=8)


def columns(n: int, start: int) -> dict[str, np.ndarray]:
    """Returns columns of n events with distinct numbers."""
    number = np.arange(start, start + n)
    return {
        "timestamp_ms": 1000 * number, "position": number, "step": number, "value": number / 3,
        "anomaly": (number % 10 / 10).astype(np.float32), "flagged": number % 4 == 0,
        "interval_ms": np.full(n, 1000), "calendar": np.zeros(n, np.int16),
    }  # fmt: skip


def forecasts(n: int, start: int) -> np.ndarray:
    """Returns forecasts that encode their event and horizon."""
    number, horizon = np.arange(start, start + n), np.arange(1, HORIZON + 1)
    whole = number[:, None, None] * 100 + horizon[:, None] * 10 + np.arange(3)
    return whole.astype(np.float32)


class TestRings:
    """The ring buffers."""

    @given(BATCHES)
    def test_like_lists(self, batches: list[list[int]]) -> None:
        """For any events and batches, a slot holds its newest events in order, and its newest forecast."""
        rings, naive, start = EventRings(4, EVENTS, HORIZON, LEVELS), defaultdict[int, list[int]](list), 0
        for batch in batches:
            n = len(batch)
            chosen = np.flatnonzero(np.arange(start, start + n) % 5)  # every fifth event is left out
            slots = np.array(batch)[chosen]
            if len(chosen):
                rings.append(slots, chosen, columns(n, start), forecasts(n, start))
            for slot, at in zip(slots.tolist(), chosen.tolist(), strict=True):
                naive[slot].append(start + at)
            start += n
        for slot in range(4):
            found, wanted = rings.detail(slot, "0", "a", "m"), naive[slot][-EVENTS:]
            assert found.position.tolist() == wanted
            assert found.value.tolist() == [number / 3 for number in wanted]
            assert found.flagged.tolist() == [number % 4 == 0 for number in wanted]
            assert (found.latest is None) == (not wanted)
            if wanted:
                assert found.latest is not None
                assert found.latest.tolist() == forecasts(1, wanted[-1])[0].tolist()
                assert rings.newest(slot) == (wanted[-1] * 1000, wanted[-1] / 3, np.float32(wanted[-1] % 10 / 10))

    @given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 12))
    def test_forecast_for(self, gaps: list[int], reborn: int) -> None:
        """An event is matched with the last forecast made k steps earlier in the series' same lifetime, or none.

        A step may have several events.
        """
        rings, step, life, lived = EventRings(1, 20, HORIZON, LEVELS), 0, 0, list[tuple[int, int]]()
        for at, gap in enumerate(gaps):
            if at in (0, reborn):
                step, life, gap = 0, life + 1, 1  # a lifetime begins with step 1
            step += gap
            lived.append((life, step))
            one = columns(1, at) | {"step": np.array([step])}
            rings.append(np.zeros(1, np.int64), np.zeros(1, np.int64), one, forecasts(1, at))
        detail = rings.detail(0, "0", "a", "m")
        for k in rings.tracked:
            found = detail.forecast_for(k)
            for at, (life, step) in enumerate(lived):
                made = [i for i in range(at) if lived[i] == (life, step - k)]
                expected = forecasts(1, made[-1])[0, k - 1].tolist() if made else [None] * 3
                assert [None if np.isnan(number) else number for number in found[at]] == expected


def anomaly(number: int) -> Anomaly:
    """Returns an anomaly with distinct numbers; every third is a silence."""
    kind, value = ("flagged", number / 3) if number % 3 else ("silence", -1.0)
    return Anomaly(kind, f"{number % 2}", f"s{number % 5}", 1000 * number, value, number / 7, number, 10 * number)


class TestAnomalyLog:
    """The newest anomalies of all series."""

    @given(st.integers(0, 7), st.lists(st.integers(0, 9), max_size=8))
    def test_like_a_deque(self, size: int, batches: list[int]) -> None:
        """The log holds the newest anomalies in order, and filters them by series."""
        log, naive = AnomalyLog(size), deque[Anomaly](maxlen=size)
        for before, n in enumerate(batches):
            found = [anomaly(10 * before + at) for at in range(n)]
            log.extend(found)
            naive.extend(found)
        assert log.read(log.copy()) == list(naive)
        chosen = [one for one in naive if (one.partition, one.series) == ("1", "s3")]
        assert log.read(log.copy(), "1", "s3") == chosen

    def test_takes_its_memory_at_once(self) -> None:
        """Filling the log allocates nothing, so that anomalies do not look like a memory leak."""
        log = AnomalyLog(2000)
        log.extend([anomaly(number) for number in range(10)])
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(10, 2000):
                log.extend([anomaly(number)])
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert taken < 2000 * 8


class TestPlaces:
    """Assignment of slots to series."""

    def test_first_come(self) -> None:
        """The first series get a slot each; a further one gets none."""
        slots = Slots(2)
        assert slots.join("0", ["a", "b", "a", "c"]) == [0, 1]
        assert slots.of(("0", "c")) is None

    def test_asked_for(self) -> None:
        """A requested series displaces the one requested longest ago, or of those never requested the most silent."""
        slots = Slots(3)
        slots.join("0", "abc")
        slots.seen[:] = [5, 3, 4]
        assert slots.ask(("0", "d"))[1]
        assert slots.index["0"].keys() == {"a", "c", "d"}
        slots.ask(("0", "a"))
        slots.ask(("0", "c"))
        slots.ask(("0", "e"))
        assert slots.index["0"].keys() == {"a", "c", "e"}

    def test_listened_to(self) -> None:
        """A series with a listener keeps its slot until the last listener leaves."""
        slots, a, b = Slots(1), ("0", "a"), ("0", "b")
        slots.join("0", "a")
        slots.listen([a])
        slots.listen([a])
        assert slots.ask(b) == (None, False)
        slots.leave([a])
        assert slots.ask(b) == (None, False)
        slots.leave([a])
        assert slots.ask(b) == (0, True)
        assert not slots.subscribed[0]

    def test_silent(self) -> None:
        """A series that is silent while all others have 64 events loses its slot, unless it has a listener."""
        slots = Slots(2)
        slots.join("0", "ab")
        slots.listen([("0", "b")])
        slots.taken = SILENT_ROUNDS * 2
        slots.drop_silent(2)
        assert not slots.free
        slots.taken += 1
        slots.drop_silent(2)
        assert slots.index["0"].keys() == {"b"}

    def test_partition_gone(self) -> None:
        """The series of a revoked partition lose their slots, and no others."""
        slots = Slots(4)
        slots.join("0", "ab")
        slots.join("1", "ab")
        slots.drop_partition("0")
        assert len(slots.free) == 2
        assert slots.of(("1", "a")) is not None
