"""The examples of deploy/scaling/: the settings load, autoscalers follow their metric within their bounds.

The schema of a HorizontalPodAutoscaler is the published one. KEDA's comes with its operator only, so the ScaledObject
is compared with the fields listed here, which are those of the resource definition of kedacore/keda at 8b4f083c (August
2026); its `behavior` has the schema of the HPA's.
"""

from __future__ import annotations

from typing import Any, Final

import kubernetes_validate
import pytest
import yaml
from shipped import DEPLOY, metric_names, named

from service.config.load import load_config
from service.config.scale_rules import ScaleRule

FOLDER: Final = DEPLOY / "scaling"
VERSIONS: Final = ["1.27", "1.30", "1.34", "1.37"]
# Fields and types of keda.sh/v1alpha1 ScaledObject.spec, and of the metadata of its trigger `prometheus`.
SPEC: Final[dict[str, type]] = {
    "scaleTargetRef": dict, "pollingInterval": int, "cooldownPeriod": int, "initialCooldownPeriod": int,
    "idleReplicaCount": int, "minReplicaCount": int, "maxReplicaCount": int, "fallback": dict, "advanced": dict,
    "triggers": list,
}  # fmt: skip
TRIGGER: Final = {"type", "name", "metadata", "authenticationRef", "metricType", "useCachedMetrics"}
PROMETHEUS: Final = {
    "serverAddress", "query", "threshold", "activationThreshold", "namespace", "customHeaders", "ignoreNullValues",
    "queryParameters", "unsafeSsl", "timeout", "authModes",
}  # fmt: skip


def example(name: str) -> dict[str, Any]:
    """Returns an example file."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


@pytest.fixture
def rule() -> ScaleRule:
    """The `[[scale]]` of the example."""
    return load_config(FOLDER / "scale.toml").scale[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_the_autoscaler(version: str) -> None:
    """It conforms to the schemas of several versions, without unknown keys."""
    kubernetes_validate.validate(example("hpa.yaml"), version, strict=True)


def test_the_autoscaler_follows_the_settings(rule: ScaleRule) -> None:
    """Bounds and label are those of `[[scale]]`, and one unit of the metric is one replica."""
    spec = example("hpa.yaml")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (rule.least, rule.most)
    (metric,) = [one["external"] for one in spec["metrics"]]
    assert metric["metric"]["name"] in metric_names()
    assert metric["metric"]["selector"] == {"matchLabels": {"scale": rule.name}}
    assert metric["target"] == {"type": "AverageValue", "averageValue": "1"}
    (served,) = example("prometheus-adapter.yaml")["rules"]["external"]
    assert served["seriesQuery"] == metric["metric"]["name"]
    assert set(served) <= {"seriesQuery", "seriesFilters", "resources", "name", "metricsQuery"}


def test_keda_takes_the_object() -> None:
    """Every field exists, has its type, and what is required is there."""
    found = example("keda.yaml")
    assert (found["apiVersion"], found["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    spec = found["spec"]
    assert {key for key, value in spec.items() if not isinstance(value, SPEC[key])} == set()
    assert {"scaleTargetRef", "triggers"} <= set(spec)
    assert {"name"} <= set(spec["scaleTargetRef"]) <= {"apiVersion", "kind", "name", "envSourceContainerName"}
    assert {"failureThreshold", "replicas"} <= set(spec["fallback"]) <= {"failureThreshold", "replicas", "behavior"}
    assert set(spec["advanced"]) <= {
        "horizontalPodAutoscalerConfig",
        "restoreToOriginalReplicaCount",
        "scalingModifiers",
    }
    assert set(spec["advanced"]["horizontalPodAutoscalerConfig"]) <= {"behavior", "name"}
    (trigger,) = spec["triggers"]
    assert {"type", "metadata"} <= set(trigger) <= TRIGGER
    assert trigger["metricType"] == "AverageValue"  # the only one with a fallback in all versions
    assert {"serverAddress", "query", "threshold"} <= set(trigger["metadata"]) <= PROMETHEUS
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


@pytest.mark.parametrize("version", VERSIONS)
def test_keda_behaves_as_an_autoscaler(version: str) -> None:
    """The behavior, which KEDA hands to an autoscaler, conforms to the schema of that."""
    scaler, spec = example("hpa.yaml"), example("keda.yaml")["spec"]
    scaler["spec"]["behavior"] = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    kubernetes_validate.validate(scaler, version, strict=True)


def test_keda_follows_the_settings(rule: ScaleRule) -> None:
    """Bounds and query are those of `[[scale]]`, and one unit of the metric is one replica."""
    spec = example("keda.yaml")["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (rule.least, rule.most)
    assert rule.least <= spec["fallback"]["replicas"] <= rule.most
    found = spec["triggers"][0]["metadata"]
    assert named(found["query"]) <= metric_names()
    assert f'scale="{rule.name}"' in found["query"]
    assert found["threshold"] == "1"
