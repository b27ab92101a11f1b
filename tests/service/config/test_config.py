"""The configuration: precedence of its sources, and error messages."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import BaseModel

from forecaster import ConfigError, ModelConfig, TrainConfig
from service.config.load import load_config
from service.config.sections import Config
from service.errors import ConfigurationError


@pytest.fixture
def write(tmp_path):
    """Writes a TOML file and returns its path."""

    def write_text(text: str) -> Path:
        path = tmp_path / "forecaster.toml"
        path.write_text(text)
        return path

    return write_text


def message(path: Path | None = None, **flags: object) -> str:
    """Returns the error message of a bad configuration; `__` in a flag stands for the dot."""
    with pytest.raises(ConfigurationError) as caught:
        load_config(path, {key.replace("__", "."): value for key, value in flags.items()})
    return str(caught.value)


class TestSources:
    """File, environment, flags."""

    def test_defaults(self):
        """Without file, environment and flags the documented defaults hold."""
        config = load_config()
        assert (config.http.host, config.http.port, config.state.snapshot_every) == ("127.0.0.1", 9464, 60.0)

    def test_order(self, write, monkeypatch):
        """A flag overrides the environment, which overrides the file."""
        path = write("[http]\nport = 1\nhost = 'a'\n[log]\nlevel = 'error'\nformat = 'json'\n")
        monkeypatch.setenv("FORECASTER_HTTP__PORT", "2")
        monkeypatch.setenv("FORECASTER_HTTP__HOST", "b")
        config = load_config(path, {"http.port": 3, "log.level": None})
        assert (config.http.port, config.http.host, config.log.level) == (3, "b", "error")

    def test_lists_from_the_environment(self, monkeypatch):
        """A list may be given with commas or as JSON."""
        monkeypatch.setenv("FORECASTER_INPUT__FILES", "a.csv, b.csv")
        monkeypatch.setenv("FORECASTER_MODEL__QUANTILES", "[0.1, 0.5, 0.9]")
        config = load_config()
        assert config.input.files == ("a.csv", "b.csv")
        assert config.model.quantiles == (0.1, 0.5, 0.9)

    def test_an_empty_variable_is_not_set(self, write, monkeypatch):
        """An empty variable, as a compose file makes of one that is unset, changes nothing and is named nowhere."""
        path = write("[http]\nport = 1\n[log]\nlevel = 'loud'\n")
        for name in ("HTTP__PORT", "INPUT__FILES", "INPUT__FIELDS__VALUE", "LOG__LEVEL"):
            monkeypatch.setenv(f"FORECASTER_{name}", "")
        assert message(path).startswith(f"{path}: log.level: got 'loud'")
        assert load_config(path, {"log.level": "info"}).http.port == 1

    def test_nested_environment(self, monkeypatch):
        """A nested section is addressed with two more underscores."""
        monkeypatch.setenv("FORECASTER_INPUT__FIELDS__VALUE", "reading")
        assert load_config().input.fields.value == "reading"

    def test_other_variables_are_left_alone(self, monkeypatch):
        """A variable without a section is ignored."""
        monkeypatch.setenv("FORECASTER_KILL_AT", "step:3")
        load_config()

    @pytest.mark.parametrize(
        ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h", 3600), ("1d", 86400), ("7", 7)]
    )
    def test_durations(self, text, seconds):
        """A duration is a number with a unit, or a number of seconds."""
        assert load_config(None, {"state.snapshot_every": text}).state.snapshot_every == seconds

    def test_output_path_stands_in_the_data_folder(self):
        """A relative output path is below the data folder, an absolute one is not."""
        assert load_config(None, {"state.data_dir": "d"}).output_path == Path("d/forecasts.sqlite")
        assert load_config(None, {"output.path": "/x/y.sqlite"}).output_path == Path("/x/y.sqlite")

    @pytest.mark.parametrize(("follow", "waits"), [(False, True), (True, False)])
    def test_retrain_waits_for_inputs_that_end(self, follow, waits):
        """By default the engine waits for the trainer only where a run must be exactly repeatable."""
        assert load_config(None, {"input.follow": follow}).retrain_waits is waits
        assert load_config(None, {"input.follow": follow, "retrain.wait": "true"}).retrain_waits is True
        for word in (True, False):  # TOML has truth values
            assert load_config(None, {"input.follow": follow, "retrain.wait": word}).retrain_waits is word


class TestMessages:
    """Error messages of bad configurations."""

    def test_value(self, write):
        """A bad value is reported with file, key, value and what is expected."""
        path = write("[input]\nmax_poll_records = 0\n")
        text = message(path)
        assert text == f"{path}: input.max_poll_records: got 0, expected greater than or equal to 1"

    def test_unknown_key(self, write):
        """A misspelt key is reported with the nearest key."""
        assert message(write("[input]\nfils = ['a']\n")).endswith("input.fils: unknown key; did you mean files?")

    def test_unknown_section(self, write, monkeypatch):
        """A misspelt section is reported in the file and in the environment."""
        assert "htp: unknown key; did you mean http?" in message(write("[htp]\nport = 1\n"))
        monkeypatch.setenv("FORECASTER_HTP__PORT", "1")
        assert message() == "environment variable FORECASTER_HTP__PORT: unknown section htp; did you mean http?"

    def test_environment_and_flag_are_named(self, monkeypatch):
        """The message names the source of the bad value."""
        monkeypatch.setenv("FORECASTER_HTTP__PORT", "99999")
        assert message().startswith("environment variable FORECASTER_HTTP__PORT: http.port: got '99999'")
        assert message(http__port=-1).startswith("flag: http.port: got -1")

    def test_several_at_once(self, write):
        """Every bad key has a line of its own in one message."""
        assert len(message(write("[log]\nlevel = 'loud'\nformat = 'xml'\n")).splitlines()) == 2

    def test_not_toml(self, write, tmp_path):
        """A file that is not TOML, not UTF-8 or missing is reported."""
        assert "not TOML" in message(write("[input\n"))
        assert "cannot be read" in message(tmp_path / "missing.toml")
        (tmp_path / "latin.toml").write_bytes(b'a = "\xff"')
        assert "not UTF-8" in message(tmp_path / "latin.toml")

    def test_library_bounds(self, write):
        """A bound that only the library checks is reported like any other bound."""
        path = write("[model]\nhidden_size = 17\n")
        assert message(path).startswith(f"{path}: model.hidden_size: got 17, expected a multiple of 16")
        assert message(train__k2=1).startswith("flag: train.k2: got 1, expected at least k1")

    @pytest.mark.parametrize(
        ("within", "expected"),
        [
            ("6h", ('got within = "6h" for "disk.*" above 0.9, expected 1m (a step) to 24m (model.horizon = 24 steps); '
                    "set model.horizon to 360 or more, or within")),
            ("25m", "set model.horizon to 25 or more, or within"),
            ("30s", "expected 1m (a step) to 24m (model.horizon = 24 steps); set within"),
        ],
    )  # fmt: skip
    def test_a_threshold_beyond_the_forecast(self, write, within, expected):
        """With a configured interval, a threshold's window must be between one step and the horizon."""
        text = f'[metrics]\nthresholds = [{{series = "disk.*", above = 0.9, within = "{within}"}}]\n[model]\n'
        found = message(write(text + 'interval = "1m"'))
        assert "metrics.thresholds: " in found
        assert expected in found
        assert load_config(write(text)).metrics.thresholds[0].within  # learnt interval: no metric instead

    def test_a_field_twice(self):
        """Two roles cannot share one field of the event."""
        assert "differ from each other" in message(input__fields={"series": "value"})
        assert "input.fields uses" in message(input__covariates=["value"])


class TestSeasons:
    """Seasons in steps and in time."""

    def test_steps_and_durations(self):
        """A season is given in steps, or as a duration when the interval is known."""
        config = load_config(None, {"model.interval": "30m", "model.seasons": "1d, 336"})
        assert config.library_model().seasons == (48, 336)

    def test_duration_without_interval(self):
        """A season given as a duration is no setting of the network until the interval is known."""
        config = load_config(None, {"model.seasons": ["1d", 5]})
        with pytest.raises(ConfigError, match=r"a duration needs model\.interval") as caught:
            config.library_model()
        assert (caught.value.field, caught.value.got) == ("model.seasons", "1d, 5")
        assert config.model.season_steps(3_600_000) == (24, 5)
        assert "expected" in message(model__seasons=["day"])

    def test_duration_that_does_not_divide(self):
        """A season must be a whole number of intervals."""
        assert "not a whole number of intervals" in message(model__seasons=["1d"], model__interval="7m")


class TestLibrary:
    """The sections of the library's settings."""

    def test_same_settings_and_defaults(self):
        """The sections offer every setting of the library with the library's default."""
        config = Config()
        assert config.library_model() == ModelConfig()
        assert config.library_train() == TrainConfig()
        assert set(type(config.train).model_fields) == {field.name for field in fields(TrainConfig)}

    def test_values_arrive(self):
        """Settings reach the library under the library's names and units."""
        flags = {"model.cell": "lstm", "model.interval": "1h", "input.covariates": "t", "train.max_steps": 5}
        config = load_config(None, flags)
        model = config.library_model()
        assert (model.cell, model.interval_ms, model.covariates) == ("lstm", 3_600_000, ("t",))
        assert config.library_train().max_steps == 5

    @pytest.mark.parametrize(("budget", "steps"), [("auto", 3), ("1000000", 1), (6000, 6), (1, 60)])
    def test_bytes_per_series(self, budget: object, steps: int) -> None:
        """A budget of bytes sets of how many steps a row keeps the mean only; so does the default for long seasons."""
        flags = {"model.seasons": [1440], "state.bytes_per_series": budget}
        config = load_config(None, flags)
        assert config.library_model().profile_steps == steps
        assert config.library_model((24,)).profile_steps == 1
        assert "profile_steps" not in config.model.model_dump()


def _undescribed(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        if not field.description:
            found.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _undescribed(field.annotation, f"{prefix}{name}.")
    return found


def test_every_setting_is_described():
    """Every setting has a description, because the schema is the documentation."""
    assert _undescribed(Config) == []
    assert Config.model_json_schema()["properties"]["input"]


class TestGroups:
    """`[[group]]`."""

    def test_inherits(self, tmp_path):
        """A group has its own keys in place of those of the sections, also after a round trip through JSON."""
        path = tmp_path / "c.toml"
        path.write_text(
            "[model]\nhorizon = 6\nseasons = [4]\n[output]\nevery = 3\n"
            '[[group]]\nname = "a"\nmatch = ["x*"]\n[group.model]\nhorizon = 9\n[group.retrain]\nwait = "true"\n'
        )
        config = load_config(path, {"group.a.anomaly.per_day": 3})
        again = Config.model_validate(config.model_dump(mode="json"))
        for each in (config.of_group("a"), again.of_group("a")):
            assert (each.model.horizon, each.model.seasons, each.retrain.wait) == (9, (4,), "true")
            assert (each.anomaly.per_day, each.output.every, each.group) == (3, 3, ())
        assert config.of_group("").model == config.model
        assert config.longest_horizon == 9
        assert Config().of_group("") == Config()

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('name = "default"\nmatch = ["a"]', "another name"),
            ('name = "A b"\nmatch = ["a"]', "group.0.name"),
            ('name = "a"\nmatch = []', "group.0.match"),
            ('name = "a"', "group.0.match"),
            ('name = "a"\nmatch = ["a"]\noutput = {path = "x"}', "all groups share sink, format, path, keep"),
            ('name = "a"\nmatch = ["a"]\noutput = {keep = "1d"}', "got keep, expected keys of the forecasts"),
            ('name = "a"\nmatch = ["a"]\nmodel = {horizon = 0}', 'in the group "a": '),
            ('name = "a"\nmatch = ["a"]\n[[group]]\nname = "a"\nmatch = ["b"]', "names that differ"),
            ('name = "a"\nmatch = ["a"]\n[input]\nbroadcast = "b"\ncovariates = ["t"]', "expected none with [[group]]"),
        ],
    )
    def test_mistakes(self, tmp_path, text, words):
        """A mistake is one line that says where it is and what is expected."""
        path = tmp_path / "c.toml"
        path.write_text(f"[[group]]\n{text}\n")
        with pytest.raises(ConfigurationError) as caught:
            load_config(path)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
