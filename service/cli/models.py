"""`forecaster models list|show|promote|rollback`: the model registry on the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from service.cli._model_text import FIGURES, TRIAL, figure_lines, network_lines
from service.cli._options import with_config
from service.config.groups import DEFAULT_GROUP, shown_group
from service.config.sections import Config
from service.errors import ConfigurationError
from service.lifecycle import SystemClock
from service.registry.decisions import Decision, shape_text
from service.registry.models import ModelEntry, Registry
from service.trainer.season_check import Seasons

# Characters of a sha256 that are enough to identify a model; every command accepts such a prefix.
SHORT = 12


@click.group(short_help="List, show, promote and roll back models.")
def models() -> None:
    """List, show, promote and roll back models.

    Models are named by a prefix of their sha256; "champion" is the one in use. A running daemon adopts another champion
    between two batches, within about a second.
    """


with_group = click.option(
    "--group", default=DEFAULT_GROUP, show_default=True, metavar="NAME",
    help="A [[group]] of series; default: the series that none matches.",
)  # fmt: skip


def open_registry(config: Config, group: str = DEFAULT_GROUP) -> Registry:
    """Opens the registry of the data directory, of a group of series.

    Raises:
        ConfigurationError: there is no registry, or it has no such group; nothing is created.
    """
    folder = config.state.data_dir / "models"
    if not folder.is_dir():
        msg = f"state.data_dir: {folder} does not exist, expected the data directory of a daemon that has run"
        raise ConfigurationError(msg)
    registry = Registry(folder, SystemClock())
    known = [shown_group(name) for name in ("", *registry.groups())]
    if group not in known:
        msg = f"--group: got {group!r}, expected one of {', '.join(known)}, which {folder} has models of"
        raise ConfigurationError(msg)
    return registry.of_group("" if group == DEFAULT_GROUP else group)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per model.")
@with_config("--data-dir")
def list_models(config: Config, *, as_json: bool) -> None:
    """List all models, oldest first; * marks the champion.

    With groups of series ([[group]]) a column names those that each model is of, and * their champions.
    """
    registry = open_registry(config)
    entries, groups = registry.entries(), _groups_of(registry) if registry.groups() else None
    if as_json:
        for entry in entries:
            of = {} if groups is None else {"groups": groups.get(entry.sha256, {})}
            click.echo(orjson.dumps(as_object(entry) | of))
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "model", "created", "parent"):
        shown.add_column(column, no_wrap=True)
    if groups is not None:
        shown.add_column("groups", overflow="fold")
    for column in ("loss", "champion's", "naive"):
        shown.add_column(column, justify="right", no_wrap=True)
    for entry in entries:
        losses = [_loss(entry.figures, name) for name in ("challenger_loss", "champion_loss", "naive_loss")]
        row = [entry.sha256[:SHORT], _time(entry.created_ms), entry.parent[:SHORT] or "-"]
        is_champion = entry.is_champion
        if groups is not None:
            own = groups.get(entry.sha256, {})
            is_champion = any(own.values())
            row.append(", ".join(f"{name}*" if champion else name for name, champion in own.items()) or "-")
        shown.add_row("*" if is_champion else "", *row, *losses)
    Console().print(shown)


def _groups_of(registry: Registry) -> dict[str, dict[str, bool]]:
    """Returns the groups that each model is of, by its sha256, and whether it is the champion of the group."""
    found: dict[str, dict[str, bool]] = {}
    for name in ("", *registry.groups()):
        own = registry.of_group(name)
        champion = own.champion()
        for sha256 in dict.fromkeys(decision.model for decision in own.decisions()):
            found.setdefault(sha256, {})[shown_group(name)] = sha256 == champion
    return found


@models.command()
@click.argument("model", default="champion")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@with_group
@with_config("--data-dir")
def show(config: Config, model: str, group: str, *, as_json: bool) -> None:
    """Show one model (MODEL, or the champion): parent, figures, decisions, network."""
    registry = open_registry(config, group)
    sha256 = registry.resolve(model)
    entry = next(entry for entry in registry.entries() if entry.sha256 == sha256)
    decisions = [decision for decision in registry.decisions() if decision.model == sha256]
    network = registry.load(sha256).config.to_dict()
    if as_json:
        found = as_object(entry) | {"decisions": [_decision(d) for d in decisions], "config": network}
        click.echo(orjson.dumps(found))
        return
    lines: list[tuple[str, str]] = [
        ("model", sha256),
        ("champion", "yes" if entry.is_champion else "no"),
        ("created", _time(entry.created_ms)),
        ("parent", entry.parent or "-"),
        *figure_lines(entry.figures, FIGURES),
        *(line for decision in decisions for line in _lines(decision)),
        *network_lines(network),
    ]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        click.echo(f"{name:<{width}}  {value}")


@models.command()
@click.argument("model")
@click.option("--reason", default="by hand", show_default=True, help="Reason, stored with the decision.")
@with_group
@with_config("--data-dir")
def promote(config: Config, model: str, reason: str, group: str) -> None:
    """Make MODEL the champion.

    Exit status: 0 done, 1 the model does not exist or its file is damaged; the champion stays.
    """
    registry = open_registry(config, group)
    sha256 = registry.resolve(model)
    registry.promote(sha256, reason)
    click.echo(f"{sha256[:SHORT]} is the champion")


@models.command()
@click.option("--reason", default="by hand", show_default=True, help="Reason, stored with the decision.")
@with_group
@with_config("--data-dir")
def rollback(config: Config, reason: str, group: str) -> None:
    """Make the previous champion the champion again; repeated calls go back further.

    Exit status: 0 done, 1 there is no previous champion.
    """
    sha256 = open_registry(config, group).rollback(reason)
    click.echo(f"{sha256[:SHORT]} is the champion again")


def as_object(entry: ModelEntry) -> dict[str, Any]:
    """Returns a model as a JSON object."""
    return {
        "model": entry.sha256,
        "champion": entry.is_champion,
        "parent": entry.parent or None,
        "created": _time(entry.created_ms),
        "figures": entry.figures,
    }


def _lines(decision: Decision) -> list[tuple[str, str]]:
    """Formats a decision and the figures of its trial; the figures of its training belong to the model."""
    at = _time(decision.decided_ms)
    found = [(f"decision {at}", f"{decision.action}: {decision.reason}")]
    found += [(f"  {name}", value) for name, value in figure_lines(decision.figures, TRIAL)]
    if decision.seasons:
        found.append(("  seasons", Seasons.of(decision.seasons).description()))
    if decision.tried:
        found.append(("  also tried", shape_text(decision.tried)))
    return found


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "action": decision.action,
        "reason": decision.reason,
        "decided": _time(decision.decided_ms),
        "figures": decision.figures,
        "seasons": decision.seasons or None,
        "tried": decision.tried or None,
    }


def _time(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _loss(figures: dict[str, Any], name: str) -> str:
    value = figures.get(name)
    return f"{value:.4f}" if isinstance(value, float) else "-"
