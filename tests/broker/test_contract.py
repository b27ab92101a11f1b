"""The transport contract, over both clients and a real broker."""

from __future__ import annotations

import pytest
from contract import RECORDS, TransportContract, World
from kafka_tools import Shelf, crash, produce, read_topic, settings, transport, values


class TestContract(TransportContract):
    """The contract of all transports."""

    @pytest.fixture(params=["kafka-python", "confluent"])
    def world(self, request, bootstrap, topics, app, tmp_path) -> World:
        """One partition that holds the records of the contract."""
        produce(bootstrap, topics(), RECORDS)
        shelf = Shelf({"f" * 64: b"a model"})
        config = settings(bootstrap, app, client=request.param)
        return World(
            lambda: transport(config, tmp_path, shelf),
            crash,
            lambda: values(read_topic(bootstrap, f"{app}.forecasts")),
        )
