"""docs/logs.md: every line that the program can log, found in its source, with its meaning and what to do."""

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
    "metrics": "The HTTP server listens at this address. Once, at the start.",
    "compiling the network for this processor: its first time only, up to a minute": (
        "Normal. Another size of network or another horizon compiles again; `forecaster warmup` does it beforehand."
    ),
    "ended": (
        "The end of `forecaster run`: events processed, records rejected, events that were late or duplicates, and "
        "the file with the forecasts and the rejects. A warning where a record was rejected or late. Where most "
        "records could not be used, the exit status is 1 and one more line names the key to set."
    ),
    "event times are numbers of two units": (
        "Numbers from 1e8 to below 1e11 are epoch seconds and others epoch milliseconds, and this stream has both: "
        "one in milliseconds that starts in 1970, for instance. Once per process. Set `input.time_unit` and start "
        "with a new `state.data_dir`."
    ),
    "first record set aside for this reason": (
        "A record was rejected, with the reason. Later records with the same reason are only counted "
        "(`forecaster_rejected_total`) and sent to the dead-letter sink."
    ),
    "interval changed": (
        "The newest gaps of a series agree on another interval (see [data](data.md#the-interval)): from this event on "
        "its steps have that length. Earlier forecasts for later steps are not scored. Once per series and change; "
        "`forecaster_interval_changes_total` counts them."
    ),
    "events keep another interval than is configured": (
        "The gaps of a series agree on another interval than `model.interval`, which stays in force: six steps ahead "
        "are six configured intervals. Set it to that of the data, or omit it. Once per series; "
        "`forecaster_interval_contradictions_total` counts them."
    ),
    "series goes on behind a time from the future": (
        "An event had the time `wrong`, and the events after it continued from an earlier time: the series follows "
        "them again. Find the producer whose clock or unit is wrong. Once per such event; "
        "`forecaster_series_reopened_total` counts them."
    ),
    "takes events": "Events can be pushed to these addresses. Once, at the start, where `input.push` is set.",
    "partitions": (
        "The partitions that the Kafka group assigned to this process, at the start and after every rebalance."
    ),
    "restored": (
        "A partition has reached its committed position, after recomputing this number of events. Once per partition "
        "and start."
    ),
    "model adopted": "From this position on another model forecasts the partition.",
    "not to be learnt from": (
        "A control record of the stream excluded this window from training (`forecaster exclude --list`)."
    ),
    "window not kept, it will be learnt from": (
        "A control record could not be stored: the reason. Make room with `forecaster exclude --remove`, or repair "
        "the file; then exclude the window with `forecaster exclude`."
    ),
    "anomaly rules changed": "From this position on other anomaly settings are in force.",
    "threshold looks further than the forecast": (
        "A threshold (`metrics.thresholds`) asks for a time beyond the horizon of this series, or for less than a "
        "step: its metrics are left out for such series. Once per threshold. `expected` names the setting."
    ),
    "drift": "The errors of a partition have grown (`retrain.drift`, concept drift); a training falls due.",
    "training started": "A training runs, in this process.",
    "training ended": (
        "`outcome` is promoted, shadow (it runs as a shadow model), kept (the champion stays), nothing_to_learn (no "
        "series has changed; all these are info), failed or killed (warning: see "
        "[ForecasterTrainerFails](operations.md#forecastertrainerfails))."
    ),
    "seasons looked at": (
        "The season check of a training: the seasons of the network are not those that the history shows, with the "
        "line to set. Once, and once more when they fit again. See [season check](retraining.md#season-check)."
    ),
    "training skipped": "A training was due and could not start: the reason.",
    "trial begun": "A challenger runs as a shadow model (`retrain.shadow`).",
    "trial ended": "The challenger was promoted or rejected; with the reason.",
    "settings changed": "The configuration file was read again; these keys have new values.",
    "restart needed for changed settings": (
        "The file changed in keys that a running daemon cannot change. Restart it at any time."
    ),
    "changed file refused, the old settings stay": (
        "See [ForecasterConfigRefused](operations.md#forecasterconfigrefused)."
    ),
    "web configuration would take protection away, waiting for the file to stay so": (
        "The file of `http.web_config` no longer asks for passwords or client certificates, as happens for a moment "
        "while a file is being written. They stay in force until it has read the same for half a minute."
    ),
    "web configuration no longer asks for protection": (
        "The file has stayed that way: the protection in `without` is off. Correct the file if that was not intended."
    ),
    "fewer connections than configured": (
        "The limit of open files (`ulimit -n`, `LimitNOFILE`) is too low for `http.max_connections` beside the files "
        "of the engine; this number is allowed. Raise the limit, or lower the setting."
    ),
    "sink down, waiting for it": "See [ForecasterSinkDown](operations.md#forecastersinkdown).",
    "sink is back": "Forecasts are published again; nothing was lost.",
    "transport failed, starting again": (
        "The source or the sink failed; the daemon returns to the committed state and retries, with growing pauses. "
        "See [ForecasterRestarting](operations.md#forecasterrestarting)."
    ),
    "first record without a value": (
        "A tombstone of Kafka, and what the daemon does with it (`done`). Once per process; "
        '`forecaster_rejected_total{reason="tombstone"}` counts them.'
    ),
    "partitions dropped": (
        "Partitions that moved to another process a minute ago are released from memory. One that returns is restored "
        "from its newest snapshot."
    ),
    "input topic is compacted": "`kafka.on_compacted_input` is `accept`; the line says what is lost by it.",
    "cleanup policy of an input topic is not known": (
        "The brokers do not report it (the right DESCRIBE_CONFIGS on the topics is missing). Make sure that it is "
        "`delete`."
    ),
    "committed offset is gone, new run": (
        "The group's offset was reset or removed, and `kafka.on_offsets_gone` is `new-run`: events are answered again "
        "from there on (`offset`; None: from the oldest), under this number. See "
        "[Kafka](kafka.md#lost-or-reset-offsets)."
    ),
    "committed offset was set by another program": (
        "Nothing was answered at or behind it, so the daemon continues there. Events before it that were not answered "
        "yet get no forecast."
    ),
    "source gone, starting with empty state": "See [ForecasterColdStart](operations.md#forecastercoldstart).",
    "champion refused": (
        "The champion of the registry cannot be put in force; the model before it stays. See "
        "[ForecasterModelRefused](operations.md#forecastermodelrefused)."
    ),
    "model refused": "A model for a trial cannot be read or has another shape; it is not tried.",
    "the champion of the models topic is not in it": (
        "Its record was deleted, or compacted away; this machine's own champion stays. `forecaster models promote` "
        "publishes one."
    ),
    "trial not restored, it begins again": (
        "The state of a trial could not be read; the trial starts again. Forecasts are not affected."
    ),
    "snapshot refused": (
        "A snapshot, or the full one that it builds on, is damaged, ahead of the output, of another output "
        "(`foreign`) or not a valid state (`unfit`); the one before it is used. See "
        "[ForecasterSnapshotsRefused](operations.md#forecastersnapshotsrefused)."
    ),
    "snapshot not written": (
        "See [ForecasterSnapshotsFail](operations.md#forecastersnapshotsfail). Forecasts continue."
    ),
    "first rules not written": "As `snapshot not written`, for the first anomaly settings of a partition.",
    "snapshot not shared": "See [ForecasterSnapshotsNotShared](operations.md#forecastersnapshotsnotshared).",
    "shared snapshot not read": "The snapshot topic does not answer; the daemon uses what this machine has.",
    "state of an output that is gone is deleted": (
        "The output that the snapshots of this data folder were made for no longer exists, and a new one begins. The "
        "snapshots are deleted and all events are answered again; models stay. To continue the old output instead, "
        "restore it before a start."
    ),
    "damaged records left out of a replay": (
        "A restart computes these records of the spool again, and the disk has changed their bytes since they were "
        "written. Where they had been forecast before that, the state of their series lacks them from now on. "
        "`forecaster_replayed_damaged_total` counts them. Check the disk."
    ),
    "old models and decisions deleted": (
        "Files of models and lines of decisions beyond `state.models_kept` and `state.decisions_kept` were deleted, "
        "see [retention](operations.md#retention). At most once an hour."
    ),
    "old models and decisions not deleted": (
        "The folder `models` cannot be written: the error. Nothing is lost; the daemon tries again an hour later."
    ),
    "snapshot of another machine taken": "A partition moved from another machine, with its state.",
    "snapshot of another machine": (
        "Made by another kind of processor: forecasts from here on may differ in the last digit from those that the "
        "other machine would have made. See [determinism](determinism.md)."
    ),
    "input file is damaged; what comes before was read": (
        "A compressed file is truncated or broken; replace it, and restart to read on."
    ),
    "input file was renamed": "A file that was read has another name now, after a rotation; it is not read again.",
    "input file is not read: its name is not UTF-8": "A glob matched it; rename it, or link it under another name.",
    "input pipe cannot be opened": (
        "A pipe of `input.files` is missing or may not be read; nothing more is read from it."
    ),
    "half a line was lost with the input pipe": "The program that writes the pipe died within a line.",
    "standard input waits: its spool cannot be written": (
        "The disk is full; reading continues once there is room (backpressure)."
    ),
    "pushed events refused": "The disk refuses them; the producer received 503 and sends them again.",
    "pushed events that nobody was told of were cut off": (
        "The daemon died while it wrote them; no producer received an answer, and each sends them again."
    ),
    "pushed events are damaged": (
        "Bytes of the spool differ from those that were written. Damaged lines are rejected (`damaged`), the others "
        "are forecast. Check the disk."
    ),
    "a batch is not shown in the API": (
        "The live page and the API miss these events; the forecasts were published. Please report it."
    ),
    "new producer epoch": (
        "A request that ends a transaction of Kafka may have been sent twice, because its connection broke or its "
        "answer was late; a copy that arrives late is refused. Frequent lines indicate a bad network."
    ),
    "client did not close": "A read-only Kafka client did not close and was abandoned. Nothing to do.",
    "could not be closed": (
        "During shutdown one part failed to close; the others were closed. Nothing committed is lost."
    ),
    "library ...": (
        "A warning or an error of a library (Kafka client, uvicorn), cut after 500 characters, one kind per library."
    ),
}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One call of a logger.

    Attributes:
        text: the event, from which its kind follows; what is filled in stands as "...".
        levels: of severity that it may have. fields: their names. file: below service/, and line.
    """

    text: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    file: str


def log_lines(folder: Path = SERVICE) -> list[LogLine]:
    """All of them, in the order of files.

    Raises:
        ValueError: a logger is called with something whose kind cannot be told from the source.
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
    chosen = {  # say = log.info if ... else log.warning
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
    """Levels of the methods that an expression comes to; `log.info if ... else log.warning` is two."""
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
    """The page: a row per line, in the order of MEANINGS."""
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


INTRODUCTION: Final = """This page lists every line that the daemon can log, with its meaning and what to do.

The log is on standard error, one line per notable event, for people or as JSON (`log.format`).
A healthy daemon logs its start and then nothing: never a line per event or batch.
Every line has a kind, made from its text, and `forecaster_log_lines_total{level, kind}` counts every kind.
Of one kind at most `log.per_minute` lines a minute are printed; `forecaster_log_suppressed_total{kind}` counts the \
others, and the next printed one holds their number in `suppressed`.
`log.level` and `log.per_minute` may change while the daemon runs.

| text | level | kind | fields | meaning, and what to do |
|---|---|---|---|---|"""
