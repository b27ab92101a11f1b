"""Constructs the library's clients without leaks on failure, and works around a defect of its batch reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, SupportsIndex, TypeVar

from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient
from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch

from service.config.kafka import KafkaConfig
from service.errors import TransportError
from service.kafka.connection import connection

Client = TypeVar("Client")


class _Text(bytes):
    """A slice of a record that can be decoded as text whatever it contains."""

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:  # noqa: ARG002 - never strict
        """Decodes the text, with a replacement character for invalid UTF-8."""
        return super().decode(encoding, "replace")


class _Lenient(bytearray):
    """The bytes of a batch whose slices can be decoded as text."""

    def __getitem__(self, at: SupportsIndex | slice) -> Any:
        """Returns a byte or a slice."""
        found = super().__getitem__(at)
        return _Text(found) if isinstance(found, bytearray) else found


class _Batch(DefaultRecordBatch):  # type: ignore[misc] # the library ships no types
    """The library's batch reader, which also accepts header names that are not UTF-8.

    Brokers accept any bytes as a name. In the library a single one fails the whole batch, again at every start.
    """

    def _read_msg(self) -> Any:
        try:
            return super()._read_msg()
        except UnicodeDecodeError:
            strict: Any = self._buffer
            self._buffer: Any = _Lenient(strict)
            try:
                return super()._read_msg()
            finally:
                self._buffer = strict


memory_records.DefaultRecordBatch = _Batch


def construct(kind: Callable[..., Client], **arguments: Any) -> Client:
    """Constructs a client of the library.

    Its constructors connect, and a failing one does not close the network loop that it created: each attempt leaves a
    pair of sockets open until the next garbage collection. Here the loop is closed immediately.

    Args:
        kind: a class of the library: consumer, producer, admin client.
        **arguments: for its constructor.
    """
    begun: list[Any] = []

    def network(**configs: Any) -> Any:
        begun.append(KafkaNetClient(**configs))
        return begun[-1]

    try:
        return kind(**arguments, kafka_client=network)
    except BaseException:
        for one in begun:
            one.close()
        raise


def reached(settings: KafkaConfig, kind: Callable[..., Client], **arguments: Any) -> Client:
    """Constructs a client with the connection of the settings; for commands, with an error for people.

    Raises:
        TransportError: brokers cannot be reached, or refuse the connection.
    """
    try:
        return construct(kind, **connection(settings), **arguments)
    except KafkaError as error:
        msg = f"{', '.join(settings.bootstrap)}: {error}; check kafka.bootstrap, and that a broker is running there"
        raise TransportError(msg) from error
