"""The last lines of a run, and its exit status: whether most records could be used, else what to set."""

from __future__ import annotations

from typing import Final

import structlog

from service.cli._errors import Failed
from service.config.sections import Config
from service.engine.run_summary import Tally
from service.ports import Outcomes

_log = structlog.get_logger()

_SHOWN: Final = 300  # characters of the first detail
_TO_SET: Final = {
    "missing_field": "Fields that have other names: --set input.fields.value=NAME, also series and timestamp",
    "wrong_type": "Another field for the value: --set input.fields.value=NAME",
    "bad_timestamp": "Another field for the time: --set input.fields.timestamp=NAME; numbers of another unit: "
    "--set input.time_unit=us",
    "undecodable": "Another format: --format csv or jsonl",
    "too_large": "Longer records: --set input.max_record_bytes=N",
    "unknown_series": "Series to accept: input.series",
    "too_far_ahead": "Times ahead of their record time: --set input.max_ahead=TIME",
    "truncated": "The file must hold its last record whole",
    "late": "Events of a series are expected oldest first: sort the input by time",
    "duplicates": "Events of a series are expected at different times: --set input.fields.series=NAME or "
    "input.fields.timestamp=NAME where other fields tell them apart",
}


def end(tally: Tally, config: Config, *, wanted: bool) -> None:
    """What became of the input, as the last lines.

    Args:
        tally: of the run.
        config: of the run.
        wanted: whether a signal ended it, and not the end of the input.

    Raises:
        Failed: most of the records could not be used; or the run found no further records, and of those that earlier
            runs read most could not be used.
    """
    rejected, kafka = tally.rejects.total(), config.kafka
    to_kafka = config.sink == "kafka"
    output = f"topic {kafka.forecasts}" if to_kafka else str(config.output_path)
    tell = _log.warning if rejected or tally.late else _log.info
    tell("ended", events=tally.events, set_aside=rejected, late=tally.late, duplicates=tally.duplicates, output=output)
    if wanted:
        return
    where = f"topic {kafka.rejects}" if to_kafka else f"table rejects of {config.output_path}"
    found = tally.total
    if tally.valueless and tally.events >= found.unusable:
        msg = (
            f"none of the {tally.events} events had a value, so nothing could be forecast. {_TO_SET['wrong_type']}. "
            "They were read, so try again with another state.data_dir (or kafka.app)"
        )
        raise Failed(msg)
    if not found.records and tally.before is not None:
        found, run = tally.before, "no further records; before, "
    else:
        run = ""
    if found.unusable > found.events:
        raise Failed(run + _unused(found, where))


def _unused(found: Outcomes, where: str) -> str:
    """How many and why, what to set, where the records are."""
    counts = {**found.rejects, "late": found.late, "duplicates": found.duplicates}
    most = sorted((reason for reason, count in counts.items() if count), key=lambda reason: -counts[reason])
    reasons = ", ".join(f"{counts[reason]} {reason}" for reason in most)
    share = f"none of the {found.records}" if not found.events else f"only {found.events} of the {found.records}"
    first = f"; the first: {found.first[:_SHOWN]}" if found.first else ""
    advice = "".join(f"{_TO_SET[reason]}. " for reason in most[:2] if reason in _TO_SET)
    stand = f"The rejected ones stand in the {where}. " if found.rejects else ""
    return (
        f"{share} records could be used ({reasons}){first}. {advice}{stand}"
        "They were read, so try again with another state.data_dir (or kafka.app)"
    )
