"""Writes the pages of the reference from the program itself: `make docs`. A test fails when a page is stale.

docs/api.md from the OpenAPI document, docs/cli.md from click, docs/configuration.md from the configuration's schema,
docs/figures.md from benchmarks/figures.py,
docs/forms.md from the example files of tests/data/forms/, docs/kinds.md from docs/configured_kinds.py, docs/logs.md
from calls of loggers, docs/messages.md from decoders and encoders, docs/metrics.md from the metrics, and the example in
docs/library.md from examples/five_lines.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from prometheus_client import CollectorRegistry

sys.path.insert(0, str(Path(__file__).parent))  # the other scripts of this folder

from api_page import api_page
from figures_page import figures_page
from forms_page import forms_page
from kinds_page import kinds_page
from logs_page import logs_page
from messages_page import messages_page

from service.cli import main
from service.config.durations import format_duration
from service.config.sections import Config
from service.monitoring.group_label import GROUPED
from service.monitoring.metrics import Metrics

DOCS = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py (make docs); edit the program, not this page. -->\n"
WIDTH = 100


def cli_page() -> str:
    """Every command with its help as the terminal shows it."""
    root = click.Context(main, info_name="forecaster", terminal_width=WIDTH, **main.context_settings)
    sections = [
        f"## {context.command_path}\n\n```text\n{context.command.get_help(context)}\n```\n"
        for context in _contexts(root)
    ]
    return "\n".join(["# Command line\n", NOTE, COMMAND_INTRODUCTION, *sections, EXIT_STATUSES])


COMMAND_INTRODUCTION = """This page lists every command with its options, as `--help` prints them.
"""
MOSTLY_UNUSED = (
    "a `run` to the end of its input of which most records could not be used (rejected, late or duplicates), and any "
    "later run that finds no further records there"
)
EXIT_STATUSES = f"""## Exit statuses

| status | meaning |
|---|---|
| 0 | success; also a daemon or demo that Ctrl-C or SIGTERM stopped cleanly |
| 1 | failure; one line on standard error says what failed and what to do. Also {MOSTLY_UNUSED} |
| 2 | the command line or the configuration is wrong; nothing was changed |
| 3 | `retrain` only: the new model was not better, the champion stays |
"""


def _contexts(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None, name  # noqa: S101 - the group listed it
            yield from _contexts(click.Context(command, parent=context, info_name=name, terminal_width=WIDTH))


def configuration_page() -> str:
    """Every section and key with type, default and description."""
    schema = Config.model_json_schema()
    parts = ["# Configuration\n", NOTE, CONFIGURATION_INTRODUCTION]
    for name, field in schema["properties"].items():
        several = field.get("type") == "array"  # [[group]], whose sections are listed by their keys elsewhere
        section = _resolved(field["items"] if several else field, schema)
        title, text = (f"[[{name}]]", field["description"]) if several else (f"[{name}]", section["description"])
        parts.append(f"## {title}\n\n{_one_line(text)}\n")
        keys = _keys_of_group(section) if name == "group" else _rows(section, schema)
        parts.append("\n".join(["| key | default | meaning |", "|---|---|---|", *keys]) + "\n")
    return "\n".join(parts)


CONFIGURATION_INTRODUCTION = """This page lists every key of the configuration with its default and its meaning.

The configuration is one TOML file (`--config FILE`).
The environment variable `FORECASTER_<SECTION>__<KEY>` overrides a key of the file, and an option (`--set \
section.key=value`) overrides both.
An empty variable counts as not set.
Durations are written `"500ms"`, `"30s"`, `"5m"`, `"1h"`, `"1d"`, or as a number of seconds.

| command | what it does |
|---|---|
| `forecaster config check` | reports what is wrong with a file |
| `forecaster config show` | prints the settings in force, after environment and options |
| `forecaster config schema` | prints the JSON schema, for an editor |
"""


def _rows(section: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """A table row per key of a section; keys of a section within it are written "outer.inner"."""
    for key, value in section["properties"].items():
        inner = _resolved(value, schema)
        if "properties" in inner:
            yield from _rows(inner, schema, f"{prefix}{key}.")
        else:
            yield f"| `{prefix}{key}` | `{_default(value)}` | {_one_line(value.get('description', ''))} |"


def _keys_of_group(section: dict[str, Any]) -> Iterator[str]:
    """A table row per key of a group; those of the sections within it are on this page already."""
    for key, value in section["properties"].items():
        default = "required" if key in section["required"] else "{}"
        yield f"| `{key}` | `{default}` | {_one_line(value.get('description', ''))} |"


def _default(value: dict[str, Any]) -> str:
    """The default as one would write it in the file; durations with their unit."""
    if "default" not in value:
        return "required"
    if value.get("type") == ["string", "number"] and isinstance(value["default"], float):
        return json.dumps(format_duration(value["default"])) if value["default"] else "0"
    return json.dumps(value["default"], ensure_ascii=False)


def _resolved(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The definition that a field refers to, pydantic puts it under $defs."""
    reference = field.get("$ref") or next((option["$ref"] for option in field.get("allOf", ())), None)
    if reference is None:
        return field
    found: dict[str, Any] = schema["$defs"][reference.rpartition("/")[2]]
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split("Attributes:", maxsplit=1)[0].split()).replace("|", "\\|")


def metrics_page() -> str:
    """Every metric with type, labels and meaning."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    grouped = {f"forecaster_{name}" for name in GROUPED}
    for name, kind, labels, meaning in sorted(described()):
        of_group = name.removesuffix("_total").removesuffix("_info") in grouped
        shown = ", ".join(f"`{label}`" for label in (*labels, *(["(group)"] if of_group else [])))
        rows.append(f"| `{name}` | {kind} | {shown} | {_one_line(meaning)} |")
    return "\n".join(["# Metrics\n", NOTE, METRICS_INTRODUCTION, *rows, ""])


METRICS_INTRODUCTION = """This page lists every metric that Prometheus scrapes from the daemon.

They are served at `/metrics`, on port 9464 of the loopback unless `[http]` says otherwise; `forecaster metrics` shows \
them in a terminal.
Units are base units.
No metric has a label whose values grow with the input: single series are exported only where `metrics.export_series`, \
`metrics.export_top` or `metrics.thresholds` names them, `metrics.export_limit` at most.
The label `(group)` exists with [groups of series](groups.md) only.
[The runbook](operations.md) has the alerts that use them.
"""


def described() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Name as scraped, type, labels and help of every metric of the daemon."""
    registry = CollectorRegistry()
    Metrics(registry)
    for collector in list(registry._collector_to_names):  # noqa: SLF001 - the registry has no public list of its collectors
        for family in getattr(collector, "describe", collector.collect)():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            name = f"{family.name}_info" if family.type == "info" else name
            labels = getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ())
            yield name, family.type, tuple(labels), family.documentation


def library_page() -> str:
    """The library page with the example as it stands in examples/."""
    page = (DOCS / "library.md").read_text()
    before, _, rest = page.partition("```python\n")
    _, _, after = rest.partition("```")
    example = (DOCS.parent / "examples" / "five_lines.py").read_text()
    return f"{before}```python\n{example}```{after}"


PAGES = {
    "api.md": lambda: api_page(NOTE),
    "cli.md": cli_page,
    "configuration.md": configuration_page,
    "figures.md": lambda: figures_page(NOTE),
    "logs.md": lambda: logs_page(NOTE),
    "messages.md": lambda: messages_page(NOTE),
    "forms.md": lambda: forms_page(NOTE),
    "kinds.md": lambda: kinds_page(NOTE),
    "metrics.md": metrics_page,
    "library.md": library_page,
}


if __name__ == "__main__":
    for file, page in PAGES.items():
        (DOCS / file).write_text(page())
        sys.stdout.write(f"wrote docs/{file}\n")
