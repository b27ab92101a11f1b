"""Chooses the transport that the configuration describes. Client libraries are imported when they are wanted."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from forecaster import install_command
from service.config.sections import Config
from service.errors import ConfigurationError
from service.ports import Transport
from service.registry.models import Registry
from service.snapshots.sharing import Exchange
from service.sources.push_log import PushLog
from service.transport.embedded import build_embedded


def check_transport(config: Config) -> None:
    """Says what is wrong with the settings of the transport before anything is touched.

    Raises:
        ConfigurationError: what, and what to do.
    """
    kafka = config.kafka
    if not kafka.topics:
        build_embedded(config)
        return
    if config.input.files or config.input.push:
        got = "input.files" if config.input.files else "input.push"
        msg = f"got {got} and kafka.topics, expected one of them"
        raise ConfigurationError(msg)
    if kafka.client == "confluent" and importlib.util.find_spec("confluent_kafka") is None:
        msg = f"kafka.client: confluent is not installed; expected the extra: {install_command('confluent')}"
        raise ConfigurationError(msg)
    for name in ("password_file", "token_file", "ca_file", "certificate_file", "key_file"):
        path = getattr(kafka, name)
        if path is not None and not path.is_file():
            msg = f"kafka.{name}: got {path}, expected a file that can be read"
            raise ConfigurationError(msg)


def exchange(config: Config) -> Exchange | None:
    """Where machines share snapshots, if they do.

    Args:
        config: checked.
    """
    kafka = config.kafka
    if not kafka.topics or not kafka.share_snapshots:
        return None
    from service.kafka.snapshots import KafkaSnapshots  # noqa: PLC0415 - nobody waits for a client not used

    return KafkaSnapshots(kafka)


def push_log(config: Config) -> PushLog | None:
    """Where events that are pushed over HTTP wait, or None where none are taken."""
    if not config.input.push:
        return None
    return PushLog(config.state.data_dir / "spool" / "push", config.input.push_spool)


def connector(config: Config, registry: Registry, push: PushLog | None = None) -> Callable[[], Transport]:
    """What makes a new transport, not started, at every start of the engine.

    Args:
        config: checked.
        registry: the models of this machine.
        push: as of `push_log`, the same one for all transports of a process.
    """
    kafka = config.kafka
    if not kafka.topics:
        return lambda: build_embedded(config, push)
    from service.kafka.fencing import FencedBefore  # noqa: PLC0415 - as above
    from service.kafka.models import RegistryShelf  # noqa: PLC0415 - nobody waits for a client not used
    from service.kafka.transport import KafkaTransport  # noqa: PLC0415 - as above

    shelf, fenced, ahead = RegistryShelf(registry), FencedBefore(), config.input.workers
    if kafka.client == "confluent":
        from service.kafka.confluent import ConfluentTransport  # noqa: PLC0415 - as above

        return lambda: ConfluentTransport(kafka, config.state.data_dir, shelf, fenced, ahead=ahead)
    return lambda: KafkaTransport(kafka, config.state.data_dir, shelf, fenced, ahead=ahead)
