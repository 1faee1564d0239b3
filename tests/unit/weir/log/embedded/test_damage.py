"""A log file with damaged pages: reported at the opening where that is soon enough, else as an error of the log."""

import asyncio
from pathlib import Path

import pytest

from weir.log.embedded.file import LogFile
from weir.log.embedded.schema import check_pages, connect
from weir.log.log import LogError, LogRefusedError, Partition, TopicSpec

PAGE = 4096
AT = Partition("t", 0)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A file of some hundred pages that was closed."""
    path = tmp_path / "weir.db"
    file = LogFile.open(path)
    await file.create_topics([TopicSpec(name="t", partitions=1)])
    await asyncio.gather(*(file.append(AT, b"k%d" % n, b"v" * 900) for n in range(2000)))
    await asyncio.to_thread(file.close)
    return path


def damage(path: Path, page: int, length: int = PAGE) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(b"\xa5" * length)


@pytest.mark.parametrize("page", [1, 2, 3, 20, 100, 250])
async def test_a_damaged_page_is_told_at_the_opening_with_the_remedy(path: Path, page: int) -> None:
    damage(path, page)
    with pytest.raises(LogRefusedError, match=r"weir\.db is damaged \(.*\): .*backup.*\.recover") as refused:
        LogFile.open(path)
    assert "\n" not in str(refused.value)


async def test_a_file_that_was_cut_short_is_told_as_well(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(100 * PAGE)
    with pytest.raises(LogRefusedError, match="is damaged"):
        LogFile.open(path)


async def test_a_look_has_an_end_and_a_whole_file_passes(path: Path) -> None:
    db = connect(path)
    check_pages(db, path)
    check_pages(db, path, within_s=0.0)
    assert db.execute("SELECT count(*) FROM records").fetchone() == (2000,)  # the limit is the look's alone
    db.close()


async def test_damage_that_is_met_later_is_an_error_of_the_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a file that is too large to be checked as a whole."""
    damage(path, 100, 40 * PAGE)
    monkeypatch.setattr("weir.log.embedded.file.check_pages", lambda *_: None)
    file = LogFile.open(path)
    with pytest.raises(LogError, match="cannot be read: database disk image is malformed"):
        read_all(file)
    await asyncio.to_thread(file.close)


def read_all(file: LogFile) -> None:
    for position in range(0, 2000, 100):
        file.read(AT, position, 100)
