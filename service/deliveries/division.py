"""How many deliveries the next request has, after a target has refused some of them.

A target may refuse a request as a whole for one delivery in it. Requests go on in the order of the deliveries, so what
is done is always the beginning of the spool and outlasts a restart, and of one series the older ones are sent first. A
refused request is halved until it has one delivery: only what is refused alone is counted as refused. After that the
requests grow again, by doubling. Of a refused request of which the beginning was accepted, the rest is halved as well:
it has a delivery that is refused.

    one of n is refused      about 4 log2(n) requests
    all of n are refused     n + log2(n) requests
    any of n are refused     at most 2 n + 2 log2(n) requests
"""

from __future__ import annotations


class Division:
    """The size of the next request of a target; `size` deliveries at most.

    Args:
        most: deliveries of a request while nothing is refused.

    Attributes:
        size: of the next request.
    """

    def __init__(self, most: int) -> None:
        self._most, self.size = most, most
        self._within = 0  # so many of the next deliveries have one that is refused, as far as is known

    @property
    def is_on(self) -> bool:
        """Whether requests are smaller, as some were refused."""
        return self.size < self._most

    def refuse(self, count: int) -> None:
        """Notes that a request of so many deliveries was refused; one of a single delivery is done with it."""
        self._within = 0 if count == 1 else count
        self.size = max(1, count // 2)

    def accept(self, count: int) -> None:
        """Notes that a request of so many deliveries was accepted."""
        self._within = max(0, self._within - count)
        self.size = max(1, self._within // 2) if self._within else min(self._most, 2 * self.size)
