"""The transactional producer of librdkafka, and the settings that it shares with the consumer."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Place
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.errors import TransportError
from service.kafka.confluent_calls import Call, close_within, hold_for
from service.kafka.connection import bearer_token
from service.kafka.kafka_python_producer import note_epoch
from service.kafka.records import Message

library_log: Final = logging.getLogger("confluent_kafka")  # handled like the logs of other libraries

_TOKEN_SECONDS: Final = 300.0  # validity of a token; then the file is read again
# First pause before a retry; it doubles up to a second. Brokers refuse the first request of a transaction until the
# markers of the last one are written, which takes some milliseconds.
_RETRY_MS: Final = 2
_CLOSE_SECONDS: Final = 2.0
OFFSETS_ONCE_SECONDS: Final = 0.45  # a shorter call sent TxnOffsetCommit once: it is retried after 0.5 s
_CHECK_SECONDS: Final = 0.1  # interval of reading the log during a call
_DISCONNECTED_SECONDS: Final = 3.0  # longest call after a connection of the transaction broke


def settings_of(settings: KafkaConfig) -> dict[str, Any]:
    """Returns the settings common to consumer and producer, with librdkafka's names."""
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.bootstrap),
        "client.id": settings.transactional_id,
        "security.protocol": settings.security,
        "reconnect.backoff.max.ms": 2000,
        "log_level": 3,
    }
    if settings.security.endswith("ssl"):
        files = {
            "ssl.ca.location": settings.ca_file,
            "ssl.certificate.location": settings.certificate_file,
            "ssl.key.location": settings.key_file,
        }
        found |= {name: str(path) for name, path in files.items() if path is not None}
        found["ssl.endpoint.identification.algorithm"] = "https" if settings.check_hostname else "none"
        if password := settings.key_password.get_secret_value():
            found["ssl.key.password"] = password
    if settings.security.startswith("sasl"):
        found["sasl.mechanism"] = settings.mechanism
        if settings.mechanism == "OAUTHBEARER":
            found["oauth_cb"] = lambda _: _token(settings)
        else:
            found |= {"sasl.username": settings.username, "sasl.password": settings.sasl_password()}
    return found


def _token(settings: KafkaConfig) -> tuple[str, float]:
    if settings.token_file is None:
        msg = "kafka.token_file: not set"
        raise TransportError(msg)
    return bearer_token(settings.token_file), time.time() + _TOKEN_SECONDS


class _Tries(logging.Logger):
    """The library's log: counts attempts of EndTxn, notes lost connections, forwards errors.

    Attributes:
        answers: to EndTxn, failures included, since it was last set to 0.
        disconnected: whether a connection broke since it was last set to False.
    """

    def __init__(self) -> None:
        super().__init__("librdkafka")
        self.answers = 0
        self.disconnected = False
        self.addHandler(_Counting(self))


class _Counting(logging.Handler):
    def __init__(self, tries: _Tries) -> None:
        super().__init__()
        self._tries = tries

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("ENDTXN "):
            self._tries.answers += 1
            return
        if text.startswith(("FAIL ", "TXNCOORD ")):  # a connection ended; the coordinator is looked up again
            self._tries.disconnected = True
        if record.levelno >= logging.ERROR:
            library_log.error(text)


class ConfluentProducer:
    """`service.kafka.client.Producer` over librdkafka.

    The library retries a request silently when its answer is late or its connection breaks. A copy that arrives late,
    during the next transaction, would end that transaction. So an epoch is not used further after the end of a
    transaction may have been sent twice: a new epoch is begun first, and brokers reject requests of the previous one.
    The number of attempts of EndTxn is counted from the library's log. For TxnOffsetCommit the duration of the call
    shows it, because the library pauses before a retry.

    Args:
        settings: of the transport.

    Attributes:
        epochs: number of epochs begun.
    """

    stages = True  # the library sends in its own threads

    def __init__(self, settings: KafkaConfig) -> None:
        self._settings = settings
        self._limit = settings.transaction_timeout
        self._began = False
        self._sent_once = True
        self._tries = _Tries()
        self.epochs = 0
        self._producer = self._connect()

    def _connect(self) -> Producer:
        settings = self._settings
        limits = {
            "transactional.id": settings.transactional_id,
            "transaction.timeout.ms": round(settings.transaction_timeout * 1000),
            "message.timeout.ms": round(settings.delivery_timeout * 1000),
            "socket.timeout.ms": round(min(settings.request_timeout, settings.delivery_timeout) * 1000),
            "message.max.bytes": max(settings.max_request_bytes, 1 << 20),
            "linger.ms": 100,  # full batches while further records are encoded; the end of a transaction flushes
            "batch.size": 1 << 20,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 64 << 10,  # in flight; beyond it `produce` raises BufferError
            "compression.type": settings.compression or "none",
            "retry.backoff.ms": _RETRY_MS,
            "debug": "eos",
            "log_level": 7,
        }
        return Producer(settings_of(settings) | limits, logger=self._tries)

    def fence(self) -> None:
        """Ends the open transaction of a predecessor with the same id, and fences that predecessor."""
        self._producer.init_transactions(self._limit)
        self._producer.poll(0)
        self._tries.disconnected = False
        self._sent_once = True
        self.epochs += 1

    def partitions(self, topic: str) -> int:
        """Returns the number of partitions of a topic.

        Raises:
            TransportError: the topic does not exist.
        """
        found = self._producer.list_topics(topic, timeout=self._limit).topics[topic]
        if found.error is not None or not found.partitions:
            msg = f'topic "{topic}": not found ({found.error}); `forecaster topics create` creates missing topics'
            raise TransportError(msg)
        return len(found.partitions)

    def send(self, messages: Sequence[Message]) -> None:
        """Passes records to the library, which sends them in its own threads; begins the transaction if needed."""
        self._begin()
        # Without a callback per record, which would cost as much as the call: a record that is not delivered makes the
        # library refuse the commit.
        produce = self._producer.produce
        for topic, partition, key, value, headers in messages:
            while True:
                try:
                    produce(topic, value, key, partition, headers=headers or None)  # type: ignore[arg-type] # invariant
                except BufferError:
                    self._producer.poll(0.05)
                else:
                    break

    def transact(
        self, messages: Sequence[Message], offsets: Mapping[TopicPartition, int], group: Any, mark: str = ""
    ) -> None:
        """Commits the transaction with these records and offsets. A return means committed, any exception unknown.

        The first request of a transaction is refused until the markers of the last one are written. The library repeats
        that of the offsets after `_RETRY_MS`, and that of the records after 20 ms at the earliest: so the offsets go
        first, unless records were sent while others were being encoded.
        """
        once, staged = True, self._began
        if staged:
            self.send(messages)
        self._begin()
        producer = self._producer
        if offsets:
            places = [Place(source.topic, source.partition, offset, mark) for source, offset in offsets.items()]
            seconds = self._await(
                Call("send_offsets", lambda: producer.send_offsets_to_transaction(places, group, self._limit))
            )
            once = seconds < OFFSETS_ONCE_SECONDS
        if not staged:
            self.send(messages)
        began = time.monotonic()
        while producer.flush(_CHECK_SECONDS) and not self._waited_enough(began):
            pass
        if len(producer):
            msg = "records were not acknowledged: no response in time"
            raise TransportError(msg)
        producer.poll(0)  # entries of earlier calls must not be counted
        self._tries.answers = 0
        self._await(Call("commit_transaction", lambda: producer.commit_transaction(self._limit)))
        producer.poll(0)
        self._sent_once = once and self._tries.answers == 1
        self._began = self._tries.disconnected = False

    def _await(self, call: Call) -> float:
        """Waits for a call up to the time limit, or a shorter one once a connection of this transaction broke.

        The library looks up a coordinator without a time limit: if none is available, as after the start of a broker,
        it waits for the next change of a connection and does not repeat the request.

        Returns:
            The seconds that the call took.

        Raises:
            UnreachableError: the call did not return.
        """
        began = time.monotonic()
        while not call.returned(_CHECK_SECONDS):
            self._producer.poll(0)
            if self._waited_enough(began):
                call.leave(time.monotonic() - began)
        return call.seconds

    def _waited_enough(self, began: float) -> bool:
        seconds = time.monotonic() - began
        return seconds > (_DISCONNECTED_SECONDS if self._tries.disconnected else self._limit)

    def maintain(self) -> None:
        """Processes the library's log entries; called periodically, so that they do not accumulate."""
        self._producer.poll(0)

    def _begin(self) -> None:
        """Begins the transaction if needed, in a new epoch where requests of the last one may still arrive."""
        if self._began:
            return
        if not self._sent_once:
            note_epoch(self.epochs)
            self._producer.flush(0)
            self._producer = self._connect()
            self.fence()
        self._producer.begin_transaction()
        self._began = True

    def close(self, *, broken: bool) -> None:
        """Closes the producer; if `broken`, records in flight are discarded."""
        producer = self._producer

        def end() -> None:
            if broken:
                producer.purge()
            producer.flush(1.0)

        close_within(_CLOSE_SECONDS, end)
        if broken or self._began:
            hold_for(self._settings.request_timeout + 1.0, producer)
