"""Construction of the library's clients such that one that fails leaves nothing open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from service.errors import TransportError
from service.transports.kafka_config import KafkaConfig
from service.transports.kafka_security import connection

Client = TypeVar("Client")


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
