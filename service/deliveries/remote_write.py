"""Sends samples by Prometheus remote write 1.0."""

from __future__ import annotations

from collections import deque
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
_SPLITS: Final = 128  # requests per batch to find the forecasts that are refused


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
        self._refusal = ""
        self._heads = SampleHeads(settings.metric, settings.labels)
        self.spool_bytes = settings.spool

    def send(self, batch: Sequence[Spooled]) -> int:
        """Sends the samples of forecasts; returns how many forecasts were refused.

        Raises:
            UnavailableError: see `HttpPost.post`; what was accepted already is sent again, too.
        """
        if self._accepts(batch):
            return 0
        refused = self._divided(sorted(batch, key=series_of))
        _log.warning("forecasts refused by remote write", count=refused, of=len(batch), error=self._refusal)
        return refused

    def _accepts(self, part: Sequence[Spooled]) -> bool:
        try:
            self._post.post(compressed(encode_forecast(one, self._heads) for one in part))
        except RefusedError as error:
            self._refusal = str(error)
            return False
        return True

    def _divided(self, batch: Sequence[Spooled]) -> int:
        """Sends the parts of a refused batch, larger ones first, and returns how many forecasts are refused.

        Parts of different series do not depend on the order of their requests. Those of one series are sent in the
        order of their times, as a server refuses what is older than its newest sample.

        Args:
            batch: ordered by series and then by time.
        """
        parts, count, left = deque([batch]), 0, _SPLITS
        while parts:
            part = parts.popleft()
            if left < 2:
                count += len(part)
            elif middle := _between_series(part):
                left -= 2
                parts.extend(half for half in (part[:middle], part[middle:]) if not self._accepts(half))
            else:
                lost, left = self._divided_in_time(part, left)
                count += lost
        return count

    def _divided_in_time(self, part: Sequence[Spooled], left: int) -> tuple[int, int]:
        """Sends the halves of a refused part of one series.

        Returns:
            The number of refused forecasts, and how many of `left` requests are left.
        """
        if len(part) == 1 or left < 2:
            return len(part), left
        count, left, middle = 0, left - 2, len(part) // 2
        for half in (part[:middle], part[middle:]):
            if not self._accepts(half):
                lost, left = self._divided_in_time(half, left)
                count += lost
        return count, left

    def close(self) -> None:
        """Does nothing: a connection ends with its request."""


def _between_series(part: Sequence[Spooled]) -> int:
    """Returns the index nearest to the middle at which another series begins; 0 where there is only one."""
    names = [series_of(one) for one in part]
    begins = [at for at in range(1, len(names)) if names[at] != names[at - 1]]
    return min(begins, key=lambda at: abs(2 * at - len(part)), default=0)
