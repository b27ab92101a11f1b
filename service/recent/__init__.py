"""What the daemon remembers for a look at it: recent events of some series, their forecasts, anomalies. Bounded."""

from service.recent.anomalies import Anomaly
from service.recent.series_history import Detail
from service.recent.store import BatchUpdate, RecentStore

__all__ = ["Anomaly", "BatchUpdate", "Detail", "RecentStore"]
