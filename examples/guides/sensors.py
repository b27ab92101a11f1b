"""The temperature of three bearings, which a table keeps and a daemon receives; a minute stands for a day.

    python examples/guides/sensors.py "$DATABASE" http://127.0.0.1:9464/api/v1/events

makes the table `readings` with the last ten minutes, and then adds a reading of each sensor a second.
The third bearing warms up.
"""

import json
import math
import random
import sys
import time
from datetime import UTC, datetime

import httpx
import psycopg

DAY, HISTORY = 60, 600
WARMING = 50  # seconds before the end of the history: too few for an alert that begins in it, which is not sent
BEGIN = int(time.time())
SENSORS = {"bearing-1": 0.0, "bearing-2": 0.0, "bearing-3": 0.25}  # and the degrees per second by which it warms up


def temperature(sensor: str, at: int) -> float:
    """Returns degrees Celsius at a second."""
    noise = random.Random(f"{sensor} {at}").gauss(0.0, 0.3)
    warming = SENSORS[sensor] * max(0, at - BEGIN + WARMING)
    return round(50 + 3 * math.sin(2 * math.pi * at / DAY) + warming + noise, 2)


def readings(at: int) -> list[tuple[str, datetime, float]]:
    """Returns the reading of every sensor at a second."""
    return [(name, datetime.fromtimestamp(at, UTC), temperature(name, at)) for name in SENSORS]


database, daemon = sys.argv[1:]
with psycopg.connect(database, autocommit=True) as session:
    session.execute("CREATE TABLE readings (sensor text, at timestamptz, degrees float8, PRIMARY KEY (sensor, at))")
    with session.cursor().copy("COPY readings FROM STDIN") as copy:
        for second in range(BEGIN - HISTORY, BEGIN):
            for row in readings(second):
                copy.write_row(row)
    print("the history is written", flush=True)
    now = BEGIN - 1
    while True:
        now += 1
        time.sleep(max(0.0, now - time.time()))
        rows = readings(now)
        for row in rows:
            session.execute("INSERT INTO readings VALUES (%s, %s, %s)", row)
        events = [{"series": name, "timestamp": at.isoformat(), "value": value} for name, at, value in rows]
        body = "\n".join(json.dumps(event) for event in events).encode()
        try:
            headers = {"Content-Type": "application/x-ndjson"}
            httpx.post(daemon, content=body, headers=headers, timeout=60).raise_for_status()
        except httpx.HTTPError as error:
            print(f"{error}: the daemon has it from its history, or never", flush=True)
