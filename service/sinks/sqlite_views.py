"""Views of a SQLite output for people and their tools: forecasts, their steps, verified forecasts and silences.

Forecasts are stored as numbers in binary (`service.messages.compact`, `forecaster.packed`) or, with
`output.format = "json"` and in files of earlier programs, as batches of JSON. The views show both in the same columns,
in SQL that needs no extension. A column that is not selected costs nothing; quantiles cost a fraction of a millisecond
a forecast. `id` is the order in which forecasts were written.
"""

from __future__ import annotations

from typing import Final

from forecaster.packed import LARGEST_DISTANCE, MANTISSA, MIDDLE_CODES

MOST_STEPS: Final = 1024
"""The longest horizon, see `ModelConfig.horizon`."""

_TIME: Final = "strftime('%Y-%m-%dT%H:%M:%fZ', {ms} / 1000.0, 'unixepoch')"
_MS: Final = "CAST(round((julianday({time}) - 2440587.5) * 86400000) AS INTEGER)"
_ORIGIN_MS: Final = _MS.format(time="json_extract(one.value, '$.origin')")  # of a forecast in JSON


# The quantiles of stored forecasts as numbers. Bytes are read by a table, as SQL has no function for it.
_STEP_BYTES: Final = "(length(f.quantiles) / f.steps)"
_LEVELS: Final = f"(({_STEP_BYTES} - 3) / 2 + 1)"
_FIRST: Final = f"step.at * {_STEP_BYTES}"  # bytes before the codes of a step
_OTHER: Final = f"{_FIRST} + 3 + 2 * (level.at - (level.at > {_LEVELS} / 2))"  # before the code of a level
_NUMBERS: Final = f"""
SELECT id, step, level, min(max(CASE WHEN digits IS NULL THEN x ELSE round(x, digits) + 0.0 END, least), greatest) AS x
FROM (
    SELECT
        f.id AS id,
        step.at AS step,
        level.at AS level,
        f.least AS least,
        f.greatest AS greatest,
        f.digits AS digits,
        f.least + (f.greatest - f.least) * ((m1.n * 65536 + m2.n * 256 + m3.n) / {float(MIDDLE_CODES)})
        + CASE
            WHEN level.at = {_LEVELS} / 2 THEN 0.0
            ELSE (f.greatest - f.least) / {LARGEST_DISTANCE} * CASE WHEN level.at < {_LEVELS} / 2 THEN -1 ELSE 1 END
                * CASE
                WHEN hi.n >> 3 THEN ({MANTISSA} + (hi.n & 7) * 256 + lo.n) << ((hi.n >> 3) - 1)
                ELSE (hi.n & 7) * 256 + lo.n
            END
        END AS x
    FROM stored_forecasts AS f
    JOIN step_numbers AS step ON step.at < f.steps
    JOIN byte_numbers AS m1 ON m1.byte = substr(f.quantiles, 1 + {_FIRST}, 1)
    JOIN byte_numbers AS m2 ON m2.byte = substr(f.quantiles, 2 + {_FIRST}, 1)
    JOIN byte_numbers AS m3 ON m3.byte = substr(f.quantiles, 3 + {_FIRST}, 1)
    JOIN step_numbers AS level ON level.at < {_LEVELS}
    LEFT JOIN byte_numbers AS hi ON hi.byte = substr(f.quantiles, 1 + {_OTHER}, 1)
    LEFT JOIN byte_numbers AS lo ON lo.byte = substr(f.quantiles, 2 + {_OTHER}, 1)
)"""


def _row(step: str) -> str:
    """Returns the expression of the quantiles of a step of the stored forecast `f`, from 0, as a JSON array."""
    numbers = f"SELECT x FROM stored_numbers WHERE id = f.id AND step = {step} ORDER BY level"
    return f"(SELECT json_group_array(x) FROM ({numbers}))"


_QUANTILES: Final = (
    "CASE WHEN f.quantiles IS NULL THEN json_extract(f.more, '$.quantiles') ELSE "
    f"(SELECT json_group_array(json(row)) FROM (SELECT {_row('number.at')} AS row FROM step_numbers AS number "
    "WHERE number.at < f.steps ORDER BY number.at)) END"
)
_STEP_QUANTILES: Final = (
    "CASE WHEN f.quantiles IS NULL THEN json_extract(f.more, '$.quantiles[' || step.at || ']') "
    "ELSE " + _row("step.at") + " END"
)
_STORED: Final = (
    "stored_forecasts AS f JOIN series_names AS n ON n.id = f.series JOIN contexts AS c ON c.id = f.context"
)
_STEP_JOIN: Final = "JOIN step_numbers AS step ON step.at < f.steps"
_LISTED_TARGET: Final = "json_extract(f.more, '$.targets[' || step.at || ']')"
_TARGET_MS: Final = (
    "CASE WHEN json_extract(f.more, '$.targets') IS NOT NULL THEN "
    f"{_MS.format(time=_LISTED_TARGET)} WHEN f.interval_ms > 0 THEN f.origin_ms + (step.at + 1) * f.interval_ms END"
)
_TARGET: Final = (
    f"CASE WHEN json_extract(f.more, '$.targets') IS NOT NULL THEN {_LISTED_TARGET} "
    f"WHEN f.interval_ms > 0 THEN {_TIME.format(ms='(f.origin_ms + (step.at + 1) * f.interval_ms)')} END"
)

_FORECASTS: Final = f"""
SELECT
    c.partition AS partition,
    f.position AS position,
    n.name AS series,
    {_TIME.format(ms="f.origin_ms")} AS origin,
    f.interval_ms AS interval_ms,
    c.model AS model,
    CASE WHEN f.missing THEN 'missing' WHEN f.steps THEN 'ok' ELSE 'unknown' END AS status,
    c.levels AS levels,
    {_QUANTILES} AS quantiles,
    f.anomaly AS anomaly,
    f.flagged AS flagged,
    f.value AS value,
    f.origin_ms AS origin_ms,
    coalesce(json_extract(f.more, '$.revision'), 0) AS revision,
    json_extract(f.more, '$.suppressed') AS suppressed,
    f.id AS id
FROM {_STORED}"""
_FORECASTS_OF_BATCHES: Final = f"""
SELECT
    batches.partition,
    json_extract(one.value, '$.source.position'),
    json_extract(one.value, '$.series'),
    json_extract(one.value, '$.origin'),
    json_extract(one.value, '$.interval_ms'),
    json_extract(one.value, '$.model'),
    json_extract(one.value, '$.status'),
    json_extract(one.value, '$.levels'),
    json_extract(one.value, '$.quantiles'),
    json_extract(one.value, '$.anomaly'),
    json_extract(one.value, '$.flagged'),
    NULL,
    {_ORIGIN_MS},
    coalesce(json_extract(one.value, '$.revision'), 0),
    json_extract(one.value, '$.suppressed'),
    batches.rowid * 65536 + one.key - (1 << 50)
FROM batches, json_each(batches.forecasts) AS one
WHERE json_extract(one.value, '$.kind') IS NULL"""

_STEPS: Final = f"""
SELECT
    c.partition AS partition,
    f.position AS position,
    n.name AS series,
    {_TIME.format(ms="f.origin_ms")} AS origin,
    step.at + 1 AS step,
    {_TARGET} AS target,
    c.model AS model,
    c.levels AS levels,
    {_STEP_QUANTILES} AS quantiles,
    f.origin_ms AS origin_ms
FROM {_STORED} {_STEP_JOIN}"""
_STEPS_OF_BATCHES: Final = f"""
SELECT
    batches.partition,
    json_extract(one.value, '$.source.position'),
    json_extract(one.value, '$.series'),
    json_extract(one.value, '$.origin'),
    step.key + 1,
    CASE
        WHEN json_extract(one.value, '$.targets') IS NOT NULL
            THEN json_extract(one.value, '$.targets[' || step.key || ']')
        WHEN json_extract(one.value, '$.interval_ms') > 0
            THEN strftime(
                '%Y-%m-%dT%H:%M:%fZ',
                json_extract(one.value, '$.origin'),
                printf(
                    '+%d.%03d seconds',
                    (step.key + 1) * json_extract(one.value, '$.interval_ms') / 1000,
                    (step.key + 1) * json_extract(one.value, '$.interval_ms') % 1000
                )
            )
    END,
    json_extract(one.value, '$.model'),
    json_extract(one.value, '$.levels'),
    step.value,
    {_ORIGIN_MS}
FROM batches, json_each(batches.forecasts) AS one, json_each(one.value, '$.quantiles') AS step
WHERE json_extract(one.value, '$.kind') IS NULL AND json_type(one.value, '$.quantiles') = 'array'"""

# An event of the same partition is the actual of a target where it is nearer to it than half an interval: a series of
# the same name in another partition is another series. `forecast` is the level in the middle. CROSS JOIN keeps the
# order of the loops, with which an actual is looked up in the index by its time; otherwise all events of a series would
# be tried for each of its forecasts.
_VERIFIED: Final = f"""
SELECT
    series, target, step, origin, model, levels, quantiles,
    json_extract(quantiles, '$[' || (json_array_length(quantiles) / 2) || ']') AS forecast,
    actual,
    actual - json_extract(quantiles, '$[' || (json_array_length(quantiles) / 2) || ']') AS error,
    partition, position, origin_ms, revision
FROM (
    SELECT
        n.name AS series,
        {_TARGET} AS target,
        step.at + 1 AS step,
        {_TIME.format(ms="f.origin_ms")} AS origin,
        c.model AS model,
        c.levels AS levels,
        {_STEP_QUANTILES} AS quantiles,
        a.value AS actual,
        c.partition AS partition,
        f.position AS position,
        f.origin_ms AS origin_ms,
        coalesce(json_extract(f.more, '$.revision'), 0) AS revision
    FROM {_STORED} {_STEP_JOIN}
    CROSS JOIN stored_forecasts AS a ON a.series = f.series AND a.value IS NOT NULL
        AND a.origin_ms > {_TARGET_MS} - (f.interval_ms + 1) / 2 AND a.origin_ms <= {_TARGET_MS} + f.interval_ms / 2
    JOIN contexts AS o ON o.id = a.context AND o.partition = c.partition
)"""

_SILENCES: Final = f"""
SELECT
    c.partition AS partition,
    s.position AS position,
    n.name AS series,
    {_TIME.format(ms="s.last_ms")} AS last,
    {_TIME.format(ms="s.expected_ms")} AS expected,
    {_TIME.format(ms="s.noticed_ms")} AS noticed
FROM stored_silences AS s JOIN series_names AS n ON n.id = s.series JOIN contexts AS c ON c.id = s.context"""
_SILENCES_OF_BATCHES: Final = """
SELECT
    batches.partition,
    json_extract(one.value, '$.source.position'),
    json_extract(one.value, '$.series'),
    json_extract(one.value, '$.last'),
    json_extract(one.value, '$.expected'),
    json_extract(one.value, '$.noticed')
FROM batches, json_each(batches.forecasts) AS one
WHERE json_extract(one.value, '$.kind') = 'silence'"""


def views(*, batches: bool) -> list[str]:
    """Returns the statements that create the views, anew where they exist; `batches`: the file has batches of JSON."""
    of_batches = {"forecasts": _FORECASTS_OF_BATCHES, "steps": _STEPS_OF_BATCHES, "silences": _SILENCES_OF_BATCHES}
    texts = {"stored_numbers": _NUMBERS}
    texts |= {"forecasts": _FORECASTS, "steps": _STEPS, "verified": _VERIFIED, "silences": _SILENCES}
    found = []
    for name, text in texts.items():
        more = f" UNION ALL {of_batches[name]}" if batches and name in of_batches else ""
        found += [f"DROP VIEW IF EXISTS {name}", f"CREATE VIEW {name} AS {text}{more}"]
    return found
