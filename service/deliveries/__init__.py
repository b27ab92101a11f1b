"""At-least-once deliveries of what was published, to targets that are not a sink: remote write, alerts, webhooks.

    producer   turns every committed unit into deliveries, in the engine's thread
    spool      keeps them on disk until the target has acknowledged them, in `state.data_dir`/deliveries/<target>
    target     sends batches of them, in a thread of its own

The guarantee, for any source and sink: every delivery of a committed unit is sent at least once, and nothing of an
uncommitted unit is ever sent. A repeat has the same identity and the same body. The exceptions are counted: what the
target refuses, what does not fit into the spool, and alerts that are too old or do not hold any more.

How it is kept, without a sync to disk per unit. A delivery is written to the spool after the commit of its unit. The
spool is synced before a snapshot is written, so that it holds all deliveries of the events before any snapshot. A start
replays the events from the snapshot up to the committed position, and hands them to the producers again, which return
the same deliveries, as a replay is bit-equal; those that the spool holds already are skipped by their position.

    killed between commit and spool     the replay adds what is missing
    power lost, unsynced entries gone   they are from after the newest snapshot: the replay adds them again
    killed before the commit            nothing was written: the unit is computed, committed and delivered as new
    killed between answer and record    the batch is sent again: the only repeats

Partitions that move between instances (Kafka): each instance sends what is in its own spool. The instance that takes
over a partition from a shared snapshot also delivers the events from that snapshot on, which the former one may have
delivered too: repeats of at most the time between two snapshots, and no order between the two instances. Without a
shared snapshot it begins before the committed position by more than one unit, as the former one may have been killed
between the commit of its last unit and the spool. Deliveries that are only in the spool of an instance whose disk is
lost are lost. To an Alertmanager only the instance that reads a partition says that its alerts last.
"""

from service.deliveries.deliveries import Deliveries, Route
from service.deliveries.delivery import (
    KINDS,
    BatchLimit,
    CommittedEvents,
    Delivery,
    DeliveryProducer,
    RefusedError,
    SendResult,
    Target,
    UnavailableError,
)

__all__ = [
    "KINDS",
    "BatchLimit",
    "CommittedEvents",
    "Deliveries",
    "Delivery",
    "DeliveryProducer",
    "RefusedError",
    "Route",
    "SendResult",
    "Target",
    "UnavailableError",
]
