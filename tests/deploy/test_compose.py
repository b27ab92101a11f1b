"""compose.yaml without a container engine: the published schema, and the existence of everything that it names."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from shipped import DEPLOY, run

from service.cli import main
from service.config.load import load_config
from service.config.sections import Config

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_it_is_a_compose_file() -> None:
    """compose.yaml conforms to the schema of the Compose Specification."""
    at = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(COMPOSE, json.loads(at.read_text("utf-8")))
    assert set(SERVICES) == {"kafka", "topics", "forecaster", "prometheus", "grafana"}


def test_what_it_mounts_is_there() -> None:
    """Mounted files are in the repository, named volumes are declared, and Grafana finds the mounted dashboards."""
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
        if "build" in service:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/forecaster.yml").read_text())
    dashboards = provider["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{dashboards}:ro" in SERVICES["grafana"]["volumes"]
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.parent == Path(dashboards)
    assert (DEPLOY / "grafana" / "dashboards" / home.name).is_file()


def test_prometheus_accepts_what_the_daemon_writes() -> None:
    """The address is that of the service, which is started as a receiver of remote write."""
    settings = load_config(DEPLOY / "docker" / "forecaster.toml", {}).remote_write
    assert settings.url == "http://prometheus:9090/api/v1/write"
    assert "--web.enable-remote-write-receiver" in SERVICES["prometheus"]["command"]


def test_ports_are_of_this_machine_only() -> None:
    """Ports are bound to 127.0.0.1, and all services but Kafka have no capabilities and a read-only root."""
    for name, service in SERVICES.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert name == "kafka" or (service["read_only"] and service["cap_drop"] == ["ALL"])
    assert SERVICES["forecaster"]["ports"] == [f"127.0.0.1:{(port := Config().http.port)}:{port}"]


def test_the_commands_are_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon accepts its settings, and the service that creates the topics runs a valid command."""
    monkeypatch.setenv("FORECASTER_LOG__FORMAT", SERVICES["forecaster"]["environment"]["FORECASTER_LOG__FORMAT"])
    path = DEPLOY / "docker" / "forecaster.toml"
    config = load_config(path, {})
    assert config.kafka.bootstrap == ("kafka:9092",)
    assert config.log.format == "json"
    words = [str(path) if word == "/etc/forecaster/config.toml" else word for word in SERVICES["topics"]["command"]]
    assert CliRunner().invoke(main, [*words, "--help"]).exit_code == 0
    warm = SERVICES["forecaster"]["build"]["args"]["WARMUP"].split()
    shown = CliRunner().invoke(main, ["config", "show", *warm])
    assert shown.exit_code == 0, shown.output


def test_the_network_that_is_warmed_is_the_one_that_runs() -> None:
    """The image compiles the network that the daemon of compose.yaml runs."""
    words = SERVICES["forecaster"]["build"]["args"]["WARMUP"].split()
    given = dict(zip(words[::2], words[1::2], strict=True))
    keys = {"--horizon": "model.horizon", "--interval": "model.interval"}
    warmed = load_config(
        None, {keys[k]: v for k, v in given.items() if k in keys} | {"model.seasons": (given["--season"],)}
    )
    assert warmed.library_model() == load_config(DEPLOY / "docker" / "forecaster.toml", {}).library_model()


def test_prometheus_takes_its_file(tmp_path: Path) -> None:
    """Prometheus accepts the scrape file of compose.yaml, with the rules at their mount point."""
    text = (DEPLOY / "docker" / "prometheus.yml").read_text()
    mounted = next(one for one in SERVICES["prometheus"]["volumes"] if one.startswith("./prometheus/rules:"))
    inside = mounted.split(":")[1]
    assert inside in text
    (tmp_path / "prometheus.yml").write_text(text.replace(inside, str(DEPLOY / "prometheus" / "rules")))
    assert "3 rule files found" in run("promtool", "check", "config", "prometheus.yml", folder=tmp_path)
