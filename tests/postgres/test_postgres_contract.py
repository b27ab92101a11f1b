"""The contract of every transport over files and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract import RECORDS, TransportContract, World
from postgres_outputs import RecordsOfTexts, identities, settings_of

from service.sources.file_source import FileSource
from service.sources.local import LocalSource
from service.transport.pair import Pair


class TestPostgresContract(TransportContract):
    """The contract from files to PostgreSQL."""

    @pytest.fixture
    def world(self, tmp_path: Path, server, schema) -> World:
        """The records of the contract in a file, forecasts in a schema."""
        entry = tmp_path / "events.jsonl"
        entry.write_bytes(b"\n".join(RECORDS) + b"\n")

        return World(
            lambda: Pair(LocalSource([FileSource(str(entry))]), RecordsOfTexts(settings_of(server, schema))),
            lambda transport: transport.close(),  # real kills are tested in test_postgres_kill.py
            lambda: identities(server, schema),
        )
