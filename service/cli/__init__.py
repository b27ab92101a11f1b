"""The command line: the only place that wires parts together; one file per command, imported when called."""

from __future__ import annotations

import os

import click

from service.cli._lazy import Entry, LazyGroup

COMMANDS = {
    "demo": Entry("demo", "demo", "Forecast this machine's own metrics, live."),
    "run": Entry("run", "run", "Run the daemon: events in, forecasts out."),
    "retrain": Entry("retrain", "retrain", "Train a new model on recent history; promote it if it is better."),
    "backtest": Entry("backtest", "backtest", "Forecast a whole file as if it were live, and score it."),
    "tune": Entry("tune", "tune", "Search for settings that forecast a history better."),
    "exclude": Entry("exclude", "exclude", "Mark a window of series as not to be learnt from."),
    "models": Entry("models", "models", "List, show, promote and roll back models."),
    "metrics": Entry("metrics", "metrics", "Read a running daemon's metrics and show them."),
    "replay": Entry("replay", "replay", "Send a file of events to a Kafka topic, at a chosen speed."),
    "tail": Entry("tail", "tail", "Show forecasts from a Kafka topic as they come."),
    "topics": Entry("topics", "topics", "Make the Kafka topics that a daemon needs."),
    "doctor": Entry("doctor", "doctor", "Check that the daemon will find all it needs."),
    "plan": Entry("plan", "plan", "Say what memory, cores and disk a load takes."),
    "warmup": Entry("warmup", "warmup", "Compile everything now, so that no start has to."),
    "bench": Entry("bench", "bench", "Measure how fast this machine is."),
    "completion": Entry("completion", "completion", "Print the script for completion in a shell."),
    "config": Entry("config", "config", "Check, show and describe the configuration."),
}


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, 1 failed, 2 wrong command line or configuration, 3 retrain kept the model.",
)
@click.version_option(package_name="forecaster-daemon", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Answer every event of a live stream with a calibrated forecast.

    `forecaster demo` shows it on this machine's own metrics. `forecaster COMMAND --help` explains a command.
    """
    if os.environ.get("NO_COLOR"):  # no-color.org; without a terminal nothing is coloured anyway
        context.color = False
