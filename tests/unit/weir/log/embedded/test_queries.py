"""Queries on a log file, without a writer: on a connection of the test."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from weir.log.embedded.queries import Queries, create_topics, dump_headers, load_headers, store_commits
from weir.log.embedded.schema import OFFSET_BITS, connect
from weir.log.log import Bounds, LogUnavailableError, OtherPartitionsError, Partition, TopicSpec

AT = Partition("t", 1)
SPECS = [TopicSpec(name="t", partitions=2, retention_s=5.0), TopicSpec(name="u", partitions=1, compacted=True)]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    db = connect(tmp_path / "weir.db")
    create_topics(db, SPECS)
    yield db
    db.close()


@pytest.fixture
def queries(db: sqlite3.Connection, tmp_path: Path) -> Queries:
    return Queries(db, tmp_path / "weir.db")


def number(queries: Queries) -> int:
    return next(id_ for id_, at, _ in queries.partitions() if at == AT)


def insert(db: sqlite3.Connection, id_: int, *timestamps: float, value: bytes = b"v") -> None:
    for offset, timestamp in enumerate(timestamps):
        headers = dump_headers((("h", b"\xff"),))
        db.execute(
            "INSERT INTO records VALUES(?,?,?,?,?)", (id_ << OFFSET_BITS | offset, timestamp, b"k", value, headers)
        )
    db.execute("UPDATE partitions SET next=? WHERE id=?", (len(timestamps), id_))


def test_topics_and_partitions_are_those_that_were_created(queries: Queries, db: sqlite3.Connection) -> None:
    assert queries.topics() == {spec.name: spec for spec in SPECS}
    assert [(at, bounds) for _, at, bounds in queries.partitions()] == [
        (Partition("t", 0), Bounds(0, 0)),
        (AT, Bounds(0, 0)),
        (Partition("u", 0), Bounds(0, 0)),
    ]
    create_topics(db, [TopicSpec(name="t", partitions=2, retention_s=9.0)])
    assert queries.topics()["t"].retention_s == 9.0
    with pytest.raises(OtherPartitionsError):
        create_topics(db, [TopicSpec(name="t", partitions=3)])


def test_records_are_read_whole_within_bounds(queries: Queries, db: sqlite3.Connection) -> None:
    id_ = number(queries)
    insert(db, id_, *range(10), value=bytes(300))
    assert queries.bounds(id_) == Bounds(0, 10)
    found = queries.records(id_, AT, 3, 6, 500)
    assert [(one.offset, one.key, one.headers) for one in found] == [(n, b"k", (("h", b"\xff"),)) for n in (3, 4, 5)]
    assert len(queries.records(id_, AT, 0, 10, 2)) == 2
    assert queries.records(id_, AT, 10, 10, 500) == []


def test_an_offset_is_found_by_time(queries: Queries, db: sqlite3.Connection) -> None:
    id_ = number(queries)
    insert(db, id_, 1.0, 5.0, 3.0, 8.0)
    bounds = queries.bounds(id_)
    assert [queries.offset_at(id_, bounds, at) for at in (0.0, 1.5, 5.5, 9.0)] == [0, 1, 3, 4]
    assert queries.offset_at(id_, Bounds(2, 4), 1.5) == 2


def test_commits_are_those_of_their_group(queries: Queries, db: sqlite3.Connection) -> None:
    store_commits(db, "one", {AT: 4})
    store_commits(db, "one", {AT: 7})
    store_commits(db, "two", {AT: 1})
    assert (queries.committed("one"), queries.committed("three")) == ({AT: 7}, {})


def test_a_file_that_cannot_be_read_is_unavailable_by_name(queries: Queries, db: sqlite3.Connection) -> None:
    db.execute("DROP TABLE commits")
    with pytest.raises(LogUnavailableError, match=r"weir\.db cannot be read: no such table"):
        queries.committed("one")


def test_headers_come_back_as_they_were() -> None:
    headers = (("a", b"\x00\xff"), ("a", b""))
    assert load_headers(dump_headers(headers)) == headers
    assert load_headers(None) == ()
