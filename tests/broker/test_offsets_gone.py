"""Group offsets that are deleted or reset: no event is answered twice unnoticed, and runs are kept apart."""

from __future__ import annotations

import json
import re
import time

import pytest
from contract import unit_of
from daemons import Daemons, events
from kafka.admin import MemberToRemove
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata, TopicPartition
from kafka_tools import Shelf, crash, drain, make_topics, produce, read_topic, settings, transport

from service.errors import SourceGoneError
from service.kafka.runs import mark_of, marked_run
from service.ports import Adoption, Reject

SHA256 = "a" * 64
RETRAIN = {
    "train": {"k1": 8, "k2": 16, "batch": 8, "max_steps": 20, "evaluate_every": 10, "margin": -1.0},
    "retrain": {"every_events": 500, "first_after_events": 400, "wait": "true", "nice": 0},
}


def retried(call):
    """Repeats a call that the brokers refuse while an ended member is still in the group."""
    deadline = time.monotonic() + 60
    while True:
        try:
            found = call()
        except KafkaError:
            found = {"": "refused"}
        if not isinstance(found, dict) or all(
            answer in ("OK", None) or not answer for answer in map(_plain, found.values())
        ):
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def _plain(answer):
    return "" if getattr(answer, "errno", None) == 0 or answer in ("OK", None) else str(answer)


class Group:
    """The offsets of the group, as an operator sets them.

    Members are static: one that ended stays in the group for its session, in which brokers refuse to change offsets.
    They are removed first, as an operator does who does not want to wait for that.
    """

    def __init__(self, admin, name, topic):
        self._admin, self._name, self._source = admin, name, TopicPartition(topic, 0)

    def offset(self):
        """Returns the committed offset with its metadata."""
        return self._admin.list_group_offsets({self._name: [self._source]})[self._name][self._source]

    def delete(self):
        """Deletes the offset, as brokers do for a group that was empty for too long."""
        self._remove_members()
        retried(lambda: self._admin.delete_group_offsets(self._name, [self._source]))

    def reset(self, offset):
        """Sets the offset, as Kafka's tools do."""
        self._remove_members()
        retried(lambda: self._admin.alter_group_offsets(self._name, {self._source: OffsetAndMetadata(offset, "", -1)}))

    def _remove_members(self):
        described = self._admin.describe_groups([self._name])[self._name]
        ended = [MemberToRemove(member["member_id"], member["group_instance_id"]) for member in described["members"]]
        self._admin.remove_group_members(self._name, ended)


@pytest.fixture
def group(admin, app):
    """The group of the application."""
    return Group(admin, app, f"{app}.in")


class Answers:
    """Makes units as the engine does, for the current run of the transport."""

    def __init__(self, config, folder):
        self._config, self._folder, self.transport = config, folder, None

    def make(self):
        """Makes a transport."""
        self.transport = transport(self._config, self._folder, Shelf({SHA256: b"a model"}))
        return self.transport

    def unit(self, records):
        """Makes a forecast per record, in the run of the partition; the first unit of a run adopts a model."""
        run = self.transport.run(records.partition)
        first = not self.transport.adoptions(records.partition)
        unit = unit_of(records, run=run, adoption=Adoption(records.positions[0], SHA256) if first else None)
        sources = [{"partition": records.partition, "position": at, "run": run} for at in records.positions]
        unit.forecasts[:] = [json.dumps({"source": source}).encode() for source in sources]
        return unit

    def drain(self, **more):
        """Answers all records."""
        return drain(self.make, unit=self.unit, **more)


def answered(bootstrap, app):
    """Returns run and offset of every forecast, in order."""
    found = [json.loads(record.value)["source"] for record in read_topic(bootstrap, f"{app}.forecasts")]
    return [(source.get("run", 1), source["position"]) for source in found]


@pytest.fixture(params=["kafka-python", "confluent"])
def made(request, bootstrap, topics, app, tmp_path):
    """Makes `Answers` with further settings; twelve records are already answered."""
    produce(bootstrap, topics(), [b"%d" % i for i in range(12)])

    def make(**more):
        return Answers(settings(bootstrap, app, client=request.param, session_timeout=6, **more), tmp_path)

    make().drain()
    assert answered(bootstrap, app) == [(1, at) for at in range(12)]
    return make


def test_a_mark_belongs_to_its_offset():
    """A mark that was copied to another offset is not accepted."""
    assert marked_run(mark_of(3, 47), 47) == 3
    assert marked_run(mark_of(3, 47), 46) is None
    assert marked_run("", 0) is None


def test_offsets_carry_a_mark(made, group):
    """Both clients write a mark with the offset, and a start accepts the marked offset."""
    assert marked_run(group.offset().metadata, 12) == 1
    made().drain()
    assert group.offset().offset == 12


@pytest.mark.parametrize("reset", [None, 0, 11])
def test_stops(made, group, bootstrap, app, reset):
    """A start stops if offsets are deleted or set back, answers nothing twice, and reports where to resume."""
    if reset is None:
        group.delete()
    else:
        group.reset(reset)
    one = made().make()
    one.start()
    with pytest.raises(SourceGoneError, match=r"--to-offset 12 .*on_offsets_gone") as error:
        one.committed(f"{app}.in-0")
    one.close()
    assert len(answered(bootstrap, app)) == 12
    (offset,) = re.findall(r"--to-offset (\d+)", str(error.value))
    group.reset(int(offset))
    produce(bootstrap, f"{app}.in", [b"x"])
    made().drain()
    assert answered(bootstrap, app) == [(1, at) for at in range(13)]
    assert marked_run(group.offset().metadata, 13) == 1


@pytest.mark.parametrize("reset", [None, 0, 5])
def test_a_new_run(made, group, bootstrap, app, reset):
    """A new run answers all events from its start again under the next number; a restart resumes that run."""
    if reset is None:
        group.delete()
    else:
        group.reset(reset)
    start, answers = reset or 0, made(on_offsets_gone="new-run")
    one = answers.make()
    one.start()
    records = one.poll(3, 5)
    assert one.committed(f"{app}.in-0") == reset
    assert (one.run(f"{app}.in-0"), one.adoptions(f"{app}.in-0")) == (2, [])
    one.publish(answers.unit(records))
    crash(one)
    again = made().make()  # the offset is committed again
    again.start()
    assert again.committed(f"{app}.in-0") == start + 3
    assert (again.run(f"{app}.in-0"), again.adoptions(f"{app}.in-0")) == (2, [Adoption(start, SHA256)])
    again.close()
    made().drain()
    assert answered(bootstrap, app) == [(1, at) for at in range(12)] + [(2, at) for at in range(start, 12)]
    group.delete()
    made(on_offsets_gone="new-run").drain()
    assert answered(bootstrap, app)[-12:] == [(3, at) for at in range(12)]


def test_a_crash_before_the_first_transaction(made, group, bootstrap, app):
    """A run that committed nothing does not count: the next start uses its number again."""
    group.delete()
    one = made(on_offsets_gone="new-run").make()
    one.start()
    assert one.run(f"{app}.in-0") == 2
    crash(one)
    made(on_offsets_gone="new-run").drain()
    assert answered(bootstrap, app)[12:] == [(2, at) for at in range(12)]


def test_only_rejects(bootstrap, topics, app, group, tmp_path):
    """Rejected records are not written twice after an offset reset, even if no model was ever adopted."""
    produce(bootstrap, topics(), [b"x"] * 4)
    config = settings(bootstrap, app)

    def unit(records):
        rejects = [Reject(at, b"x", "undecodable", "got x") for at in records.positions]
        found = unit_of(records, rejects=rejects)
        return type(found)(found.partition, found.position, found.next_position, [], [], rejects)

    drain(lambda: transport(config, tmp_path), unit=unit)
    group.reset(2)
    one = transport(config, tmp_path)
    one.start()
    with pytest.raises(SourceGoneError, match="--to-offset 4 "):
        one.committed(f"{app}.in-0")
    one.close()
    assert len(read_topic(bootstrap, f"{app}.rejects")) == 4


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_alone(bootstrap, topics, app, group, tmp_path, client):
    """A process without a group stops at an offset that was set back, or begins a new run if configured."""
    produce(bootstrap, topics(), [b"%d" % i for i in range(6)])

    def answers(**more):
        return Answers(settings(bootstrap, app, client=client, membership="alone", **more), tmp_path)

    answers().drain()
    answers().drain()
    group.reset(2)
    one = answers().make()
    one.start()
    with pytest.raises(SourceGoneError, match="--to-offset 6 "):
        one.committed(f"{app}.in-0")
    one.close()
    answers(on_offsets_gone="new-run").drain()
    assert answered(bootstrap, app) == [(1, at) for at in range(6)] + [(2, at) for at in range(2, 6)]


def test_set_before_the_first_start(bootstrap, topics, app, group, tmp_path):
    """An offset that is set before the first answer is the start of the first run."""
    produce(bootstrap, topics(), [b"%d" % i for i in range(12)])
    group.reset(7)
    Answers(settings(bootstrap, app), tmp_path).drain()
    assert answered(bootstrap, app) == [(1, at) for at in range(7, 12)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_daemons(bootstrap, admin, app, tmp_path):
    """A daemon stops when offsets are gone, begins a new run if configured, and resumes that run after kills.

    The old run has adopted models at offsets after the kill and has newer snapshots; the new run uses none of them.
    """
    records, old = events(1300), {}
    admin.create_topics({f"{app}.in": {"num_partitions": 1, "replication_factor": 1}})
    produce(bootstrap, f"{app}.in", records)
    for name in (app, f"{app}quiet"):
        make_topics(admin, name, 1)
        with Daemons(tmp_path / name, bootstrap, name, f"{app}.in", RETRAIN) as daemons:
            assert daemons.run() == 0, daemons.log()
            group = Group(admin, name, f"{app}.in")
            group.delete()
            old[name] = [record.value for record in read_topic(bootstrap, f"{name}.forecasts")]
            assert daemons.run() == 1
            assert 'set kafka.on_offsets_gone = "new-run"' in daemons.log()
            assert len(read_topic(bootstrap, f"{name}.forecasts")) == len(old[name])
            daemons._kafka["on_offsets_gone"] = "new-run"
            daemons._config("one")
            for kill in ("step:5:20", "step:4:9") if name == app else ():
                assert daemons.run(kill_at=kill) == -9
            assert daemons.finish() == 0, daemons.log()
            folders = [path.name for path in (daemons.data() / "snapshots").iterdir() if path.is_dir()]
            assert folders == [f"{app}%2Ein-0%run2"]
    new = {name: [r.value for r in read_topic(bootstrap, f"{name}.forecasts")][len(old[name]) :] for name in old}
    assert old[app] == old[f"{app}quiet"]
    assert new[app] == new[f"{app}quiet"]
    sources = [json.loads(value)["source"] for value in new[app]]
    assert {source["run"] for source in sources} == {2}
    assert [source["position"] for source in sources] == [json.loads(v)["source"]["position"] for v in old[app]]
    models = {json.loads(value)["model"] for value in new[app]}
    assert len(models) > 1, "no model was adopted in the new run"
