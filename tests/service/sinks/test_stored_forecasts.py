"""Following a SQLite output: every output once and in order, whatever the daemon does meanwhile."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_outputs import outputs
from test_sqlite_retention import Output
from test_sqlite_views import LEVELS, START, batch, publish

from forecaster import Note
from service.config.load import load_config
from service.errors import ConfigurationError, SinkFormatError
from service.messages.compact import CompactFormat
from service.messages.encode import JSON, encode
from service.ports import TimeMark, Unit
from service.sinks.sqlite_forecasts import SqliteForecasts
from service.sinks.sqlite_sink import SqliteSink
from service.sinks.stored_forecasts import StoredOutputs, follow, stored_outputs

TOO_MANY = 10_000  # pages: a reader that does not end is broken


def read_all(stored: StoredOutputs, position=None, limit=7, series=""):
    """Returns everything after a position, and the position behind it."""
    found = []
    for _ in range(TOO_MANY):
        before = position
        more, position = stored.after(position, limit, series)
        found += more
        if position == before:
            return found, position
    raise AssertionError


def key(one):
    """What identifies an output."""
    return one["source"]["partition"], one["source"]["position"], one["series"], one.get("kind", ""), one.get("mark")


STEPS = st.lists(
    st.tuples(st.sampled_from("pq"), st.sampled_from(["compact", "json", "mark"]), st.integers(1, 12), st.booleans()),
    max_size=12,
)


@settings(deadline=None, max_examples=40)
@given(STEPS, st.integers(1, 30))
def test_every_output_once(tmp_path_factory, steps, limit):
    """Reading between any writes, in pages of any size, finds every output once, in the order of its partition."""
    path = tmp_path_factory.mktemp("follow") / "f.sqlite"
    stored, found, position, written, compact, at = SqliteForecasts(path), [], None, [], set(), 0
    with closing(stored):
        for number, (partition, kind, count, reads) in enumerate(steps):
            decoded, forecasts = batch(count, number, start=START + number * 3_600_000)
            decoded.positions[:] = range(at, at + count)
            form = CompactFormat() if kind == "compact" else JSON
            made = encode(decoded, forecasts, partition=partition, levels=LEVELS, model_sha256="ab" * 32, output=form)
            sink = SqliteSink(path)
            with closing(sink):
                sink.open()
                if kind == "mark":
                    place = sink.committed(partition) or 0
                    texts = [b'{"series":"a","mark":%d,"source":{"partition":"%s","position":%d}}'
                             % (number, partition.encode(), place)]  # fmt: skip
                    sink.publish(Unit(partition, place, place, ["a"], texts, positions=[place],
                                      mark=TimeMark(place, number)))  # fmt: skip
                    written.append((partition, place, "a", "", number))
                else:
                    unit = Unit(partition, at, at + count, made.series, made.forecasts, positions=made.positions)
                    sink.publish(unit)
                    silences = [at + one.event for one in forecasts.silences]
                    written += [(partition, one, series, "", None) for one, series in
                                zip(decoded.positions, decoded.series, strict=True)]  # fmt: skip
                    written += [(partition, one, "b", "silence", None) for one in silences]
                    compact |= {*written[-len(made.series) :]} if kind == "compact" else set()
                    at += count
            if reads:
                more, position = read_all(stored, position, limit)
                found += more
        found += read_all(stored, position, limit)[0]
        again = read_all(stored, None, limit + 3)[0]
    assert sorted(map(key, found), key=str) == sorted(written, key=str)
    assert sorted(map(key, again), key=str) == sorted(written, key=str)
    for partition in "pq":
        stored_as_rows = [one for one in found if key(one) in compact and one["source"]["partition"] == partition]
        places = [one["source"]["position"] for one in stored_as_rows]
        assert places == sorted(places)


def test_a_silence_follows_its_forecast(tmp_path):
    """A silence comes behind the forecast that revealed it, and before the next one of the partition."""
    path = tmp_path / "f.sqlite"
    for limit in (1, 2, 5, 100):
        path.unlink(missing_ok=True)
        publish(path, *batch(9))
        with closing(SqliteForecasts(path)) as stored:
            found = [(one["source"]["position"], "kind" in one) for one in read_all(stored, None, limit)[0]]
        assert found == sorted(found)
        assert (4, True) in found


def test_as_in_json(tmp_path):
    """What is read has the fields of the JSON format, in both formats of the file."""
    found = {}
    decoded, forecasts = batch(30)
    notes = np.zeros(30, np.uint8)
    notes[7:9] = Note.MAINTENANCE, Note.OVER_BUDGET
    forecasts = replace(forecasts, notes=notes)
    for name, output in (("json", JSON), ("compact", CompactFormat())):
        publish(tmp_path / name, decoded, forecasts, output)
        with closing(SqliteForecasts(tmp_path / name)) as stored:
            found[name] = read_all(stored)[0]
    assert [one["suppressed"] for one in found["json"] if "suppressed" in one] == ["maintenance", "budget"]
    for one, other in zip(found["json"], found["compact"], strict=True):
        assert list(one) == list(other)
        for field in one.keys() - {"quantiles", "anomaly"}:
            assert one[field] == other[field]
        if one.get("quantiles") is not None:
            np.testing.assert_allclose(one["quantiles"], other["quantiles"], atol=0.05)


def test_of_one_series(tmp_path):
    """Only the outputs of a series are returned, and the position moves past those of the others."""
    path = tmp_path / "f.sqlite"
    publish(path, *batch(30))
    with closing(SqliteForecasts(path)) as stored:
        found, end = read_all(stored, None, 4, "b")
        assert {one["series"] for one in found} == {"b"}
        assert len(found) == 11  # ten forecasts and a silence
        assert stored.after(end, 100) == ([], end)
        assert stored.end() == end


def test_from_now_on(tmp_path):
    """From the end only later outputs are read; the end of an output that is not there is its beginning."""
    path = tmp_path / "f.sqlite"
    with closing(SqliteForecasts(path)) as stored:
        assert stored.end() is None
        assert stored.after(None, 10)[0] == []
        publish(path, *batch(6))
        assert len(read_all(stored, None)[0]) == 7
        end = stored.end()
        assert read_all(stored, end) == ([], end)


def test_pruned_meanwhile(tmp_path):
    """A reader that is behind goes on with the oldest output that is left, and returns nothing twice."""
    output = Output(tmp_path / "f.sqlite", keep_ms=3 * 3_600_000)
    with closing(output.sink), closing(SqliteForecasts(output.path)) as stored:
        output.grow(2, 1.0)
        found, position = stored.after(None, 10)
        assert len(found) >= 10
        output.grow(20, 1.0)
        more = read_all(stored, position, 10)[0]
        kept = [(one.get("origin"), *key(one)) for one in outputs(output.path)]
        assert sorted((one.get("origin"), *key(one)) for one in more if "kind" not in one) == sorted(
            one for one in kept if one[0] is not None
        )
        assert len(more) == len(kept) < 20 * 61


def test_replaced_by_another_output(tmp_path):
    """A file that was deleted and made anew is read from its beginning."""
    path = tmp_path / "f.sqlite"
    publish(path, *batch(6))
    with closing(SqliteForecasts(path)) as stored:
        end = read_all(stored)[1]
        path.unlink()
        assert stored.after(end, 10) == ([], end)
        publish(path, *batch(9))
        assert len(read_all(stored, end)[0]) == 10


def test_of_another_program(tmp_path):
    """A file of another program is refused with its name."""
    import sqlite3

    for name, text in (("text", b"x" * 5000), ("sqlite", b"")):
        path = tmp_path / name
        path.write_bytes(text)
        if not text:
            with closing(sqlite3.connect(path)) as database:
                database.execute("CREATE TABLE t (x)")
        with closing(SqliteForecasts(path)) as stored, pytest.raises(SinkFormatError, match=name):
            stored.after(None, 1)


def test_follow(tmp_path):
    """Outputs that are written while nothing is left to read come next, also of a daemon that starts later."""
    path = tmp_path / "f.sqlite"
    parts = iter(range(3))

    def wait() -> None:
        if (number := next(parts, None)) is not None:
            publish(path, *batch(6, number))

    following = follow(SqliteForecasts(path), wait)
    found = []
    while (number := sum(one is None for one in found)) < 5:
        found.append(next(following))
    following.close()
    assert number == 5
    assert [one is None for one in found] == [True, *[*[False] * 7, True] * 3, True]


@pytest.mark.parametrize("sink", ["stdout", "kafka"])
def test_nothing_is_stored(tmp_path: Path, sink):
    """A sink whose outputs cannot be read is refused with a sentence."""
    config = load_config(None, {"output.sink": sink, "state.data_dir": tmp_path})
    with pytest.raises(ConfigurationError, match=f'got "{sink}"'):
        stored_outputs(config)
