"""What a producer makes of committed events, and what a target sends."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Protocol, runtime_checkable

from service.errors import ServiceError
from service.monitoring.families import DELIVERY_KINDS
from service.publication import Publication, ServedAlerts

KINDS: Final = DELIVERY_KINDS
"""The kinds of targets; values of the label `kind` of metrics."""


class UnavailableError(ServiceError):
    """The target does not answer, or asks to be tried later: the same batch is sent again.

    Attributes:
        after: seconds to wait at least, as the target asked; 0: it did not.
    """

    retriable: ClassVar[bool] = True

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class RefusedError(ServiceError):
    """The target refuses the batch and will not accept it later: it is counted, and not sent again."""


class Delivery(NamedTuple):
    """One message to one target.

    Attributes:
        target: name of the target.
        event: index of the event that it is of, in `CommittedEvents`; of several events, of the first.
        identity: distinguishes it from all other deliveries to the target; a repeat has the same. It must be a function
            of events and positions, not of batches.
        body: its bytes; a function of the events only, too.
    """

    target: str
    event: int
    identity: str
    body: bytes


class Spooled(NamedTuple):
    """A delivery as a target gets it."""

    identity: str
    body: bytes


class SendResult(NamedTuple):
    """What became of a batch that a target is done with; the other deliveries of it are acknowledged.

    Attributes:
        refused: deliveries that the target refused.
        expired: deliveries that were not sent, as what they say is too old or does not hold any more.
    """

    refused: int = 0
    expired: int = 0


class BatchLimit(NamedTuple):
    """The largest batch of a target; a single delivery may exceed the bytes.

    Attributes:
        deliveries, bytes: its size.
        linger: seconds that deliveries are collected before a batch is read; none where the daemon ends.
    """

    deliveries: int
    bytes: int
    linger: float = 0.0


@dataclass(frozen=True, slots=True)
class CommittedEvents:
    """The events of a committed unit, or of the share of a group in it, live or in a replay.

    Attributes:
        publication: the events with their forecasts, clipped to `output.limits`. In a replay its unit has no encoded
            forecasts, rejects and adoptions, and there are no seconds.
        start: index of the first event that is new to at least one target of the producer. Deliveries of earlier events
            are dropped; a producer with state observes all events, others may begin here.
    """

    publication: Publication
    start: int

    @property
    def is_known(self) -> bool:
        """Whether no event is new to any target."""
        return self.start >= len(self.publication.decoded)


class DeliveryProducer(Protocol):
    """Turns committed events into deliveries. Used in the engine's thread, in the order of the positions."""

    def deliveries(self, events: CommittedEvents) -> Iterable[Delivery]:
        """Returns the deliveries of these events, in their order.

        Called once for every committed unit, and again for those after the snapshot in a replay. It must not read a
        clock, must be fast, and must not raise. State that reaches over units must be in the snapshot.
        """

    def on_partitions(self, served: Collection[str]) -> None:
        """Called when the partitions that this process serves have changed; state of others must be dropped."""

    def on_served(self, served: ServedAlerts) -> None:
        """Called with what lasts in a partition that is served from now on, see `Listener`."""


class Target(Protocol):
    """Sends deliveries. `send` and `close` are called in the thread of the target.

    Attributes:
        name: unique; the name of the folder of its spool, so letters, digits, "-" and "_" only.
        kind: one of `KINDS`.
        spool_bytes: largest size of its spool on disk; on overflow the oldest deliveries are dropped.
        limit: of a batch.
        divides: whether a batch that it refuses is sent in parts, as some of its deliveries may be accepted; a target
            must not mind if a part of a refused batch was accepted.
    """

    name: str
    kind: str
    spool_bytes: int
    limit: BatchLimit
    divides: bool

    def send(self, batch: Sequence[Spooled]) -> SendResult:
        """Sends a batch, in the order of the deliveries; returns after the target has acknowledged it.

        Raises:
            UnavailableError: send the same batch again, later.
            RefusedError: the target refuses the whole batch, or with `divides` perhaps a part of it.
        """

    def close(self) -> None:
        """Releases what it holds."""


@runtime_checkable
class Renews(Protocol):
    """What a `Target` is in addition that sends something again by the clock.

    Attributes:
        has_news: whether something is to be sent that has never been; before an end it is waited for.
    """

    @property
    def has_news(self) -> bool:
        """See above."""

    def renew(self) -> None:
        """Called in the thread of the target, at least once a second while it is not sending.

        It may do nothing; an error is logged, and `renew` called again.
        """
