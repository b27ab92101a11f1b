"""Reads the configuration: defaults, one TOML file, the environment, flags; later sources override earlier ones.

A mistake becomes one `ConfigurationError`. Its message has one line per bad key: where the key was set (file,
environment variable or flag), the value found and the value expected.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
import os
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError, create_model
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from forecaster import ConfigError, install_command
from service.config.alert_rules import AlertRule
from service.config.durations import format_duration
from service.config.groups import GroupConfig
from service.config.scale_rules import ScaleRule
from service.config.sections import Config
from service.errors import ConfigurationError

ENVIRONMENT_PREFIX = "FORECASTER_"
_LISTED: Final[dict[str, type[BaseModel]]] = {"group": GroupConfig, "alert": AlertRule, "scale": ScaleRule}
_LIBRARY_KEYS = {
    "interval_ms": ["model", "interval"],
    "interval_months": ["model", "interval"],
    "covariates": ["input", "covariates"],
    "future_covariates": ["input", "future_covariates"],
}
_SHOWN = 120  # characters of a bad value shown in a message


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,
        env_ignore_empty=True,
        protected_namespaces=(),
    )


def load_config(path: Path | None = None, overrides: Mapping[str, object] | None = None) -> Config:
    """Reads and checks the complete configuration. Creates and changes nothing.

    Args:
        path: the TOML file, or None.
        overrides: values of flags by dotted key, e.g. {"http.port": 0}; None counts as not given.

    Returns:
        The validated, frozen configuration.

    Raises:
        ConfigurationError: the file cannot be read, or a value is bad; one message, one line per bad key.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    flags = _nested(given)
    of_groups = flags.pop("group", {})
    merged: dict[str, Any] = {}
    for layer in (_file(path) if path else {}, _environment(), flags):
        _merge(layer, into=merged)
    _merge_groups(of_groups, merged)
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        text = "\n".join(_explain(dict(item), flags, path) for item in error.errors())
        raise ConfigurationError(text) from None
    for name in config.group_names:
        try:
            own = config.of_group(name)
            _check_with_library(own, flags, path)
            _check_windows(own, flags, path)
        except ConfigurationError as error:
            if not name:
                raise
            msg = f'in the group "{name}": {error}'
            raise ConfigurationError(msg) from None
    _check_thresholds(config, flags, path)
    _check_levels(config, flags, path)
    _check_leads(config, flags, path)
    _check_groups(config, flags, path)
    return config


def _check_groups(config: Config, flags: Mapping[str, Any], path: Path | None) -> None:
    """Rejects what does not go with groups."""
    if config.group and (got := config.input.broadcast):
        msg = (
            f"{_origin(['input', 'broadcast'], flags, path)}: input.broadcast: got {got!r}, expected none with "
            "[[group]], because a series belongs to one group; give each event its covariates"
        )
        raise ConfigurationError(msg)


def _check_windows(config: Config, flags: Mapping[str, Any], path: Path | None) -> None:
    """Rejects what values of windows do not have, and an interval of steps that is not theirs."""
    settings = config.aggregate
    if not settings.interval:
        if got := config.input.fields.identifiers:
            msg = (
                f"{_origin(['input', 'fields', 'identifiers'], flags, path)}: input.fields.identifiers: "
                f'got {list(got)}, expected none without aggregate.interval: their windows have the function "distinct"'
            )
            raise ConfigurationError(msg)
        return
    if settings.has_distinct and importlib.util.find_spec("datasketches") is None:
        msg = (
            f"{_origin(['aggregate'], flags, path)}: aggregate.functions: distinct needs datasketches, which is not "
            f"installed; expected the extra: {install_command('distinct')}"
        )
        raise ConfigurationError(msg)
    for name in ("covariates", "future_covariates", "broadcast"):
        if got := getattr(config.input, name):
            msg = (
                f"{_origin(['input', name], flags, path)}: input.{name}: got {got!r}, expected none with "
                "aggregate.interval, because the value of a window has no covariates"
            )
            raise ConfigurationError(msg)
    lengths = [round(interval * 1000) for interval in settings.intervals]
    if config.model.interval_months or config.model.interval_ms not in {0, None, *lengths}:
        expected = ", ".join(f'"{format_duration(interval)}"' for interval in settings.intervals)
        where = _origin(["model", "interval"], flags, path)
        msg = (
            f'{where}: model.interval: got {config.model.interval!r}, expected "auto" or that of aggregate, {expected}'
        )
        raise ConfigurationError(msg)


def _check_thresholds(config: Config, flags: Mapping[str, Any], path: Path | None) -> None:
    """Rejects thresholds that look beyond the forecast horizon, where the interval is configured."""
    model = config.model
    one_horizon = bool(model.interval_ms) and not config.group  # with groups, the daemon reports it by series
    for threshold in config.metrics.thresholds if one_horizon else ():
        if not threshold.reached(model.interval_ms, model.horizon):
            where, within = _origin(["metrics", "thresholds"], flags, path), format_duration(threshold.within)
            msg = (
                f'{where}: metrics.thresholds: got within = "{within}" for "{threshold.series}" {threshold.label}, '
                f"expected {threshold.expected(model.interval_ms, model.horizon)}"
            )
            raise ConfigurationError(msg)


def _check_levels(config: Config, flags: Mapping[str, Any], path: Path | None) -> None:
    """Rejects levels of [[alert]] and [[scale]] that no group of series forecasts."""
    levels = {level for name in config.group_names for level in config.of_group(name).model.quantiles}
    known = ", ".join(f"{level:g}" for level in sorted(levels))
    wanted = [("alert", "level", rule.name, rule.level) for rule in config.alert]
    wanted += [("scale", "quantile", rule.name, rule.quantile) for rule in config.scale]
    for section, key, name, level in wanted:
        if level not in levels:
            where = _origin([section], flags, path)
            msg = f"{where}: {section}.{key}: got {level:g} for {name}, expected one of model.quantiles: {known}"
            raise ConfigurationError(msg)


def _check_leads(config: Config, flags: Mapping[str, Any], path: Path | None) -> None:
    """Rejects lead times of [[scale]] beyond the forecast horizon, where the interval is configured."""
    longest = config.step_ms * config.model.horizon
    for rule in config.scale if longest and not config.group else ():  # with groups, the daemon reports it by series
        if rule.lead_ms > longest:
            where, lead = _origin(["scale"], flags, path), format_duration(rule.lead)
            msg = (
                f'{where}: scale.lead: got "{lead}" for {rule.name}, expected at most '
                f'"{format_duration(longest / 1000.0)}" (model.horizon = {config.model.horizon} steps); set '
                f"model.horizon to {math.ceil(rule.lead_ms / config.step_ms)} or more, or lead"
            )
            raise ConfigurationError(msg)


def _check_with_library(config: Config, flags: Mapping[str, Any], path: Path | None) -> None:
    """Checks the library's sections with the library, and reports where a bad value was set."""
    seasons = () if config.model.seasons_need_interval else None  # `run` finds the interval in files
    model = partial(config.library_model, seasons)
    sections = ("model", model), ("train", config.library_train), ("anomaly", config.anomaly.library_rules)
    for section, build in sections:
        try:
            build()
        except ConfigError as error:
            keys = _LIBRARY_KEYS.get(error.field, [section, error.field])
            where = _origin(keys, flags, path)
            msg = f"{where}: {'.'.join(keys)}: got {error.got!r}, expected {error.expected}"
            raise ConfigurationError(msg) from None


def _file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8").removeprefix("\ufeff"))
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); expected a TOML file"
    except UnicodeDecodeError as error:
        msg = f"{path}: got bytes that are not UTF-8 at offset {error.start}, expected a TOML file"
    except tomllib.TOMLDecodeError as error:
        msg = f"{path}: not TOML: {error}"
    raise ConfigurationError(msg)


def _environment() -> dict[str, Any]:
    fields: dict[str, Any] = dict.fromkeys(Config.model_fields, (dict[str, Any], {}))
    for name in os.environ:
        section, nested, _ = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if name.startswith(ENVIRONMENT_PREFIX) and nested and section not in fields:
            msg = f"environment variable {name}: unknown section {section}; {_nearest(section, list(fields))}"
            raise ConfigurationError(msg)
    return dict(EnvSettingsSource(create_model("_Environment", __base__=_Environment, **fields))())


def _nested(flat: Mapping[str, object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = value
    return tree


def _merge(layer: Mapping[str, Any], into: dict[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(value, into[key])
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _merge_groups(flags: Any, merged: dict[str, Any]) -> None:
    """Merges flags "group.NAME.section.key" into the groups of these names; with "group.NAME.match", adds a group.

    Raises:
        ConfigurationError: there is no such group.
    """
    groups = merged.get("group", [])
    named = {one.get("name"): one for one in groups if isinstance(one, dict)} if isinstance(groups, list) else {}
    for name, settings in flags.items() if isinstance(flags, Mapping) else {"": flags}.items():
        if isinstance(settings, Mapping) and "match" in settings and name not in named and isinstance(groups, list):
            named[name] = {"name": name}
            groups = merged["group"] = [*groups, named[name]]
        if name not in named or not isinstance(settings, Mapping):
            known = ", ".join(str(each) for each in named) or "none"
            msg = (
                f"flag: group.{name}: expected group.NAME.section.key of a group, or group.NAME.match of a new one; "
                f"got the groups: {known}"
            )
            raise ConfigurationError(msg)
        _merge(settings, into=named[name])


def _explain(error: dict[str, Any], flags: Mapping[str, Any], path: Path | None) -> str:
    """Formats an error as one line: where it was set, key, value found, value expected."""
    keys = [str(part) for part in error["loc"]]
    keys = keys[: _depth(keys)] or keys
    key = ".".join(keys)
    where = _origin(keys, flags, path)
    if error["type"] == "extra_forbidden":
        return f"{where}: {key}: unknown key; {_nearest(keys[-1], _siblings(keys))}"
    got = repr(error["input"])
    if isinstance(error["input"], Mapping | BaseModel):  # an error of a whole section names the fields in its text
        got = ""
    elif len(got) > _SHOWN:
        got = got[:_SHOWN] + "..."
    text = error["msg"].removeprefix("Value error, ")
    text = text.removeprefix("Input should be ").removeprefix("a valid ")
    expected = text if "expected" in text else f"expected {text[:1].lower()}{text[1:]}"
    return f"{where}: {key}: " + (f"got {got}, {expected}" if got else expected)


def _origin(keys: list[str], flags: Mapping[str, Any], path: Path | None) -> str:
    if _holds(flags, keys):
        return "flag"
    variable = ENVIRONMENT_PREFIX + "__".join(keys).upper()
    for name in os.environ:
        if os.environ[name] and (name.upper() == variable or name.upper().startswith(variable + "__")):
            return f"environment variable {name}"
    return str(path) if path else "configuration"


def _holds(tree: Any, keys: list[str]) -> bool:
    for key in keys:
        if not isinstance(tree, Mapping) or key not in tree:
            return False
        tree = tree[key]
    return True


def _depth(keys: list[str]) -> int:
    """Counts how many of the keys are settings; the rest is an index or a branch of a union."""
    model: type[BaseModel] | None = Config
    for depth, key in enumerate(keys):
        if depth == 1 and keys[0] in _LISTED:  # the number of a table, as in [[group]]
            model = _LISTED[keys[0]]
            continue
        field = model.model_fields.get(key) if model else None
        if field is None:
            return depth + (1 if model else 0)
        kind = field.annotation
        model = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    return len(keys)


def _siblings(keys: list[str]) -> list[str]:
    model: Any = Config
    if keys[0] in _LISTED and len(keys) > 2:
        model, keys = _LISTED[keys[0]], keys[2:]
    for key in keys[:-1]:
        model = model.model_fields[key].annotation
    return list(model.model_fields)


def _nearest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
