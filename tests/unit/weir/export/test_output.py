"""A file is whole or it is not there."""

import asyncio
import errno
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from tests.unit.weir.export.helpers import files_of
from weir.export.output import Output, Sink
from weir.ranges.errors import ReplayError, UsageError


class Full:
    """A disk without space."""

    def write(self, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    flush: Any = write


def test_a_file_is_there_when_it_is_whole_and_not_before(tmp_path: Path) -> None:
    output = Output(tmp_path / "a.jsonl")
    with output:
        output.open().write(b"one\n")
        assert "a.jsonl" not in files_of(tmp_path)
    assert files_of(tmp_path) == {"a.jsonl": b"one\n"}
    assert (output.names, output.size) == ([str(tmp_path / "a.jsonl")], 4)
    assert stat.S_IMODE((tmp_path / "a.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, ReplayError])
def test_what_was_stopped_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    output = Output(tmp_path / "a.jsonl")

    def write() -> None:
        with output:
            output.open().write(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert files_of(tmp_path) == {}


def test_several_files_are_numbered_and_tell_how_many_they_are(tmp_path: Path) -> None:
    with (output := Output(tmp_path / "a.batch.jsonl")):
        for text in (b"1", b"2"):
            output.open().write(text)
    assert files_of(tmp_path) == {"a.batch-1-of-2.jsonl": b"1", "a.batch-2-of-2.jsonl": b"2"}


def test_a_file_that_is_there_is_replaced_by_force_only(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(UsageError, match="exists already; --force"):
        Output(path)
    with (output := Output(path, force=True)):
        output.open().write(b"new")
    assert files_of(tmp_path) == {"a": b"new"}


def test_a_file_that_was_made_meanwhile_is_kept(tmp_path: Path) -> None:
    output = Output(tmp_path / "a")
    output.open().write(b"new")
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(UsageError, match="exists already"), output:
        pass
    assert files_of(tmp_path) == {"a": b"old"}


def test_of_several_files_all_are_new_or_none_is(tmp_path: Path) -> None:
    output = Output(tmp_path / "a")
    for text in (b"1", b"2"):
        output.open().write(text)
    (tmp_path / "a-2-of-2").write_bytes(b"old")
    with pytest.raises(UsageError, match="a-2-of-2 exists already"), output:
        pass
    assert files_of(tmp_path) == {"a-2-of-2": b"old"}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*missing"):
        Output(tmp_path / "missing" / "a")
    with pytest.raises(UsageError, match="is a folder"):
        Output(tmp_path, force=True)


def test_what_is_no_plain_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "link", tmp_path / "dangling", tmp_path / "fifo", Path(os.devnull)):
        for force in (True, False):
            with pytest.raises(UsageError, match=f"{path} is not a plain file; use - and a redirection"):
                Output(path, force=force)
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_link_that_was_made_meanwhile_is_kept(tmp_path: Path) -> None:
    output = Output(tmp_path / "a", force=True)
    output.open().write(b"new")
    (tmp_path / "a").symlink_to("nowhere")
    with pytest.raises(UsageError, match="is not a plain file"), output:
        pass
    assert (tmp_path / "a").is_symlink()


def test_its_name_is_on_the_disk_when_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def watching(number: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(number).st_mode), (tmp_path / "a").exists()))
        fsync(number)

    monkeypatch.setattr(os, "fsync", watching)
    with (output := Output(tmp_path / "a")):
        output.open().write(b"text")
    assert synced == [(False, False), (True, True)]


def test_a_full_disk_is_one_line() -> None:
    sink = Sink(cast("BinaryIO", Full()), "a.jsonl")
    with pytest.raises(ReplayError, match=r"^cannot write a\.jsonl: No space left on device$"):
        sink.write(b"text")
    sink.mute()
    assert sink.write(b"an end of a writer that was broken off") == 38
