"""Examples on the help page of every command, by the path of the command."""

from __future__ import annotations

import click

EXAMPLES = {
    "demo": ("forecaster demo --for 2m", "forecaster demo --data-dir mine --port 0"),
    "run": (
        "forecaster run --input events.csv --season 1d --interval 1h",
        "forecaster run --input - --format jsonl --sink stdout",
        "forecaster run --config forecaster.toml --set model.cell=lstm",
    ),
    "inspect": (
        "forecaster inspect readings.csv",
        "forecaster inspect --topic events --write forecaster.toml",
        "forecaster inspect readings.csv --json | jq .settings",
    ),
    "forecast": (
        "forecaster forecast sales.csv --horizon 12",
        "forecaster forecast sales.csv --as csv > forecast.csv",
        "forecaster forecast sales.csv --series 'shop.*' --as json | jq .quantiles",
    ),
    "forecasts": (
        "forecaster forecasts --series 'shop.*'",
        "forecaster forecasts --at 2026-11-22T10:00:00Z --last 24 --as csv --to yesterday.csv",
    ),
    "explain": (
        "forecaster explain shop.north --at 2026-11-22T10:00:00Z --config forecaster.toml",
        "forecaster explain shop.north --horizon 24 --as json | jq .left_out",
    ),
    "retrain": (
        "forecaster retrain --config forecaster.toml",
        "forecaster retrain --config forecaster.toml --group shop",
        "forecaster retrain --data-dir data --json",
    ),
    "backtest": (
        "forecaster backtest demand.csv --horizon 24 --season 24 --report report.html",
        "forecaster backtest requests.csv --scale forecaster.toml",
    ),
    "tune": (
        "forecaster tune demand.csv --horizon 24 --season 24 --trials 40 --timeout 2h",
        "forecaster tune --config forecaster.toml --search model.hidden_size --search train.learning_rate",
    ),
    "exclude": (
        "forecaster exclude --series 'cpu.*' --from 2026-11-22T10:00 --to 2026-11-22T12:00 --reason incident",
        "forecaster exclude --list",
    ),
    "anomalies": ("forecaster anomalies mute cpu.host1 --reason 'nightly backup'", "forecaster anomalies list"),
    "anomalies ack": ("forecaster anomalies ack cpu.host1 --data-dir data",),
    "anomalies mute": ("forecaster anomalies mute cpu.host1 --reason 'nightly backup'",),
    "anomalies confirm": ("forecaster anomalies confirm cpu.host1 --config forecaster.toml",),
    "anomalies list": ("forecaster anomalies list --json | jq -r .series",),
    "models": ("forecaster models list", "forecaster models rollback"),
    "models list": ("forecaster models list --data-dir data",),
    "models show": ("forecaster models show champion",),
    "models promote": ("forecaster models promote 3f2a91c0",),
    "models rollback": (
        "forecaster models rollback --data-dir data",
        "forecaster models rollback --data-dir data --group shop",
    ),
    "metrics": (
        "forecaster metrics",
        "forecaster metrics 127.0.0.1:9464 --watch 2 --match lag",
        "forecaster metrics --json | jq -r .name",
        "forecaster metrics https://host:9464 --ca ca.pem --user ann --password-file secret",
    ),
    "replay": ("forecaster replay events.csv --topic events --speed 100x",),
    "tail": (
        "forecaster tail --series cpu.host1",
        "forecaster tail --data-dir data --from-start --count 10 --json",
        "forecaster tail --topic shop.forecasts",
    ),
    "topics": ("forecaster topics create --config kafka.toml",),
    "topics create": ("forecaster topics create --config kafka.toml",),
    "doctor": ("forecaster doctor --config kafka.toml", "forecaster doctor --json"),
    "plan": (
        "forecaster plan --series 100000 --rate 5000 --horizon 24",
        "forecaster plan --series 1000000 --rate 20000 --season 1d --interval 5m",
        "forecaster plan --series 500 --rate 10 --json | jq .memory_bytes",
    ),
    "bench": ("forecaster bench --save machine.json", "forecaster bench --set model.hidden_size=64 --json"),
    "completion": (
        'eval "$(forecaster completion bash)"',
        "forecaster completion zsh > ~/.zfunc/_forecaster",
        "forecaster completion fish > ~/.config/fish/completions/forecaster.fish",
    ),
    "config": ("forecaster config check --config forecaster.toml",),
    "config check": (
        "forecaster config check --config forecaster.toml",
        "forecaster config check --config forecaster.toml --online",
    ),
    "config show": ("forecaster config show --set model.horizon=12",),
    "config schema": ("forecaster config schema > forecaster.schema.json",),
    "warmup": ("forecaster warmup --config forecaster.toml",),
}


def add_examples(path: str, command: click.Command) -> None:
    """Appends the examples to the help of the command and of its subcommands."""
    lines = EXAMPLES.get(path)
    if lines and "Examples:" not in (command.epilog or ""):
        block = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
        command.epilog = f"{command.epilog}\n\n{block}" if command.epilog else block
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            add_examples(f"{path} {name}", inner)
