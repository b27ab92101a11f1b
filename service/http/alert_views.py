"""The answer on alerts: those that last, and those that were over lately."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from service.config.sections import Config
from service.deliveries.alert_messages import AlertMessages, summary
from service.deliveries.alertmanager import time_text
from service.deliveries.series_labels import alert_labels
from service.http import schemas as answers
from service.http.views import RequestError
from service.ports import name_of_run
from service.recent import AlertLog, LoggedAlert
from service.registry.feedback import Feedback, FeedbackError

Which = Literal["", "firing", "resolved"]


class AlertViews:
    """Makes the answers.

    Args:
        log: the alerts.
        config: has the `[[alert]]`.
        feedback: returns the feedback in force in a partition, in its order.
    """

    def __init__(self, log: AlertLog, config: Config, feedback: Callable[[str], Sequence[Feedback]]) -> None:
        self._log, self._feedback = log, feedback
        self._messages, self._kinds = AlertMessages(config), config.alert_kinds

    def page(self, partition: str, status: Which, limit: int) -> answers.AlertPage:
        """Returns the alerts of a partition, or of all; at most `limit`, those that last first.

        Raises:
            RequestError: the feedback cannot be read.
        """
        lasting, ended = self._log.alerts(partition)
        wanted = [*(lasting if status != "resolved" else ()), *(ended if status != "firing" else ())]
        shown = wanted[:limit]
        try:
            said = {name: self._feedback(name) for name in {one.partition for one in shown}}
        except FeedbackError as error:
            raise RequestError(503, "unavailable", str(error)) from error
        rows = [self._row(one, said[one.partition]) for one in shown]
        return answers.AlertPage(
            alerts=rows, lasting=len(lasting), kinds=list(self._kinds), more=len(wanted) > len(shown)
        )

    def _row(self, one: LoggedAlert, said: Sequence[Feedback]) -> answers.AlertRow:
        alert = one.alert
        found = self._messages.message(alert, name_of_run(one.partition, one.run), one.group, one.ends_ms)
        low, high = one.expected or (None, None)
        feedback = next((entry.request for entry in reversed(said) if _is_of(entry, one)), None)
        expected = found["expected_ms"]
        return answers.AlertRow(
            **{name: found[name] for name in ("id", "status", "kind", "name", "severity", "series", "position")},
            rule=alert.rule or None, labels=alert_labels(alert.series, {}, ()), group=found["group"] or None,
            partition=one.partition, starts_ms=alert.starts_ms, ends_ms=one.ends_ms or None, value=found["value"],
            score=found["score"], expected_ms=expected, expected_low=low, expected_high=high,
            threshold=found["threshold"], feedback=None if feedback is None else feedback.verdict,
            feedback_reason=None if feedback is None else feedback.reason,
            summary=summary(found, "" if expected is None else time_text(expected)),
        )  # fmt: skip


def _is_of(entry: Feedback, one: LoggedAlert) -> bool:
    """Whether feedback was in force while an alert lasted: behind the event that began it, up to its end."""
    alert = one.alert
    of_series = entry.run == one.run and entry.request.series == alert.series
    return of_series and alert.position < entry.position and (one.end < 0 or entry.position <= one.end)
