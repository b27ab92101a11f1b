"""Repeated duplicates of EndTxn whose first copy arrives in the middle of the next transaction.

Jepsen found this fault in its analysis of Bufstream in 2024. `make late` tries 200 per client and mode.
"""

from __future__ import annotations

import json
import time

import kafka_proxy as wire
import pytest
from checkers import judge, torn_units
from chronicle import DELAYS, ROWS, Row, aborted_reads
from kafka_tools import produce, read_topic, settings, transport, values
from late_requests import events_needed, run_late
from observer import Observer

SIZES = {"small": (3, 10), "large": (1000, 1500)}  # records per unit, bytes per forecast
AT_A_TIME = 25  # late requests per application, because large units fill disk and memory


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
@pytest.mark.parametrize("cut", [True, False], ids=["cut", "late"])
def test_late_end_of_transactions(proxied, proxy, admin, topics_of, bootstrap, app, tmp_path, client, cut):
    """Nothing is lost, duplicated or torn, with small and with large units (half of the delays each)."""
    for name, (limit, size) in SIZES.items():
        counts, arrived, fault = [0] * 6, 0, 0.0
        left = max(1, DELAYS // 2)
        for number in range(-(-left // AT_A_TIME)):
            rounds = min(AT_A_TIME, left)
            left -= rounds
            one, count = f"{app}{name}{number}", events_needed(limit, rounds)
            produce(bootstrap, topics_of(one), [b"%d" % at for at in range(count)])
            quick = settings(proxied, one, client=client, request_timeout=1, delivery_timeout=4, transaction_timeout=8)
            with Observer(bootstrap, one) as observer:
                arrived += run_late(
                    lambda quick=quick, one=one: transport(quick, tmp_path / one),
                    proxy, wire.END_TXN, rounds, cut=cut, limit=limit, size=size,
                )  # fmt: skip
                fault = time.monotonic()
            found = values(read_topic(bootstrap, f"{one}.forecasts"))
            mine = [("", one, json.loads(value)["source"]["position"]) for value in found]
            torn = torn_units(found) + observer.torn
            verdict = judge(mine, [("", one, at) for at in range(count)], torn, aborted_reads(bootstrap, one, observer))
            each = (verdict.events, verdict.lost, verdict.duplicated, torn, verdict.aborted or 0, verdict.order)
            counts = [before + more for before, more in zip(counts, each, strict=True)]
            again = transport(settings(bootstrap, one, client=client), tmp_path / one)
            again.start()
            assert again.committed(f"{one}.in-0") == count
            again.close()
            admin.delete_topics([f"{one}.{topic}" for topic in ("in", "forecasts", "rejects", "adoptions", "models")])
        how = "connection cut" if cut else "no answer"
        total = type(verdict)(*counts)
        ROWS.append(
            Row(f"{arrived} late EndTxn, {how}, {name} units ({client})", total, None, time.monotonic() - fault)
        )
        assert arrived == max(1, DELAYS // 2)
        assert total.right, ROWS[-1]
