"""Calls of librdkafka that may not return: they run in threads of their own and are left behind.

A call that is left behind keeps its client until it returns, which it does when one of the client's connections ends.
Nothing is lost by it: whatever such a client still sends, brokers refuse, as its successor fences it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from service.errors import UnreachableError
from service.kafka.history import quietly


def close_within(seconds: float, close: Callable[[], object]) -> None:
    """Closes a client; leaves it to a thread where it takes longer, as the library may wait for a broker for ever."""
    thread = threading.Thread(target=quietly, args=(close,), name="confluent-close", daemon=True)
    thread.start()
    thread.join(seconds)


def hold_for(seconds: float, client: object) -> None:
    """Keeps a client that nobody else holds any more from being destroyed for so long.

    Destroyed while a request of a transaction is on its way, librdkafka ends the process by an assertion.
    """
    held = [client]

    def release() -> None:
        time.sleep(seconds)
        held.clear()  # here, and not when the thread itself is collected

    threading.Thread(target=release, name="confluent-hold", daemon=True).start()


class Call:
    """A call that runs in a thread of its own.

    Args:
        name: for the thread and the error.
        call: what to run.

    Attributes:
        seconds: that it took, once it has returned.
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
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is waited for
            self._error = error
        self.seconds = time.monotonic() - began

    def returned(self, seconds: float) -> bool:
        """Waits for the end of the call for so long; whether it ended.

        Raises:
            BaseException: what the call raised.
        """
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    def leave(self, seconds: float) -> None:
        """Goes on without the call.

        Raises:
            UnreachableError: always; says how long the call was waited for.
        """
        msg = f"{self._name}: no answer within {seconds:.1f} s; the producer is left behind"
        raise UnreachableError(msg)
