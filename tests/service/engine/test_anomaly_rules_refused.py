"""Anomaly rules whose snapshot cannot be written are not in force, and nothing of them stays behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

import service.engine.anomaly_rules
from service.config.sections import Config
from service.engine.anomaly_rules import AnomalyRules
from service.partitions.flag_filter import FlagFilter


class Judged:
    """A forecaster that remembers its threshold."""

    threshold = 0.0

    def judge_by(self, rules: Any, *_: Any) -> None:
        """See `Forecaster.judge_by`."""
        self.threshold = rules.threshold


@pytest.mark.parametrize("written", [True, False])
def test_rules_and_counts(written: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules, the counts of the budget and the rules of the rows are the new ones or the old ones, all of them."""
    monkeypatch.setattr(service.engine.anomaly_rules, "snapshots_of", lambda *_: ["one"])
    writer = SimpleNamespace(wait=lambda: None, store=None, write_now=lambda _: written)
    old = Config.model_validate({"anomaly": {"budget": 3, "budget_period": "1h", "threshold": 0.99}})
    new = Config.model_validate({"anomaly": {"budget": 3, "budget_period": "2h", "threshold": 0.999}})
    flags = FlagFilter(old.anomaly, [(5, 2)])
    group = SimpleNamespace(flags=flags, forecaster=Judged())
    flags.judge(cast("Any", group.forecaster))
    partition = SimpleNamespace(of_group=lambda _: group, name="0", position=7)

    AnomalyRules(new, cast("Any", writer)).put_in_force([cast("Any", partition)])

    assert group.flags.settings == (new if written else old).anomaly
    assert group.flags.state() == ([] if written else [(5, 2)])
    assert group.forecaster.threshold == (0.999 if written else 0.99)
