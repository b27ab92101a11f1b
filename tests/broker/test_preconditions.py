"""Checks at a start: inputs must keep every record, and the group of a process that must be alone must be empty."""

from __future__ import annotations

import os
import re
import signal

import psutil
import pytest
from daemons import Daemons, events
from kafka import KafkaAdminClient
from kafka_tools import drain, positions, produce, settings, transport, wait_until

from service.errors import ConfigurationError, TransportBusyError
from service.kafka.preconditions import check_preconditions


@pytest.fixture
def compacted(admin, topics, app):
    """Makes an input topic with the given cleanup policy."""

    def make(policy):
        topic = topics()
        admin.delete_topics([topic])
        admin.create_topics(
            {f"{app}.events": {"num_partitions": 1, "replication_factor": 1, "configs": {"cleanup.policy": policy}}}
        )
        admin.wait_for_topics([f"{app}.events"])
        return f"{app}.events"

    return make


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_compacted_input(bootstrap, app, compacted, tmp_path, policy):
    """A compacted input is refused before anything is written; the message names the remedy."""
    topic = compacted(policy)
    one = transport(settings(bootstrap, app, topics=(topic,)), tmp_path)
    with pytest.raises(ConfigurationError, match=r"cleanup\.policy=delete.*on_compacted_input"):
        one.start()
    one.close()


def test_compacted_input_accepted(bootstrap, app, compacted, tmp_path, capsys):
    """A compacted input is read if it is accepted in the configuration, and the log reports the loss."""
    topic = compacted("compact")
    produce(bootstrap, topic, [b"a", b"b"], key=b"k")
    config = settings(bootstrap, app, topics=(topic,), on_compacted_input="accept")
    drain(lambda: transport(config, tmp_path))
    assert positions(bootstrap, app) == [0, 1]
    said = capsys.readouterr().out
    assert "input topic is compacted" in said
    assert "cannot read removed records again" in said


def test_an_unknown_policy(bootstrap, topics, app, tmp_path, capsys, monkeypatch):
    """A start continues if the brokers do not reveal the policy, as a right is missing; the log reports it."""
    topic = topics()
    monkeypatch.setattr(KafkaAdminClient, "describe_configs", lambda *_, **__: {"topic": {topic: {}}})
    one = transport(settings(bootstrap, app), tmp_path)
    one.start()
    one.close()
    assert "cleanup policy of an input topic is not known" in capsys.readouterr().out


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_alone_beside_a_group(bootstrap, topics, app, tmp_path, client):
    """A process that must be alone does not start while the group has members, and starts once they have left."""
    produce(bootstrap, topics(), [b"a"])
    member = transport(settings(bootstrap, app, client=client), tmp_path / "member")
    member.start()
    config = settings(bootstrap, app, client=client, membership="alone", session_timeout=1, request_timeout=1)
    one = transport(config, tmp_path / "alone")
    with pytest.raises(TransportBusyError, match="got 1 members"):
        one.start()
    one.close()
    member.close()
    drain(lambda: transport(config.model_copy(update={"session_timeout": 20.0}), tmp_path / "alone"))
    assert positions(bootstrap, app) == [0]


def ended(pid):
    """Whether a child process that was not waited for has ended."""
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


class Feed:
    """A continuous input and its answered offsets."""

    def __init__(self, bootstrap, app, topic):
        self._bootstrap, self._app, self._topic = bootstrap, app, topic
        self._lines = events(20_000, bad=False)
        self.sent = 0

    def until(self, happened):
        """Sends records until a condition holds."""

        def look():
            if happened():
                return True
            produce(self._bootstrap, self._topic, self._lines[self.sent : self.sent + 50])
            self.sent += 50
            return False

        wait_until(look)

    def answered(self):
        """Returns the answered offsets, in the order of the topic."""
        return positions(self._bootstrap, self._app)


@pytest.mark.parametrize(
    ("answer", "starts"),
    [
        ({"members": [], "error": None}, True),
        ({"members": [], "error": "[Error 69] GroupIdNotFoundError: Group a not found."}, True),
        ({"members": [], "error": "[Error 30] GroupAuthorizationFailedError"}, False),
        ({"members": [], "error": "[Error 14] CoordinatorLoadInProgressError"}, False),
    ],
    ids=["empty", "not found", "no rights", "loading"],
)
def test_an_answer_without_members(bootstrap, topics, app, monkeypatch, answer, starts):
    """A process that must be alone starts only if the brokers answer that the group has no members."""
    topics()
    config = settings(bootstrap, app, membership="alone", session_timeout=1, request_timeout=1)
    monkeypatch.setattr(KafkaAdminClient, "describe_groups", lambda _, groups: dict.fromkeys(groups, answer))
    if starts:
        check_preconditions(config)
        return
    with pytest.raises(TransportBusyError, match=re.escape(answer["error"])):
        check_preconditions(config)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_two_alone(bootstrap, topics, app, tmp_path, client):
    """If two processes must be alone, every event is answered once, and one of the processes ends with an error.

    The earlier process is suspended while the later one begins, and resumes with a polled batch.
    """
    feed = Feed(bootstrap, app, topics())
    alone = {"client": client, "membership": "alone", "stop_at_end": False}
    with Daemons(tmp_path, bootstrap, app, f"{app}.in", **alone) as daemons:
        first = daemons.start("one")
        feed.until(lambda: len(feed.answered()) > 100)
        os.kill(first, signal.SIGSTOP)
        second = daemons.start("two")
        before = len(feed.answered())
        feed.until(lambda: len(feed.answered()) > before)
        os.kill(first, signal.SIGCONT)
        feed.until(lambda: ended(first) or ended(second))
        (loser, _), (winner, pid) = sorted({"one": first, "two": second}.items(), key=lambda item: not ended(item[1]))
        assert daemons.wait(loser) == 1
        assert "another process has the name" in daemons.log(loser)
        wait_until(lambda: len(feed.answered()) >= feed.sent)
        os.kill(pid, signal.SIGTERM)
        assert daemons.wait(winner) == -signal.SIGTERM, daemons.log(winner)
    assert sorted(feed.answered()) == list(range(feed.sent))
