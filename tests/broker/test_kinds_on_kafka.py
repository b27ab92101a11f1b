"""Every kind of record of docs/kinds.md on a real topic: forecast by a daemon as plain events are, or rejected.

A daemon of its own reads each of the three largest groups of settings; the others are decoded as they are polled. The
forms of docs/forms.md that can be on a topic are read there with the settings that are chosen from the topic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from daemons import Daemons
from kafka import KafkaProducer
from kafka_tools import read_topic, settings, transport
from kind_records import GROUPS, RECORD_MS, Group, Kind, events_of, expected, value_of
from schema_registry import RegistryProcess

from service.config.input import InputConfig
from service.discovery.choice import settled
from service.discovery.sample import of_topic, sample_of_file
from service.messages.decode import Decoder
from service.messages.timestamps import parse_time
from service.ports import Records

Sent = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
FORMS: Final = Path(__file__).parents[1] / "data" / "forms"
MINUTE: Final = 60_000
BY_SETTINGS: Final = {
    "none": [group for group in GROUPS if not group.settings and not group.has_registry],
    "registry": [group for group in GROUPS if group.has_registry],
    "fields": [group for group in GROUPS if group.settings and group.in_daemon],
}


def send(bootstrap: str, topic: str, partition: int, records: Sequence[Sent]) -> list[int]:
    """Writes records with the time of all kinds; returns their offsets."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, enable_idempotence=True)
    futures = [producer.send(topic, value, key, list(headers), partition, RECORD_MS) for value, key, headers in records]
    producer.flush(20)
    offsets = [int(future.get(5).offset) for future in futures]
    producer.close(5)
    return offsets


def plain(group: Group, series: str, time_ms: int, value: float | None) -> bytes:
    """Returns an event of a series as the settings of the group read it without any conversion."""
    if not group.settings:
        return json.dumps({"series": series, "timestamp": time_ms, "value": value}).encode()
    device, _, name = series.partition(".reading.")
    return json.dumps({"device": {"id": device}, "at": time_ms, "reading": {name: value}}).encode()


def followers(group: Group, kinds: Sequence[Kind]) -> list[bytes]:
    """Returns two further events of every series, whose forecasts depend on the value of the first."""
    last: dict[str, int] = {}
    for kind in kinds:
        for series, time, _ in expected(kind, ""):
            last[series] = max(last.get(series, 0), int(parse_time(time) or 0))
    return [plain(group, series, time + step * MINUTE, float(step)) for series, time in last.items() for step in (1, 2)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BY_SETTINGS)
def test_daemon(
    name: str, bootstrap: str, topics: Callable[..., str], app: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Forecasts of all kinds, and those after them, are those of plain events; a reject says what its row says."""
    groups, topic = BY_SETTINGS[name], topics(partitions=2)
    group, kinds = groups[0], [kind for one in groups for kind in one.kinds]
    of_input = {key: value for key, value in group.settings.items() if key != "fields"}
    more: dict[str, dict[str, Any]] = {
        "input": of_input | {"max_ahead": "1d"}, "input.fields": group.settings.get("fields", {}),
    }  # fmt: skip
    registry = None
    if group.has_registry:
        registry = request.getfixturevalue("registry")
        more["schema_registry"] = {"url": registry.url}

    def number_of(schema: tuple[str, str]) -> int:
        assert isinstance(registry, RegistryProcess)
        return registry.register(f"{app}-{abs(hash(schema))}", schema[1], schema[0])

    sent: list[Sent] = [(value_of(kind, number_of), kind.key, kind.headers) for kind in kinds]
    after: list[Sent] = [(line, None, ()) for line in followers(group, kinds)]
    twins: list[Sent] = [
        (plain(group, series, int(parse_time(time) or 0), value), None, ())
        for kind in kinds
        for series, time, value in expected(kind, topic)
    ]
    offsets = send(bootstrap, topic, 0, [*sent, *after])
    send(bootstrap, topic, 1, [*twins, *after])
    with Daemons(tmp_path, bootstrap, app, topic, more) as daemons:
        assert daemons.finish() == 0, daemons.log()
        said = daemons.log()
    found: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
    for record in read_topic(bootstrap, f"{app}.forecasts"):
        one = json.loads(record.value)
        found[int(one["source"]["partition"].rpartition("-")[2])].append(one)
    for forecasts in found.values():  # series are on different partitions of the topic
        forecasts.sort(key=lambda one: (one["source"]["position"], one["source"].get("event", 0)))
    for at, kind in zip(offsets, kinds, strict=False):
        of_record = [(one["series"], one["origin"]) for one in found[0] if one["source"]["position"] == at]
        assert of_record == [(series, time) for series, time, _ in expected(kind, topic)], f"{kind.name}\n{said}"
    with_kinds, alone = ([one | {"source": None} for one in found[at]] for at in (0, 1))
    assert with_kinds == alone
    assert any(one["quantiles"] for one in alone)
    rejects = {
        int(headers["__connect.errors.offset"]): (record, headers)
        for record in read_topic(bootstrap, f"{app}.rejects")
        for headers in [dict(record.headers)]
    }
    assert rejects.keys() == {at for at, kind in zip(offsets, kinds, strict=False) if kind.reason}
    for at, kind in zip(offsets, kinds, strict=False):
        if kind.reason:
            record, headers = rejects[at]
            assert (record.value, record.key) == sent[offsets.index(at)][:2]
            assert headers["forecaster.reason"].decode() == kind.reason
            assert kind.says in headers["__connect.errors.exception.message"].decode(), kind.name


def received(bootstrap: str, app: str, folder: Path) -> Records:
    """Returns everything that is on the input topic of an application, as Kafka's source returns it."""
    batches: list[Records] = []
    one = transport(settings(bootstrap, app), folder)
    one.start()
    while not one.finished():
        if (records := one.poll(10_000, 0.5)) is not None:
            batches.append(records)
    one.close()
    headers = [tuple(record) for batch in batches for record in (batch.headers or [()] * len(batch))]
    positions = [at for batch in batches for at in batch.positions]
    values, keys, times = (
        [one for batch in batches for one in column(batch) or ()]
        for column in (lambda batch: batch.values, lambda batch: batch.keys, lambda batch: batch.timestamps_ms)
    )
    return Records(batches[0].partition, positions, positions[-1] + 1, values, keys, headers, times)


def part(records: Records, offsets: Sequence[int]) -> Records:
    """Returns the records at offsets that follow each other."""
    where = slice(offsets[0], offsets[-1] + 1)
    assert list(records.positions[where]) == list(offsets)
    columns = (records.keys, records.headers, records.timestamps_ms)
    keys, headers, times = (None if column is None else column[where] for column in columns)
    return Records(records.partition, offsets, offsets[-1] + 1, records.values[where], keys, headers, times)


def test_other_settings(bootstrap: str, topics: Callable[..., str], app: str, tmp_path: Path) -> None:
    """The kinds of the groups without a daemon are decoded from a topic as their rows say."""
    topic, groups = topics(), [group for group in GROUPS if not group.in_daemon]
    offsets = [
        send(bootstrap, topic, 0, [(kind.value, kind.key, kind.headers) for kind in group.kinds]) for group in groups
    ]
    records = received(bootstrap, app, tmp_path)
    for group, at in zip(groups, offsets, strict=True):
        decoded = Decoder(InputConfig.model_validate(group.settings)).decode(part(records, at))
        details = {reject.position: f"{reject.reason} {reject.detail}" for reject in decoded.rejects}
        for index, kind in enumerate(group.kinds):
            assert events_of(decoded, index) == expected(kind, topic)
            detail = details.get(at[index], "")
            assert detail.startswith(kind.reason)
            assert kind.says in detail
            assert bool(detail) == bool(kind.reason)


def test_forms(bootstrap: str, topics: Callable[..., str], app: str, tmp_path: Path) -> None:
    """Records of every form have the events of its file; where they are JSON, with settings chosen from the topic."""
    topic, samples = topics(), {path.name: sample_of_file(str(path), InputConfig()) for path in sorted(FORMS.iterdir())}
    offsets = {}
    for name, sample in samples.items():
        headers = sample.records.headers or [()] * len(sample.records)
        one = [(value, None, head) for value, head in zip(sample.records.values, headers, strict=True)]
        offsets[name] = send(bootstrap, topic, 0, one)
    records = received(bootstrap, app, tmp_path)
    for name, sample in samples.items():
        from_file = settled(sample, InputConfig())
        on_topic = part(records, offsets[name])
        is_json = all(value[:1] in {b"{", b"["} for value in on_topic.values)
        chosen = settled(of_topic(topic, on_topic, InputConfig()), InputConfig()) if is_json else from_file
        wanted, found = Decoder(from_file).decode(sample.records), Decoder(chosen).decode(on_topic)
        assert len(wanted) > 0
        for index in range(len(on_topic)):
            assert events_of(found, index) == events_of(wanted, index), name
        assert (found.rejects, wanted.rejects) == ([], [])
