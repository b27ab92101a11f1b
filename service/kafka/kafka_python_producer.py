"""The transactional producer of kafka-python, with additions so that `transact` returns only after a full commit.

Defects of 3.0.12, each with a regression test:

    a batch that could not be delivered leaves the transaction committable   -> every future is checked first
    commit, abort and send_offsets wait without a limit                      -> a time limit is added here
    `send` never blocks                                                      -> bytes in flight are bounded here
    `close` may leave the sender thread running                              -> it is forced and joined here
    a producer that is garbage-collected silences the library's log          -> `__del__` does nothing
    a retried request may arrive twice, late                                 -> a new epoch before the next transaction
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import kafka.errors as kafka_errors
import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.producer.transaction_manager import (
    AddOffsetsToTxnHandler,
    AddPartitionsToTxnHandler,
    EndTxnHandler,
    TxnOffsetCommitHandler,
)
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from service.config.kafka import KafkaConfig
from service.errors import TransportError
from service.kafka.connection import connection
from service.kafka.construct import construct
from service.kafka.records import Message

_log = structlog.get_logger(__name__)

# Beyond this limit, `send` waits until earlier records are acknowledged.
_BYTES_ON_THE_WAY: Final = 32 << 20
_BATCH_BYTES: Final = 256 << 10  # with the default of 16 KiB, a request has only about ten forecasts
_CLOSE_SECONDS: Final = 2.0
# Pause before a first request of a transaction is repeated: brokers refuse it until the markers of the last one are
# written, which takes some milliseconds, and the library's thread does nothing else meanwhile.
_BUSY_MS: Final = 2

# Another producer has the same transactional id, or another member the same instance id.
_FENCED: Final = (
    kafka_errors.ProducerFencedError,
    kafka_errors.InvalidProducerEpochError,
    kafka_errors.FencedInstanceIdError,
    kafka_errors.TransactionCoordinatorFencedError,
)

_UNREACHABLE: Final = (
    kafka_errors.KafkaTimeoutError,
    kafka_errors.KafkaConnectionError,
    kafka_errors.CoordinatorNotAvailableError,
    kafka_errors.CoordinatorLoadInProgressError,
)


def is_fenced(error: object) -> bool:
    """Returns whether an error of the library means fencing; it may be nested in the arguments of another one."""
    if isinstance(error, _FENCED):
        return True
    return isinstance(error, KafkaError) and any(is_fenced(part) for part in error.args)


def is_unreachable(error: object) -> bool:
    """Returns whether an error of the library means that no broker answered."""
    return isinstance(error, _UNREACHABLE)


def note_epoch(before: int) -> None:
    """Logs the begin of a new epoch, needed because requests of the previous one may still arrive.

    Args:
        before: number of epochs so far.
    """
    _log.debug("new producer epoch", before=before)


class _Producer(KafkaProducer):  # type: ignore[misc] # the library ships no types
    """The library's producer without its destructor, which would replace the logger of the whole module."""

    def __del__(self) -> None:
        """Does nothing: `TransactionalProducer.close` releases everything."""


class TransactionalProducer:
    """One producer, used by one thread, discarded after any error: `service.kafka.client.Producer`.

    The library retries a request silently when its answer is late or its connection breaks. A copy that arrives late,
    during the next transaction, would end that transaction. So an epoch is not used further after the end of a
    transaction was sent twice: a new epoch is begun first, and brokers reject requests of the previous one.

    Args:
        settings: of the transport.
        **more: arguments for the library, which override the others; for tests.

    Attributes:
        epochs: number of epochs begun.
    """

    stages = False  # the library encodes under the interpreter lock, so staging gains no time

    def __init__(self, settings: KafkaConfig, **more: Any) -> None:
        self._settings, self._more = settings, more
        self._limit_ms = round(settings.transaction_timeout * 1000)
        self._sent_once = True
        self._began = False
        self._futures: list[Any] = []  # of the records of the transaction
        self._on_the_way = 0  # bytes of records sent since the last flush
        self.epochs = 0
        self._producer = self._connect()

    def _connect(self) -> _Producer:
        settings = self._settings
        arguments = connection(settings) | {
            "transactional_id": settings.transactional_id,
            "transaction_timeout_ms": self._limit_ms,
            "delivery_timeout_ms": round(settings.delivery_timeout * 1000),
            "max_block_ms": self._limit_ms,
            "acks": "all",
            "linger_ms": 5,
            "batch_size": _BATCH_BYTES,
            "max_request_size": max(settings.max_request_bytes, 1 << 20),
            "compression_type": settings.compression or None,
        }
        producer = construct(_Producer, **(arguments | self._more))
        manager = producer._transaction_manager  # noqa: SLF001 - every request passes through it
        enqueue = manager._enqueue_request  # noqa: SLF001 - as above
        sending = producer._sender.config  # noqa: SLF001 - of the thread that pauses
        usual_ms = sending["retry_backoff_ms"]

        def watch(request: Any) -> None:
            first = isinstance(request, (AddPartitionsToTxnHandler, AddOffsetsToTxnHandler))
            sending["retry_backoff_ms"] = _BUSY_MS if first else usual_ms
            if isinstance(request, (EndTxnHandler, TxnOffsetCommitHandler)) and "on_complete" not in vars(request):
                request.on_complete = functools.partial(self._answered, request.on_complete)
            enqueue(request)

        manager._enqueue_request = watch  # noqa: SLF001 - as above
        return producer

    def fence(self) -> None:
        """Ends the open transaction of a predecessor with the same id, and fences that predecessor."""
        self._producer.init_transactions()
        self._sent_once = True
        self.epochs += 1

    def partitions(self, topic: str) -> int:
        """Returns the number of partitions of a topic.

        Raises:
            TransportError: the topic does not exist.
        """
        try:
            found = self._producer.partitions_for(topic)
        except kafka_errors.KafkaError as error:
            found, reason = None, error
        else:
            reason = None
        if not found:
            msg = f'topic "{topic}": not found ({reason}); `forecaster topics create` creates missing topics'
            raise TransportError(msg)
        return len(found)

    def send(self, messages: Sequence[Message]) -> None:
        """Passes records to the library and begins the transaction if needed; waits if too many bytes are in flight."""
        if not self._began:
            self._current_epoch().begin_transaction()
            self._began = True
        producer = self._producer
        for topic, partition, key, value, headers in messages:
            self._futures.append(producer.send(topic, value=value, key=key, headers=headers, partition=partition))
            self._on_the_way += len(value or b"")
            if self._on_the_way > _BYTES_ON_THE_WAY:
                self._flush()

    def transact(
        self,
        messages: Sequence[Message],
        offsets: Mapping[TopicPartition, int],
        group: ConsumerGroupMetadata,
        mark: str = "",
    ) -> None:
        """Writes records and offsets as one transaction. A return means committed; any exception means unknown.

        Args:
            messages: records to send; none larger than the limit.
            offsets: next offset of every input partition.
            group: the present membership, with which brokers reject a member that lost its partitions.
            mark: text committed with the offsets.
        """
        self.send(messages)
        if self._futures:
            self._flush()
        # The library would commit without the records whose future failed.
        for future in self._futures:
            if not future.succeeded():
                raise future.exception or kafka_errors.KafkaTimeoutError("a record was not acknowledged")
        manager = self._producer._transaction_manager  # noqa: SLF001 - the public calls wait without a limit
        if offsets:
            entries = {source: OffsetAndMetadata(offset, mark, -1) for source, offset in offsets.items()}
            self._await(manager.send_offsets_to_transaction(entries, group), "send_offsets_to_transaction")
        self._await(manager.begin_commit(), "commit_transaction")
        self._futures.clear()
        self._began = False

    def _flush(self) -> None:
        self._producer.flush(self._limit_ms / 1000)
        self._on_the_way = 0

    def maintain(self) -> None:
        """Does nothing: this library needs no periodic call to log."""

    def _answered(self, complete: Callable[[int, Any], None], number: int, answer: Any) -> None:
        """Records a request without an answer, which the library is about to retry."""
        self._sent_once = self._sent_once and not isinstance(answer, Exception)
        complete(number, answer)

    def _current_epoch(self) -> _Producer:
        """Returns the producer, with a new epoch where requests of the last transaction may still arrive."""
        if not self._sent_once:
            note_epoch(self.epochs)
            self.close(broken=False)
            self._producer = self._connect()
            self.fence()
        return self._producer

    def _await(self, result: Any, what: str) -> None:
        self._producer._sender.wakeup()  # noqa: SLF001 - as the public calls do
        if not result.wait(timeout_ms=self._limit_ms):
            msg = f"{what}: no response within {self._limit_ms} ms"
            raise kafka_errors.KafkaTimeoutError(msg)

    def close(self, *, broken: bool) -> None:
        """Ends the sender thread, after its pending requests (orderly) or without sending them (broken)."""
        producer, sender = self._producer, self._producer._sender  # noqa: SLF001 - close() may leave it running
        if not broken:
            sender.initiate_close()
            sender.join(_CLOSE_SECONDS)
        if sender.is_alive():
            sender.force_close()
            sender.join(_CLOSE_SECONDS)
        if not sender.is_alive():
            producer.close(timeout=0)
