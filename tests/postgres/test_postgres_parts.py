"""Parts of the tables of a PostgreSQL output: age and size bound them, readers are not disturbed."""

from __future__ import annotations

import time

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_outputs import forecasts_of, opened, unit, unit_of_forecasts
from postgres_server import PRELOAD, Server
from structlog.testing import capture_logs

from service.ports import Outcomes, Reject
from service.sinks.postgres_parts import PostgresParts

HOUR, DAY = 3600, 86_400
NOW = 1_790_000_000


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        """Returns the time."""
        return self.now


def parts_of(server, schema: str) -> list[int]:
    """Returns when the parts began, as far as there are rows in the table and a partition for each.

    Hypertables have chunks for those parts that have rows of the table.
    """
    found = server.rows(f"SELECT extract(epoch FROM begins)::bigint FROM {schema}.parts ORDER BY 1")
    for table in ("stored_forecasts", "stored_silences", "rejects"):
        query = "SELECT count(*) FROM pg_inherits WHERE inhparent = %s::regclass"
        ((partitions,),) = server.rows(query, f"{schema}.{table}")
        kinds = server.rows("SELECT relkind FROM pg_class WHERE oid = %s::regclass", f"{schema}.{table}")
        assert partitions == len(found) or (kinds != [("p",)] and partitions < len(found))
    return [begins for (begins,) in found]


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keep=st.sampled_from([2 * HOUR, 40 * HOUR, 40 * DAY]),
    steps=st.lists(st.tuples(st.integers(-HOUR, 12 * HOUR), st.booleans()), min_size=5, max_size=25),
)
def test_age(server, schema, keep, steps):
    """What is younger than `keep` is there; what is older is gone at the latest a 32nd of it, or an hour, later."""
    schema, clock, last = f"{schema}_{abs(hash((keep, *steps)))}", Clock(), 0.0
    parts = PostgresParts(keep, 0, clock)
    sink, written = opened(server, schema, parts), []
    for number, (step, again) in enumerate(steps):
        clock.now += step
        if again:
            sink.open()
        sink.publish(unit(number, 1))
        last = max(last, clock.now)
        written.append(clock.now)
    stored = {position for (position,) in server.rows(f"SELECT position FROM {schema}.forecasts")}
    length = max(HOUR, keep / 32)
    assert stored >= {at for at, then in enumerate(written) if then > clock.now - keep}
    back = HOUR * len(steps)  # a clock that was set back keeps rows for longer
    assert not stored & {at for at, then in enumerate(written[:-1]) if then < clock.now - keep - length - back}
    assert len(parts_of(server, schema)) <= keep / length + 2 + back / length
    sink.close()


def test_what_goes_with_a_part(server, schema):
    """Positions, counts and adoptions stay, rejects are counted, and the names of series without rows are deleted."""
    clock = Clock()
    sink = opened(server, schema, PostgresParts(2 * HOUR, 0, clock))
    rejects = [Reject(1, b"", "undecodable", "first"), Reject(2, b"", "late", "")]
    old = forecasts_of(10, names=["old", "both"])
    sink.publish(unit_of_forecasts(*old, 0, 10, rejects=rejects, outcomes=Outcomes(10)))
    for number in range(1, 5):
        clock.now += HOUR
        new = forecasts_of(10, 10 * number, names=["new", "both"])
        sink.publish(unit_of_forecasts(*new, 10 * number, 10 * number + 10, outcomes=Outcomes(10)))
    assert sink.committed("p") == 50
    assert sink.outcomes(["p"]) == Outcomes(50, rejects={"undecodable": 1})
    assert server.rows(f"SELECT count(*), min(position) FROM {schema}.forecasts") == [(30, 20)]
    sink.publish(unit_of_forecasts(*forecasts_of(2, 50, names=["old", "new"]), 50, 52))
    found = server.rows(f"SELECT series, count(*) FROM {schema}.forecasts GROUP BY 1 ORDER BY 1")
    assert found == [("both", 15), ("new", 16), ("old", 1)]
    assert server.rows(f"SELECT count(*), count(DISTINCT name) FROM {schema}.series_names") == [(3, 3)]
    sink.close()


def test_size(server, schema):
    """Tables and indexes stay within `max_bytes`, the newest rows stay, and it is logged once."""
    most = 6 << 20
    sink = opened(server, schema, PostgresParts(0, most, Clock()))
    table = f"'{schema}.stored_forecasts'::regclass"
    size = f"SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = {table}"
    largest = 0
    with capture_logs() as logs:
        for number in range(120):
            made = forecasts_of(200, 200 * number, names=[f"s{at}" for at in range(50)], steps=24)
            sink.publish(unit_of_forecasts(*made, 200 * number, 200 * number + 200))
            largest = max(largest, int(server.rows(size)[0][0]))
    assert len([one for one in logs if "output at its bound" in one["event"]]) == 1
    assert most * 0.6 < largest < most * 1.1
    found = [position for (position,) in server.rows(f"SELECT position FROM {schema}.forecasts ORDER BY id")]
    assert found == [*range(found[0], 24_000)]
    assert found[0] > 5000
    assert len(parts_of(server, schema)) <= 20
    sink.close()


def test_a_reader_is_not_disturbed(server, schema):
    """A reader that holds the oldest part keeps it for as long as it reads; units do not wait for it."""
    clock = Clock()
    sink = opened(server, schema, PostgresParts(2 * HOUR, 0, clock))
    sink.publish(unit(0, 10))
    with psycopg.connect(server.url()) as reader, capture_logs() as logs:
        assert reader.execute(f"SELECT count(*) FROM {schema}.forecasts").fetchone() == (10,)
        for number in range(1, 6):
            clock.now += HOUR
            before = time.monotonic()
            sink.publish(unit(10 * number, 10))
            assert time.monotonic() - before < 8
        assert reader.execute(f"SELECT min(position) FROM {schema}.forecasts").fetchone() == (0,)
    assert [one["event"] for one in logs] == ["oldest output not dropped yet, a reader holds it"]
    clock.now += 11
    sink.publish(unit(60, 10))
    assert server.rows(f"SELECT min(position) FROM {schema}.forecasts") == [(30,)]
    sink.close()


# What is used of TimescaleDB's functions, on a table without chunks, for servers without the extension, as Debian's. A
# chunk has the rows of a second, and is dropped where all of its second is before a time.
_EXTENSION = """
SET allow_system_table_mods = on;
CREATE SCHEMA timescale;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
VALUES (99999, 'timescaledb', 10, 'timescale'::regnamespace, false, '2');
CREATE FUNCTION timescale.create_hypertable(relation regclass, time_column_name name, chunk_time_interval anyelement,
    create_default_indexes boolean) RETURNS text LANGUAGE sql AS $$ SELECT relation::text $$;
CREATE FUNCTION timescale.drop_chunks(relation regclass, older_than anyelement) RETURNS SETOF text LANGUAGE plpgsql AS
$$ BEGIN EXECUTE format('DELETE FROM %s WHERE date_trunc(''second'', part) + interval ''1 second'' <= $1', relation)
USING older_than; END $$;
CREATE FUNCTION timescale.hypertable_size(relation regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint; BEGIN EXECUTE format('SELECT count(*) * 1000 FROM %s', relation) INTO n; RETURN n; END $$;
"""


@pytest.fixture(scope="module")
def timescale(server):
    """A server with the extension TimescaleDB, where it is installed."""
    if not server.rows("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'"):
        pytest.skip("this PostgreSQL has no extension timescaledb: it is none of Debian's packages")
    found = Server(PRELOAD)
    found.start()
    yield found
    found.close()


@pytest.mark.parametrize("bound", ["age", "size"])
def test_real_hypertables(timescale, schema, bound):
    """The tables are hypertables with a chunk for each part, the oldest are dropped, and the views are the same."""
    timescale.rows(f"CREATE DATABASE {schema}")
    timescale.rows("CREATE EXTENSION IF NOT EXISTS timescaledb", database=schema)
    clock, most = Clock(), 3 << 20
    parts = PostgresParts(2 * HOUR if bound == "age" else 0, 0 if bound == "age" else most, clock)
    sink, largest = opened(timescale, schema, parts, url=timescale.url(schema)), 0
    names = [f'load{{instance="{at}"}}' for at in range(10)]
    for number in range(60):
        clock.now += HOUR / 2 if bound == "age" else 20
        made = forecasts_of(200, 200 * number, names=names, steps=12)
        sink.publish(unit_of_forecasts(*made, 200 * number, 200 * number + 200))
        if number % 10 == 9:
            sink.open()
        query = f"SELECT hypertable_size('{schema}.stored_forecasts'::regclass)"
        largest = max(largest, timescale.rows(query, database=schema)[0][0])
    query = f"SELECT count(*), min(position), max(position) FROM {schema}.forecasts"
    ((count, first, last),) = timescale.rows(query, database=schema)
    assert (count, last) == (last - first + 1, 11_999)
    if bound == "age":
        assert 800 <= count <= 1600
    else:
        assert most * 0.5 < largest < most * 1.1
        assert 1000 < count < 9000
    found = timescale.rows(
        "SELECT hypertable_name, num_chunks FROM timescaledb_information.hypertables ORDER BY 1", database=schema
    )
    assert [name for name, _ in found] == ["rejects", "stored_forecasts", "stored_silences"]
    ((kept,),) = timescale.rows(f"SELECT count(*) FROM {schema}.parts", database=schema)
    assert 1 < dict(found)["stored_forecasts"] <= kept
    query = (
        f"SELECT count(*), count(DISTINCT labels ->> 'instance'), max(abs(actual - forecast - error)) "
        f"FROM {schema}.verified WHERE step = 1 AND position < {last - 100}"
    )
    ((verified, instances, wrong),) = timescale.rows(query, database=schema)
    assert (verified, instances) == (last - 100 - first, 10)
    assert wrong < 1e-9
    sink.close()


@pytest.mark.parametrize("bound", ["age", "size"])
def test_hypertables(server, schema, bound):
    """With TimescaleDB the tables are hypertables, and the oldest chunks are dropped by the same bounds."""
    if server.rows("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'"):
        pytest.skip("POSTGRES_TIMESCALE=1: the stand-ins would hide the extension, which test_real_hypertables uses")
    server.rows(f"CREATE DATABASE {schema}")
    with psycopg.connect(server.url(schema), autocommit=True) as database:
        database.execute(_EXTENSION.encode())
    clock = Clock()
    parts = PostgresParts(2 * HOUR if bound == "age" else 0, 0 if bound == "age" else 1 << 20, clock)
    sink = opened(server, schema, parts, url=server.url(schema))
    for number in range(40):
        clock.now += HOUR / 2
        sink.publish(unit(100 * number, 100))
        if number % 10 == 9:
            sink.open()
    query = f"SELECT count(*), count(DISTINCT part), min(position), max(position) FROM {schema}.stored_forecasts"
    ((count, _, first, last),) = server.rows(query, database=schema)
    assert (count, last) == (last - first + 1, 3999)
    assert 400 <= count <= 800 if bound == "age" else 300 <= count <= 1100
    kinds = "SELECT DISTINCT relkind FROM pg_class WHERE relname IN ('stored_forecasts', 'stored_silences', 'rejects')"
    assert [str(kind) for (kind,) in server.rows(kinds, database=schema)] == ["r"]
    sink.close()
