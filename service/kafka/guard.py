"""A guard around every call of a Kafka client: a watchdog, and after any error the transport is unusable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import kafka.errors as kafka_errors

from service.errors import ServiceError, SourceGoneError, TransportBusyError, TransportError, UnreachableError
from service.kafka.fencing import FencedBefore
from service.kafka.watchdog import Watchdog


@dataclass(slots=True)
class ClientGuard:
    """Runs calls of the library and converts their errors to those of `service.errors`.

    Attributes:
        name: transactional id of this process.
        watchdog: ends the process when a call does not return.
        fenced: fencings of this transport, and of those before and after it.
        is_fenced, is_unreachable: classify an error of the client.
        broken: the first error, or empty.
    """

    name: str
    watchdog: Watchdog
    fenced: FencedBefore
    is_fenced: Callable[[Exception], bool]
    is_unreachable: Callable[[Exception], bool]
    broken: str = ""

    @contextmanager
    def __call__(self, call: str) -> Iterator[None]:
        """Wraps one call of the library.

        Raises:
            SourceGoneError: the brokers no longer hold the records to be read.
            TransportBusyError: fenced twice within a short time: the name is in use by another process.
            UnreachableError: no broker answers.
            TransportError: any other error, and every call after an error.
        """
        if self.broken:
            msg = f"this transport failed before ({self.broken}); create a new one"
            raise TransportError(msg)
        try:
            with self.watchdog.watching(call):
                yield
        except SourceGoneError:
            raise  # found by a query for the begin of the log: the clients are intact, and the start may continue
        except ServiceError as error:
            self.broken = str(error)
            raise
        except kafka_errors.OffsetOutOfRangeError as error:
            self.broken = repr(error)
            msg = f"{call}: the brokers no longer hold the next records ({error}); raise the retention of the topic"
            raise SourceGoneError(msg) from error
        except Exception as error:
            # After any error the library's state is unknown: its poll may spin, its transaction may lack records.
            self.broken = repr(error)
            if self.is_fenced(error):
                self._raise_fenced(call, error)
            name = type(error).__name__
            msg = f"{call}: {error}" if str(error).startswith(name) else f"{call}: {name}: {error}"
            if self.is_unreachable(error):
                raise UnreachableError(msg) from error
            raise TransportError(msg) from error

    def _raise_fenced(self, call: str, error: Exception) -> NoReturn:
        if self.fenced.again():
            msg = (
                f'{call}: another process has the name "{self.name}"; set a separate kafka.instance for each process; '
                'where kafka.membership is "alone" or the input is not a topic, start only one process per kafka.app'
            )
            raise TransportBusyError(msg) from error
        msg = (
            f'{call}: fenced: another process started with the name "{self.name}", or a transaction was open for '
            "longer than kafka.transaction_timeout"
        )
        raise TransportError(msg) from error
