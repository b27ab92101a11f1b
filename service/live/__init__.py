"""What the daemon remembers for a look at it: recent events of some series, their forecasts, anomalies. Bounded."""

from service.live.detail import Detail
from service.live.odd import Anomaly
from service.live.places import Key
from service.live.store import LiveStore, Stirring

__all__ = ["Anomaly", "Detail", "Key", "LiveStore", "Stirring"]
