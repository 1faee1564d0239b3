"""The errors of commands, with their exit codes."""

from typing import ClassVar


class ReplayError(Exception):
    """A command could not do its work. The message is one line for a person, and names the option or field at fault."""

    EXIT_CODE: ClassVar[int] = 1  # the log is away, or refuses


class UsageError(ReplayError):
    """The command's arguments are wrong: no such topic, field, time or run. Asking again will not help."""

    EXIT_CODE = 2


class NothingError(ReplayError):
    """There is no record in the given range."""

    EXIT_CODE = 3


class GoneError(ReplayError):
    """Retention has removed records of the given range."""

    EXIT_CODE = 4


class UnfinishedError(ReplayError):
    """The run has stopped before its end, and can be resumed."""

    EXIT_CODE = 5


class CancelledRunError(ReplayError):
    """The run was cancelled."""

    EXIT_CODE = 7


class DifferentError(ReplayError):
    """The two sides of a comparison differ."""

    EXIT_CODE = 6


INTERRUPTED = 130  # by Ctrl-C, as shells report it; a run can be resumed
