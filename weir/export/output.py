"""The files that an export writes: under other names beside their own, until all of them are whole."""

import io
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from weir.ranges.errors import ReplayError, UsageError

BUFFER_BYTES: Final = 1 << 20


class Sink(io.RawIOBase):
    """One file that is being written, or standard output. Counts its bytes; its errors name the file.

    Args:
        file: what takes the bytes.
        name: what a person calls it.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        super().__init__()
        self.size = 0  # bytes so far
        self._file, self._name = file, name
        self._muted = False

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # any buffer, as all of Python's files
        """Write all of it.

        Raises:
            ReplayError: the disk is full, or whoever read has left.
        """
        if not self._muted:
            try:
                self._file.write(data)
            except OSError as error:
                raise self._failed(error) from None
        count = memoryview(data).nbytes
        self.size += count
        return count

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes so far: it is written from its start to its end."""
        return self.size

    def flush(self) -> None:
        """Nothing yet: who writes here may flush often. See ``finish``."""

    def mute(self) -> None:
        """Take what comes without writing it: who was broken off may still want to write an end."""
        self._muted = True

    def finish(self, *, durable: bool) -> None:
        """Hand everything to the system, and to the disk where that is asked for.

        Raises:
            ReplayError: the disk is full, or whoever read has left.
        """
        try:
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from None

    def release(self) -> None:
        """Let go of the file, whatever it says."""
        with suppress(OSError):
            self._file.close()

    def _failed(self, error: OSError) -> ReplayError:
        if self._file is sys.stdout.buffer:
            # What is buffered would be tried again when Python ends, and fail again, with a traceback.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ReplayError(f"cannot write {self._name}: {error.strerror or error}")


class Output:
    """Where an export goes. As a context manager: whole when left without an exception, else gone.

    Args:
        path: the file; None is standard output.
        force: whether a file that is there may be replaced.

    Raises:
        UsageError: the file is there, its folder is not, or its name is that of something else.
    """

    def __init__(self, path: Path | None, *, force: bool = False) -> None:
        self._path, self._force = path, force
        self._parts: list[tuple[Sink, Path | None]] = []
        self.names: list[str] = []  # of the files, once they are whole
        if path is not None:
            self._check(path)

    @property
    def one_stream(self) -> bool:
        """Whether it can have one part only."""
        return self._path is None

    @property
    def size(self) -> int:
        """Bytes so far."""
        return sum(sink.size for sink, _ in self._parts)

    def open(self) -> Sink:
        """The next part: a file of its own, numbered where there is more than one.

        Raises:
            ReplayError: it cannot be made.
        """
        if self._path is None:
            sink, partial = Sink(sys.stdout.buffer, "standard output"), None
        else:
            sink, partial = _temporary(self._path)
        self._parts.append((sink, partial))
        return sink

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._commit()
        finally:
            for sink, partial in self._parts:
                sink.mute()
                if partial is not None:
                    sink.release()
                    partial.unlink(missing_ok=True)

    def _commit(self) -> None:
        for sink, partial in self._parts:
            sink.finish(durable=partial is not None)
        moves = [
            (partial, _numbered(self._path, number, len(self._parts)))
            for number, (_, partial) in enumerate(self._parts, 1)
            if self._path is not None and partial is not None
        ]
        for _, path in moves:
            self._check(path)  # somebody may have made it meanwhile
        for partial, path in moves:
            partial.replace(path)
            self.names.append(str(path))
        if self._path is not None:
            _keep_names(self._path.parent)

    def _check(self, path: Path) -> None:
        if not path.parent.is_dir():
            raise UsageError(f"--output: there is no folder {path.parent}")
        if path.is_dir():
            raise UsageError(f"--output: {path} is a folder")
        # What takes its name replaces it, and nothing comes to where it leads.
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UsageError(f"--output: {path} is no plain file; use - and a redirection")
        if path.exists() and not self._force:
            raise UsageError(f"{path} is there already; --force replaces it")


def _temporary(path: Path) -> tuple[Sink, Path]:
    try:
        # Readable for its owner alone, as the export after it: it holds what people wrote.
        number, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise ReplayError(f"cannot write {path}: {error.strerror}") from None
    return Sink(os.fdopen(number, "wb", BUFFER_BYTES), str(path)), Path(name)


def _keep_names(folder: Path) -> None:
    """Have the names in a folder on the disk, too. What a system or a folder does not let us do, it does by itself."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _numbered(path: Path, number: int, count: int) -> Path:
    """``x.jsonl``, or ``x-2-of-3.jsonl``: a set that is not whole does not look so."""
    return path if count == 1 else path.with_name(f"{path.stem}-{number}-of-{count}{path.suffix}")
