"""The exceptions of the daemon, as one hierarchy.

    ServiceError
    ├── ConfigurationError         an invalid setting: file, key, value found, value expected
    ├── UnsettledError             a changed file that is not accepted yet: read it again later
    ├── SchemaRegistryError        the schema registry does not answer: ask it again later  (retriable)
    └── TransportError             the outcome is unknown: drop all state in memory and start again
        ├── TransportBusyError     another process holds the destination
        ├── SinkUnavailableError   the sink cannot accept a unit now; nothing was written  (retriable)
        ├── SinkFormatError        the destination belongs to another program, is damaged, or has another format
        ├── SinkClosedError        the reader of the output has closed it
        ├── UnreachableError       source or sink do not answer: wait, then start again
        ├── SourceUnavailableError a configured source does not exist
        └── SourceGoneError        the source no longer holds records that were read before
            └── SettingsChangedError   the source holds them, but they were computed with other settings

`retriable`: whether the same call may be repeated with the same arguments.
"""

from __future__ import annotations

import errno
from typing import ClassVar, Final

# Errors of a call that lacks descriptors or memory: they say nothing about the file that it was for.
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class ServiceError(Exception):
    """Base class of all errors that the daemon raises on purpose.

    The message has what was found, what is expected and what to do.
    """

    retriable: ClassVar[bool] = False


class ConfigurationError(ServiceError):
    """The configuration cannot be used; nothing was changed (exit status 2)."""


class UnsettledError(ServiceError):
    """A changed file may be incomplete. It is read again, and accepted if it stays unchanged."""


class SchemaRegistryError(ServiceError):
    """The schema registry does not answer, or refuses to. Nothing is known about the schema; ask again later."""

    retriable: ClassVar[bool] = True


class TransportError(ServiceError):
    """A source or a sink failed and the outcome is unknown: start again from the committed state."""


class TransportBusyError(TransportError):
    """Another process holds the exclusive lock of the destination."""


class SinkUnavailableError(TransportError):
    """The sink cannot accept the unit now (disk full, locked). Nothing was written; retry later."""

    retriable: ClassVar[bool] = True


class SinkFormatError(TransportError):
    """The destination exists but belongs to another program, is damaged, or has another format version."""


class SinkClosedError(TransportError):
    """The reader of a pipe has closed it; further writes are useless."""


class UnreachableError(TransportError):
    """Source or sink do not answer. A new start may reach them without intervention."""


class SourceUnavailableError(TransportError):
    """A configured file or stream does not exist or cannot be read."""


class SourceGoneError(TransportError):
    """The source no longer holds a needed position, or holds other records there than before."""


class SettingsChangedError(SourceGoneError):
    """A replay would give another result, because settings were changed since the events were computed."""
