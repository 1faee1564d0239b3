"""The writer thread of a log file: group commit, in one order.

Everything that changes the file goes through one queue: appends, and functions that run in the writer's order (offset
commits, new topics, deletions). The thread takes all waiting operations, up to a bound, as one transaction, and
resolves the futures only after it. Under no load a transaction is one record; while one is being written, the next one
collects. That is the whole batching policy.

Why the order matters: an offset commit that was enqueued after an append is never durable without it. They are in one
transaction or in two in order. If a transaction fails (disk full, I/O error), all its waiters get the error and later
operations are tried again, so the log goes on when the disk has room. Then order alone is not enough: a commit that was
enqueued before its caller could learn of the failure might rest on a record that is not there. So each event loop has a
`Mailbox` that counts failed transactions, and how many of them the loop was notified of; a commit remembers the second
number from when it was enqueued and is refused if it differs from the first when the writer reaches the commit.

Rows are inserted by statements of many rows, because sqlite3 lets go of the interpreter lock in each step, and a busy
event loop may take milliseconds to hand it back.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

from weir.log.embedded.schema import OFFSET_BITS, Synchronous
from weir.log.log import LogUnavailableError, Partition, Record

MAX_BATCH = 2048  # operations in one transaction: bounds how long the last of them waits for the first
MAX_BATCH_BYTES = 8 << 20
MAX_WAITING = 10_000  # operations in the queue before wait_ebb() waits
MAX_WAITING_BYTES = 32 << 20
OVERHEAD_BYTES = 64  # size of a record besides its key and value
MARK_BITS = 10  # a time mark about every 1024 records bounds the search of offset_at


class Mailbox:
    """One event loop that waits for results, and the failures it was notified of. Touched under the writer's lock."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.failed = 0  # transactions with operations of this loop that failed
        self.known = 0  # how many of those the loop was notified of


class Append(NamedTuple):
    """One record to append."""

    mailbox: Mailbox
    future: "asyncio.Future[int]"
    size_bytes: int
    id: int  # partitions.id
    at: Partition
    timestamp: float
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    headers_text: str | None


class WriterCall(NamedTuple):
    """One function to run in the writer's order."""

    mailbox: Mailbox
    future: "asyncio.Future[Any]"
    size_bytes: int
    function: Callable[[sqlite3.Connection], Any]
    known: int | None  # failures known when it was enqueued, if it depends on earlier appends


Operation = Append | WriterCall


class OnCommitted(Protocol):
    """Callback after each transaction, in the writer's thread, before any future is resolved. Must not raise."""

    def __call__(self, fresh: dict[int, list[Record]], /) -> None:
        """Take the records that were appended, by partition id."""


class Writer:
    """Owns the writing connection, the queue and the thread."""

    def __init__(self, db: sqlite3.Connection, name: str, on_committed: OnCommitted) -> None:
        self._db, self._name, self._on_committed = db, name, on_committed
        self.synchronous: Synchronous | None = None  # a change to apply before the next transaction
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._queue: deque[Operation] = deque()
        self.waiting_bytes = 0  # of the operations in the queue
        self._idle = True  # the thread waits for work
        self._ebb: list[asyncio.Future[None]] = []
        self._mailboxes: dict[asyncio.AbstractEventLoop, Mailbox] = {}
        self.closed = False
        self._thread = threading.Thread(target=self._work, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Operations that wait for a transaction."""
        return len(self._queue)

    @property
    def high(self) -> bool:
        """Whether more operations, or more bytes, wait than should."""
        return len(self._queue) > MAX_WAITING or self.waiting_bytes > MAX_WAITING_BYTES

    def mailbox(self) -> Mailbox:
        """The mailbox of the running event loop."""
        loop = asyncio.get_running_loop()
        mailbox = self._mailboxes.get(loop)
        if mailbox is None:
            with self._lock:
                self._mailboxes = {x: m for x, m in self._mailboxes.items() if not x.is_closed()}
                mailbox = self._mailboxes[loop] = Mailbox(loop)
        return mailbox

    def put(self, operation: Operation) -> None:
        """Enqueue; the operation's future gets the result, or a LogError."""
        with self._lock:
            if not self.closed:
                self._queue.append(operation)
                self.waiting_bytes += operation.size_bytes
                if self._idle:
                    self._filled.notify()
                return
        operation.future.set_exception(LogUnavailableError(f"log {self._name} is closed"))

    async def wait_ebb(self) -> None:
        """Return at once while the queue is short, else when half of it is written."""
        while self.high and not self.closed:
            ebb = asyncio.get_running_loop().create_future()
            with self._lock:
                if not self._queue:
                    return
                self._ebb.append(ebb)
            await ebb  # bounded by the writer: each transaction ends or fails within BUSY_S

    def close(self) -> None:
        """Write all waiting operations, then stop. Blocks until that is done."""
        with self._lock:
            self.closed = True
            self._filled.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._take():
            try:
                results, fresh = self._transact(batch)
            except Exception as exc:  # noqa: BLE001 - whatever the error is, the waiters must get it
                self._fail(batch, exc)
                continue
            self._on_committed(fresh)
            self._answer(batch, results)
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._release_ebb(force=True)

    def _take(self) -> list[Operation]:
        batch: list[Operation] = []
        size_bytes = 0
        with self._lock:
            while not self._queue and not self.closed:
                self._idle = True
                self._filled.wait()
            self._idle = False
            while self._queue and len(batch) < MAX_BATCH and size_bytes < MAX_BATCH_BYTES:
                batch.append(self._queue.popleft())
                size_bytes += batch[-1].size_bytes
            self.waiting_bytes -= size_bytes
        return batch

    # -- one transaction

    def _transact(self, batch: Sequence[Operation]) -> tuple[list[Any], dict[int, list[Record]]]:
        if self.synchronous is not None:
            self._db.execute(f"PRAGMA synchronous={self.synchronous}")
            self.synchronous = None
        transaction = _Transaction(self._db)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for operation in batch:
                if isinstance(operation, Append):
                    transaction.append(operation)
                else:
                    transaction.run(operation)
            transaction.flush()
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        return transaction.results, transaction.fresh

    # -- answers

    def _fail(self, batch: Sequence[Operation], exc: Exception) -> None:
        with self._lock:
            for mailbox in {operation.mailbox for operation in batch}:
                mailbox.failed += 1
        message = f"log {self._name} cannot be written: {exc}"
        self._answer(batch, [LogUnavailableError(message) for _ in batch], failed=True)

    def _answer(self, batch: Sequence[Operation], results: Sequence[Any], *, failed: bool = False) -> None:
        answers: defaultdict[Mailbox, list[tuple[asyncio.Future[Any], Any]]] = defaultdict(list)
        for operation, result in zip(batch, results, strict=True):
            answers[operation.mailbox].append((operation.future, result))
        for mailbox, resolved in answers.items():
            call_in(mailbox.loop, _deliver, mailbox if failed else None, resolved)
        self._release_ebb()

    def _release_ebb(self, *, force: bool = False) -> None:
        if not self._ebb:
            return
        with self._lock:
            if not force and (len(self._queue) > MAX_WAITING // 2 or self.waiting_bytes > MAX_WAITING_BYTES // 2):
                return
            ebb, self._ebb = self._ebb, []
        for future in ebb:
            call_in(future.get_loop(), _resolve, future, None)


class _Transaction:
    """Applies operations in order, gathering neighbouring appends into statements of many rows."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._rows: list[tuple[int, float, bytes | None, bytes | None, str | None]] = []
        self._ends: dict[int, list[Any]] = {}  # partitions.id: [next, newest, next at the last flush]
        self.results: list[Any] = []
        self.fresh: dict[int, list[Record]] = defaultdict(list)

    def append(self, op: Append) -> None:
        end = self._ends.get(op.id)
        if end is None:
            row = self._db.execute("SELECT next, newest FROM partitions WHERE id=?", (op.id,)).fetchone()
            end = self._ends[op.id] = [*row, row[0]]
        offset: int = end[0]
        end[0] += 1
        end[1] = max(end[1], op.timestamp)
        self._rows.append((op.id << OFFSET_BITS | offset, op.timestamp, op.key, op.value, op.headers_text))
        self.fresh[op.id].append(Record(*op.at, offset, op.timestamp, op.key, op.value, op.headers))
        self.results.append(offset)

    def run(self, op: WriterCall) -> None:
        self.flush()
        if op.known is not None and op.known != op.mailbox.failed:
            self.results.append(LogUnavailableError("records that were appended before this could not be written"))
            return
        self._db.execute("SAVEPOINT run")
        try:
            self.results.append(op.function(self._db))
        except sqlite3.Error:
            raise  # the file failed, and with it the transaction: all its operations get the error
        except Exception as exc:  # noqa: BLE001 - the function failed: only its caller gets the error
            self._db.execute("ROLLBACK TO run")
            self.results.append(exc)
        self._db.execute("RELEASE run")

    def flush(self) -> None:
        rows, done, size = self._rows, 0, 256
        while done < len(rows):
            while size > len(rows) - done:
                size //= 4
            statement = "INSERT INTO records VALUES" + ",".join(["(?,?,?,?,?)"] * size)
            self._db.execute(statement, list(chain.from_iterable(rows[done : done + size])))
            done += size
        if rows:
            self._save_ends()
        rows.clear()

    def _save_ends(self) -> None:
        for id_, end in self._ends.items():
            next_, newest, before = end
            self._db.execute("UPDATE partitions SET next=?, newest=? WHERE id=?", (next_, newest, id_))
            if next_ >> MARK_BITS != before >> MARK_BITS:
                self._db.execute("INSERT OR REPLACE INTO marks VALUES(?,?,?)", (id_, next_, newest))
            end[2] = next_


def call_in(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    """Call a function in another thread's event loop, if that loop still runs."""
    with contextlib.suppress(RuntimeError):  # the loop is closed, and so has no waiter left
        loop.call_soon_threadsafe(function, *args)


def _deliver(failed: Mailbox | None, resolved: Iterable[tuple["asyncio.Future[Any]", Any]]) -> None:
    if failed is not None:
        failed.known += 1
    for future, result in resolved:
        _resolve(future, result)


def _resolve(future: "asyncio.Future[Any]", result: Any) -> None:
    if future.done():
        return  # its waiter was cancelled
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
