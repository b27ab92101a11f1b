"""docs/logs.md: every line that the program can log, found in its source, with what it means and what to do."""

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
    "listening": "It serves; here. Once, at the start.",
    "compiling the network for this processor; the first start takes up to a minute": (
        "Nothing is wrong. Another size of network or horizon compiles anew; `forecaster warmup` does it beforehand."
    ),
    "ended": (
        "At the end of `forecaster run`: events taken in, records set aside, events that came late or twice, and "
        "the file with the forecasts and the rejects. A warning where something was set aside or late. Where most "
        "records could not be used, the exit status is 1 and one more line says what to set."
    ),
    "event times are numbers of two units": (
        "Numbers from 1e8 to below 1e11 are epoch seconds and others epoch milliseconds, and this stream has both: one "
        "in milliseconds that begins in 1970, for instance. Once per process. Set `input.time_unit` and begin with a "
        "new `state.data_dir`."
    ),
    "first record rejected for this reason": (
        "A record could not be used, and why; the rest of the same reason is only counted "
        "(`forecaster_rejected_total`) and kept in the rejects."
    ),
    "interval changed": (
        "The newest gaps of a series agree on another interval (see [data](data.md#the-interval)): from this event on "
        "its steps are that long. What was forecast before for later steps is not scored. Once per series and change; "
        "`forecaster_interval_changes_total` counts them."
    ),
    "observed interval differs from the configured one": (
        "The gaps of a series agree on another interval than `model.interval`, which stays: six steps ahead are six of "
        "the configured ones. Set it as the data is, or leave it out. Once per series; "
        "`forecaster_interval_contradictions_total`."
    ),
    "series continues before a wrong future event time": (
        "An event said that it is of `wrong`, and those behind it went on from before it: the series follows them "
        "again. Find the sender whose clock or unit is wrong. Once per such event; `forecaster_series_reopened_total`."
    ),
    "accepting events": "Events may be pushed; here. Once, at the start, where `input.push` is set.",
    "partitions": "The Kafka group gave it these partitions, now and after every rebalance.",
    "restored": (
        "A partition stands where its committed position is, after so many events were computed again. Once per "
        "partition and start."
    ),
    "model adopted": "From this position on a partition is forecast by another model.",
    "window excluded from training": "A control record of the stream marked this window (`forecaster exclude --list`).",
    "exclusion not stored, training still uses the window": (
        "A control record could not be kept: the reason. `forecaster exclude --remove` makes room, or mend the file; "
        "then say it with `forecaster exclude`."
    ),
    "anomaly rules changed": "From this position on other thresholds hold.",
    "threshold is outside of the forecast horizon": (
        "A threshold (`metrics.thresholds`) asks for a time that the forecast of this series does not reach, or that "
        "is shorter than a step: its metrics are left out for such series. Once per threshold. `expected` says what to "
        "set."
    ),
    "drift detected": "The errors of a partition have grown (`retrain.drift`); a training falls due.",
    "training started": "A training runs, in this process.",
    "training ended": (
        "`outcome` says how: promoted, shadow (it runs beside the champion), kept (the champion stays), "
        "nothing_to_learn (no series has changed; all these are info), failed or killed (warning: see "
        "[ForecasterTrainerFails](operations.md#forecastertrainerfails))."
    ),
    "seasons checked": (
        "The seasons of the network are not those that the history of a training shows: what to set. Once, and once "
        "more when they fit again. See [seasons](retraining.md#seasons-looked-at-again)."
    ),
    "training skipped": "It was time to train, and it could not be: the reason.",
    "trial started": "A model runs beside the champion (`retrain.shadow`).",
    "trial ended": "That model was promoted or given up; with the reason.",
    "settings changed": "The configuration file was read again; these keys have these values now.",
    "restart needed for changed settings": (
        "The file was changed in keys that a running daemon cannot change. Restart it when you like."
    ),
    "changed file refused, the old settings stay": (
        "See [ForecasterConfigRefused](operations.md#forecasterconfigrefused)."
    ),
    "web configuration removes protection, waiting until the file stays unchanged": (
        "The file of `http.web_config` no longer asks for passwords or client certificates, as a file that is being "
        "written does for a moment. They stay in force until it has read the same for half a minute."
    ),
    "web configuration removed protection": (
        "It has stayed so: from here on `without` is not asked for. Mend the file if that was not meant."
    ),
    "fewer connections than configured": (
        "The limit of open files (`ulimit -n`, `LimitNOFILE`) is too low for `http.max_connections` beside the files "
        "of the engine; so many are allowed. Raise the limit, or lower the setting."
    ),
    "sink unavailable, retrying": "See [ForecasterSinkDown](operations.md#forecastersinkdown).",
    "sink available again": "Forecasts are published again; nothing was lost.",
    "transport failed, restarting": (
        "The source or the sink failed; it goes back to what is committed and tries again, with growing pauses. "
        "See [ForecasterRestarting](operations.md#forecasterrestarting)."
    ),
    "first record without a value": "A tombstone of Kafka, and what it does (`done`). Once per process; "
    '`forecaster_rejected_total{reason="tombstone"}` counts them.',
    "partitions dropped": "Partitions that went to another process a minute ago are no longer held in memory. One that "
    "comes back is restored from its newest snapshot.",
    "input topic is compacted": "`kafka.on_compacted_input` says `accept`; what is lost by it.",
    "cleanup policy of an input topic is not known": "The brokers do not say it (the right DESCRIBE_CONFIGS on the "
    "topics is missing). Make sure that it is `delete`.",
    "committed offset is gone, new run": "The group's offset was reset or removed, and `kafka.on_offsets_gone` says "
    "`new-run`: events are answered again from there on (`offset`; None: from the oldest), under this number. See "
    "[Kafka](kafka.md#offsets-that-are-gone).",
    "committed offset was set by another program": "Nothing was answered at or behind it, so the daemon goes on there. "
    "What lies before it and was not answered yet gets no forecast.",
    "source gone, starting with empty state": "See [ForecasterColdStart](operations.md#forecastercoldstart).",
    "champion refused": (
        "The champion of the registry cannot be put in force; the model before stays. See "
        "[ForecasterModelRefused](operations.md#forecastermodelrefused)."
    ),
    "model refused": "A model that should be tried cannot be read or has another shape; it is not tried.",
    "the champion of the models topic is not in it": (
        "Its record was deleted, or compacted away; this machine's own champion stays. `forecaster models "
        "promote` publishes one."
    ),
    "trial not restored, restarting it": (
        "The state of a trial could not be read; the trial starts anew, forecasts do not suffer."
    ),
    "snapshot refused": (
        "A snapshot, or the whole one that it is laid over, is damaged, ahead of the output, of another output "
        "(`foreign`) or no state at all (`unfit`); the one before it is used. See "
        "[ForecasterSnapshotsRefused](operations.md#forecastersnapshotsrefused)."
    ),
    "snapshot not written": "See [ForecasterSnapshotsFail](operations.md#forecastersnapshotsfail). Forecasts go on.",
    "initial anomaly rules not written": "As the line before, for the first thresholds of a partition.",
    "snapshot not shared": "See [ForecasterSnapshotsNotShared](operations.md#forecastersnapshotsnotshared).",
    "shared snapshot not read": "The snapshot topic does not answer; it uses what this machine has.",
    "state deleted, its output no longer exists": (
        "The output that the snapshots of this data folder were made for is not there any more, and a new one begins. "
        "The snapshots are deleted and all events are answered again; models stay. Put the output back before a start "
        "to go on with it."
    ),
    "damaged records left out of a replay": (
        "A restart computes these records of the spool again, and the disk has changed their bytes since they were "
        "written. Where they had been forecast before that, the state of their series lacks them from now on. "
        "`forecaster_replayed_damaged_total` counts them. Look after the disk."
    ),
    "old models and decisions deleted": (
        "So many files of models and lines of decisions beyond `state.models_kept` and `state.decisions_kept`, see "
        "[what is kept](operations.md#what-is-kept-and-for-how-long). At most once an hour."
    ),
    "old models and decisions not deleted": (
        "The folder `models` cannot be written: the error. Nothing is lost; it is tried again an hour later."
    ),
    "shared snapshot of another machine used": "A partition came from another machine, with its state.",
    "snapshot of another machine": (
        "Made by a processor of another kind: forecasts from here on may differ in the last digit from what that "
        "one would have made. See [determinism](determinism.md)."
    ),
    "input file is damaged; what comes before was read": (
        "A compressed file is cut off or broken; replace it, and restart to read on."
    ),
    "input file was renamed": "A file that was read has another name now, by a rotation; it is not read again.",
    "input file is not read: its name is not UTF-8": "A glob found it; rename it, or give it another name by a link.",
    "input pipe cannot be opened": "A pipe of `input.files` is gone or may not be read; nothing more comes from it.",
    "half a line was lost with the input pipe": "The program before the pipe died within a line.",
    "standard input waits: its spool cannot be written": "The disk is full; reading goes on once there is room.",
    "pushed events refused": "The disk refuses them; the sender was told (503) and sends again.",
    "pushed events that nobody was told of were cut off": (
        "The daemon died while it wrote them; no sender had an answer, and each sends again."
    ),
    "pushed events are damaged": (
        "Bytes of the spool are not the ones that were written. Lines that are damaged are set aside (`damaged`), the "
        "others are forecast. Look after the disk."
    ),
    "batch not shown in the API": (
        "The live page and API miss these events; forecasts were published all the same. Please report it."
    ),
    "new producer epoch": "A request that ends a transaction of Kafka may have been sent twice, as its connection "
    "broke or its answer was late; a copy that arrives late is refused. Many of them are a bad network.",
    "client did not close": "A Kafka client that only looked was left to the system. Nothing to do.",
    "could not be closed": "On the way out, a part failed; the others were closed. Nothing committed is lost.",
    "library ...": (
        "What a library (Kafka client, uvicorn) says as a warning or an error, cut after 500 characters, one kind"
        " per library."
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
    """The page: a row per line, those to worry about first."""
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
(`log.format`). A daemon that is well says what stands here at its start and then nothing: never a line per event or
batch. Every line has a kind, made from its text, and every kind its counter,
`forecaster_log_lines_total{level, kind}`. Of one kind `log.per_minute` lines a minute go through; others are counted in
`forecaster_log_suppressed_total{kind}`, and the next one that goes through says in `suppressed` how many were kept
back. `log.level` and `log.per_minute` may change while it runs.

| text | level | kind | fields | what it means, what to do |
|---|---|---|---|---|"""
