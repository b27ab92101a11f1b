"""The demand of three stores as Avro records on a topic, a second of which stands for an hour.

    python examples/guides/store_demand.py 127.0.0.1:9092 http://127.0.0.1:8081/apis/ccompat/v7 demand

registers the schema, writes the last two weeks (336 seconds), and then a record of each store a second.
"""

import io
import json
import math
import random
import sys
import time
from typing import Any

import httpx
from fastavro import parse_schema, schemaless_writer
from kafka import KafkaProducer

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Demand",
    "fields": [
        {"name": "store", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "units", "type": "double"},
    ],
}
STORES = {"store-1": 40.0, "store-2": 60.0, "store-3": 100.0}
HOURS = 336


def demand(mean: float, hour: int) -> float:
    """Returns the units that a store sells in an hour: most of them at six in the evening."""
    noise = random.Random(hour * 1000 + int(mean)).gauss(0.0, 0.03)
    return mean * (1.0 - 0.5 * math.cos(2 * math.pi * (hour - 6) / 24) + noise)


brokers, registry, topic = sys.argv[1:]
answer = httpx.post(f"{registry}/subjects/{topic}-value/versions", json={"schema": json.dumps(SCHEMA)})
answer.raise_for_status()
frame = b"\0" + int(answer.json()["id"]).to_bytes(4, "big")
schema, producer = parse_schema(SCHEMA), KafkaProducer(bootstrap_servers=brokers)


def send(second: int) -> None:
    """Sends the record of every store at a second."""
    for store, mean in STORES.items():
        payload = io.BytesIO()
        schemaless_writer(payload, schema, {"store": store, "at": 1000 * second, "units": demand(mean, second)})
        producer.send(topic, frame + payload.getvalue(), key=store.encode())


now = int(time.time())
for second in range(now - HOURS, now):
    send(second)
producer.flush()
print("the history is written", flush=True)
while True:
    now += 1
    time.sleep(max(0.0, now - time.time()))
    send(now)
