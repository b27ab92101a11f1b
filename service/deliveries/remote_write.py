"""Sends samples by Prometheus remote write 1.0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from service.config.remote_write import RemoteWriteConfig
from service.deliveries.delivery import BatchLimit, SendResult, Spooled
from service.deliveries.forecast_labels import SampleHeads
from service.deliveries.forecast_samples import encode_forecast
from service.deliveries.http_post import HttpEndpoint, HttpPost
from service.messages.remote_write_samples import compressed

NAME: Final = "remote-write"
"""Name of the target."""

_HEADERS: Final = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
    "User-Agent": "forecaster",
}
_LIMIT: Final = BatchLimit(1000, 1 << 18)  # of some megabytes with its labels; receivers accept some ten megabytes


class RemoteWriteTarget:
    """A `Target` that sends samples.

    Prometheus refuses a request as a whole for one sample that is too old or too far ahead, so a refused batch is
    divided until only such forecasts are left.

    Args:
        settings: of the receiver.
    """

    name, kind, limit, divides = NAME, "remote_write", _LIMIT, True

    def __init__(self, settings: RemoteWriteConfig) -> None:
        endpoint = HttpEndpoint(
            settings.url, settings.timeout, settings.username, settings.password_file, settings.token_file,
            settings.ca_file,
        )  # fmt: skip
        tenant = {"X-Scope-OrgID": settings.tenant} if settings.tenant else {}
        self._post = HttpPost(endpoint, _HEADERS | tenant)
        self._heads = SampleHeads(settings.metric, settings.labels)
        self.spool_bytes = settings.spool

    def send(self, batch: Sequence[Spooled]) -> SendResult:
        """Sends the samples of forecasts.

        Raises:
            UnavailableError, RefusedError: see `HttpPost.post`.
        """
        self._post.post(compressed(encode_forecast(one, self._heads) for one in batch))
        return SendResult()

    def close(self) -> None:
        """Does nothing: a connection ends with its request."""
