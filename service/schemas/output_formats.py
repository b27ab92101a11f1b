"""Makes the format of forecasts, and registers its schema where it has one."""

from __future__ import annotations

from service.config.sections import Config
from service.messages.array_format import ArrayFormat
from service.messages.compact import CompactFormat
from service.messages.encode import JSON, OutputFormat
from service.messages.exact_columns import ExactFormat
from service.schemas.forecast_schemas import SCHEMAS, subject_of


def registered_format(config: Config) -> OutputFormat:
    """Returns the format of `output.format`, with the id that the registry has for its schema.

    The registry gives a schema that it has already the same id again, so that a forecast has the same bytes after every
    restart.

    Args:
        config: checked; the extra of the format is installed.

    Raises:
        SchemaError: the registry refuses the schema.
        SchemaRegistryError: the registry does not answer; call it again later.
    """
    name = config.output_format
    if name == "json":
        return JSON
    if name == "compact":
        stored = {"parquet": ExactFormat, "postgres": ArrayFormat}
        return stored.get(config.sink, CompactFormat)()
    from service.schemas.registry import SchemaRegistry  # noqa: PLC0415 - an extra

    registry = SchemaRegistry(config.schema_registry)
    try:
        number = registry.register(subject_of(config.kafka.forecasts), SCHEMAS[name])
    finally:
        registry.close()
    if name == "avro":
        from service.schemas.forecast_avro import AvroFormat  # noqa: PLC0415 - an extra

        return AvroFormat(number)
    from service.schemas.forecast_protobuf import ProtobufFormat  # noqa: PLC0415 - an extra

    return ProtobufFormat(number)
