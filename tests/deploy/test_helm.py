"""The Helm chart: its kept rendering must match the chart, and is checked object by object.

Helm itself is in no maintained package that tests could install. Where it is on the path (or HELM names it) the chart
is linted and rendered anew as well; elsewhere the kept rendering is used, and a digest ties it to the chart.
"""

from __future__ import annotations

import subprocess
import tomllib
from typing import Any

import chart
import kubernetes_validate
import pytest
import yaml

from service.config.sections import Config

# Custom resources, whose schemas come with their operators only.
FOREIGN = {"ServiceMonitor": "monitoring.coreos.com/v1", "ScaledObject": "keda.sh/v1alpha1"}


def documents(case: str) -> list[dict[str, Any]]:
    """Returns every object of a rendering."""
    text = (chart.FOLDER / f"{case}.rendered.yaml").read_text()
    return [one for one in yaml.safe_load_all(text) if one]


@pytest.mark.parametrize("case", chart.CASES)
def test_the_kept_rendering_is_of_this_chart(case: str) -> None:
    """A change of the chart without `python tests/deploy/chart.py` fails."""
    first = (chart.FOLDER / f"{case}.rendered.yaml").read_text().splitlines()[0]
    assert first == f"# Made by chart.py from {chart.digest(case)}"


@pytest.mark.parametrize("case", chart.CASES)
def test_helm_renders_it_so(case: str) -> None:
    """Where helm is installed, it lints the chart without a warning and renders the kept rendering."""
    program = chart.helm()
    if program is None:
        pytest.skip("no helm here: the kept rendering, tied to the chart by its digest, is checked instead")
    lint = [program, "lint", "--strict", "--kube-version", chart.KUBERNETES, str(chart.CHART)]
    done = subprocess.run(lint, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = documents(case)
    assert [one for one in yaml.safe_load_all(chart.render(program, case)) if one] == kept


@pytest.mark.parametrize("version", ["1.27", "1.30", "1.34", "1.37"])
@pytest.mark.parametrize("case", chart.CASES)
def test_kubernetes_takes_every_object(case: str, version: str) -> None:
    """Every object conforms to the published schemas of several versions, without unknown keys."""
    for one in documents(case):
        if one["kind"] in FOREIGN:
            assert one["apiVersion"] == FOREIGN[one["kind"]]
        else:
            kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("case", chart.CASES)
def test_selectors_find_the_pods(case: str) -> None:
    """Service, disruption budget, monitor and network rules select the pods of the set; scaling targets the set."""
    found = chart.objects(case)
    stateful = found["StatefulSet"]
    labels = stateful["spec"]["template"]["metadata"]["labels"].items()
    name = stateful["metadata"]["name"]
    selectors = [stateful["spec"]["selector"]["matchLabels"], found["Service"]["spec"]["selector"]]
    for kind, path in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        if kind in found:
            selectors.append(found[kind]["spec"][path]["matchLabels"])
    if "ServiceMonitor" in found:
        assert found["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items() <= (
            found["Service"]["metadata"]["labels"].items()
        )
        assert found["ServiceMonitor"]["spec"]["endpoints"][0]["port"] == found["Service"]["spec"]["ports"][0]["name"]
    assert all(selector.items() <= labels for selector in selectors)
    for kind in ("ScaledObject", "HorizontalPodAutoscaler"):
        if kind in found:
            target = found[kind]["spec"]["scaleTargetRef"]
            assert target == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name}
            assert "replicas" not in stateful["spec"]  # otherwise every upgrade would undo the scaling
    assert found["Service"]["metadata"]["name"] == stateful["spec"]["serviceName"]


@pytest.mark.parametrize("case", chart.CASES)
def test_pods_are_members_by_name_and_have_no_rights(case: str) -> None:
    """A pod's name is its static member id; it runs as non-root on a read-only file system."""
    pod = chart.objects(case)["StatefulSet"]["spec"]["template"]["spec"]
    main = pod["containers"][0]
    variables = {one["name"]: one for one in main["env"]}
    assert variables["FORECASTER_KAFKA__INSTANCE"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in (main, *pod["initContainers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
    mounts = {mount["name"] for container in (main, *pod["initContainers"]) for mount in container["volumeMounts"]}
    assert mounts <= {volume["name"] for volume in pod["volumes"]} | {"data"}
    assert pod["terminationGracePeriodSeconds"] > 45
    assert {main[f"{which}Probe"]["httpGet"]["path"] for which in ("liveness", "startup")} == {"/-/healthy"}
    assert main["readinessProbe"]["httpGet"]["path"] == "/-/ready"


@pytest.mark.parametrize("case", chart.CASES)
def test_the_daemon_takes_its_settings(case: str) -> None:
    """config.toml of the ConfigMap and the variables of the pod are settings that the daemon accepts."""
    found = chart.objects(case)
    settings = tomllib.loads(found["ConfigMap"]["data"]["config.toml"])
    for variable in found["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]["env"]:
        section, key = variable["name"].removeprefix("FORECASTER_").lower().split("__")
        settings.setdefault(section, {}).setdefault(key, variable.get("value", "from-elsewhere"))
    assert Config.model_validate(settings).kafka.topics == ("events",)


def test_no_secret_is_in_a_rendering() -> None:
    """Passwords are references to secrets, never values."""
    variables = chart.objects("kafka")["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]["env"]
    password = next(one for one in variables if one["name"] == "FORECASTER_KAFKA__PASSWORD")
    assert password["valueFrom"] == {"secretKeyRef": {"name": "kafka-user", "key": "password"}}
    assert "Secret" not in {kind for case in chart.CASES for kind in chart.objects(case)}
