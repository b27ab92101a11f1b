"""Runs calls of librdkafka that may not return in their own threads, and abandons them after a time limit.

An abandoned call keeps its client until it returns, which it does when one of the client's connections ends. This is
safe: brokers reject requests of such a client, because its successor fences it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from service.errors import UnreachableError
from service.kafka.history import quietly


def close_within(seconds: float, close: Callable[[], object]) -> None:
    """Closes a client; abandons the call after `seconds`, because the library may wait for a broker forever."""
    thread = threading.Thread(target=quietly, args=(close,), name="confluent-close", daemon=True)
    thread.start()
    thread.join(seconds)


def hold_for(seconds: float, client: object) -> None:
    """Keeps an otherwise unreferenced client from being destroyed for `seconds`.

    If it is destroyed while a request of a transaction is in flight, librdkafka ends the process by an assertion.
    """
    held = [client]

    def release() -> None:
        time.sleep(seconds)
        held.clear()  # released here, not when the thread object is collected

    threading.Thread(target=release, name="confluent-hold", daemon=True).start()


class Call:
    """A call that runs in its own thread.

    Args:
        name: for the thread and the error.
        call: the function to run.

    Attributes:
        seconds: duration of the call, after it has returned.
    """

    def __init__(self, name: str, call: Callable[[], object]) -> None:
        self._name, self._call = name, call
        self._error: BaseException | None = None
        self.seconds = 0.0
        self._thread = threading.Thread(target=self._run, name=f"confluent-{name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 - `returned` raises it
            self._error = error
        self.seconds = time.monotonic() - began

    def returned(self, seconds: float) -> bool:
        """Waits at most `seconds` for the end of the call; returns whether it ended.

        Raises:
            BaseException: the exception of the call.
        """
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    def leave(self, seconds: float) -> None:
        """Abandons the call.

        Raises:
            UnreachableError: always; the message has the seconds waited.
        """
        msg = f"{self._name}: no response within {seconds:.1f} s; the producer is abandoned"
        raise UnreachableError(msg)
