"""Constructs the pair of source and sink from the configuration. Client libraries are imported on demand.

| input | sink | positions | built by |
|---|---|---|---|
| files, push | sqlite, stdout, parquet | in a SQLite file | `build_local` |
| files, push | postgres | in the database | `build_local` |
| files, push | kafka | in the topic <app>.positions | `service.transport.kafka_pairs` |
| topics | kafka | offsets of the group | `service.transport.kafka_pairs` |
| topics | sqlite, stdout, parquet | in a SQLite file | `service.transport.kafka_pairs` |
| topics | postgres | in the database | `service.transport.kafka_pairs` |
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

from forecaster import install_command
from service.config.postgres import PostgresConfig
from service.config.schema_registry import SchemaRegistryConfig
from service.config.sections import Config
from service.errors import ConfigurationError
from service.folder_lock import FolderLock
from service.ports import Transport
from service.registry.models import Registry
from service.schemas.schema import TYPE_OF_FORMAT
from service.sinks import Sink
from service.sinks.sqlite_retention import SqliteRetention
from service.sinks.sqlite_sink import SqliteSink
from service.sinks.stdout_sink import StdoutSink
from service.snapshots.sharing import Exchange
from service.sources.local import local_source
from service.sources.push_log import PushLog
from service.transport.history import check_bootstrap, with_history
from service.transport.pair import Pair


def check_transport(config: Config) -> None:
    """Checks the settings of source and sink before anything is opened.

    Raises:
        ConfigurationError: a setting is invalid; the message has the remedy.
    """
    kafka = config.kafka
    if kafka.topics:
        _check_topics(config)
        _check_schema_registry(config.schema_registry)
        _check_format(config)
    else:
        local_source(config)
        if config.input.push:
            _check_schema_registry(config.schema_registry)
    _check_output_format(config)
    if config.sink == "postgres":
        check_postgres(config.postgres)
    check_bootstrap(config)
    if not config.uses_kafka:
        return
    if kafka.client == "confluent" and importlib.util.find_spec("confluent_kafka") is None:
        msg = f"kafka.client: confluent is not installed; expected the extra: {install_command('confluent')}"
        raise ConfigurationError(msg)
    for name in ("password_file", "token_file", "ca_file", "certificate_file", "key_file"):
        path = getattr(kafka, name)
        if path is not None and not path.is_file():
            msg = f"kafka.{name}: got {path}, expected a file that can be read"
            raise ConfigurationError(msg)


def _check_schema_registry(settings: SchemaRegistryConfig) -> None:
    """Raises where the registry cannot be asked."""
    if not settings.url:
        return
    missing = [name for name in ("fastavro", "httpx") if importlib.util.find_spec(name) is None]
    if missing:
        command = install_command("schema-registry")
        msg = f"schema_registry.url: {' and '.join(missing)} not installed; expected the extra: {command}"
        raise ConfigurationError(msg)
    for name in ("password_file", "token_file", "ca_file"):
        path = getattr(settings, name)
        if path is not None and not path.is_file():
            msg = f"schema_registry.{name}: got {path}, expected a file that can be read"
            raise ConfigurationError(msg)


def _check_format(config: Config) -> None:
    """Raises where `input.format` needs a registry or a compiler that is not there."""
    setting = config.input.format
    if setting not in TYPE_OF_FORMAT:
        return
    if not config.schema_registry.url:
        msg = f'input.format: got "{setting}" with kafka.topics, expected a schema registry: set schema_registry.url'
        raise ConfigurationError(msg)
    if setting == "protobuf":
        _check_compiler("input.format")


def _check_output_format(config: Config) -> None:
    """Raises where the forecasts cannot be written in `output.format`."""
    setting = config.output_format
    if config.sink == "parquet":
        _check_parquet(config)
        return
    if setting == "compact" and config.sink in {"sqlite", "postgres"}:
        return
    if setting == "json" and config.sink != "postgres":
        return
    if config.sink != "kafka" or setting == "compact":
        of = {
            "sqlite": "compact rows or JSON", "stdout": "JSON", "kafka": "JSON, Avro or Protobuf",
            "postgres": "compact rows",
        }[config.sink]  # fmt: skip
        msg = (
            f'output.format: got "{setting}" with output.sink = "{config.sink}", which holds {of}. '
            'Set output.format = "auto", or another output.sink'
        )
        raise ConfigurationError(msg)
    if not config.schema_registry.url:
        msg = (
            f'output.format: got "{setting}", expected a schema registry for the schema of forecasts: set '
            "schema_registry.url"
        )
        raise ConfigurationError(msg)
    if config.kafka.forecasts_per_record > 1:
        msg = (
            f'output.format: got "{setting}" with kafka.forecasts_per_record = {config.kafka.forecasts_per_record}, '
            "expected 1: only JSON forecasts are joined to arrays"
        )
        raise ConfigurationError(msg)
    _check_schema_registry(config.schema_registry)
    if setting == "protobuf":
        _check_compiler("output.format")


def _check_parquet(config: Config) -> None:
    """Raises where Parquet files cannot be written."""
    if config.output.format != "auto":
        msg = (
            f'output.format: got "{config.output.format}" with output.sink = "parquet", whose files have columns. '
            'Set output.format = "auto", or another output.sink'
        )
        raise ConfigurationError(msg)
    if importlib.util.find_spec("pyarrow") is None:
        command = install_command("parquet")
        msg = f'output.sink: got "parquet", but pyarrow is not installed; expected the extra: {command}'
        raise ConfigurationError(msg)


def check_postgres(settings: PostgresConfig) -> None:
    """Checks the settings of a database before it is asked.

    Raises:
        ConfigurationError: the client is not installed, or a setting is invalid.
    """
    if importlib.util.find_spec("psycopg") is None:
        msg = f"postgres.url: psycopg is not installed; expected the extra: {install_command('postgres')}"
        raise ConfigurationError(msg)
    path = settings.password_file
    if path is not None and not path.is_file():
        msg = f"postgres.password_file: got {path}, expected a file that can be read"
        raise ConfigurationError(msg)
    from service.sinks.postgres_connection import parameters_of  # noqa: PLC0415 - an extra

    parameters_of(settings)


def _check_compiler(key: str) -> None:
    if importlib.util.find_spec("grpc_tools") is None:
        command = install_command("protobuf")
        msg = f'{key}: got "protobuf", but grpcio-tools is not installed; expected the extra: {command}'
        raise ConfigurationError(msg)


def _check_topics(config: Config) -> None:
    """Raises for settings that cannot be combined with topics as the input."""
    if config.input.files or config.input.push:
        got = "input.files" if config.input.files else "input.push"
        msg = f"got {got} and kafka.topics, expected one of them"
        raise ConfigurationError(msg)
    if config.sink == "kafka":
        return
    got = f'output.sink: got "{config.sink}" with kafka.topics'
    where = "database schema" if config.sink == "postgres" else "SQLite file"
    if config.kafka.membership != "alone":
        msg = (
            f'{got} and kafka.membership = "{config.kafka.membership}", expected kafka.membership = "alone": positions '
            f"are stored in the {where} of this process, so another process to which the group assigns a partition "
            'would forecast it from its beginning. Set kafka.membership = "alone", or output.sink = "kafka"'
        )
        raise ConfigurationError(msg)
    if config.kafka.share_snapshots:
        msg = (
            f"{got} and kafka.share_snapshots, expected no kafka.share_snapshots: snapshots belong to the {where} "
            'of this machine. Set kafka.share_snapshots = 0, or output.sink = "kafka"'
        )
        raise ConfigurationError(msg)


def exchange(config: Config) -> Exchange | None:
    """Returns the exchange of snapshots between machines, or None if they are not shared.

    Args:
        config: checked.
    """
    kafka = config.kafka
    if not kafka.topics or not kafka.share_snapshots:
        return None
    from service.kafka.snapshots import KafkaSnapshots  # noqa: PLC0415 - importing an unused client costs time

    return KafkaSnapshots(kafka)


def push_log(config: Config) -> PushLog | None:
    """Returns the log of events pushed over HTTP, or None if none are accepted."""
    if not config.input.push:
        return None
    return PushLog(config.state.data_dir / "spool" / "push", config.input.push_spool)


def local_sink(config: Config) -> Sink:
    """Constructs the sink `sqlite`, `stdout`, `parquet` or `postgres`; opens nothing yet."""
    output = config.output
    if config.sink == "postgres":
        from service.sinks.postgres_parts import PostgresParts  # noqa: PLC0415 - an extra
        from service.sinks.postgres_sink import PostgresSink  # noqa: PLC0415 - an extra

        return PostgresSink(config.postgres, PostgresParts(output.keep, output.max_bytes, time.time))
    keep_ms, now_ms = round(output.keep * 1000), lambda: time.time_ns() // 1_000_000
    if config.sink == "parquet":
        from service.sinks.parquet_sink import MOST_WAITING, FileBounds, ParquetSink  # noqa: PLC0415 - an extra

        # The bound of the database does not count outputs that wait for their file.
        spare = (MOST_WAITING + 2) * output.file_bytes
        rejects = SqliteRetention(keep_ms, output.max_bytes + spare, now_ms, spare)
        bounds = FileBounds(round(output.file_age * 1000), output.file_bytes, keep_ms, output.max_bytes, now_ms)
        return ParquetSink(config.output_path, SqliteSink(config.positions_path, rejects), bounds)
    database = SqliteSink(config.positions_path, SqliteRetention(keep_ms, output.max_bytes, now_ms))
    return StdoutSink(database) if config.sink == "stdout" else database


def data_lock(config: Config) -> FolderLock:
    """Returns the lock of the data folder."""
    folder = config.state.data_dir
    return FolderLock(folder / "data.lock", folder, "use a separate state.data_dir for each daemon")


def build_local(config: Config, push: PushLog | None = None) -> Pair:
    """Constructs a pair without a broker: files and pushed events to SQLite, PostgreSQL or standard output.

    Opens nothing yet.

    Args:
        config: checked.
        push: result of `push_log`.

    Raises:
        ConfigurationError: see `service.sources.local.local_source`.
    """
    return Pair(with_history(local_source(config, push), config), local_sink(config), lock=data_lock(config))


def connector(config: Config, registry: Registry, push: PushLog | None = None) -> Callable[[], Transport]:
    """Returns the factory that makes a new transport, not started, at every start of the engine.

    Args:
        config: checked.
        registry: the models of this machine.
        push: result of `push_log`, the same one for all transports of a process.
    """
    if not config.uses_kafka:
        return lambda: build_local(config, push)
    from service.kafka.fencing import FencedBefore  # noqa: PLC0415 - as above
    from service.kafka.models import RegistryShelf  # noqa: PLC0415 - importing an unused client costs time
    from service.transport.kafka_pairs import build_with_kafka  # noqa: PLC0415 - as above

    shelf, fenced = RegistryShelf(registry, config.group_names), FencedBefore()
    return lambda: build_with_kafka(config, shelf, fenced, push=push)
