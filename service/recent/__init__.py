"""Recent events of some series with their forecasts, anomalies and alerts, for API and page. Bounded in size."""

from service.recent.alert_log import AlertLog, LoggedAlert
from service.recent.anomalies import Anomaly
from service.recent.ingest_log import IngestCounts, IngestLog
from service.recent.series_history import Detail
from service.recent.situations import BoundedSituation, NoAnswerError, Situations
from service.recent.store import BatchUpdate, RecentStore

__all__ = [
    "AlertLog",
    "Anomaly",
    "BatchUpdate",
    "BoundedSituation",
    "Detail",
    "IngestCounts",
    "IngestLog",
    "LoggedAlert",
    "NoAnswerError",
    "RecentStore",
    "Situations",
]
