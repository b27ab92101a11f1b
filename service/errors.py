"""What can go wrong in the daemon, as one tree.

    ServiceError
    ├── ConfigurationError         a bad setting: file, key, what was got, what was expected
    ├── UnsettledError             a changed file that is not believed yet: read it again later
    └── TransportError             the outcome is unknown: drop everything and start again
        ├── TransportBusyError     another process holds the destination
        ├── SinkUnavailableError   the sink cannot take it now; nothing was written  (retriable)
        ├── SinkFormatError        the destination is not ours, damaged, or of another format version
        ├── SinkClosedError        whoever read our output has gone
        ├── UnreachableError       nobody answers where source or sink should be: wait, then start again
        ├── SourceUnavailableError a source that should be there is not
        └── SourceGoneError        the source no longer holds what was read from it before
            └── SettingsChangedError   it does, and the settings that it was computed with are gone

`retriable` says whether the very call that raised may be made again with the same arguments.
"""

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """Anything that the daemon raises on purpose. The text is fit for a person: got, expected, what to do."""

    retriable: ClassVar[bool] = False


class ConfigurationError(ServiceError):
    """The configuration cannot be used; nothing has been touched yet (exit status 2)."""


class UnsettledError(ServiceError):
    """A file changed to something that may be half of what it will be. It is read again, and believed if it stays."""


class TransportError(ServiceError):
    """A source or a sink failed and the outcome is unknown: start again from the committed state."""


class TransportBusyError(TransportError):
    """Another process holds the exclusive lock of the destination."""


class SinkUnavailableError(TransportError):
    """The sink cannot take the unit now (disk full, locked). Nothing was written; give it again later."""

    retriable: ClassVar[bool] = True


class SinkFormatError(TransportError):
    """The destination exists but is not one of ours, is damaged, or was written by another format version."""


class SinkClosedError(TransportError):
    """The reader of a pipe has gone; writing more makes no sense."""


class UnreachableError(TransportError):
    """Nobody answers where the source or the sink should be. A new start may find them; a person need not come."""


class SourceUnavailableError(TransportError):
    """A file or stream that the configuration names is not there or cannot be read."""


class SourceGoneError(TransportError):
    """The source no longer holds a position that is needed, or holds something else there than before."""


class SettingsChangedError(SourceGoneError):
    """Events have to be computed once more, and would not give what they gave: settings were changed in between."""
