"""The dry run of a configuration: checks every endpoint that the daemon would use, and changes none."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from service.config.findings import Finding
from service.config.schema_registry import SchemaRegistryConfig
from service.config.sections import EXPECTED_INPUT, Config
from service.errors import SchemaRegistryError, ServiceError, SourceGoneError
from service.messages.decode import Decoder
from service.schemas.schema import SchemaError
from service.sinks.sqlite_schema import APPLICATION_ID, FORMAT_VERSION
from service.sources.file_source import FileSource
from service.sources.pipes import kind_of

_EVENTS = 100  # decoded from each input


def dry_run(config: Config, completed: Callable[[], Config] | None = None) -> Iterator[Finding]:
    """Checks all endpoints one after the other.

    Args:
        config: checked.
        completed: returns it with the fields of the inputs that a start would choose; its error is a finding.
    """
    if config.uses_kafka:
        from service.kafka.tools.doctor import examine  # noqa: PLC0415 - as above
        from service.kafka.tools.topics import plan  # noqa: PLC0415 - imports the client only where it is used

        yield from examine(config.kafka, plan(config))
    used = config.kafka.topics or config.input.push or config.output_format in {"avro", "protobuf"}
    if config.schema_registry.url and used:
        yield _schema_registry(config.schema_registry)
    if not config.has_input:
        yield Finding("error", "input.files", f"got none, expected {EXPECTED_INPUT}")
    complete = config
    try:
        complete = config if completed is None else completed()
    except ServiceError as error:
        yield Finding("error", "input.files", str(error))
    for entry in config.input.files:
        yield _input(complete, entry)
    if config.sink == "postgres":
        from service.sinks.postgres_forecasts import examine as examine_postgres  # noqa: PLC0415 - an extra

        yield examine_postgres(config.postgres)
    elif config.sink != "kafka":
        yield _output(config.positions_path)
    yield _folder(config)
    yield _address(config.http.host, config.http.port)


def _schema_registry(settings: SchemaRegistryConfig) -> Finding:
    """Asks for a schema as the daemon would."""
    from service.schemas.registry import SchemaRegistry  # noqa: PLC0415 - an extra

    registry = SchemaRegistry(settings)
    try:
        registry.schema(0)
    except SchemaError:  # ids begin with 1
        pass
    except SchemaRegistryError as error:
        return Finding("error", settings.url, str(error))
    finally:
        registry.close()
    return Finding("ok", settings.url, "the schema registry answers")


def _input(config: Config, entry: str) -> Finding:
    """Decodes the first events of an input as the daemon would."""
    try:
        if (kind := kind_of(entry)) != "file":
            what = "standard input" if kind == "stdin" else "a pipe"
            return Finding("ok", entry, f"{what} is read when the daemon runs")
        source = FileSource(
            entry,
            config.input.format,
            growing=lambda: config.input.follow,
            max_record_bytes=config.input.max_record_bytes,
            named=config.input.fields.use_file_name,
            csv=config.input.csv_start,
        )
        source.open([], None)
        try:
            records = source.read(_EVENTS)
        finally:
            source.close()
    except (ServiceError, SourceGoneError, OSError) as error:
        return Finding("error", entry, str(error))
    if records is None or not len(records):
        return Finding("warning", entry, "contains no event yet")
    decoded = Decoder(config.input, config.longest_horizon).decode(records)
    if not decoded.rejects:
        return Finding("ok", entry, f"the first {len(decoded)} events can be read")
    first = decoded.rejects[0]
    count = f"{len(decoded.rejects)} of the first {len(records)} records would be rejected"
    text = f"{count}: {first.reason}, {first.detail}"
    return Finding("warning" if len(decoded) else "error", entry, text)


def _output(path: Path) -> Finding:
    if not path.exists():
        return Finding("ok", str(path), "will be created")
    try:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1.0)
        try:
            (owner,) = database.execute("PRAGMA application_id").fetchone()
            (version,) = database.execute("PRAGMA user_version").fetchone()
        finally:
            database.close()
    except sqlite3.Error as error:
        return Finding("error", str(path), f"cannot be read ({error}); expected a SQLite file of this program")
    if (owner, version) != (APPLICATION_ID, FORMAT_VERSION):
        return Finding("error", str(path), "is a SQLite file of another program or format; name another output.path")
    return Finding("ok", str(path), "exists and will be continued")


def _folder(config: Config) -> Finding:
    """Checks the data folder, or its nearest existing parent."""
    folder = config.state.data_dir.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding(
            "error",
            str(folder),
            f"cannot be written ({there}, as this user); change its permissions or use another folder",
        )
    free, wanted = shutil.disk_usage(there).free, config.health.min_free_bytes
    text = f"{free >> 20} MiB free"
    if free < wanted:
        return Finding("warning", str(folder), f"{text}, expected {wanted >> 20} MiB or more (health.min_free_bytes)")
    return Finding("ok", str(folder), text)


def _address(host: str, port: int) -> Finding:
    subject = f"{host}:{port}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        text = (
            f"cannot listen on it now ({error.strerror or error}); expected if the daemon is running, otherwise use "
            "another port"
        )
        return Finding("warning", subject, text)
    return Finding("ok", subject, "is free")
