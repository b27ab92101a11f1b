"""The errors that the library raises.

    ForecasterError
    ├── ConfigError (also a ValueError)     a setting is out of its bounds, or two do not go together
    ├── BatchError (also a ValueError)      the columns of a batch do not fit each other or the model
    ├── CheckpointError                     a file is damaged, of another format, or does not fit what it is loaded into
    ├── TrainingError                       training is not possible, e.g. too little history
    │   └── NothingToLearnError             there is enough history, but no series varies: not a failure
    └── MissingExtraError (also an ImportError)  an optional package is not installed; names the extra that contains it

A message contains the value, what was expected and what to do.
"""

from __future__ import annotations


class ForecasterError(Exception):
    """Base class of the errors of the library."""


class ConfigError(ForecasterError, ValueError):
    """A setting is out of its bounds, or two settings contradict each other.

    Attributes:
        field: name of the setting.
        got: the value that was given.
        expected: what would have been accepted, in words.
    """

    def __init__(self, field: str, got: object, expected: str) -> None:
        self.field, self.got, self.expected = field, got, expected
        super().__init__(f"{field}: got {got!r}, expected {expected}")


class BatchError(ForecasterError, ValueError):
    """The columns of a batch do not fit each other or the model."""


class CheckpointError(ForecasterError):
    """A file is damaged, of another format or version, or does not fit what it is loaded into."""


class TrainingError(ForecasterError):
    """Training is not possible, e.g. for lack of history."""


class NothingToLearnError(TrainingError):
    """All series have been constant or missing so far: training has nothing to learn, which is not a failure."""


class MissingExtraError(ForecasterError, ImportError):
    """An optional package is not installed; the message names the extra that contains it."""


def install_command(extra: str) -> str:
    """Returns the command that installs an extra of the distribution."""
    return f"pip install 'forecaster-daemon[{extra}]' (in a clone: pip install '.[{extra}]')"
