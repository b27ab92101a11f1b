"""Broken connections, a server that is down, and what a retry then does."""

from __future__ import annotations

import signal
import threading
import time

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_outputs import opened, settings_of, unit
from postgres_proxy import CuttingProxy
from postgres_server import Server

from service.errors import SinkUnavailableError, TransportBusyError, TransportError, UnreachableError
from service.ports import Adoption, TimeMark, Unit
from service.sinks.postgres_sink import PostgresSink


@pytest.fixture(scope="module")
def own():
    """A server that tests stop and start."""
    found = Server(rules="host all secretive all scram-sha-256\nhost all postgres all trust\n")
    found.start()
    yield found
    found.close()


@pytest.fixture
def proxy(server):
    """A proxy before the server."""
    found = CuttingProxy(server.port)
    yield found
    found.close()


def positions(server: Server, schema: str) -> list[int]:
    """Returns the positions of all forecasts in the order in which they were written."""
    return [position for (position,) in server.rows(f"SELECT position FROM {schema}.forecasts ORDER BY id")]


def published(sink: PostgresSink, unit: Unit, tries: int = 50) -> int:
    """Publishes a unit as the engine does, again and again; returns the number of failures."""
    for failures in range(tries):
        try:
            sink.publish(unit)
        except SinkUnavailableError:
            time.sleep(0.02)
        else:
            return failures
    raise AssertionError


class TestCut:
    """The connection breaks during a commit."""

    @pytest.mark.parametrize("how", ["before", "after", "silent"])
    @pytest.mark.parametrize("moment", ["part", "first", "later"])
    def test_once(self, server, schema, proxy, how, moment):
        """A commit whose answer was lost is found out: the unit is stored once, whether it took place or not.

        The first unit is preceded by the commit of a new part of the tables.
        """
        sink = opened(server, schema, url=server.url(port=proxy.port))
        if moment == "later":
            sink.publish(unit(0, 10))
        begin = 10 if moment == "later" else 0
        proxy.passing = int(moment == "first")
        proxy.cut = how
        assert published(sink, unit(begin, 10, adoption=Adoption(begin, "m"))) == 1
        assert proxy.cuts == 1
        sink.publish(unit(begin + 10, 10))
        assert positions(server, schema) == [*range(begin + 20)]
        assert sink.adoptions("p") == [Adoption(begin, "m")]
        assert sink.identity.start == sink.identity.starts[1]
        sink.close()

    @pytest.mark.parametrize("how", ["before", "after"])
    def test_time_marks(self, server, schema, proxy, how):
        """The same with time marks, whose units do not move the position."""
        sink = opened(server, schema, url=server.url(port=proxy.port))
        sink.publish(unit(0, 10))
        one = unit(9, 1)
        for at in range(3):
            proxy.cut = how
            mark = TimeMark(10, 1000 + at)
            assert published(sink, Unit("p", 10, 10, one.series, one.forecasts, positions=[10], mark=mark)) == 1
        assert sink.marks("p", 0) == [TimeMark(10, 1000 + at) for at in range(3)]
        assert positions(server, schema) == [*range(10), 10, 10, 10]
        sink.close()

    def test_down_after_the_cut(self, server, schema, proxy):
        """While the server cannot be reached the unit is refused; it is found out when it can."""
        sink = opened(server, schema, url=server.url(port=proxy.port))
        proxy.cut, proxy.is_up = "after", False
        for _ in range(3):
            with pytest.raises(SinkUnavailableError):
                sink.publish(unit(0, 10))
        proxy.is_up = True
        sink.publish(unit(0, 10))
        assert positions(server, schema) == [*range(10)]
        sink.close()

    def test_a_new_start_after_the_cut(self, server, schema, proxy):
        """A process that ends with a commit in doubt continues at the position that is stored."""
        for how, expected in (("", 10), ("before", 10), ("after", 20), ("before", 20)):
            sink = opened(server, schema, url=server.url(port=proxy.port))
            begin = sink.committed("p") or 0
            proxy.cut = how
            if how:
                with pytest.raises(SinkUnavailableError):
                    sink.publish(unit(begin, 10))
            else:
                sink.publish(unit(begin, 10))
            sink.close()
            sink = opened(server, schema)
            assert sink.committed("p") == expected
            sink.close()
            assert positions(server, schema) == [*range(expected)]

    @settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(plan=st.lists(st.sampled_from(["", "before", "after", "silent", "killed"]), min_size=1, max_size=8))
    def test_any_sequence(self, server, schema, proxy, plan):
        """After any sequence of cuts, and sessions that an administrator ends, every position is stored once."""
        name = f"{schema}_{time.monotonic_ns()}"
        sink = opened(server, name, url=server.url(port=proxy.port))
        for number, how in enumerate(plan):
            proxy.cut = how if how != "killed" else ""
            if how == "killed":
                server.rows("SELECT pg_terminate_backend(%s)", sink._connector.process)
            partition = "pq"[number % 2]
            begin = sink.committed(partition) if how == "killed" else None
            begin = (number // 2) * 5 if begin is None else begin
            published(sink, unit(begin, 5, partition))
        sink.close()
        for partition in "pq":
            query = f"SELECT position FROM {name}.forecasts WHERE partition = %s ORDER BY id"
            found = [position for (position,) in server.rows(query, partition)]
            assert found == [*range(5 * len(plan[partition == "q" :: 2]))]


class TestUnavailable:
    """Errors of the server after which the same unit may be given again."""

    def test_locked(self, server, schema, monkeypatch):
        """A table that another program has locked is waited for, then the unit is refused; it is accepted later."""
        sink = opened(server, schema)
        sink._connected().execute("SET lock_timeout = '50ms'")
        with psycopg.connect(server.url()) as other:
            other.execute(f"LOCK TABLE {schema}.stored_forecasts")
            with pytest.raises(SinkUnavailableError, match="lock timeout"):
                sink.publish(unit())
        sink.publish(unit())
        assert positions(server, schema) == [*range(10)]
        sink.close()

    def test_full(self, server, schema):
        """A server without room refuses the unit, which is accepted later."""
        sink = opened(server, schema)
        server.rows(
            f"CREATE FUNCTION {schema}.full() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
        )
        server.rows(f"CREATE TRIGGER f BEFORE INSERT ON {schema}.positions EXECUTE FUNCTION {schema}.full()")
        for _ in range(2):
            with pytest.raises(SinkUnavailableError, match="could not extend file"):
                sink.publish(unit())
        server.rows(f"DROP TRIGGER f ON {schema}.positions")
        sink.publish(unit())
        assert positions(server, schema) == [*range(10)]
        sink.close()

    def test_order(self, server, schema):
        """A unit that does not follow the committed position is refused and changes nothing."""
        sink = opened(server, schema)
        sink.publish(unit(0, 10))
        for wrong in (unit(9, 5), Unit("p", 12, 11, [], [])):
            with pytest.raises(ValueError, match="expected one that starts at the committed position 10"):
                sink.publish(wrong)
        sink.publish(unit(10, 5))
        assert positions(server, schema) == [*range(15)]
        sink.close()


class TestOfAnotherState:
    """What is found after a connection was lost is compared with what this process has left."""

    def test_restored_from_a_backup(self, server, schema):
        """Positions that went back are reported: forecasts would be missing."""
        sink = opened(server, schema)
        sink.publish(unit(0, 10))
        sink.publish(unit(10, 10))
        server.rows(f"UPDATE {schema}.positions SET next_position = 10, commits = 1")
        server.rows("SELECT pg_terminate_backend(%s)", sink._connector.process)
        with pytest.raises(TransportError, match="restored from a backup"):
            published(sink, unit(20, 10))
        sink.open()
        assert sink.committed("p") == 10
        sink.close()

    def test_another_daemon(self, server, schema):
        """A daemon that was replaced while it was not connected does not write again."""
        first = opened(server, schema)
        first.publish(unit(0, 10))
        server.rows("SELECT pg_terminate_backend(%s)", first._connector.process)
        second = opened(server, schema)
        with pytest.raises(TransportBusyError):
            published(first, unit(10, 10))
        second.publish(unit(10, 10))
        second.close()
        with pytest.raises(TransportError, match="other positions"):
            published(first, unit(10, 10))
        first.close()
        assert positions(server, schema) == [*range(20)]


def test_silence_of_a_killed_session(server, schema, proxy):
    """A session of this process that the server still has is ended, so that its lock does not keep it out."""
    sink = opened(server, schema, url=server.url(port=proxy.port))
    sink.publish(unit(0, 10))
    proxy.cut = "silent"
    before = sink._connector.process
    assert published(sink, unit(10, 10)) == 1
    assert server.rows("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", before) == [(0,)]
    sink.close()


class TestServer:
    """A server that stops and starts."""

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
    def test_down_for_a_while(self, own, schema, how):
        """Units wait while the server is down, however it ended, and are stored once."""
        sink = opened(own, schema)
        sink.publish(unit(0, 10))
        own.stop(how)
        for _ in range(3):
            with pytest.raises(SinkUnavailableError, match="cannot be"):
                sink.publish(unit(10, 10))
        with pytest.raises(UnreachableError):
            sink.committed("p")
        again = threading.Timer(0.3, own.start)
        again.start()
        assert published(sink, unit(10, 10), 3000) > 0
        again.join()
        assert positions(own, schema) == [*range(20)]
        sink.close()

    def test_down_at_the_start(self, own, schema):
        """A server that is down at the start is waited for: the error is one after which the start is repeated."""
        own.stop()
        sink = PostgresSink(settings_of(own, schema))
        with pytest.raises(UnreachableError, match="cannot be connected"):
            sink.open()
        own.start()
        sink.open()
        sink.close()

    def test_passwords(self, own, schema, tmp_path, monkeypatch):
        """The password comes from the address, a file, or libpq's environment and file; no message has it."""
        own.rows("CREATE ROLE secretive LOGIN SUPERUSER PASSWORD 'hunter2'")
        wrong, right = tmp_path / "wrong", tmp_path / "right"
        wrong.write_text("tiger77\n")
        right.write_text("hunter2\n")
        bare = own.url(user="secretive")
        for more in ({"url": bare.replace("secretive", "secretive:tiger77")}, {"url": bare, "password_file": wrong}):
            with pytest.raises(TransportError, match="password authentication failed") as caught:
                opened(own, schema, **more)
            assert "tiger77" not in f"{caught.value!r} {caught.value.__cause__!r}"
        with pytest.raises(TransportError, match="no password supplied"):
            opened(own, schema, url=bare)
        with_file = {"url": bare, "password_file": right}
        for more in ({"url": bare.replace("secretive", "secretive:hunter2")}, with_file):
            sink = opened(own, schema, **more)
            assert "hunter2" not in f"{sink.identity} {sink.place}"
            sink.close()
        monkeypatch.setenv("PGPASSWORD", "hunter2")
        opened(own, schema, url=bare).close()
        monkeypatch.delenv("PGPASSWORD")
        passes = tmp_path / "pgpass"
        passes.write_text("*:*:*:secretive:hunter2\n")
        passes.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(passes))
        opened(own, schema, url=bare).close()
