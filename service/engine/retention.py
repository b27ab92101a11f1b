"""Deletes old models and decisions that are no longer needed.

Snapshots and spools are bounded by `state.snapshots_kept` when they are written; see `Engine`.
"""

from __future__ import annotations

from typing import Final

import structlog

from service.config.sections import StateConfig
from service.ports import Clock, Transport
from service.registry.models import Registry
from service.snapshots.store import SnapshotStore

_log = structlog.get_logger()

_EVERY_SECONDS: Final = 3600.0


class Retention:
    """Deletes old models and decisions once an hour.

    Args:
        settings: numbers to keep.
        registry: of models and decisions.
        store: of snapshots, whose models are kept.
        clock: measures the hour.
    """

    def __init__(self, settings: StateConfig, registry: Registry, store: SnapshotStore, clock: Clock) -> None:
        self._settings, self._registry, self._store, self._clock = settings, registry, store, clock
        self._last_run = -_EVERY_SECONDS

    def run(self, transport: Transport) -> None:
        """Deletes surplus models and decisions, if an hour has passed.

        Files that cannot be deleted stay until the next time.

        Args:
            transport: started; has the models that its adoptions still need.
        """
        if self._clock.monotonic() - self._last_run < _EVERY_SECONDS:
            return
        self._last_run = self._clock.monotonic()
        try:
            needed = self._store.models() | set(transport.models_needed())
            gone = self._registry.prune(needed, self._settings.models_kept)
            groups = ("", *self._registry.groups())
            dropped = sum(self._registry.of_group(one).shorten(self._settings.decisions_kept) for one in groups)
        except OSError as error:
            _log.warning("old models and decisions not deleted", error=str(error))
            return
        if gone or dropped:
            _log.info("old models and decisions deleted", models=len(gone), decisions=dropped)
