"""Shows a command's progress on stderr: as a bar on a terminal, elsewhere as a line now and then."""

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

import click

LINE_EVERY_S = 5.0  # where there is no terminal: a log file, another program


class Progress:
    """Shows the progress of one step of a command.

    Args:
        label: what is being done.
        total: how much there is.
    """

    def __init__(self, label: str, total: int) -> None:
        self.done = 0
        self._label, self._total = label, total
        self._note = ""
        self._told_at = time.monotonic()
        self._tty = sys.stderr.isatty()
        self._bar = click.progressbar(
            range(total), label=label, file=sys.stderr, item_show_func=lambda _: self._note or None, show_pos=True
        )

    def __enter__(self) -> Self:
        if self._tty:
            self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._tty:
            self._bar.__exit__(kind, error, traceback)
        else:
            self._line()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Add to the amount that is done."""
        self.done += count
        self._note = note
        if self._tty:
            with suppress(OSError):
                self._bar.update(count)
        elif time.monotonic() - self._told_at >= LINE_EVERY_S:
            self._line()

    def _line(self) -> None:
        self._told_at = time.monotonic()
        with suppress(OSError):  # its reader may be gone, and the work goes on
            sys.stderr.write(f"{self._label}: {self.done} of {self._total}{f', {self._note}' if self._note else ''}\n")
