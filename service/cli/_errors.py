"""Exit statuses, and the conversion of errors to one line on the terminal.

    0  done
    1  failed; the line says what failed and, where it is known, what to do
    2  the command line or the configuration is wrong; nothing was changed
    3  retrain only: the new model was not better, the champion stays

Errors that are not in the table are defects of the program; they end with a traceback.
"""

from __future__ import annotations

import click

from service.cli._kernel_cache import NEEDED

OK, FAILED, USAGE, KEPT_CHAMPION = 0, 1, 2, 3

# By name, so that `--help` imports none of these modules; a test checks that every name exists. The first class in the
# method resolution order of the error that is in this table decides.
STATUS_OF = {
    "forecaster.errors.ConfigError": USAGE,
    "forecaster.errors.ForecasterError": FAILED,
    "service.errors.ConfigurationError": USAGE,
    "service.errors.ServiceError": FAILED,
    "service.http.scrape.ScrapeError": FAILED,
    "builtins.OSError": FAILED,
}


class Failed(click.ClickException):
    """Ends the program with one line on standard error and a status of the table above."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = status  # type: ignore[misc] # click declares it on the class


def _message(error: Exception) -> str:
    """Returns the message of an error; for an OSError the file and the reason."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return (
            f"{error.filename}: cannot be used ({error.strerror}); expected an existing path with the needed "
            "permissions"
        )
    return str(error) or type(error).__name__


def as_failure(error: Exception) -> Failed | None:
    """Returns the line and exit status of an error that a user can cause; None for any other error.

    The end of who reads the output, such as `head`, is no failure to report: click ends the program without a line.
    """
    if isinstance(error, BrokenPipeError):
        return None
    if isinstance(error, RuntimeError) and "no locator available" in str(error):  # numba's, at the first import
        return Failed(NEEDED)
    for kind in type(error).__mro__:
        status = STATUS_OF.get(f"{kind.__module__}.{kind.__qualname__}")
        if status is not None:
            return Failed(_message(error), status)
    return None
