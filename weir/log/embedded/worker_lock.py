"""One worker per log file: a lock on a file beside it, which the system releases when the process ends."""

import fcntl
import os
from pathlib import Path
from typing import IO

from faust.exceptions import ImproperlyConfigured


class WorkerLock:
    """The lock that the process holds whose Faust worker consumes the log."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            ImproperlyConfigured: another process holds it.
        """
        if self._file is not None:
            return
        file = self._log.with_name(self._log.name + ".lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise ImproperlyConfigured(
                f"{self._log} already has a worker (pid {holder}), and an embedded log serves one: "
                "stop it, or use Kafka (KAFKA_BOOTSTRAP_SERVERS) to run several"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def release(self) -> None:
        """Release the lock, so that another process can take it."""
        if self._file is not None:
            self._file.close()
            self._file = None
