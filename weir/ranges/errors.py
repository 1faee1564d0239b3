"""Why a command could not do what was asked, and the exit code that says so."""

from typing import ClassVar


class ReplayError(Exception):
    """The message is one line for a person, and names the option or field that it is about."""

    EXIT_CODE: ClassVar[int] = 1  # the log is away, or refuses


class UsageError(ReplayError):
    """What was asked is wrong: no such topic, field, time or run. Asking again will not help."""

    EXIT_CODE = 2


class NothingError(ReplayError):
    """There is nothing in the range that was asked for."""

    EXIT_CODE = 3


class GoneError(ReplayError):
    """Retention has taken what was asked for."""

    EXIT_CODE = 4


class UnfinishedError(ReplayError):
    """It has stopped before its end, and can be resumed."""

    EXIT_CODE = 5


class WithdrawnError(ReplayError):
    """Somebody has cancelled it."""

    EXIT_CODE = 7


class DifferentError(ReplayError):
    """What was compared is not the same."""

    EXIT_CODE = 6


INTERRUPTED = 130  # by Ctrl-C, as shells say it; what has an id can be resumed
