"""Views of a PostgreSQL output for people and their tools: forecasts, their steps, verified forecasts and silences.

They have the columns of the views of a SQLite output (`service.sinks.sqlite_views`) in types of PostgreSQL: times are
`timestamptz`, quantiles are arrays of numbers, labels are `jsonb`. A condition on `series` and `origin` uses the index.
"""

from __future__ import annotations

from typing import Final

_STORED: Final = (
    "stored_forecasts AS f JOIN series_names AS n ON n.id = f.series JOIN contexts AS c ON c.id = f.context"
)
_NUMBERS: Final = "coalesce(f.wide, f.quantiles::double precision[])"
_STEP: Final = (
    f"CROSS JOIN LATERAL (SELECT {_NUMBERS} AS numbers OFFSET 0) AS q "
    "CROSS JOIN LATERAL generate_series(1, array_length(q.numbers, 1)) AS step"
)
_TARGET: Final = (
    "CASE WHEN f.more ? 'targets' THEN (f.more -> 'targets' ->> (step - 1))::timestamptz "
    "WHEN f.interval_ms > 0 THEN f.origin + step * f.interval_ms * interval '1 millisecond' END"
)
_ROW: Final = "ARRAY(SELECT unnest(q.numbers[step:step]))"
_MIDDLE: Final = "q.numbers[step][array_length(q.numbers, 2) / 2 + 1]"
_REVISION: Final = "coalesce((f.more ->> 'revision')::int, 0)"

_FORECASTS: Final = f"""
SELECT
    c.partition,
    f.position,
    n.name AS series,
    n.labels,
    f.origin,
    f.interval_ms,
    c.model,
    CASE WHEN f.missing THEN 'missing' WHEN f.quantiles IS NULL AND f.wide IS NULL THEN 'unknown' ELSE 'ok' END
        AS status,
    c.levels,
    {_NUMBERS} AS quantiles,
    f.anomaly,
    f.flagged,
    f.value,
    {_REVISION} AS revision,
    f.more -> 'source' AS source,
    f.more ->> 'suppressed' AS suppressed,
    f.id
FROM {_STORED}"""

_STEPS: Final = f"""
SELECT
    c.partition,
    f.position,
    n.name AS series,
    n.labels,
    f.origin,
    step,
    {_TARGET} AS target,
    c.model,
    c.levels,
    {_ROW} AS quantiles,
    {_MIDDLE} AS forecast,
    {_REVISION} AS revision,
    f.id
FROM {_STORED} {_STEP}"""

# As in SQLite, an event of the same partition is the actual of a target where it is nearer to it than half an interval.
# OFFSET 0 keeps the loops in this order, in which an actual is looked up in the index by its time; otherwise all events
# of a series may be tried for each of its forecasts.
_VERIFIED: Final = f"""
SELECT
    n.name AS series,
    n.labels,
    t.target,
    step,
    f.origin,
    c.model,
    c.levels,
    {_ROW} AS quantiles,
    {_MIDDLE} AS forecast,
    a.value AS actual,
    a.value - {_MIDDLE} AS error,
    c.partition,
    f.position,
    {_REVISION} AS revision,
    f.id
FROM {_STORED} {_STEP}
CROSS JOIN LATERAL (SELECT {_TARGET} AS target OFFSET 0) AS t
CROSS JOIN LATERAL (
    SELECT o.value
    FROM stored_forecasts AS o JOIN contexts AS oc ON oc.id = o.context
    WHERE o.series = f.series AND o.value IS NOT NULL AND oc.partition = c.partition
        AND o.origin > t.target - (f.interval_ms + 1) / 2 * interval '1 millisecond'
        AND o.origin <= t.target + f.interval_ms / 2 * interval '1 millisecond'
    OFFSET 0
) AS a"""

_SILENCES: Final = """
SELECT c.partition, s.position, n.name AS series, n.labels, s.last, s.expected, s.noticed, s.id
FROM stored_silences AS s JOIN series_names AS n ON n.id = s.series JOIN contexts AS c ON c.id = s.context"""

VIEWS: Final = {"forecasts": _FORECASTS, "steps": _STEPS, "verified": _VERIFIED, "silences": _SILENCES}
"""The query of every view."""
