"""`forecaster inspect`: shows how the daemon would read an input, before it runs."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click
import orjson

from service.aggregate.aggregator import Aggregator
from service.cli._errors import FAILED, USAGE, Failed
from service.cli._options import OutFile, with_config
from service.config.durations import format_duration
from service.config.sections import Config
from service.discovery.choice import PARTS, Choice, choose, has_default_fields, with_choice
from service.discovery.columns import Column
from service.discovery.sample import InputSample, sample_of_file
from service.discovery.siblings import OtherFiles, other_files
from service.discovery.summary import Summary, summarise
from service.messages.timestamps import written
from service.sources.byte_source import ROW_FORMS

_STDIN_BYTES: Final = 16 << 20
_SHOWN: Final = 20  # fields, and series
_WIDE: Final = 40  # characters of an example
_A_FILE: Final = "NAME-OF-A-FILE"  # where the standard input is to be a file


@click.command(short_help="Show how an input would be read, and the configuration for it.")
@click.argument("source", required=False, default="")
@click.option("--topic", default="", help="A Kafka topic instead of a file (kafka.bootstrap_servers).")
@click.option("--write", "target", type=OutFile(".toml"), help="Write the configuration to a new file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
@with_config("--format")
def inspect(config: Config, *, source: str, topic: str, target: Path | None, as_json: bool) -> None:
    """Show how an input would be read, and the configuration for it.

    SOURCE is a file, a glob, or - for standard input. Reads the first records only, and changes nothing: shows their
    format and fields, which of them are time, series and values and why, and what a daemon would find in them. Fields
    that the configuration names are used as it says.

    Exit status: 0 the events can be read, 1 the input cannot be read or has no event, 2 the fields are ambiguous.
    """
    if bool(source) == bool(topic):
        msg = "got " + ("both SOURCE and --topic" if source else "no input") + ", expected a SOURCE or --topic NAME"
        raise Failed(msg, USAGE)
    if target is not None and target.exists():
        msg = f"{target}: exists; expected the name of a new file"
        raise Failed(msg, USAGE)
    sample = _sample(config, source, topic)
    choice = _choice(sample, config)
    chosen, windows = with_choice(config.input, choice), Aggregator.of(config.aggregate, config.state.max_series)
    summary = summarise(sample, chosen, config.step_ms, windows)
    others = other_files(source, config.input, sample, chosen) if sample.several_files and source != "-" else None
    advised = {} if summary.advice is None else summary.advice.settings
    windows_advised = {f"aggregate.{name}": value for name, value in advised.items()}
    settings = {**choice.settings, **windows_advised, **_given(config)}
    if not summary.cadences or config.model.seasons != "auto":  # otherwise each has seasons of its own
        settings["model.seasons"] = _seasons(config, summary)
    lines = list(_configuration(source, topic, settings))
    if source == "-" and sample.format in ROW_FORMS:
        lines = [
            f"# {choice.reasons['format']}: this format is read from files, not from standard input.",
            *_configuration(_A_FILE, topic, settings),
        ]
    text = "\n".join(lines) + "\n"
    if as_json:
        facts: dict[str, Any] = asdict(summary) | {
            "source": sample.source, "format": sample.format, "separator": sample.separator,
            "envelope": sample.envelope, "complete": sample.complete, "settings": dict(choice.settings),
            "reasons": dict(choice.reasons), "fields": [asdict(column) for column in choice.columns],
            "other_files": None if others is None else asdict(others),
            "advice": None if summary.advice is None else summary.advice._asdict(),
        }  # fmt: skip
        click.echo(orjson.dumps(facts, default=str))
    else:
        facts_of_files = _others(others) if others is not None else ()
        for line in (
            *_fields(sample, choice),
            "",
            *_facts(choice, summary, sample),
            *facts_of_files,
            "",
            text.rstrip(),
        ):
            click.echo(line)
    if not summary.events:
        why = summary.first or "none meets input.where"
        msg = f"{sample.source}: no record is an event: {why}"
        raise Failed(msg, FAILED)
    if target is not None:
        target.write_text(text, "utf-8")


def _sample(config: Config, source: str, topic: str) -> InputSample:
    if topic:
        from service.discovery.topic import sample_of_topic  # noqa: PLC0415 - imports the client only where it is used

        return sample_of_topic(config, topic)
    if source != "-":
        return sample_of_file(source, config.input)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard-input"
        path.write_bytes(sys.stdin.buffer.read(_STDIN_BYTES))
        return sample_of_file(str(path), config.input)


def _choice(sample: InputSample, config: Config) -> Choice:
    names = config.input.fields.model_fields_set
    given = {name: getattr(config.input.fields, name) for name in names}
    if not names & PARTS and has_default_fields(sample):
        given |= {"series": "series", "timestamp": "timestamp", "value": "value"}
    return choose(sample, given=given, covariates=config.input.covariates)


def _given(config: Config) -> dict[str, Any]:
    """What the configuration says of the input and its windows, by key; the written configuration has it too."""
    own = config.input.model_dump(mode="json", include=config.input.model_fields_set - {"files", "fields"})
    fields = config.input.fields.model_dump(mode="json", include=config.input.fields.model_fields_set)
    windows = config.aggregate.model_dump(mode="json", exclude_unset=True)
    return {
        f"{section}.{name}": value
        for section, values in (("input", own), ("input.fields", fields), ("aggregate", windows))
        for name, value in values.items()
    }


def _seasons(config: Config, summary: Summary) -> list[int | str]:
    """The seasons of the network: as configured, or as found."""
    return list(summary.seasons if config.model.seasons == "auto" else config.model.seasons)


def _fields(sample: InputSample, choice: Choice) -> Iterator[str]:
    """The fields of the sample, as a table."""
    records = f"{len(sample.records)} records" + ("" if sample.complete else ", of more")
    yield f"{sample.source}: {choice.reasons['format']}, {records}"
    width = max((len(column.path) for column in choice.columns[:_SHOWN]), default=0)
    for column in choice.columns[:_SHOWN]:
        kind = "time" if column.may_be_time else column.kind
        yield f"  {column.path:{width}}  {kind:6}  {column.distinct:>6} different  {_examples(column)}"
    if len(choice.columns) > _SHOWN:
        yield f"  and {len(choice.columns) - _SHOWN} more fields"


def _examples(column: Column) -> str:
    return ", ".join(text[:_WIDE] for text in map(str, column.examples))


def _facts(choice: Choice, summary: Summary, sample: InputSample) -> Iterator[str]:
    """What was chosen, and what is in the sample."""
    for part in ("time", "values", "series"):
        yield f"{part + ':':10}{choice.reasons[part]}"
    if summary.filtered:
        yield f"{'filter:':10}{summary.filtered} records, or elements of arrays, do not meet input.where"
    if not summary.events:
        return
    named = ", ".join(summary.examples) + (", ..." if summary.series > len(summary.examples) else "")
    yield f"{'events:':10}{summary.events} of {summary.series} series ({named}), {summary.missing} without a value"
    yield f"{'from:':10}{_time(summary.first_ms)} to {_time(summary.last_ms)}"
    intervals = ", ".join(format_duration(ms / 1000) for ms in summary.intervals_ms) or "irregular"
    yield (
        f"{'interval:':10}{intervals}; {summary.gaps} gaps, {summary.duplicates} duplicates, {summary.late} late events"
    )
    if summary.seasons:
        steps = ", ".join(map(str, summary.seasons))
        yield f"{'seasons:':10}{steps} steps"
    if summary.cadences:
        groups = ", ".join(f"{name} {count}" for name, count in summary.cadences.items())
        yield f"{'groups:':10}by cadence, with their series: {groups}; the daemon reads the whole file for them"
    if summary.ahead:
        lists = ", ".join(f'"{name}"' for name in summary.ahead[:_SHOWN])
        yield (
            f"{'ahead:':10}values that are known ahead; input.future_covariates = [{lists}] uses them, and as "
            "input.covariates those of the present, see docs/covariates.md"
        )
    if summary.counters:
        names = ", ".join(summary.counters[:_SHOWN])
        alone = summary.windows is None and summary.advice is None
        advice = ', with aggregate.functions = ["rate"]' if alone else ""
        yield f"{'counters:':10}{names}: values that only grow; their rate is easier to forecast{advice}"
    if summary.advice is not None:
        functions = ", ".join(summary.advice.settings["functions"])
        yield (
            f"{'advice:':10}{summary.advice.reason}; the configuration below has windows of "
            f"{summary.advice.settings['interval']} with {functions}, see [aggregate]"
        )
    if summary.windows is not None:
        yield f"{'windows:':10}{summary.windows} values of closed windows"
    if summary.clock_changes:
        yield f"{'clock:':10}{summary.clock_changes} times are within a change of the clock (input.fields.timezone)"
    rejects = ", ".join(f"{count} {reason}" for reason, count in summary.rejects.items()) or "none"
    yield f"{'rejects:':10}{rejects}" + (f"; the first: {summary.first}" if summary.first else "")
    if sample.complete and summary.late:
        yield f"{'order:':10}the daemon drops late events; sort the file by time, or use `forecaster backtest`"


def _others(others: OtherFiles) -> Iterator[str]:
    """What differs in the other files of a glob."""
    more = f", of {others.looked_at + others.more}" if others.more else ""
    same = f"{others.looked_at} others looked at{more}; {len(others.different)} of them differ"
    yield f"{'files:':10}{same}"
    for path, text in list(others.different.items())[:_SHOWN]:
        yield f"{'':10}{path}: {text}"
    if len(others.different) > _SHOWN:
        yield f"{'':10}and {len(others.different) - _SHOWN} more"


def _time(time_ms: int) -> str:
    return str(written(time_ms, "s"))


def _configuration(source: str, topic: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """The configuration as TOML."""
    sections: dict[str, dict[str, Any]] = {"input": {"files": [source]}} if source else {"kafka": {"topics": [topic]}}
    for key, value in settings.items():
        section, _, name = key.rpartition(".")
        sections.setdefault(section, {})[name] = value
    for number, (section, values) in enumerate(sections.items()):
        if number:
            yield ""
        yield f"[{section}]"
        yield from (f"{name} = {_toml(value)}" for name, value in values.items())


def _toml(value: Any) -> str:
    """Writes a value as TOML, which is JSON but for the objects in a list."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {_toml(one)}' for name, one in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)
