"""Sends samples by Prometheus remote write 1.0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from service.config.remote_write import RemoteWriteConfig
from service.deliveries.delivery import BatchLimit, RefusedError, Spooled
from service.deliveries.forecast_labels import SampleHeads
from service.deliveries.forecast_samples import encode_forecast, series_of
from service.deliveries.http_post import HttpEndpoint, HttpPost
from service.messages.remote_write_samples import compressed

_log = structlog.get_logger()

NAME: Final = "remote-write"
"""Name of the target."""

_HEADERS: Final = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
    "User-Agent": "forecaster",
}
_LIMIT: Final = BatchLimit(1000, 1 << 18)  # of some megabytes with its labels; receivers accept some ten megabytes
_SPLITS: Final = 64  # requests per batch to find the forecasts that are refused


class RemoteWriteTarget:
    """A `Target` that sends samples.

    Prometheus refuses a request as a whole for one sample that is too old or too far ahead, so a refused batch is
    divided until only such forecasts are left; those are counted and not sent again.

    Args:
        settings: of the receiver.
    """

    name, kind, limit = NAME, "remote_write", _LIMIT

    def __init__(self, settings: RemoteWriteConfig) -> None:
        endpoint = HttpEndpoint(
            settings.url, settings.timeout, settings.username, settings.password_file, settings.token_file,
            settings.ca_file,
        )  # fmt: skip
        tenant = {"X-Scope-OrgID": settings.tenant} if settings.tenant else {}
        self._post = HttpPost(endpoint, _HEADERS | tenant)
        self._heads = SampleHeads(settings.metric, settings.labels)
        self.spool_bytes = settings.spool

    def send(self, batch: Sequence[Spooled]) -> int:
        """Sends the samples of forecasts; returns how many forecasts were refused.

        Raises:
            UnavailableError: see `HttpPost.post`; what was accepted already is sent again, too.
        """
        try:
            self._send(batch)
        except RefusedError as error:
            # By series and then by time: parts of different series do not depend on the order of their requests.
            ordered = sorted(batch, key=series_of)
            refused, _ = self._divided(ordered, _SPLITS)
            _log.warning("forecasts refused by remote write", count=refused, of=len(batch), error=str(error))
            return refused
        return 0

    def _send(self, batch: Sequence[Spooled]) -> None:
        self._post.post(compressed(encode_forecast(one, self._heads) for one in batch))

    def _divided(self, refused: Sequence[Spooled], requests: int) -> tuple[int, int]:
        """Sends the halves of a refused part.

        Args:
            refused: forecasts, ordered. requests: how many may be made.

        Returns:
            The number of refused forecasts, and of the requests that are left.
        """
        if len(refused) == 1 or requests < 2:
            return len(refused), requests
        middle, count, left = len(refused) // 2, 0, requests - 2
        for number, part in enumerate((refused[:middle], refused[middle:])):
            try:
                self._send(part)
            except RefusedError:
                share = left // 2 if number == 0 else left
                lost, unused = self._divided(part, share)
                count, left = count + lost, left - share + unused
        return count, left

    def close(self) -> None:
        """Does nothing: a connection ends with its request."""
