"""Generates docs/logs.md: every log event, found in the source, with its meaning and what to do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.monitoring.log_limits import kind_of

SERVICE: Final = Path(__file__).parents[1] / "service"
LEVELS: Final = ("debug", "info", "warning", "error", "exception", "critical")

MEANINGS: Final = {
    "listening": "The HTTP server listens here. Once, at the start.",
    "answering probes": "A history is being fetched: until it is there, this address answers probes and metrics only.",
    "compiling the network for this processor": (
        "Kernels are compiled. Another cell or head compiles again, no other setting does; `forecaster warmup` does it "
        "in advance."
    ),
    "compiled for this network": (
        "A process of low priority has compiled faster kernels, which are used from now on, with equal forecasts: "
        "optimised ones in place of the quickly made code of a first start, later those for exactly this network, "
        "which need about a fifth fewer instructions than those for any network. Once per network and machine."
    ),
    "compiling for this network failed": (
        "The process that compiles the kernels for exactly this network ended with this status. The daemon goes on "
        "with those for any network, about a fifth slower; the next start tries again."
    ),
    "process that compiles not started": (
        "The operating system did not start the process that compiles the kernels for exactly this network. The daemon "
        "goes on as above."
    ),
    "ended": (
        "End of `forecaster run`: counts of events, rejected records, late events, duplicates and records that do not "
        "meet `input.where` (`filtered`), and the file with forecasts and rejects. A warning if records were rejected "
        "or late, or none meets the condition. If most records could not be used, the "
        "exit status is 1, and a further line says what to set."
    ),
    "event times are numbers of two units": (
        "Numbers from 1e8 to below 1e11 are interpreted as epoch seconds, others as epoch milliseconds, and this "
        "stream has both: for instance a stream in milliseconds that starts in 1970. Once per process. Set "
        "`input.fields.time_unit`, and start with a new `state.data_dir`."
    ),
    "event times within a change of the clock": (
        "Times without a zone, in a zone whose clock changes (`input.fields.timezone`): `done` says how they are read. "
        "Once per process. Let the sender write UTC, or the offset."
    ),
    "fields of the input chosen": (
        "The input file lacks the default names, and the configuration does not name all fields: `choice` says what is "
        "read (see [files](files.md#files-as-they-are)). Later starts use the same, and name the file it was made for."
    ),
    "groups of series by cadence chosen": (
        "At the first start: the input files have series of different cadences, and these groups have those that do "
        "not have the commonest one, each with the number of its series (see "
        "[groups](groups.md#cadences-by-themselves))."
    ),
    "groups of series by cadence changed": (
        "Series have another cadence than the group that they are in, and get their own from this event on; these are "
        "all groups by cadence with the number of their series. The daemon starts again with them (see "
        "[groups](groups.md#while-the-daemon-runs))."
    ),
    "groups of series by cadence wait for a restart": (
        "Series have another cadence than the group that they are in, but the configuration file is broken or has "
        "changes that need a restart: they stay where they are until then."
    ),
    "interval of the input differs": (
        "`model.seasons` has durations, which were counted in the interval of the first start (`kept`), and the files "
        "have another one now (`found`). The seasons stay; set `model.interval` to count them anew."
    ),
    "seasons of the network chosen": (
        "At the first start: `model.seasons` is `auto`, and these are the seasons, in steps, that the network gets by "
        "the first records of the input file (see [files](files.md#files-as-they-are)). They stay with the state."
    ),
    "network begins with the seasons of its series": (
        "`model.seasons` is `auto`, the input could not be read ahead, and the first events show the interval of their "
        "series: from the next event on the network has the seasons of the calendar for it, in steps (see "
        "[groups](groups.md#while-the-daemon-runs))."
    ),
    "first record rejected for this reason": (
        "A record could not be used, and why. Further records with the same reason are only counted "
        "(`forecaster_rejected_total`) and stored with the rejects. `see` is the command that shows the fields of the "
        "input and writes the settings for them, or the page with the reasons."
    ),
    "interval changed": (
        "The newest gaps of a series agree on another interval (see [data](data.md#the-interval)), which its steps "
        "have from this event on. Earlier forecasts for later steps are not scored. Once per series and change; "
        "counted by `forecaster_interval_changes_total`."
    ),
    "observed interval differs from the configured one": (
        "The gaps of a series agree on another interval than `model.interval`, which stays in force: six steps "
        "ahead are six configured intervals. Set it to the observed interval, or remove it. Once per series; "
        "counted by `forecaster_interval_contradictions_total`."
    ),
    "series continues before a wrong future event time": (
        "An event had the time `wrong`, and later events have earlier times: the series follows those again. Find "
        "the sender with a wrong clock or unit. Once per such event; counted by `forecaster_series_reopened_total`."
    ),
    "accepting events": "Events can be pushed to these URLs. Once, at the start, if `input.push` is set.",
    "partitions": "The Kafka group assigned these partitions. At the start and after every rebalance.",
    "brokers have deleted the first records of the input": (
        "A first start reads a partition from its oldest offset, which is not 0: the topic's retention deleted what "
        "was before it. Brokers delete records with old timestamps at their next check, however new they are in the "
        "topic. Once per partition and first start."
    ),
    "taking in the history": (
        "A first start takes in these inputs of `[bootstrap]` before the live ones (see [history](history.md)). "
        "Once per partition."
    ),
    "partition begins without the history, which is no longer there": (
        "A partition was added after the others had gone live, and the files of the history were removed."
    ),
    "taking in the history, continued": "A later start goes on with the history; so many bytes are left.",
    "history taken in, reading the live input": (
        "The history of a partition has ended; its files are not needed from the next snapshot on."
    ),
    "fetching the history": (
        "Samples of the server of `bootstrap.url` are fetched, those from `begin` to `end`. A start after a kill goes "
        "on."
    ),
    "fetching the history, continued": "Samples so far, and the time that they reach. Every ten seconds.",
    "history fetched": "All samples of the server are on disk; the daemon takes them in now.",
    "server of the history does not answer, retrying": (
        "The server of `bootstrap.url` is asked again until it answers. Check it and the address."
    ),
    "records before kafka.start are left out": (
        "A first start reads a partition from this offset, by `kafka.start`. Once per partition."
    ),
    "restored": (
        "A partition is restored to its committed position, after a replay of this many events. Once per partition "
        "and start."
    ),
    "model adopted": "From this position on, another model forecasts a partition, or the series of a group in it.",
    "network changed by the configuration": (
        "The configuration has another network than the champion: its shape is adopted with the next events, and the "
        "rows are built anew. See [a network of another shape](shapes.md)."
    ),
    "older values kept as means": (
        "The network has seasons so long that its rows keep the means of so many `steps` in place of older values, and "
        "a series takes so many bytes. See [long seasons](seasons.md)."
    ),
    "more bytes per series than state.bytes_per_series": (
        "The state of a series takes more than the budget even with the coarsest means: `model.horizon`, quantile "
        "levels and sizes of the network take the rest. Raise the budget, or lower these."
    ),
    "state of groups left out that are not configured any more": (
        "A snapshot has the state of groups that the configuration does not have; it is not used."
    ),
    "series belong to another group now": (
        "The groups have changed, by `[[group]]` or by cadence: these series begin in their new group with their "
        "history."
    ),
    "window excluded from training": (
        "A control record of the stream excluded this window (`forecaster exclude --list`)."
    ),
    "exclusion not stored, training still uses the window": (
        "The exclusion of a control record could not be stored, and why. Free space with `forecaster exclude "
        "--remove`, or repair the file; then repeat it with `forecaster exclude`."
    ),
    "alert begins": (
        "An [alert](alerts.md) with its `kind`, the `rule` of a breach, `series` and event time. Ten per unit at most."
    ),
    "alerts not renewed": (
        "An Alertmanager did not take the alerts that last; they are renewed again after `alerts.renew_every` (after "
        "five seconds those of a partition that was restored), and expire there after `alerts.expire_after`."
    ),
    "alert is over": "An alert that began earlier is over at this event time.",
    "feedback in force": "From this position on, feedback of `forecaster anomalies` is in force.",
    "feedback not taken": (
        "Feedback of `forecaster anomalies` was dropped: no series of this name has a state here, or the file was "
        "damaged. Check the name and the data folder."
    ),
    "feedback waits": (
        "Feedback of `forecaster anomalies` could not be read or recorded; it is tried again every second."
    ),
    "anomaly rules changed": "From this position on, other anomaly rules are in force.",
    "no replicas for this lead time and quantile": (
        "The `lead` of a `[[scale]]` is beyond the forecast horizon of its series, or the group of the series does not "
        "forecast its `quantile`: there is no `forecaster_desired_replicas`. Once per `[[scale]]`. Set "
        "`model.horizon`, `model.quantiles`, or another lead time."
    ),
    "threshold is outside of the forecast horizon": (
        "The time of a threshold (`metrics.thresholds`) is beyond the forecast horizon of this series, or shorter "
        "than a step: the metrics of the threshold are not exported for such series. Once per threshold. `expected` "
        "says what to set."
    ),
    "drift detected": "The forecast errors of a partition have grown (`retrain.drift`); a training becomes due.",
    "training started": "A training runs, in this process.",
    "training ended": (
        "`outcome`: promoted, shadow (it runs as a shadow model), kept (the champion stays), nothing_to_learn (no "
        "series has changed; all these are info), failed or killed (warning: see "
        "[ForecasterTrainerFails](operations.md#forecastertrainerfails)). `tried`: the other shape that was "
        "trained too ([searched shapes](shapes.md#searched-shapes))."
    ),
    "seasons checked": (
        "The seasons of the network differ from those that the training history shows; says what to set. Once, and "
        "once more when they agree again. See [seasons](retraining.md#season-check)."
    ),
    "training skipped": "A training was due and could not be started, and why.",
    "trial started": "A shadow model runs (`retrain.shadow`).",
    "trial ended": "The shadow model was promoted or dropped, with the reason.",
    "settings changed": "The configuration file was read again; these keys have these values now.",
    "restart needed for changed settings": (
        "The file changed keys that a running daemon cannot change. They take effect at the next restart."
    ),
    "changed file refused, the old settings stay": (
        "See [ForecasterConfigRefused](operations.md#forecasterconfigrefused)."
    ),
    "web configuration removes protection, waiting until the file stays unchanged": (
        "The file of `http.web_config` no longer requires passwords or client certificates, which can happen for a "
        "moment while a file is being written. They stay in force until the file has been unchanged for half a "
        "minute."
    ),
    "web configuration removed protection": (
        "The file stayed unchanged: `without` is no longer required. Correct the file if that was not intended."
    ),
    "fewer connections than configured": (
        "The limit of open files (`ulimit -n`, `LimitNOFILE`) is too low for `http.max_connections` in addition to "
        "the files of the engine; `allowed` is the limit in force. Raise the limit, or lower the setting."
    ),
    "sink unavailable, retrying": "See [ForecasterSinkDown](operations.md#forecastersinkdown).",
    "output at its bound, oldest rows are deleted": (
        "The SQLite file, or the tables in PostgreSQL, would become larger than `output.max_bytes`: from now on the "
        "oldest forecasts, silences and rejected records are deleted. Once per start. Raise the setting, or set "
        "`output.keep`."
    ),
    "oldest output not dropped yet, a reader holds it": (
        "A transaction of another program has read the oldest part of the tables in PostgreSQL and is still open, so "
        "the part is not dropped; it is tried again every 10 s. Once until it succeeds. End the transaction "
        "(`pg_stat_activity`)."
    ),
    "file of forecasts not written, retrying": (
        "A Parquet file cannot be written: `error`. Nothing is published until it can; nothing is lost. Free space, or "
        "make `folder` writable."
    ),
    "forecasts wait for the next start": (
        "The daemon ends, and the last Parquet file could not be written: `error`. Its forecasts are in "
        "`positions.sqlite` in `folder`, and the next start writes them."
    ),
    "views not written": "`views.sql` in `folder` could not be replaced. It is tried again with the next file.",
    "sink available again": "Forecasts are published again; none was lost.",
    "schema registry unavailable, retrying": (
        "`schema_registry.url` does not answer, or refuses the credentials, and a record has a new schema, or the "
        "schema of forecasts is to be registered (`output.format`). Nothing is read or rejected until it answers. "
        "Once per outage. See [Kafka](kafka.md#schema-registry)."
    ),
    "schemas of pushed records not available, sender retries": (
        "`schema_registry.url` does not answer, or the daemon stops, and a pushed body has a schema that is not known "
        "yet. The sender got status 503 and retries; `error` has the detail, which the sender does not get."
    ),
    "schema registry available again": "Records are read again; none was lost.",
    "transport failed, restarting": (
        "The source or the sink failed; the engine returns to the committed state and retries with growing pauses. "
        "See [ForecasterRestarting](operations.md#forecasterrestarting)."
    ),
    "first record without a value": (
        "A tombstone of Kafka, and what it does (`done`). Once per process; "
        '`forecaster_rejected_total{reason="tombstone"}` counts them.'
    ),
    "partitions dropped": (
        "The memory of partitions that moved to another process a minute ago was released. A partition that returns "
        "is restored from its newest snapshot."
    ),
    "input topic is compacted": "`kafka.on_compacted_input` is `accept`; `lost` describes the consequences.",
    "cleanup policy of an input topic is not known": (
        "The brokers do not return it (the right DESCRIBE_CONFIGS on the topics is missing). Make sure that it is "
        "`delete`."
    ),
    'a process with kafka.membership "alone" could not be fenced': (
        "Brokers did not permit this member of the group to use `transactional_id`. A process of the same `kafka.app` "
        "with that setting would forecast the same events as the group. Grant the ACLs (`needed`), or make sure that "
        "no such process runs. At every start of a member."
    ),
    "committed offset was reset or removed, new run": (
        "The group's offset was reset or removed, and `kafka.on_offsets_gone` is `new-run`: events are forecast "
        "again from `offset` on (None: from the oldest), under this run number. See "
        "[Kafka](kafka.md#offsets-that-are-gone)."
    ),
    "committed offset was set by another program": (
        "No event at or after this offset was forecast, so the daemon continues there. Earlier events that were not "
        "forecast yet get no forecast."
    ),
    "source gone, starting with empty state": "See [ForecasterColdStart](operations.md#forecastercoldstart).",
    "champion refused": (
        "The champion of the registry cannot be adopted; the previous model stays in force. See "
        "[ForecasterModelRefused](operations.md#forecastermodelrefused)."
    ),
    "model refused": "A model for a trial cannot be read or has another shape; the trial does not start.",
    "champion named by the models topic is missing from it": (
        "The record of the model was deleted or compacted; this machine's champion stays. `forecaster models promote` "
        "publishes one."
    ),
    "trial not restored, restarting it": (
        "The state of a trial could not be read; the trial starts again. Forecasts are not affected."
    ),
    "snapshot refused": (
        "A snapshot, or the full one that it depends on, is damaged, ahead of the output, of another output "
        "(`foreign`) or not a valid state (`unfit`); the previous one is used. See "
        "[ForecasterSnapshotsRefused](operations.md#forecastersnapshotsrefused)."
    ),
    "snapshot not written": (
        "See [ForecasterSnapshotsFail](operations.md#forecastersnapshotsfail). Forecasts continue."
    ),
    "initial anomaly rules not written": "Like the previous line, for the initial anomaly rules of a partition.",
    "snapshot not shared": "See [ForecasterSnapshotsNotShared](operations.md#forecastersnapshotsnotshared).",
    "shared snapshot not read": "The snapshot topics cannot be read; a local snapshot is used. "
    "Where the records or time marks behind it are gone, the start is repeated until they can be read.",
    "state deleted, its output no longer exists": (
        "The output of the snapshots of this data folder no longer exists, and a new one starts. The snapshots are "
        "deleted and all events are forecast again; models are kept. To continue with the old output, restore it "
        "before a start."
    ),
    "damaged records left out of a replay": (
        "A replay needs these records of the spool, and the disk has changed their bytes. If they had been "
        "forecast, the state of their series lacks them from now on. Counted by "
        "`forecaster_replayed_damaged_total`. Check the disk."
    ),
    "old models and decisions deleted": (
        "Counts of deleted files of models and lines of decisions above `state.models_kept` and "
        "`state.decisions_kept`, see [what is kept](operations.md#what-is-kept-and-for-how-long). At most once an "
        "hour."
    ),
    "old models and decisions not deleted": (
        "The folder `models` cannot be written: the error. Retried an hour later."
    ),
    "shared snapshot of another machine used": "A partition and its state were taken over from another machine.",
    "open windows dropped, their settings have changed": (
        "The snapshot of a clean stop has open windows of other settings (`[aggregate]`): the events in `windows` of "
        "them are in no value. The series continue with the windows of the next events."
    ),
    "snapshot of another machine": (
        "Written by a processor of another type: further forecasts may differ from its forecasts in the last digit. "
        "See [determinism](determinism.md)."
    ),
    "input file is damaged, only its intact beginning was read": (
        "A compressed file is truncated or damaged; replace it, and restart to read the rest."
    ),
    "input file was renamed": "A rotation renamed a file that was read; it is not read again.",
    "input file is not read: its name is not UTF-8": (
        "A glob matches it; rename it, or create a link with another name."
    ),
    "input pipe cannot be opened": (
        "A pipe of `input.files` does not exist or cannot be opened; it is not read any further."
    ),
    "incomplete last line of the input pipe deleted": (
        "The program that writes to the pipe, or the daemon, ended within a line. The rest of the line cannot be read."
    ),
    "reading of standard input paused, its spool cannot be written": (
        "See `error`; usually the disk is full. Reading continues as soon as the spool can be written."
    ),
    "deliveries wait for their target": (
        "The target does not answer, or asks to be tried later. Its batch is sent again until it is accepted; the rest "
        "waits in its spool (`deliveries/` in the data folder). Once, until it answers again. Forecasts go on."
    ),
    "deliveries accepted again": "The target has acknowledged a batch; what waited is sent now.",
    "deliveries refused": (
        "The target refuses `count` deliveries for a reason that sending them again does not change, see `error`; "
        "`first` identifies the first one. Of remote write and of an Alertmanager each is refused alone: samples older "
        "than the receiver has, or too far ahead (`remote_write.times`), and after a kill often what it has already. "
        "They are counted in `forecaster_deliveries_refused_total`, and the next ones are sent."
    ),
    "deliveries expired": (
        "Alerts were not sent that are older than `alerts.max_age`, or to an Alertmanager the begins of alerts that "
        "are over meanwhile, or last in a partition that another process reads. They are counted in "
        "`forecaster_deliveries_expired_total`."
    ),
    "oldest deliveries dropped": (
        "The spool of a target has reached its largest size, as the target was down or too slow for long. The oldest "
        "deliveries are dropped, counted in `forecaster_deliveries_dropped_total`. Forecasts go on."
    ),
    "deliveries not stored": (
        "The spool of a target cannot be written; usually the disk is full. These deliveries are dropped and counted, "
        "and the next ones are tried again."
    ),
    "deliveries cut off": (
        "The machine lost power while the spool was written. The events are replayed, and their deliveries added again."
    ),
    "deliveries are damaged and not sent": (
        "The disk has changed bytes of a spool. The rest of this file is left out, and the next one is sent."
    ),
    "deliveries deleted, their file cannot be used": (
        "A file of a spool has no intact beginning: the disk has changed it, or a release with another format wrote it."
    ),
    "deliveries cannot be read": "The spool of a target cannot be read, see `error`. It is tried again.",
    "snapshots not written": (
        "The spools of deliveries could not be synced, which is done before a snapshot. The older snapshots stay, and "
        "the next one is tried as usual."
    ),
    "pushed events refused": "The spool cannot be written. The sender got status 503 and retries.",
    "unacknowledged pushed events deleted": (
        "The daemon ended while it wrote them to the spool. No sender got a response for them, so each sender retries."
    ),
    "pushed events are damaged": (
        "Bytes of the spool differ from those that were written. Damaged lines are rejected (`damaged`), the others "
        "are forecast. Check the disk."
    ),
    "batch not shown in the API": ("API and page lack these events; their forecasts were published. Please report it."),
    "new producer epoch": (
        "A request that ends a transaction of Kafka may have been sent twice, because its connection broke or its "
        "response was late; a copy that arrives later is rejected. Many of these lines indicate a bad network."
    ),
    "oldest offset not found": "The brokers did not say which records of a partition they hold: they are asked again, "
    "and time marks are deleted later. Nothing to do.",
    "client did not close": "A Kafka client could not be closed and was abandoned. Nothing to do.",
    "could not be closed": "A part failed during shutdown; the others were closed. No committed data is lost.",
    "library ...": (
        "A warning or an error of a library (Kafka client, uvicorn), truncated to 500 characters, one kind per library."
        " A message that differs from an earlier one in numbers only is logged once a minute."
    ),
}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One call of a logger.

    Attributes:
        text: the event, from which its kind follows; placeholders are "...".
        levels: possible severities. fields: names of the fields. file: path below service/, and line.
    """

    text: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    file: str


def log_lines(folder: Path = SERVICE) -> list[LogLine]:
    """Returns all calls of loggers, in the order of files.

    Raises:
        ValueError: a logger is called with an event that is not a literal text.
    """
    return [
        found
        for path in sorted(folder.rglob("*.py"))
        for found in _calls(ast.parse(path.read_text()), str(path.relative_to(folder)))
    ]


def _calls(tree: ast.Module, file: str) -> Iterator[LogLine]:
    loggers = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and "structlog.get_logger(" in ast.unparse(node.value)
        for name in (ast.unparse(target) for target in node.targets)
    }
    loggers |= {"structlog.get_logger()"}
    chosen = {  # log = _log.info if ... else log.warning
        ast.unparse(node.targets[0]): found
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and (found := _methods(node.value, loggers))
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        levels = chosen.get(called) or (_methods(node.func, loggers) if isinstance(node.func, ast.Attribute) else ())
        if levels:
            text = _text(node)
            if text is None:
                msg = (
                    f"service/{file}:{node.lineno}: got {ast.unparse(node)[:80]}, expected a literal text as the event"
                )
                raise ValueError(msg)
            fields = tuple("..." if one.arg is None else one.arg for one in node.keywords)
            yield LogLine(text, levels, fields, f"{file}:{node.lineno}")


def _methods(node: ast.expr, loggers: set[str]) -> tuple[str, ...]:
    """Returns the levels of an expression; `log.info if ... else log.warning` has two."""
    if isinstance(node, ast.IfExp):
        return tuple(sorted({*_methods(node.body, loggers), *_methods(node.orelse, loggers)}))
    if isinstance(node, ast.Attribute) and node.attr in LEVELS and ast.unparse(node.value) in loggers:
        return (node.attr,)
    return ()


def _text(call: ast.Call) -> str | None:
    first = call.args[0] if call.args else None
    if isinstance(first, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in first.values)
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def logs_page(note: str) -> str:
    """Generates the page: one row per log event."""
    found: dict[str, tuple[set[str], dict[str, None]]] = {}
    for line in log_lines():
        levels, fields = found.setdefault(line.text, (set(), {}))
        levels |= set(line.levels)
        fields |= dict.fromkeys(line.fields)
    rows = []
    for text in MEANINGS:
        levels, fields = found[text]
        shown = ", ".join(f"`{name}`" for name in fields if name != "...") or "the keys" * ("..." in fields)
        kind = "library_<name>" if text == "library ..." else kind_of(text)
        rows.append(f"| {text} | {', '.join(sorted(levels))} | `{kind}` | {shown} | {MEANINGS[text]} |")
    return "\n".join(["# Log lines\n", note, INTRODUCTION, *rows, ""])


INTRODUCTION: Final = """The log is on standard error, one line per notable event, for people or as JSON
(`log.format`). Normal operation logs lines at its start and then nothing: never a line per event or batch. Every line
has a kind, derived from its text, and every kind a counter, `forecaster_log_lines_total{level, kind}`. Up to
`log.per_minute` lines per minute of a kind are logged; further ones are counted in
`forecaster_log_suppressed_total{kind}`, and the next logged line has their number in the field `suppressed`.
`log.level` and `log.per_minute` may change at run time.

| text | level | kind | fields | what it means, what to do |
|---|---|---|---|---|"""
