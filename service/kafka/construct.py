"""Construction of the library's clients such that one that fails leaves nothing open, and what it cannot read."""

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
    """A piece of a record that can be read as text whatever it holds."""

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:  # noqa: ARG002 - never strict
        """The text, with a mark for what is no UTF-8."""
        return super().decode(encoding, "replace")


class _Lenient(bytearray):
    """The bytes of a batch whose pieces can be read as text."""

    def __getitem__(self, at: SupportsIndex | slice) -> Any:
        """A byte or a piece."""
        found = super().__getitem__(at)
        return _Text(found) if isinstance(found, bytearray) else found


class _Batch(DefaultRecordBatch):  # type: ignore[misc] # the library ships no types
    """The library's reader of a batch, to which a header name that is no UTF-8 is no damage.

    Brokers take any bytes as a name. In the library one of them fails the whole batch, at every start again.
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
    """Builds a client of the library.

    Its constructors connect, and when that fails they forget the network loop that they had begun: a pair of sockets
    stays open per attempt until the garbage collector comes by. Here it is closed at once.

    Args:
        kind: a class of the library: consumer, producer, admin client.
        **arguments: for it.
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
    """As `construct`, with the connection of the settings; for commands, which tell a person what is wrong.

    Raises:
        TransportError: brokers cannot be reached, or refuse.
    """
    try:
        return construct(kind, **connection(settings), **arguments)
    except KafkaError as error:
        msg = (
            f"{', '.join(settings.bootstrap)}: {error}; is a broker running there, and is this "
            "the right kafka.bootstrap?"
        )
        raise TransportError(msg) from error
