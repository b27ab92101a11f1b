"""The settings of windows: what is refused, with the key and what to set."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.config.load import load_config
from service.errors import ConfigurationError


def loaded(folder: Path, text: str) -> str:
    """Returns the message of a refused configuration."""
    (folder / "config.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_config(folder / "config.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[aggregate]\ninterval = "7m"', 'got the interval "7m", expected one that divides a day'),
        ('[aggregate]\ninterval = "36h"', "expected one that divides a day"),
        ('[aggregate]\ninterval = "367d"', 'whole days up to "366d"'),
        ("[aggregate]\ninterval = 0.0005", "expected one that divides a day"),
        ('[aggregate]\nrules = [{series = "a"}]', "got rules without an interval, expected aggregate.interval"),
        ('[aggregate]\ninterval = "1m"\nrules = [{series = "a", interval = "7m"}]', "expected one that divides a day"),
        ('[aggregate]\ninterval = "1m"\nfunctions = []', "got no functions, expected at least one"),
        ('[aggregate]\ninterval = "1m"\nfunctions = ["sum", "sum"]', "functions that differ from each other"),
        ('[aggregate]\ninterval = "1m"\nfunctions = ["total"]', "aggregate.functions"),
        ('[aggregate]\ninterval = "1m"\ncounters = "sum"', "aggregate.counters"),
        (
            '[aggregate]\ninterval = "1m"\nfunctions = ["p95", "histogram_p95"]',
            "expected those of histograms without others",
        ),
        ('[input.fields]\nidentifiers = ["value"]', "input.fields.identifiers: got ['value'], expected none without"),
        (
            '[aggregate]\ninterval = "1m"\n[input.fields]\nvalue = "amount"\nidentifiers = ["user"]',
            "identifiers has 'user', expected fields of value or values: ['amount']",
        ),
        ('[aggregate]\ninterval = "1m"\ntimezone = "Berlin"', "expected a name of the tz database"),
        ('[aggregate]\ninterval = "1m"\n[input]\ncovariates = ["t"]', "input.covariates: got ('t',), expected none"),
        ('[aggregate]\ninterval = "1m"\n[input]\nbroadcast = "all"', "input.broadcast: got 'all', expected none"),
        (
            '[aggregate]\ninterval = "1m"\nrules = [{series = "a", interval = "5m"}]\n[model]\ninterval = "10m"',
            'expected "auto" or that of aggregate, "1m", "5m"',
        ),
        ('[aggregate]\ninterval = "1d"\n[model]\ninterval = "1mo"', 'expected "auto" or that of aggregate, "1d"'),
    ],
)
def test_refused(tmp_path: Path, text: str, said: str) -> None:
    """A setting that cannot work is refused at the start."""
    message = loaded(tmp_path, text)

    assert said in message
    assert str(tmp_path / "config.toml") in message


@pytest.mark.parametrize("interval", ["100ms", "1s", "90s", "5m", "1h", "6h", "1d", "7d", "366d"])
def test_accepted(tmp_path: Path, interval: str) -> None:
    """Parts of a day and whole days are accepted, also as the interval of the model."""
    (tmp_path / "config.toml").write_text(f'[aggregate]\ninterval = "{interval}"\n[model]\ninterval = "{interval}"')
    assert load_config(tmp_path / "config.toml").aggregate.interval > 0


def test_distinct_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function whose library is not installed is refused, with what to install; others need none."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    rule = '[aggregate]\ninterval = "1m"\nrules = [{series = "a", functions = ["distinct"]}]'

    assert "expected the extra: pip install" in loaded(tmp_path, rule)
    (tmp_path / "config.toml").write_text('[aggregate]\ninterval = "1m"')
    load_config(tmp_path / "config.toml")
