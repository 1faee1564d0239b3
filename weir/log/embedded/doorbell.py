"""Wakes other processes that watch the same log file, so that no process has to poll it.

Each watching process binds a unix datagram socket in a directory that belongs to the log file; a writer sends one byte
to every socket there after each transaction. A ring carries no data, it only says "look into the file", so a lost one
(full buffer) is harmless as long as another is waiting to be read. Unix socket paths are limited to about 104 bytes,
hence a short directory in the system's temporary one, named by a hash of the log's real path, for its user only: all
processes of one log run as one user, because the directory belongs to that user.
"""

import contextlib
import hashlib
import itertools
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from weir.log.log import LogRefusedError

PATH_BYTES = 100  # the kernels' limits are 104 (macOS) and 108 (Linux), with the closing zero
_serial = itertools.count()


class Doorbell:
    """The bell of one log file in this process: rings the others, and listens for their rings."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._directory = _directory(log)
        self._ringer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ringer.setblocking(False)
        self._name = ""  # the name of this process's socket, once it listens
        self._bell: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def listen(self, on_ring: Callable[[], None]) -> None:
        """Call ``on_ring`` in a thread of its own whenever another process has rung. Does nothing the second time."""
        if self._bell is not None:
            return
        self._name = f"{os.getpid()}.{next(_serial)}"
        own = self._directory / self._name
        own.unlink(missing_ok=True)  # left by a dead process that had the same pid
        self._bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._bell.bind(str(own))
        except FileNotFoundError:  # the last listener took the directory with it
            _directory(self._log)
            self._bell.bind(str(own))
        self._thread = threading.Thread(target=self._answer, args=(self._bell, on_ring), name="doorbell", daemon=True)
        self._thread.start()

    def ring(self) -> None:
        """Wake every other process that watches the log. Never blocks and never raises."""
        try:
            names = os.listdir(self._directory)  # noqa: PTH208  # once per transaction: paths cost too much
        except OSError:
            return  # removed by a cleaner of temporary files: no process listens there any more
        for name in names:
            if name != self._name:
                self._ring(str(self._directory / name))

    def _ring(self, path: str) -> None:
        try:
            self._ringer.sendto(b"!", path)
        except BlockingIOError:
            pass  # the socket's buffer is full of rings already
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - the process of this socket is gone
        except OSError:
            pass  # the socket belongs to another user

    def _answer(self, bell: socket.socket, on_ring: Callable[[], None]) -> None:
        while not self._closing:
            try:
                bell.recv(16)
                with contextlib.suppress(BlockingIOError):
                    while bell.recv(16, socket.MSG_DONTWAIT):
                        pass  # many rings are answered by one look into the file
            except OSError:
                return
            if not self._closing:
                on_ring()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._closing = True
        if self._bell is not None and self._thread is not None:
            own = self._directory / self._name
            self._ring(str(own))  # wakes the thread
            self._bell.shutdown(socket.SHUT_RDWR)
            self._thread.join(timeout=5)
            self._bell.close()
            own.unlink(missing_ok=True)
        self._ringer.close()
        with contextlib.suppress(OSError):
            self._directory.rmdir()  # unless others listen


def _directory(log: Path) -> Path:
    name = f"weir-{os.getuid()}-{hashlib.sha256(str(log).encode()).hexdigest()[:12]}"
    directory = Path(tempfile.gettempdir()) / name
    if len(os.fsencode(directory)) > PATH_BYTES - 16:
        directory = Path("/tmp") / name  # noqa: S108  # the owner is checked below
    directory.mkdir(mode=0o700, exist_ok=True)
    facts = directory.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise LogRefusedError(f"{directory} must belong to this user alone")
    return directory
