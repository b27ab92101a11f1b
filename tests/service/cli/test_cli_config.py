"""`forecaster config` and the options that set configuration keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import main
from service.cli._options import FLAGS
from service.config.sections import Config


def run(*arguments: str) -> Result:
    """Runs the command line in this process."""
    return CliRunner().invoke(main, list(arguments))


def shown(*arguments: str) -> dict:
    """Returns the settings that `config show` prints."""
    result = run("config", "show", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_later_wins(tmp_path: Path, monkeypatch) -> None:
    """An option overrides the environment, the environment the file, and the file the default."""
    file = tmp_path / "config.toml"
    file.write_text("[http]\nport = 1\nhost = 'a'\n[model]\nhorizon = 5\n")
    monkeypatch.setenv("FORECASTER_HTTP__PORT", "2")
    monkeypatch.setenv("FORECASTER_HTTP__HOST", "b")

    found = shown("--config", str(file), "--port", "3")

    assert (found["http"]["port"], found["http"]["host"], found["model"]["horizon"]) == (3, "b", 5)


def test_set() -> None:
    """`--set` sets every key, lists included, and overrides the file."""
    found = shown("--set", "model.cell=lstm", "--set", "input.fields.value=v", "--set", "model.seasons=24,168")

    assert found["model"]["cell"] == "lstm"
    assert found["input"]["fields"]["value"] == "v"
    assert found["model"]["seasons"] == [24, 168]


def test_lists_and_switches() -> None:
    """A repeatable option sets a list; a switch that is not given leaves the setting unchanged."""
    found = shown("--input", "a.csv", "--input", "b*.jsonl", "--season", "24")

    assert found["input"]["files"] == ["a.csv", "b*.jsonl"]
    assert found["input"]["follow"] is False
    assert shown("--follow")["input"]["follow"] is True


@pytest.mark.parametrize("setting", ["horizon=3", "model.horizon", "=3", ".=3"])
def test_malformed_set(setting: str) -> None:
    """A `--set` that is no assignment to a key is refused with an example."""
    result = run("config", "check", "--set", setting)

    assert result.exit_code == 2
    assert "expected section.key=value" in result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--horizon", "x"], "flag: model.horizon: got 'x'"),
        (["--set", "modle.horizon=3"], "modle: unknown key; did you mean model?"),
        (["--config", "no-such-file.toml"], "no-such-file.toml: cannot be read"),
        (["--set", "model.hidden_size=17"], "hidden_size: got 17, expected a multiple of 16"),
    ],
)
def test_mistakes(arguments: list[str], expected: str) -> None:
    """A bad value ends with status 2; the message states its source and what is expected."""
    result = run("config", "check", *arguments)

    assert result.exit_code == 2
    assert expected in result.output
    assert "Traceback" not in result.output


def test_check() -> None:
    """A usable configuration is reported as valid."""
    result = run("config", "check")

    assert (result.exit_code, result.output) == (0, "the configuration is valid\n")


def test_config_file_from_the_environment(tmp_path: Path, monkeypatch) -> None:
    """FORECASTER_CONFIG names the file where no option does."""
    file = tmp_path / "config.toml"
    file.write_text("[http]\nport = 7\n")
    monkeypatch.setenv("FORECASTER_CONFIG", str(file))

    assert shown()["http"]["port"] == 7


def test_schema() -> None:
    """The schema covers every section of the configuration and describes every key."""
    schema = json.loads(run("config", "schema").output)

    assert set(schema["properties"]) == set(Config.model_fields)
    for name, section in schema["$defs"].items():
        for key, field in section["properties"].items():
            assert field.get("description"), f"{name}.{key} has no description"


def test_flags_name_real_keys() -> None:
    """Every short option sets an existing key."""
    for name, flag in FLAGS.items():
        section, _, key = flag.key.partition(".")
        assert key in Config.model_fields[section].annotation.model_fields, name
