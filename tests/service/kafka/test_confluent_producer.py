"""Transactions of librdkafka without a response: abandoned soon after a connection broke."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.errors import TransportError
from service.kafka import confluent_producer
from service.kafka.confluent_producer import ConfluentProducer

MESSAGE = ("forecasts", 0, b"a", b"1", [])


class Library:
    """A fake of the library's producer: one of its calls gets no response, and its log reports a broken connection."""

    silent = ""

    def __init__(self, _settings, logger):
        self._logger, self._answer = logger, threading.Event()

    def _call(self, name, seconds):
        if self.silent == name:
            self._logger.handle(logging.LogRecord("", logging.DEBUG, "", 0, "FAIL broken", (), None))
            self._answer.wait(seconds)

    def init_transactions(self, _seconds):
        """Returns."""

    def begin_transaction(self):
        """Returns."""

    def produce(self, *_where, **_more):
        """Accepts the record."""

    def poll(self, _seconds):
        """Logs nothing more."""

    def send_offsets_to_transaction(self, _offsets, _group, seconds):
        """Waits for the group's coordinator."""
        self._call("send_offsets", seconds)

    def flush(self, seconds):
        """Waits for the leaders."""
        self._call("flush", seconds)
        return len(self)

    def __len__(self):
        return int(self.silent == "flush")

    def commit_transaction(self, seconds):
        """Waits for the transaction's coordinator."""
        self._call("commit_transaction", seconds)


@pytest.mark.parametrize("silent", ["send_offsets", "flush", "commit_transaction", ""])
def test_no_answer_behind_a_broken_connection(monkeypatch, silent):
    """Whichever call hangs, the transaction is abandoned some three seconds later, and not at its timeout."""
    monkeypatch.setattr(Library, "silent", silent)
    monkeypatch.setattr(confluent_producer, "Producer", Library)
    producer = ConfluentProducer(KafkaConfig(app="a", topics=["in"], client="confluent", transaction_timeout=60))
    producer.fence()
    began = time.monotonic()
    if silent:
        with pytest.raises(TransportError, match="no response"):
            producer.transact([MESSAGE], {TopicPartition("in", 0): 1}, None)
        assert 2.5 < time.monotonic() - began < 30
    else:
        producer.transact([MESSAGE], {TopicPartition("in", 0): 1}, None)
        assert time.monotonic() - began < 2.5
