"""Settings of alerts and of anomaly rules: what is refused, and where the message says it was set."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.config.load import load_config
from service.config.sections import Config
from service.errors import ConfigurationError
from service.reload import changes

GOOD = '[[alert]]\nname = "Full"\nmatch = ["disk.*"]\nabove = 9.0\n'


def loaded(folder: Path, text: str) -> Config:
    """Returns the configuration of a text."""
    (folder / "f.toml").write_text(text)
    return load_config(folder / "f.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + "below = 1.0\n", "expected one of above and below, got above=9.0 and below=1.0"),
        (GOOD + "clear = 10.0\n", "clear: got 10.0, expected 9.0 or a value on its other side"),
        (GOOD + "level = 0.42\n", "alert.level: got 0.42 for Full, expected one of model.quantiles: 0.05, 0.1"),
        (GOOD + "abov = 1.0\n", "unknown key; did you mean above?"),
        (GOOD + GOOD, "got the names Full, Full"),
        (GOOD.replace("Full", "is full"), "alert.0.name"),
        ('[alerts]\nalertmanagers = ["alertmanager:9093"]\n', "expected http://HOST:PORT"),
        ('[alerts]\nwebhook = "ftp://a"\n', "expected http://HOST:PORT"),
        ('[alerts]\nexpire_after = "90s"\n', "expire_after: got 90s, expected at least twice renew_every"),
        ('[alerts]\nwebhook_secret = "a"\nwebhook_secret_file = "b"\n', "got both, expected one of them"),
        ('[anomaly]\nrules = [{series = "a", side = "up"}]\n', "anomaly.rules"),
        ('[anomaly]\nrules = [{series = "a", threshold = 0.5}]\n', "clear = 0.95 for 'a'"),
        ('[anomaly]\nrules = [{series = "a", silent_after = 5}]\n', "anomaly.rules"),
        ('[anomaly]\nmaintenance = [{start = "02:00", end = "2:30"}]\n', "expected two times of day that differ"),
    ],
)
def test_refused(tmp_path: Path, text: str, expected: str) -> None:
    """The message has what was found and what is expected."""
    with pytest.raises(ConfigurationError) as error:
        loaded(tmp_path, text)
    assert expected in str(error.value)


def test_accepted(tmp_path: Path) -> None:
    """Alerts without a target exist where there is an `[[alert]]`; a change of them needs a restart."""
    plain, warned = loaded(tmp_path, ""), loaded(tmp_path, GOOD)
    assert plain.alert_kinds == ()
    assert warned.alert_kinds == ("anomaly", "silence", "breach", "drift")
    assert [*changes(plain, warned)] == ["alert"]
    sent = loaded(tmp_path, '[alerts]\nkinds = ["drift"]\nwebhook = "https://a.example/x?y=z"\nlabels = {dc = "eu"}\n')
    assert sent.alert_kinds == ("drift",)


def test_secret_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret may be in the environment, and no dump of the settings has it."""
    monkeypatch.setenv("FORECASTER_ALERTS__WEBHOOK_SECRET", "hush")
    config = loaded(tmp_path, "")
    assert config.alerts.webhook_secret.get_secret_value() == "hush"
    assert "hush" not in config.model_dump_json() + repr(config)


def test_webhook_is_not_shown(tmp_path: Path) -> None:
    """The address may have a token, so no dump of the settings has it; other processes read them with stars."""
    config = loaded(tmp_path, '[alerts]\nwebhook = "https://a.example/T0/hush?token=hush"\n')
    assert "hush" not in config.model_dump_json() + repr(config)
    again = Config.model_validate(config.model_dump(mode="json"))
    assert again.alert_kinds == config.alert_kinds


@pytest.mark.parametrize("name", ["severity", "two words", "__name__"])
def test_labels_that_an_alertmanager_refuses(tmp_path, name):
    """Or that the daemon sets itself."""
    with pytest.raises(ConfigurationError, match=f"alerts.labels.*got '{name}'"):
        loaded(tmp_path, f'[alerts]\nwebhook = "https://a.example"\n[alerts.labels]\n"{name}" = "x"\n')
