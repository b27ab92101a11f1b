"""The PostgreSQL output beside psycopg alone: forecasts per second, processor time, size (docs/performance.md).

    python benchmarks/postgres_output.py                     200,000 forecasts to a server of its own, a minute
    python benchmarks/postgres_output.py --url postgresql://postgres@127.0.0.1/scratch

Forecasts of 24 steps and 7 levels of 1,000 series, in units of 512. "psycopg" is the same rows, given to psycopg's COPY
in its binary format as Python values; "bytes" is the same COPY of bytes that were made before, the least that a client
can do. Both write the same table with the same indexes in transactions of the same size, with nothing else. "Rows" is
one row for each step in place of arrays, which is for the comparison of sizes.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
from sqlite_output import LEVELS, START, STEPS, UNIT, units

from service.config.postgres import PostgresConfig
from service.messages.array_format import ArrayFormat
from service.messages.encode import encode
from service.ports import Unit
from service.sinks.postgres_sink import PostgresSink

SCHEMA = "benchmark_of_forecasts"
_COLUMNS = (
    "part, position, origin, interval_ms, value, series, context, anomaly, missing, flagged, quantiles, wide, more"
)
_TYPES = ("timestamptz", "int8", "timestamptz", "int8", "float8", "int4", "int4", "float4", "bool", "bool", "float4[]",
          "float8[]", "jsonb")  # fmt: skip
_COPY = f"COPY bare ({_COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()


@contextlib.contextmanager
def server(url: str) -> Iterator[str]:
    """Yields the address of a server: the given one, or one that is started for the benchmark, with fsync."""
    if url:
        yield url
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "postgres"))
    from postgres_server import Server

    own = Server("fsync = on", "max_wal_size = '4GB'", "shared_buffers = '256MB'")
    own.start()
    try:
        yield own.url()
    finally:
        own.close()


def of_sink(url: str, forecasts: int) -> tuple[float, float, float]:
    """Encodes and stores forecasts; returns seconds by the clock, of this process, and of it to encode."""
    made, sink = units(8), PostgresSink(PostgresConfig.model_validate({"url": url, "schema_name": SCHEMA}))
    sink.open()
    began, used, encoding = time.perf_counter(), time.process_time(), 0.0
    for number in range(forecasts // UNIT):
        decoded, found = made[number % len(made)]
        decoded.timestamp_ms[:] = START + number * 60_000
        before, begin = time.process_time(), number * UNIT
        done = encode(decoded, found, partition="p", levels=LEVELS, model_sha256="ab" * 32, output=ArrayFormat())
        encoding += time.process_time() - before
        sink.publish(Unit("p", begin, begin + UNIT, done.series, done.forecasts, positions=done.positions))
    taken = time.perf_counter() - began, time.process_time() - used, encoding
    sink.close()
    return taken


def of_psycopg(session: psycopg.Connection, forecasts: int, *, prepared: bool) -> tuple[float, float]:
    """Copies the rows of the sink again; returns seconds by the clock and of this process.

    Args:
        session: finds the tables of the sink.
        forecasts: how many.
        prepared: whether the bytes are made before the time begins.
    """
    some = f"SELECT {_COLUMNS} FROM stored_forecasts LIMIT {8 * UNIT}"  # noqa: S608 - fixed names, as below
    rows: list[Any] = session.execute(some.encode()).fetchall()
    batches: list[Any] = [rows[at : at + UNIT] for at in range(0, len(rows), UNIT)]
    session.execute("CREATE TABLE bare (LIKE stored_forecasts INCLUDING ALL)")
    if prepared:
        copied = f"COPY (SELECT {_COLUMNS} FROM stored_forecasts LIMIT {UNIT} OFFSET %s) TO STDOUT (FORMAT BINARY)"  # noqa: S608
        for at in range(len(batches)):
            with session.cursor() as cursor, cursor.copy(copied.encode(), (at * UNIT,)) as copy:
                batches[at] = b"".join(bytes(one) for one in copy)
    began, used = time.perf_counter(), time.process_time()
    for number in range(forecasts // UNIT):
        batch = batches[number % len(batches)]
        with session.transaction(), session.cursor() as cursor, cursor.copy(_COPY) as copy:
            if prepared:
                copy.write(batch)
                continue
            copy.set_types(_TYPES)
            for row in batch:
                copy.write_row(row)
    taken = time.perf_counter() - began, time.process_time() - used
    session.execute("DROP TABLE bare")
    return taken


def sizes(session: psycopg.Connection, forecasts: int) -> dict[str, float]:
    """Returns bytes per forecast, with indexes: as they are stored, and with one row for each step."""
    stored = (
        "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'stored_forecasts'::regclass"
    )
    (arrays,) = session.execute(stored.encode()).fetchone() or (0,)
    few = min(forecasts, 50 * UNIT)
    by_step = (
        f"CREATE TABLE by_step AS SELECT f.id, f.series, f.context, f.position, f.origin, step::smallint, "  # noqa: S608
        f"t.target, s.quantiles::real[] FROM (SELECT * FROM stored_forecasts LIMIT {few}) AS f "
        f"CROSS JOIN generate_series(1, {STEPS}) AS step "
        "CROSS JOIN LATERAL (SELECT f.quantiles[step:step]) AS s (quantiles) "
        "CROSS JOIN LATERAL (SELECT f.origin + step * interval '1 minute') AS t (target)"
    )
    session.execute(by_step.encode())
    session.execute("CREATE INDEX ON by_step (series, target)")
    (rows,) = session.execute("SELECT pg_total_relation_size('by_step')").fetchone() or (0,)
    session.execute("DROP TABLE by_step")
    return {"arrays": int(arrays) / (forecasts // UNIT * UNIT), "rows": int(rows) / few}


def table(forecasts: int, url: str = "", rounds: int = 1) -> str:
    """Returns the best of some rounds of each way, in turns, and the sizes."""
    count = forecasts // UNIT * UNIT
    found: dict[str, list[tuple[float, float]]] = {"`postgres`": [], "psycopg, rows": [], "psycopg, bytes": []}
    encodings = list[float]()
    with server(url) as place, psycopg.connect(place, autocommit=True) as session:
        for _ in range(rounds):
            session.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE".encode())
            seconds, used, encoding = of_sink(place, forecasts)
            found["`postgres`"].append((seconds, used))
            encodings.append(encoding)
            session.execute(f"SET search_path = {SCHEMA}".encode())
            found["psycopg, rows"].append(of_psycopg(session, forecasts, prepared=False))
            found["psycopg, bytes"].append(of_psycopg(session, forecasts, prepared=True))
        size = sizes(session, forecasts)
        session.execute(f"DROP SCHEMA {SCHEMA} CASCADE".encode())
    lines = ["| way | forecasts/s | us of processor time of the client |", "|---|--:|--:|"]
    for name, times in found.items():
        best, least = min(one for one, _ in times), min(one for _, one in times)
        lines.append(f"| {name} | {count / best:,.0f} | {least / count * 1e6:.1f} |")
    lines.append(f"\nOf the processor time of `postgres`, {min(encodings) / count * 1e6:.1f} us are for encoding.")
    lines.append(
        f"Bytes per forecast, with indexes: {size['arrays']:.0f}; with a row for each step {size['rows']:.0f}."
    )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forecasts", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", default="", help="of a server; a schema of its own is made and dropped there")
    chosen = parser.parse_args(arguments)
    print(table(chosen.forecasts, chosen.url, chosen.rounds))


if __name__ == "__main__":
    main(sys.argv[1:])
