"""What is deleted of models and decisions: so that a folder does not grow for ever, and nothing that is needed goes.

Snapshots and the spools are bounded by `state.snapshots_kept`, as they are written; see `Engine`.
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
    """Looks once an hour.

    Args:
        settings: how many are kept.
        registry: of models and decisions.
        store: of snapshots, whose models stay.
        clock: for the hour.
    """

    def __init__(self, settings: StateConfig, registry: Registry, store: SnapshotStore, clock: Clock) -> None:
        self._settings, self._registry, self._store, self._clock = settings, registry, store, clock
        self._looked = -_EVERY_SECONDS

    def look(self, transport: Transport) -> None:
        """Deletes what is too many. What cannot be deleted stays until the next time.

        Args:
            transport: started; asked which models its adoptions still need.
        """
        if self._clock.monotonic() - self._looked < _EVERY_SECONDS:
            return
        self._looked = self._clock.monotonic()
        try:
            needed = self._store.models() | set(transport.models_needed())
            gone = self._registry.prune(needed, self._settings.models_kept)
            dropped = self._registry.shorten(self._settings.decisions_kept)
        except OSError as error:
            _log.warning("old models and decisions not deleted", error=str(error))
            return
        if gone or dropped:
            _log.info("old models and decisions deleted", models=len(gone), decisions=dropped)
