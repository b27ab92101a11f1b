"""Calls of librdkafka that do not return, and closing its clients."""

from __future__ import annotations

import threading
import time

import pytest

from service.errors import UnreachableError
from service.kafka.confluent_calls import Call, close_within


def test_a_client_that_does_not_close_is_left_behind():
    """A close that hangs costs its limit and no more; one that fails or returns costs nothing."""
    let_go, began = threading.Event(), time.monotonic()
    close_within(0.2, lambda: let_go.wait(60))
    close_within(60, lambda: 1 / 0)
    close_within(60, lambda: None)
    assert time.monotonic() - began < 20
    let_go.set()


def test_a_call_that_returns():
    """It is waited for; what it raises is raised where it is waited for."""
    assert Call("quick", lambda: None).returned(60)
    with pytest.raises(ZeroDivisionError):
        Call("failing", lambda: 1 / 0).returned(60)


def test_a_call_that_does_not_return_is_left_behind():
    """The caller goes on without it, with an error that a new start mends."""
    let_go = threading.Event()
    call = Call("send_offsets", lambda: let_go.wait(60))
    assert not call.returned(0.01)
    with pytest.raises(UnreachableError, match=r"send_offsets: no answer within 3\.0 s"):
        call.leave(3.0)
    let_go.set()
    assert call.returned(60)
