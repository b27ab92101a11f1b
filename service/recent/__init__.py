"""Recent events of some series with their forecasts, and anomalies, recorded for API and page. Bounded in size."""

from service.recent.anomalies import Anomaly
from service.recent.series_history import Detail
from service.recent.store import BatchUpdate, RecentStore

__all__ = ["Anomaly", "BatchUpdate", "Detail", "RecentStore"]
