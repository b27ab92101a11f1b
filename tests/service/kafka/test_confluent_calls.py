"""Calls of librdkafka that do not return, and closing its clients."""

from __future__ import annotations

import threading
import time
import weakref

import pytest

from service.errors import UnreachableError
from service.kafka.confluent_calls import Call, close_within, hold_for


def test_a_client_that_does_not_close_is_left_behind():
    """A close that hangs takes its limit and no more; one that fails or returns takes no time."""
    let_go, began = threading.Event(), time.monotonic()
    close_within(0.2, lambda: let_go.wait(60))
    close_within(60, lambda: 1 / 0)
    close_within(60, lambda: None)
    assert time.monotonic() - began < 20
    let_go.set()


def test_a_call_that_returns():
    """A call is awaited, and its error is raised to the awaiting caller."""
    assert Call("quick", lambda: None).returned(60)
    with pytest.raises(ZeroDivisionError):
        Call("failing", lambda: 1 / 0).returned(60)


def test_a_call_that_does_not_return_is_left_behind():
    """The caller abandons a call that hangs, with an error that leads to a restart."""
    let_go = threading.Event()
    call = Call("send_offsets", lambda: let_go.wait(60))
    assert not call.returned(0.01)
    with pytest.raises(UnreachableError, match=r"send_offsets: no response within 3\.0 s"):
        call.leave(3.0)
    let_go.set()
    assert call.returned(60)


def test_a_client_is_held_for_a_while() -> None:
    """A client is destroyed when the time is over, not when its last reference is gone."""

    class Client:
        pass

    client = Client()
    gone = weakref.ref(client)
    hold_for(2.0, client)
    del client  # its only other reference
    assert gone() is not None
    deadline = time.monotonic() + 30
    while gone() is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gone() is None
