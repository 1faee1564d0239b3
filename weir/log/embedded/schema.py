"""The tables of a log file, the version of its format, and how a connection to it is made.

The files are meant to be looked into: ``sqlite3 weir.db "select * from log"`` shows every record.
"""

import logging
import sqlite3
import time
from pathlib import Path
from typing import Literal

from weir.log.log import LogRefusedError, LogUnavailableError

logger = logging.getLogger(__name__)

Synchronous = Literal["NORMAL", "FULL"]

FORMAT = 1  # PRAGMA user_version of the files that this code writes
APPLICATION = 0x57656972  # PRAGMA application_id, "Weir": no other database is taken for a log
BUSY_S = 10.0  # how long a statement waits for another process's transaction
CHECKPOINT_PAGES = (
    16_000  # 64 MiB in the write-ahead log before it is merged: each merge holds appends up by some 10 ms
)
CHECK_S = 5.0  # for the search for damaged pages, at each opening; 340 MB a second from the page cache
CHECK_STEPS = 10_000  # of SQLite's machine, between two looks at the clock: some milliseconds
OFFSET_BITS = 40  # records.id = partitions.id << 40 | offset: a partition's records lie together, in order
OFFSET_MASK = (1 << OFFSET_BITS) - 1

TABLES = """
CREATE TABLE topics(name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, retention_s REAL, compacted INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE partitions(id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    start INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL DEFAULT 0,
    newest REAL NOT NULL DEFAULT 0, -- the largest timestamp of any record so far
    UNIQUE(topic, partition));
CREATE TABLE records(id INTEGER PRIMARY KEY, timestamp REAL NOT NULL, key BLOB, value BLOB, headers TEXT);
CREATE TABLE marks(partition INTEGER, offset INTEGER, newest REAL NOT NULL, -- of all records before this offset
    PRIMARY KEY(partition, offset)) WITHOUT ROWID;
CREATE TABLE commits(consumer_group TEXT, topic TEXT, partition INTEGER, offset INTEGER NOT NULL,
    PRIMARY KEY(consumer_group, topic, partition)) WITHOUT ROWID;
CREATE VIEW log AS SELECT p.topic, p.partition, r.id & 0xffffffffff AS offset,
    datetime(r.timestamp, 'unixepoch') AS time, r.key, r.value, r.headers
    FROM records r JOIN partitions p ON p.id = r.id >> 40;
"""


def connect(path: Path, synchronous: Synchronous = "NORMAL") -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any one thread at a time; creates the file if it is missing.

    Raises:
        LogRefusedError: not a log, or a log of a newer format than this code knows.
        LogUnavailableError: the file cannot be opened or stays locked.
    """
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_S)
    except sqlite3.Error as exc:
        raise LogUnavailableError(f"log file {path} cannot be opened: {exc}") from exc
    try:
        _check(db, path)
        _write_ahead(db)
        db.execute(f"PRAGMA synchronous={synchronous}")
        db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA journal_size_limit={CHECKPOINT_PAGES * 4096}")
        _create(db)
    except sqlite3.OperationalError as exc:
        db.close()
        raise LogUnavailableError(f"log file {path} cannot be opened: {exc}") from exc
    except sqlite3.DatabaseError as exc:
        db.close()
        if exc.sqlite_errorcode == sqlite3.SQLITE_CORRUPT:
            raise damaged(path, str(exc)) from exc
        raise LogRefusedError(f"{path} is not a log file: {exc}") from exc
    except LogRefusedError:
        db.close()
        raise
    return db


def check_pages(db: sqlite3.Connection, path: Path, within_s: float = CHECK_S) -> None:
    """Look for damaged pages, within a time limit: pages of a large file that were not reached are met when read.

    Raises:
        LogRefusedError: a page is damaged; the message is one line with the remedy.
        LogUnavailableError: the file cannot be read.
    """
    until = time.monotonic() + within_s
    db.set_progress_handler(lambda: time.monotonic() > until, CHECK_STEPS)
    try:
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as exc:
        if exc.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            logger.info(
                "log file %s: no damaged page was found within %g s, and not all pages were checked", path, within_s
            )
            return
        if exc.sqlite_errorcode not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise LogUnavailableError(f"log file {path} cannot be read: {exc}") from exc
        found = str(exc)
    finally:
        db.set_progress_handler(None, 0)
    if found != "ok":
        raise damaged(path, found)


def damaged(path: Path, found: str) -> LogRefusedError:
    """The error for a damaged file, with what an operator can do."""
    what = " ".join(found.split())[:200]
    return LogRefusedError(
        f"log file {path} is damaged ({what}): stop what uses it and put a backup in its place; without one, save what "
        f"can be read (.recover of a recent sqlite3), or move {path.name} away to begin with an empty log"
    )


def _check(db: sqlite3.Connection, path: Path) -> None:
    version, application = _format(db)
    if application != APPLICATION and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise LogRefusedError(f"{path} is an SQLite database, but not a log file")
    if version > FORMAT:
        raise LogRefusedError(
            f"log file {path} has format {version}, this release knows up to {FORMAT}: use a newer one"
        )


def _format(db: sqlite3.Connection) -> tuple[int, int]:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    return version, db.execute("PRAGMA application_id").fetchone()[0]


def _write_ahead(db: sqlite3.Connection) -> None:
    """Switch to WAL, in which readers and the writer do not block each other."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:  # SQLite does not wait for this lock, which other processes hold for a moment
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _create(db: sqlite3.Connection) -> None:
    if _format(db) == (FORMAT, APPLICATION):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        if _format(db) != (FORMAT, APPLICATION):  # no other process has created it meanwhile
            for statement in TABLES.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id={APPLICATION}")
            db.execute(f"PRAGMA user_version={FORMAT}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
