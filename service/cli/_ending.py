"""The last log line of a run and its exit status; if most records were unusable, the settings to change."""

from __future__ import annotations

from typing import Final

import structlog

from service.cli._errors import Failed
from service.config.sections import Config
from service.monitoring.run_summary import OF_FIELDS, RunSummary, inspection
from service.ports import Outcomes

_log = structlog.get_logger()

_SHOWN: Final = 300  # characters of the first reject's detail
_TO_SET: Final = {
    "missing_field": "Fields with other names: --set input.fields.value=NAME, also series and timestamp",
    "wrong_type": "Another field with the value: --set input.fields.value=NAME",
    "bad_timestamp": "Another field with the time: --set input.fields.timestamp=NAME; numbers of another unit: --set "
    "input.fields.time_unit=us",
    "undecodable": "Another format: --format csv, jsonl, influx or access-log",
    "too_large": "Longer records: --set input.max_record_bytes=N",
    "unknown_series": "Series to accept: input.series",
    "too_far_ahead": "Event times far after their record time: --set input.max_ahead=TIME",
    "truncated": "The last record of the file must be complete",
    "late": "Events of a series are expected in time order: sort the input by time",
    "duplicates": "Events of a series are expected at different times: --set input.fields.series=NAME or "
    "input.fields.timestamp=NAME where other fields distinguish them",
}


def end(summary: RunSummary, config: Config, *, wanted: bool) -> None:
    """Logs the counts of the run, and fails where most of the input was unusable.

    Args:
        summary: counts of the run.
        config: configuration of the run.
        wanted: whether a signal ended the run, and not the end of the input.

    Raises:
        Failed: most of the records could not be used; or the run found no further records, and most of the records that
            earlier runs read could not be used.
    """
    rejected, kafka = summary.rejects.total(), config.kafka
    to_kafka = config.sink == "kafka"
    output = f"topic {kafka.forecasts}" if to_kafka else _place(config)
    none_meets = summary.filtered and not summary.total.records
    log = _log.warning if rejected or summary.late or none_meets else _log.info
    log(
        "ended",
        events=summary.events,
        rejected=rejected,
        late=summary.late,
        duplicates=summary.duplicates,
        filtered=summary.filtered,
        output=output,
    )
    if wanted:
        return
    database = str(config.positions_path) if config.sink == "parquet" else output
    where = f"topic {kafka.rejects}" if to_kafka else f"table rejects of {database}"
    found = summary.total
    if summary.valueless and summary.events >= found.unusable:
        msg = (
            f"none of the {summary.events} events had a value, so nothing could be forecast. {_TO_SET['wrong_type']}. "
            "They have been read, so use another state.data_dir (or kafka.app) for the next try"
        )
        raise Failed(msg)
    if not found.records and summary.before is not None:
        found, run = summary.before, "no further records; of those of earlier runs, "
    else:
        run = ""
    if found.unusable > found.events:
        raise Failed(run + _unused(found, where, inspection(config)))


def _place(config: Config) -> str:
    """Returns where a database or file with the forecasts is."""
    if config.sink != "postgres":
        return str(config.output_path)
    from service.sinks.postgres_connection import place_of  # noqa: PLC0415 - an extra

    return place_of(config.postgres)


def _unused(found: Outcomes, where: str, inspect: str) -> str:
    """Describes how many records could not be used and why, what to set, and where the rejected records are."""
    counts = {**found.rejects, "late": found.late, "duplicates": found.duplicates}
    most = sorted((reason for reason, count in counts.items() if count), key=lambda reason: -counts[reason])
    reasons = ", ".join(f"{counts[reason]} {reason}" for reason in most)
    share = f"none of the {found.records}" if not found.events else f"only {found.events} of the {found.records}"
    first = f"; the first: {found.first[:_SHOWN]}" if found.first else ""
    advice = "".join(f"{_TO_SET[reason]}. " for reason in most[:2] if reason in _TO_SET)
    if inspect and not OF_FIELDS.isdisjoint(most[:2]):
        advice += f"What the input has: {inspect}. "
    stand = f"The rejected records are in the {where}. " if found.rejects else ""
    return (
        f"{share} records could be used ({reasons}){first}. {advice}{stand}They have been read, so use another "
        "state.data_dir (or kafka.app) for the next try"
    )
