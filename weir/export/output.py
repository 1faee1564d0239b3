"""The files that an export writes: under temporary names until all of them are whole."""

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
        file: the file that takes the bytes.
        name: the name of the file for a person.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        super().__init__()
        self.size = 0  # bytes so far
        self._file, self._name = file, name
        self._muted = False

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # any buffer, as all of Python's files
        """Write all of the data.

        Raises:
            ReplayError: the disk is full, or the reader of the pipe has closed it.
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
        """Return true."""
        return True

    def tell(self) -> int:
        """The number of bytes written so far, which is the position in the file."""
        return self.size

    def flush(self) -> None:
        """Do nothing: a writer may flush often. See ``finish``."""

    def mute(self) -> None:
        """Accept data without writing it: a writer that was broken off may still want to write its end."""
        self._muted = True

    def finish(self, *, durable: bool) -> None:
        """Hand all data to the system, and to the disk if ``durable``.

        Raises:
            ReplayError: the disk is full, or the reader of the pipe has closed it.
        """
        try:
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from None

    def release(self) -> None:
        """Close the file, ignoring errors."""
        with suppress(OSError):
            self._file.close()

    def _failed(self, error: OSError) -> ReplayError:
        if self._file is sys.stdout.buffer:
            # Python would try to write the buffer again when it ends, and fail again, with a traceback.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ReplayError(f"cannot write {self._name}: {error.strerror or error}")


class Output:
    """The destination of an export. As a context manager: whole when left without an exception, else removed.

    Args:
        path: the file; None is standard output.
        force: whether an existing file may be replaced.

    Raises:
        UsageError: the file exists, its folder does not, or the name belongs to something other than a file.
    """

    def __init__(self, path: Path | None, *, force: bool = False) -> None:
        self._path, self._force = path, force
        self._parts: list[tuple[Sink, Path | None]] = []
        self.names: list[str] = []  # of the files, once they are whole
        if path is not None:
            self._check(path)

    @property
    def one_stream(self) -> bool:
        """Whether the output can have one part only."""
        return self._path is None

    @property
    def size(self) -> int:
        """The number of bytes written so far."""
        return sum(sink.size for sink, _ in self._parts)

    def open(self) -> Sink:
        """Open the next part: a file of its own, numbered where there is more than one.

        Raises:
            ReplayError: the file cannot be made.
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
            self._check(path)  # another program may have made it meanwhile
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
        # The new file would replace a link or a pipe, and no data would reach its target.
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UsageError(f"--output: {path} is not a plain file; use - and a redirection")
        if path.exists() and not self._force:
            raise UsageError(f"{path} exists already; --force replaces it")


def _temporary(path: Path) -> tuple[Sink, Path]:
    try:
        # Readable for its owner alone, as the finished export: it holds what people wrote.
        number, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise ReplayError(f"cannot write {path}: {error.strerror}") from None
    return Sink(os.fdopen(number, "wb", BUFFER_BYTES), str(path)), Path(name)


def _keep_names(folder: Path) -> None:
    """Write the names in a folder to the disk, too. A system that does not let a program do this does it by itself."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _numbered(path: Path, number: int, count: int) -> Path:
    """``x.jsonl``, or ``x-2-of-3.jsonl``: an incomplete set is recognizable by its names."""
    return path if count == 1 else path.with_name(f"{path.stem}-{number}-of-{count}{path.suffix}")
