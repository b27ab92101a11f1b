"""A run in which requests of transactions arrive twice: the second copy in the middle of the next transaction."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import kafka_proxy as wire
from kafka_tools import drain

from service.ports import Records, Unit

Make = Callable[[], Any]  # makes a transport, not started


class Arming:
    """Makes requests arrive late repeatedly: holds one, delivers it in the following unit, then holds the next.

    Attributes:
        arrived: number of requests that arrived late.
    """

    def __init__(self, proxy: wire.Proxy, api: int, rounds: int, *, cut: bool) -> None:
        self.arrived = 0
        self._late: wire.Late | None = None
        self._proxy, self._api, self._rounds, self._cut = proxy, api, rounds, cut

    def __call__(self, _published: int = 0) -> None:
        """Prepares the proxy before a unit."""
        if self._late is None:
            if self.arrived < self._rounds:
                self._late = wire.Late(self._proxy, self._api, cut=self._cut)
        elif self._late.delivered.is_set():
            self.arrived, self._late = self.arrived + 1, None
            self._proxy.request_rules.clear()
            self._proxy.answer_rules.clear()


def unit_with_its_bounds(size: int) -> Callable[[Records], Unit]:
    """Makes units whose forecasts name the bounds of their unit and carry `size` further bytes."""

    def unit(records: Records) -> Unit:
        first, behind = records.positions[0], records.next_position
        filler = "x" * size
        forecasts = [
            json.dumps(
                {"source": {"partition": records.partition, "position": at}, "unit": [first, behind], "filler": filler}
            ).encode()
            for at in records.positions
        ]
        names = [f"s{at % 5}" for at in records.positions]
        return Unit(records.partition, first, behind, names, forecasts)

    return unit


def events_needed(limit: int, rounds: int) -> int:
    """Returns the number of events for `rounds` late requests in units of `limit`; a request takes up to 3 units."""
    return limit * (3 * rounds + 2)


def run_late(make: Make, proxy: wire.Proxy, api: int, rounds: int, *, cut: bool, limit: int, size: int) -> int:
    """Publishes until the end of the input while requests arrive late; returns the number of late requests.

    Args:
        make: makes a transport behind the proxy.
        proxy: proxy that holds the requests.
        api: API key of the request.
        rounds: number of late requests.
        cut: whether the connection ends with the first copy; otherwise the first copy gets no answer.
        limit: records per unit.
        size: further bytes per forecast.
    """
    arming = Arming(proxy, api, rounds, cut=cut)
    drain(make, arming, limit, 2 + rounds, unit_with_its_bounds(size))
    arming()
    return arming.arrived
