"""Identity of the output to which the positions of a Kafka transport belong."""

from __future__ import annotations

import pytest
from kafka_tools import settings, transport

from service.errors import ConfigurationError
from service.snapshots.owner import claim


def test_cluster_group_and_topic(bootstrap, admin, topics, app, tmp_path):
    """Both clients give the same output the same identity, and another group or forecast topic a different one."""
    topics(1)
    names = set()
    for client in ("kafka-python", "confluent"):
        one = transport(settings(bootstrap, app, client=client, membership="alone"), tmp_path)
        one.start()
        names.add(one.identity.name)
        assert one.models_needed() == frozenset()
        one.close()
    other = transport(settings(bootstrap, app, group=f"{app}-other", membership="alone"), tmp_path)
    other.start()
    other.close()
    cluster = admin.describe_cluster()["cluster_id"]

    assert names == {f"kafka/{cluster}/{app}/{app}.forecasts"}
    assert other.identity.name == f"kafka/{cluster}/{app}-other/{app}.forecasts"
    root = tmp_path / "snapshots"
    claim(root, one.identity, fresh=False)
    (root / "p").mkdir()
    (root / "p" / "00000000000000000001.snapshot").touch()
    claim(root, one.identity, fresh=False)
    with pytest.raises(ConfigurationError, match=rf'topic "{app}.forecasts" of group "{app}-other" in Kafka cluster'):
        claim(root, other.identity, fresh=True)
