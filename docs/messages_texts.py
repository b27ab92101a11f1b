"""The text of docs/messages.md between its examples and tables."""

from __future__ import annotations

from typing import Final

INTRODUCTION: Final = """This page describes every record that the daemon reads or writes, field by field.

The daemon's own code made or read every example here.
Fields may be added; existing ones keep their name and meaning.
"""


CSV_TEXT: Final = """Unknown fields are ignored.
A value of null, NaN or infinity is a missing observation; an event without a time or a series is \
[rejected](#rejected-records).
On Kafka the record's key replaces a missing `series`, and the record's time replaces a missing `timestamp`; a record \
without a value is a [tombstone](kafka.md#tombstones).
Pushed JSON lines have the same form (see [the API](api.md#pushing-events)).

A number may also be a text, `true` is 1 and `false` is 0, and the name of a series may be a number.
A JSON record may be an array of events, or several events on a line each: see [several events](#several-events).

CSV has a header line with the same names, commas, semicolons, tabs or `|` (`input.separator`), double quotes, and \
line ends within quotes; empty, `null`, `NA` and `none` are missing values:
"""


CLOUD_TEXT: Final = """Envelopes around JSON records are recognised by their fields and removed \
(`input.envelope`); a rejected record keeps its envelope.
An event without a time of its own has that of its envelope (`ts_ms` of Debezium, `time` or the header `ce_time` of a \
CloudEvent), else, on Kafka, that of its record.
A CloudEvent in structured mode has the event in `data`, or, as base64, in `data_base64`.
In binary mode the attributes are headers (`ce_id`, `ce_type` ...) and the value is the event, as usual; its series \
may be named by one of them (`input.fields.series = "{header:ce_subject}"`):
"""


INFLUX_TEXT: Final = """Files whose names end in `.lp`, `.line` or `.influx`, and all files with `input.format = \
"influx"`, are InfluxDB line protocol, one or several lines in a record.
So are records of Kafka, pushed lines and streams that are not JSON, where `input.format` is `influx`, or `auto` and \
the first line has a timestamp.
Without any other setting each numeric field is an event, in the order of the line, and its series is measurement, \
tags sorted by their names, a blank and the field:
"""


INFLUX_NAMES_TEXT: Final = """Settings of `input.fields` refer to the parts by their names: `measurement`, `series` \
(measurement and tags), the tags, the fields, and `timestamp`.
A name that is taken, in this order, gets a number: a field `host` beside a tag `host` is `host_1`.

- Integers (`2i`, `2u`) and floats are numbers, booleans 1 and 0; NaN and infinity are missing values.
  Strings and tags are texts, and no values.
- A bad value, such as `idle=abc`, is one of several values: see `input.partial`.
  Any other mistake rejects the line as `undecodable`; the other lines of its record are forecast.
- The unit of the timestamp is `input.fields.time_unit`; with `auto` nanoseconds, microseconds, milliseconds and \
seconds are distinguished by their size.
  A line without a timestamp has the time of its Kafka record; in a file or a pushed body it is rejected.
- Comments (`#`) and blank lines are skipped.
  A string cannot contain a line end, as the protocol says.
"""


ENTRIES_TEXT: Final = """Files with `input.format = "access-log"`, and files whose names say nothing and whose first \
line is an entry, are access logs in the Common or the Combined Log Format of Apache and nginx, also compressed or \
rotated.
So are standard input with such a first line, and with that setting records of Kafka and pushed lines that are not JSON:
"""


ENTRIES_NAMES_TEXT: Final = """Settings of `input.fields` and `input.where` refer to the parts by these names:

- `host`, `ident`, `user`, and `vhost` where the line begins with the name and port of a virtual host.
- `time` is the event time; `input.fields.timestamp` needs not be set.
  The server writes a line when it has answered, nginx with that time, Apache with the one at which the request began: \
choose `aggregate.grace` accordingly.
- `method`, `path`, `query` and `protocol` of the request; the path is without the query.
  A client that does not speak HTTP leaves `-` in them, and an empty query.
- `status` and `bytes` are numbers; `-` is a missing status, and 0 bytes.
- `referer` and `agent`, `-` in the Common Log Format.
- `request_time` is how long the request took, as the server writes it behind the agent; a missing value where it \
does not.
  It is the number that is called `request_time` or `rt` (`rt=0.012`), else one with `ms`, else the first one with a \
fraction (nginx's `$request_time`, seconds), else the only one (Apache's `%D`, microseconds); of several whole \
numbers none, so that one of `extra_1`, `extra_2`, ... is to be chosen.
- Further numbers there are `extra_1`, `extra_2`, ..., or have their names (`urt=0.010`).
  Texts in quotes without a name have no numbers, as clients may have written them.

A file without settings is one series of its `request_time`, or of `bytes` where there is none, named like the file; \
`input.fields.series = "path"` makes one of each path.
Any other line is rejected as `undecodable`, one with a time that does not exist as `bad_timestamp`; blank lines are \
skipped.
Texts are as the server writes them, with `\\x22` in place of special characters.
"""


CONTROL_TEXT: Final = """A JSON record without the fields of an event can be a control record; it gets no forecast.
There is one kind: events of `{control.series}` within the window are excluded from training, as by `forecaster \
exclude` ([incidents](retraining.md#incidents)).
`from` is included, `to` is not; `reason` is optional.
A repeated record counts once.
It reaches the process that reads its partition: where several processes share a topic, send it to every partition.
A control record that cannot be parsed is rejected as `wrong_type`.
"""


SUPPRESSED_TEXT: Final = """A forecast has `suppressed`, "maintenance" or "budget", where its event would have been \
flagged \
otherwise ([anomalies](anomalies.md#fewer-flags)).
"""

REVISIONS_TEXT: Final = """With `input.late = "repair"` a late event that is put in its place \
([late events](data.md#late-events)) has a record that corrects the forecast of the newest event of its series.
Its `origin` is the time of that event, its `quantiles` are the corrected ones, its `source` is the late event, and \
`anomaly` is null, as scores are not corrected.
With `[aggregate]` such a record follows where late events have revised a closed window, which its `source` names.
The same origin can be corrected several times; the record with the greatest position holds.
A reader that keeps the newest record of every series and origin needs no change; one that counts forecasts leaves out \
those with `revision`.
There is none while the corrected forecast is unknown, and with `output.every` only of the steps that are published.
"""
MONTHS_TEXT: Final = """Where the steps of a series are [months, quarters or \
years](data.md#months-quarters-and-years), its forecasts have two additional fields:
"""


SILENCE_TEXT: Final = """Where `anomaly.silent_after` is set, a series whose events stop is announced once, among the \
forecasts:
"""


HEADER_TEXT: Final = """A rejected record keeps its key, value and headers and gets those of Kafka Connect's \
dead-letter queues.
A rejected line of a CSV file has the header line of its file as `csv-header`, if that is not longer than 1 KiB; a \
line of a file of InfluxDB line protocol or of an access log has `input-format`, whose value is `influx` or \
`access-log`.
The example was too large to be sent and was cut:
"""


TOPIC_TEXT: Final = """The names are the defaults of `[kafka]`; `forecaster topics create` creates the topics.
Forecasts, rejects, adoptions and the offsets of the events that they answer are one transaction: read with \
`isolation.level=read_committed`, because other readers also see aborted forecasts.
A transaction ends with a control record of Kafka's own, which takes an offset of the topic: gaps in the offsets are \
no loss.
Headers that `kafka.pass_headers` names, such as `traceparent`, are copied from an event to its forecast.
"""


JOINED_TEXT: Final = """With `kafka.forecasts_per_record` over 1 a record holds a JSON array of forecasts of one \
series, in order:
"""


ADOPTION_TEXT: Final = """From `position` on, the partition is forecast with that model.
With [groups of series](groups.md) each has adoptions of its own, whose record names it in `group`; without it the \
record is that of the series that no group matches.
The models topic holds the model itself, under its sha256, before this record is readable:
"""


RUN_TEXT: Final = """The same topic holds the start of every [run](kafka.md#lost-or-reset-offsets), with its first \
transaction; adoptions from the second run on name their run in `run`:
"""


MARK_TEXT: Final = """It also holds the time marks of partitions that fell silent (`aggregate.idle`): behind the \
records before `position`, event time has reached `mark`.
Marks that no replay needs any more are deleted by records without a value, and a record says up to where.
Key and value of a mark, of that record, and of a deletion:
"""


POSITION_TEXT: Final = """Where the input is files or pushed events and the sink is Kafka, the compacted topic \
`forecaster.positions` holds the committed position of each partition.
A transaction writes the position of its partition (with the outcomes of all records before it) and the entries of \
files that have changed.
A record without a value removes an entry that is no longer needed.
Key and value:
"""


SQLITE_TEXT: Final = """`output.path` is one SQLite file, written in one transaction per batch; any client can read it \
while the daemon writes.
Programs read the views; the tables are the storage format, and may change with its number \
([upgrading](upgrading.md)).

```sql
SELECT origin, json_extract(quantiles, '$[0]') FROM forecasts WHERE series = 'cpu.host1'
ORDER BY origin_ms DESC LIMIT 1;
```

The view `steps` has one row per step ahead with its target time ([joins with \
values](data.md#months-quarters-and-years)); `target` is null while the interval of the series is unknown.

The view `verified` joins each step with the event that came at its target: the forecast (the quantile level in the \
middle), the actual, and the error.
How good were the forecasts of one step ahead since yesterday:

```sql
SELECT series, avg(abs(error)) FROM verified
WHERE step = 1 AND target > strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 day') GROUP BY series;
```

An event belongs to a target that is less than half an interval away; events without a published forecast are not in \
the file, so with `output.every` over 1 most targets have no actual.

With `input.late = "repair"` a forecast and its revision are both there, with `revision` 0 and 1.

Quantiles are stored as numbers in binary, a fourth of the size of JSON (`output.format = "compact"`, the default).
The middle level of each step is exact to 6e-8 of the range of the forecast, and every other level to 1/4096 of its \
distance from it; bounds and the order of the levels are kept, and the numbers have as many decimals as the narrowest \
interval needs.
`output.format = "json"` keeps the text of each forecast as it goes to topics and standard output.
The views are plain SQL: the `sqlite3` shell, `pandas.read_sql` and every SQLite client read them.
A column that is not selected costs nothing; quantiles cost about 0.3 ms a forecast, so sort one series by \
`origin_ms`, and all of them by `id`, the order in which they were written: both are read from an index.
Tools that read only the tables of a SQLite file, such as the scanner of DuckDB, read exports of `forecaster forecasts`.

`forecaster tail` shows forecasts as they are written, in the order of their commits; with `--json`, one JSON object \
per line as on a topic.
It reads the file four times a second, and waits where no daemon has written one yet.

The file has bounds.
`output.keep = "30d"` deletes what was written longer ago, to the hour; `output.max_bytes`, 10 GiB if nothing else is \
set, deletes the oldest forecasts, silences and rejected records where the file would become larger.
Both work bit by bit: a batch deletes about twice as many rows as it adds, and where more than an eighth of the file \
is unused, gives pages back to the file system.
Positions, adoptions and the counts of `forecaster run` stay.
"""


LINES_TEXT: Final = """With `output.sink = "parquet"` forecasts are in Parquet files, with the columns of \
[its page](parquet.md#the-columns).

With `output.sink = "stdout"` forecasts and silences are lines on standard output, each one \
JSON object as above.
They are delivered at least once: after a crash the lines of one batch may be repeated, with the same `source`, by \
which a reader drops duplicates.
Everything else is in the SQLite file.
"""
