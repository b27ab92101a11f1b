"""The command line: the only place that connects the parts; one module per command, imported when it is called."""

from __future__ import annotations

import os

import click

from service.cli._lazy import Entry, LazyGroup

COMMANDS = {
    "demo": Entry("demo", "demo", "Forecast a generated city and this machine, live."),
    "run": Entry("run", "run", "Run the daemon: forecast every event of the inputs."),
    "inspect": Entry("inspect", "inspect", "Show how an input would be read, and the configuration for it."),
    "forecast": Entry("forecast", "forecast", "Forecast what follows in a file, once, for every series."),
    "forecasts": Entry("forecasts", "forecasts", "Show forecasts that a daemon has stored, beside the actuals."),
    "explain": Entry("explain", "explain", "Explain a forecast: members, weights, calibration, what it read, effects."),
    "retrain": Entry("retrain", "retrain", "Train a new model on recent history; promote it if it is better."),
    "backtest": Entry("backtest", "backtest", "Backtest: forecast the events of a file in time order, and score it."),
    "tune": Entry("tune", "tune", "Search for hyperparameters that forecast a history better."),
    "exclude": Entry("exclude", "exclude", "Exclude a window of series from training."),
    "anomalies": Entry("anomalies", "anomalies", "Give feedback on anomalies; it changes the threshold of a series."),
    "models": Entry("models", "models", "List, show, promote and roll back models."),
    "metrics": Entry("metrics", "metrics", "Read a running daemon's metrics and show them."),
    "replay": Entry("replay", "replay", "Send a file of events to a Kafka topic, at a chosen speed."),
    "tail": Entry("tail", "tail", "Show forecasts as they are published."),
    "topics": Entry("topics", "topics", "Create the Kafka topics that a daemon needs."),
    "doctor": Entry("doctor", "doctor", "Check inputs, brokers, topics, outputs and permissions before a start."),
    "plan": Entry("plan", "plan", "Estimate the memory, cores and disk that a load needs."),
    "warmup": Entry("warmup", "warmup", "Compile all kernels before the first start."),
    "bench": Entry("bench", "bench", "Measure how fast this machine is."),
    "completion": Entry("completion", "completion", "Print the completion script of a shell."),
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
    """Forecast every event of a live stream, with calibrated prediction intervals.

    `forecaster demo` shows it on a generated city. `forecaster COMMAND --help` explains a command.
    """
    if os.environ.get("NO_COLOR"):  # no-color.org; without a terminal nothing is coloured anyway
        context.color = False
