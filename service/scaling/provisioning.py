"""Requested replicas over event time: how many are requested, how many serve, and whether these are enough.

A request is in force from its event until the next one. A replica serves once it has been requested for the lead time
without a break, so at time t as many serve as the smallest request in force within [t - lead, t] has: that is a cluster
that follows the request at once, starts what is missing, which takes the lead time, and stops what is too much.

    wish        replicas for the load of one event (forecast or measured)
    request     r(t) = max of the wishes within (t - hold, t]
    serving     s(t) = min of the requests in force within [t - lead, t]; not known before the first lead time is over

Two monotonic queues have these extremes, each with at most `most - least + 1` entries. The state is kept in memory
only: after a restart, counting resumes one lead time later, because what was requested meanwhile is not known.
"""

from __future__ import annotations

from collections import deque

from service.config.scale_rules import ScaleRule


class Provisioning:
    """The replicas of one `[[scale]]` over event time. Used by one thread.

    Args:
        rule: the settings.

    Attributes:
        requested: replicas requested by the last event; None before the first.
    """

    def __init__(self, rule: ScaleRule) -> None:
        self._rule = rule
        self._wishes = deque[tuple[int, int]]()  # time and replicas: times increase, replicas decrease
        self._over = deque[tuple[int, int]]()  # end and replicas of requests before the last: both increase
        self._first_ms = 0
        self.requested: int | None = None

    def request(self, time_ms: int, wish: int) -> int:
        """Adds the wish of an event, and returns the replicas requested from there on.

        Args:
            time_ms: of the event, not before that of the last one.
            wish: between `least` and `most`.
        """
        if self.requested is None:
            self._first_ms = time_ms
        else:  # a request with fewer or as many replicas hides those before it, also from all later minima
            while self._over and self._over[-1][1] >= self.requested:
                self._over.pop()
            self._over.append((time_ms, self.requested))
        while self._wishes and self._wishes[-1][1] <= wish:
            self._wishes.pop()
        self._wishes.append((time_ms, wish))
        while len(self._wishes) > 1 and self._wishes[0][0] <= time_ms - self._rule.hold_ms:
            self._wishes.popleft()
        self.requested = self._wishes[0][1]
        return self.requested

    def serving(self, time_ms: int) -> int | None:
        """Returns the replicas that serve at a time, not before that of the last event; None where it is not known."""
        since = time_ms - self._rule.lead_ms
        if self.requested is None or since < self._first_ms:
            return None
        while self._over and self._over[0][0] <= since:
            self._over.popleft()
        return min(self._over[0][1], self.requested) if self._over else self.requested

    def falls_short(self, time_ms: int, load: float) -> bool | None:
        """Returns whether a load exceeds the capacity of the replicas that serve; None where these are not known."""
        found = self.serving(time_ms)
        return None if found is None else load > found * self._rule.capacity
