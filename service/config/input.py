"""Settings of the input: where events are read from, the names of their fields, and which events are rejected."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from service.config.base import Name, Section, Texts, check_timezone, listed
from service.config.csv_start import CsvStart
from service.config.durations import OptionalDuration
from service.config.field_paths import FieldPath, innermost, is_plain, parse_path
from service.config.series_rule import Outside, Part, parse_rule
from service.config.units import SeriesUnit
from service.config.where import Condition, parse_condition, paths_of

TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
DateOrder = Literal["ymd", "dmy", "mdy"]


def _one_or_several(value: Any) -> Any:
    """Parses the text of a JSON list from the environment or a flag; other texts are one name."""
    found = listed(value) if isinstance(value, str) and value.strip().startswith("[") else value
    return found[0] if isinstance(found, list) and found == [value] else found


def _checked_condition(text: str) -> str:
    if text.strip():
        parse_condition(text)
    return text.strip()


class FieldNames(Section):
    """Where the parts of an event are in a record: names of columns or fields, or paths into nested objects."""

    series: Annotated[str | tuple[str, ...], BeforeValidator(_one_or_several)] = Field(
        "series",
        description="The field with the name of the series, a list of fields, which are joined by /, or a template "
        "such as {site}/{metric}; it may have {key}, {topic}, {header:NAME}, {file} and {field}. Empty: the name of "
        "the value's field, where a record has several values.",
    )
    timestamp: Annotated[str | tuple[str, ...], BeforeValidator(_one_or_several)] = Field(
        "timestamp",
        description="The field with the event time: ISO-8601, epoch milliseconds or epoch seconds "
        "(see input.fields.time_unit, date_order and timezone). A list of fields, such as a date and a time of day, is "
        "one text with blanks between them.",
    )
    value: Name = Field("value", description="The field with the observed value; null and NaN mean that it is missing.")
    values: Texts = Field(
        (),
        description="Several fields with values, each of them a series of its own: names, paths, or globs of names "
        '("*" for all numeric fields that are not used otherwise). The series is then <series>.<field>, or where its '
        "template has {field}. Empty: one value, input.fields.value.",
    )
    identifiers: Texts = Field(
        (),
        description="Those of the fields value or values that have identifiers, such as of users, and no quantities: "
        'texts or whole numbers, whose hashes are the values. For aggregate.functions = ["distinct"].',
    )
    record_time: str = Field(
        "",
        description="The field with the time at which the record was written; max_ahead compares with it. Empty: "
        "events have no record time.",
    )
    future: Name = Field(
        "future",
        description="The object with the known future values: a list of numbers for each of input.future_covariates; "
        "in CSV the columns future.NAME, with numbers separated by spaces or |.",
    )
    time_unit: TimeUnit = Field(
        "auto",
        description="Unit of numeric event times and record times, counted from 1970: s, ms, us or ns. auto chooses "
        "for each number: seconds where the absolute value is from 1e8 to below 1e11, microseconds from 1e15, "
        "nanoseconds from 1e17, milliseconds otherwise.",
    )
    date_order: DateOrder = Field(
        "ymd",
        description="Order of day, month and year in dates whose year is not first: dmy for 31/12/2026 or 31.12.26, "
        "mdy for 12/31/2026. ymd: such dates are no times.",
    )
    timezone: str = Field(
        "UTC",
        description="Time zone of event times without one, by its name in the tz database. A time that the clock "
        "shows twice is the first one; a time that it skips is moved by the change of the clock. Both are reported.",
    )
    decimal: Literal[".", ","] = Field(".", description="Decimal separator of numbers that are texts, as in CSV.")
    thousands: Literal["", ",", ".", " ", "'", "_"] = Field(
        "", description="Separator of the thousands in numbers that are texts. Empty: they have none."
    )

    @cached_property
    def series_parts(self) -> tuple[Part, ...]:
        """The parts of the name of a series."""
        return parse_rule(self.series, several=bool(self.values))

    @cached_property
    def timestamp_paths(self) -> tuple[FieldPath, ...]:
        """The paths of the fields whose texts form the event time."""
        names = [self.timestamp] if isinstance(self.timestamp, str) else self.timestamp
        return tuple(map(parse_path, names))

    @cached_property
    def value_paths(self) -> tuple[FieldPath, ...]:
        """The paths of the values; the last key of one may be a glob."""
        return tuple(parse_path(name) for name in self.values or (self.value,))

    @cached_property
    def paths(self) -> list[FieldPath]:
        """The paths of all fields of an event but covariates and known future values."""
        fields = [part for part in self.series_parts if isinstance(part, FieldPath)]
        others = [parse_path(self.record_time)] if self.record_time else []
        return [*self.value_paths, *fields, *self.timestamp_paths, *others]

    @property
    def is_flat(self) -> bool:
        """Whether a record has one event, whose parts are fields of the record itself."""
        names = [self.value, *([self.record_time] if self.record_time else [])]
        if (
            self.values
            or self.identifiers
            or not isinstance(self.series, str)
            or "{" in self.series
            or not isinstance(self.timestamp, str)
        ):
            return False
        return all(map(is_plain, [self.series, self.timestamp, *names]))

    @property
    def use_file_name(self) -> bool:
        """Whether the name of a series has the name of its file."""
        return Outside("file") in self.series_parts

    @cached_property
    def of_lines(self) -> FieldNames:
        """The names for InfluxDB line protocol, whose lines have other names than events of the other formats.

        What is not set is the measurement with its tags and the field as the series, and all fields as values.
        """
        own = {name: getattr(self, name) for name in self.model_fields_set}
        usual: dict[str, Any] = {"series": "{series} {field}"}
        if not {"value", "values", "identifiers"} & own.keys():
            usual["values"] = ("*",)
        return FieldNames.model_validate(usual | own)

    @cached_property
    def of_entries(self) -> FieldNames:
        """The names for access logs, whose time is called so."""
        return FieldNames.model_validate(
            {"timestamp": "time"} | {name: getattr(self, name) for name in self.model_fields_set}
        )

    def of_format(self, form: str) -> FieldNames:
        """Returns the names for a format, as `InputConfig.format`."""
        return {"influx": self.of_lines, "access-log": self.of_entries}.get(form, self)

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if not self.timestamp:
            msg = "timestamp is empty; expected a field, or a list of fields"
            raise ValueError(msg)
        if len({path[1:] for path in self.paths}) != len(self.paths):
            msg = f"expected names that differ from each other, got {[path.text for path in self.paths]}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        innermost(self.paths)
        if self.thousands == self.decimal:
            msg = f"thousands and decimal are both {self.decimal!r}; expected separators that differ"
            raise ValueError(msg)
        values = self.values or (self.value,)
        if unknown := [name for name in self.identifiers if name not in values]:
            msg = f"identifiers has {unknown[0]!r}, expected fields of value or values: {list(values)}"
            raise ValueError(msg)
        check_timezone(self.timezone)
        return self


class InputConfig(Section):
    """Where events are read from, and which are rejected."""

    files: Texts = Field(
        (),
        description="Files to read. Each entry is one partition. A glob is one partition too: its files are read one "
        'after the other in the natural order of their names (9 before 10); "-" is standard input. Files named *.gz '
        "are decompressed. A pipe is read like standard input.",
    )
    format: Literal[
        "auto",
        "csv",
        "jsonl",
        "json",
        "parquet",
        "avro",
        "influx",
        "annotated-csv",
        "access-log",
        "protobuf",
        "json-schema",
    ] = Field(
        "auto",
        description="Format of the files; auto chooses by the suffix: .csv for CSV; .jsonl, .ndjson and .json for JSON "
        "lines; .parquet and .pq for Parquet; .avro for Avro; .lp, .line and .influx for InfluxDB line protocol. json: "
        "documents, an array of objects or one object. annotated-csv: the tables that InfluxDB writes, each with "
        "annotations and a header of its own. access-log: the Common or Combined Log Format of web servers, also with "
        "the time of the request behind it. "
        "Parquet and Avro need the extras parquet and avro. On Kafka, auto reads the records of a schema registry by "
        "the type of their schema; avro, protobuf and json-schema reject those of another type. Kafka "
        "records and pushed lines that are not JSON are read as line protocol with influx, and with auto where their "
        "first line has a timestamp, as entries of an access log with access-log.",
    )
    follow: bool = Field(
        default=False,
        description="Wait at the end of the last file for more data, and for further files of a glob.",
    )
    fields: FieldNames = Field(
        default_factory=lambda: FieldNames.model_validate({}), description="Names of the fields of an event."
    )
    separator: Literal["auto", ",", ";", "tab", "|"] = Field(
        "auto",
        description="Separator of the columns of CSV files: a comma, a semicolon, tab or |. auto chooses by the header "
        "line: the one with which it has the fields of an event.",
    )
    header: bool = Field(
        default=True,
        description="Whether CSV files have a line with the names of their columns. Without it, these are column_1, "
        "column_2, ...",
    )
    skip_lines: int = Field(
        0, ge=0, le=10_000, description="Lines of a CSV file before its header or first record, such as a title."
    )
    envelope: Literal["auto", "none", "connect", "debezium", "cloudevents"] = Field(
        "auto",
        description="Envelope around the fields of JSON records, which is removed: Kafka Connect's schema and payload, "
        "Debezium's change events, CloudEvents. auto recognises them by their fields.",
    )
    where: Annotated[str, AfterValidator(_checked_condition)] = Field(
        "",
        description="Condition that records, or the elements of their arrays, must meet to be events, such as "
        "\"unit == 'C' and status != 'bad'\": comparisons of a field with a constant (==, !=, <, <=, >, >=, in, "
        "is null), and, or, not, parentheses. Others are neither forecast nor rejected, only counted. Empty: all.",
    )
    partial: Literal["blank", "reject"] = Field(
        "blank",
        description="Handling of a bad value in a record with several values: blank makes it a missing value; reject "
        "makes it no event, and the record is also rejected. The other values are forecast in both cases.",
    )
    units: Annotated[tuple[SeriesUnit, ...], BeforeValidator(listed)] = Field(
        (),
        max_length=200,
        description='Units in which values are written, {series = "*.temp_*", factor = 0.1, offset = -40}: a value of '
        "a matching series becomes factor * value + offset before anything else. The first entry that matches a "
        "series applies.",
    )
    covariates: Texts = Field((), description="Further numeric fields of an event that are inputs of the model.")
    future_covariates: Texts = Field(
        (),
        description="Names of known future values: an event carries for each name a list of the values at the 1st, "
        "2nd, ... step after it, as far as they are known.",
    )
    broadcast: str = Field(
        "",
        description="A series whose events carry no value but set input.covariates and the known future values of all "
        "series from then on. Empty: none.",
    )
    series: Texts = Field(
        (), description="Series to accept; events of all others are rejected. Empty: accept every series."
    )
    max_record_bytes: int = Field(
        65_536, ge=64, le=64 << 20, description="Records longer than this (bytes) are rejected without being parsed."
    )
    max_series_bytes: int = Field(
        1024,
        ge=16,
        le=65_536,
        description="Events whose series name is longer than this (bytes of UTF-8) are rejected, because every name "
        "is kept in memory.",
    )
    max_ahead: OptionalDuration = Field(
        86_400.0,
        description="Events whose time is later than their record time by more than this are rejected; pushed events "
        "are compared with the time of their arrival. Empty or 0: no limit. No other setting compares event times "
        'with a clock. Default "1d".',
    )
    late: Literal["drop", "dead-letter", "repair"] = Field(
        "drop",
        description="Handling of events older than the newest event of their series: drop counts them, dead-letter "
        "also rejects them, repair puts those within late_within steps in their place, publishes the corrected "
        "forecast of the newest event as a revision, and drops the others. With aggregate: of events behind a closed "
        "window, which repair revises.",
    )
    late_within: int = Field(
        0,
        ge=0,
        le=10_000,
        description='With late = "repair": how many steps late an event may be, and how many newer events its series '
        "may have had; with aggregate, how many of the newest closed windows of a series can be revised. Each step "
        "costs memory per series.",
    )
    tombstone: Literal["ignore", "forget"] = Field(
        "ignore",
        description="Handling of Kafka records without a value: ignore counts them; forget removes the state of the "
        "series named by their key (as text, or as a JSON object with input.fields.series).",
    )
    push: bool = Field(
        default=False,
        description="Accept events over HTTP: JSON lines and InfluxDB line protocol at /api/v1/events, Prometheus "
        "remote write at /api/v1/write, OTLP metrics at /v1/metrics (extra otlp).",
    )
    push_metrics: Texts = Field(
        (),
        description="Globs of the metric names to accept from remote write and OTLP; samples of other metrics are "
        "ignored. Empty: accept all.",
    )
    push_resource: Texts = Field(
        ("service.namespace", "service.name", "service.instance.id", "host.name", "container.name", "k8s.*.name"),
        description="Globs of the attributes of an OTLP resource that are part of the names of its series, together "
        "with the attributes of the scope and of the data point. Two resources that differ in none of them share "
        "their series.",
    )
    push_spool: int = Field(
        1 << 30,
        ge=1 << 20,
        description="Largest size of the pushed events kept on disk, in bytes; above it, requests get a response that "
        "asks the sender to retry later.",
    )
    push_body: int = Field(
        16 << 20, ge=1 << 16, le=1 << 30, description="Largest size of a pushed body after decompression, in bytes."
    )
    max_poll_records: int = Field(
        4096,
        ge=1,
        le=1_000_000,
        description="Largest number of records per batch; about as many events where records have several.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Threads that the partitions are distributed over; each of them uses one core while the network "
        "computes. The forecasts do not depend on this.",
    )

    @property
    def csv_start(self) -> CsvStart:
        """How CSV files begin."""
        return CsvStart(self.skip_lines, self.header, self.separator)

    @property
    def condition(self) -> Condition | None:
        """The parsed condition of `where`, None without one."""
        return parse_condition(self.where) if self.where else None

    @model_validator(mode="after")
    def _late_within_is_for_repairs(self) -> Self:
        if (self.late == "repair") != (self.late_within > 0):
            expected = "1 step or more" if self.late == "repair" else '0, or late = "repair"'
            msg = f'late_within is {self.late_within} with late = "{self.late}"; expected {expected}'
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = {path.text for path in self.fields.paths}
        if self.future_covariates:
            if self.fields.future in names:
                msg = f"input.fields.future is {self.fields.future!r}, which another field uses; expected another name"
                raise ValueError(msg)
            names.add(self.fields.future)
        if taken := names & set(self.covariates):
            msg = f"input.covariates has {sorted(taken)}, which input.fields uses; expected other names"
            raise ValueError(msg)
        arrays = innermost(self.fields.paths)
        named = [("covariates", path) for path in map(parse_path, self.covariates)]
        named += [("where", path) for path in (paths_of(self.condition) if self.condition else ())]
        for key, path in named:
            if path.arrays != arrays[: len(path.arrays)]:
                msg = f"input.{key} has {path.text!r}, which is in different arrays than input.fields"
                raise ValueError(msg)
        return self
