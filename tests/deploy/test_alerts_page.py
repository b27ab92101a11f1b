"""The blocks of the page on alerts: a receiver that checks the signature, and the routes of an Alertmanager."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import shipped
from alert_receivers import Receiver

from service.config.alerts import AlertsConfig
from service.deliveries.delivery import RefusedError, SendResult, Spooled, UnavailableError
from service.deliveries.webhook import WebhookTarget
from service.lifecycle import SystemClock

PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()


def blocks(language: str) -> list[str]:
    """Returns the blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def message(group: str, now_ms: int, identity: str = "1") -> Spooled:
    """Returns the delivery of an alert."""
    body = (
        f'{{"id": "{identity}{group}", "status": "firing", "kind": "drift", "name": "ForecastDrift", '
        f'"severity": "warning", "series": "", "group": "{group}", "partition": "0", "position": 1, '
        f'"starts_ms": {now_ms}, "ends_ms": 0, "value": null, "score": null, "expected_ms": null, "threshold": null}}'
    )
    return Spooled(f"{identity}{group}/firing", body.encode())


def test_signature() -> None:
    """The function of the page accepts a post of the daemon, and refuses another body, secret or time."""
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[0], "docs/alerts.md", "exec"), names)  # noqa: S102 - the page's code is what is tested
    receiver, clock = Receiver(), SystemClock()
    target = WebhookTarget(
        "hook", AlertsConfig.model_validate({"webhook": receiver.url, "webhook_secret": "s3"}), clock
    )
    assert target.send([message("x", clock.wall_ms()), message("y", clock.wall_ms())]) == SendResult()
    receiver.close()
    assert [body["group"] for _, body, _ in receiver.posts] == ["x", "y"]
    for headers, _, body in receiver.posts:
        assert names["is_genuine"](headers, body, b"s3")
        assert not names["is_genuine"](headers, body + b" ", b"s3")
        assert not names["is_genuine"](headers, body, b"s4")
        assert not names["is_genuine"]({**headers, "X-Forecaster-Timestamp": "1700000000"}, body, b"s3")


def test_answers() -> None:
    """An error is repeated with the same ids, a refusal is not; what is too old is not sent."""
    receiver, clock = Receiver(), SystemClock()
    target = WebhookTarget("hook", AlertsConfig.model_validate({"webhook": receiver.url}), clock)
    batch, old = [message("x", clock.wall_ms())], [message("x", clock.wall_ms() - 3_700_000)]
    receiver.status = 503
    with pytest.raises(UnavailableError):
        target.send(batch)
    receiver.status = 400
    with pytest.raises(RefusedError):
        target.send(batch)
    receiver.status = 200
    assert target.send(batch) == SendResult()
    assert target.send(old) == SendResult(expired=1)
    receiver.close()
    assert len(receiver.posts) == 1
    assert "X-Forecaster-Signature" not in receiver.posts[0][0]


def test_secret_file_that_is_gone(tmp_path: Path) -> None:
    """A post is not sent without its signature: it waits until the file can be read."""
    receiver, clock = Receiver(), SystemClock()
    settings = {"webhook": receiver.url, "webhook_secret_file": str(tmp_path / "none")}
    target = WebhookTarget("hook", AlertsConfig.model_validate(settings), clock)
    with pytest.raises(UnavailableError, match="the secret cannot be read"):
        target.send([message("x", clock.wall_ms())])
    (tmp_path / "none").write_text("s3\n")
    target.send([message("x", clock.wall_ms())])
    receiver.close()
    assert len(receiver.posts) == 1


def test_routes(tmp_path: Path) -> None:
    """Alertmanager's own tool accepts the routes of the page."""
    (tmp_path / "alertmanager.yml").write_text(blocks("yaml")[0])
    assert "SUCCESS" in shipped.run("amtool", "check-config", "alertmanager.yml", folder=tmp_path)
