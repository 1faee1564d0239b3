"""The feed of one partition: it takes the live records and hands each to the readers that want its key."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from weir.log.log import LogOffset, LogReplacedError, Partition, Record
from weir.log.tails.index import Index
from weir.log.tails.limits import TailLimits
from weir.log.tails.pages import LogPages
from weir.log.tails.ring import Ring
from weir.log.tails.scan import Scan, Waiter


class FeedReader(Waiter, Protocol):
    """A feed's view of its readers."""

    @property
    def key(self) -> bytes | None:
        """The key of the records that the reader wants; None: it wants all."""

    def push(self, record: Record) -> None:
        """Take one live record."""

    def wake(self) -> None:
        """Look again: records were pushed, or the log was replaced."""

    async def close(self) -> None:
        """Stop reading."""


class Feed:
    """The live records of one partition: its position, its ring of recent records, its index, its readers by key.

    Args:
        at: the partition.
        place: the log's end when the feed begins, and the topic's id.
        limits: what may be held in memory.
        pages: the pages from which the index is extended backwards.
        on_replaced: called once, if the log was replaced.
    """

    def __init__(
        self,
        at: Partition,
        place: LogOffset,
        limits: TailLimits,
        pages: LogPages,
        on_replaced: "Callable[[Feed], None]",
    ) -> None:
        self.at = at
        self.position = place.offset  # the next record delivered has this offset or a higher one
        self.topic_id = place.topic_id
        self.replaced = False  # the log was replaced
        self.ring = Ring(place.offset, limits)  # all records from its start to position
        self.index = Index(place.offset, limits)
        self.scan = Scan(at, self.index, pages, limits.page_records)
        self.readers: set[FeedReader] = set()  # open readers, live or behind
        self.idle_since = asyncio.get_running_loop().time()  # when it last had a reader, or was asked for
        self._on_replaced = on_replaced
        self._by_key: dict[bytes | None, set[FeedReader]] = {}  # live readers of one key
        self._of_all: set[FeedReader] = set()  # live readers of every key
        self._moved: asyncio.Future[None] | None = None

    def join(self, reader: FeedReader) -> None:
        """Note a reader as open; no record is pushed to it before `add`."""
        self.readers.add(reader)

    def leave(self, reader: FeedReader) -> None:
        """Note a reader as closed."""
        self.drop(reader)
        self.readers.discard(reader)
        self.idle_since = asyncio.get_running_loop().time()

    def check(self) -> None:
        """Raise LogReplacedError if the log was replaced."""
        if self.replaced:
            raise LogReplacedError(f"{self.at.topic}-{self.at.partition} was recreated or truncated")

    def replace(self) -> None:
        """End the feed: the log was replaced. Given to ``LogClient.follow``; wakes readers that wait for records."""
        self.replaced = True
        self._on_replaced(self)
        for reader in self.readers:
            reader.wake()
        self._wake()

    def _wake(self) -> None:
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)

    def deliver(self, records: Sequence[Record]) -> None:
        """Take new records in offset order. Given to ``LogClient.follow``; neither waits nor raises."""
        touched: set[FeedReader] = set()
        for record in records:
            if record.offset < self.position:
                continue  # a broker that comes back may repeat; each record goes out once
            self.ring.add(record)
            self.index.add(record)
            self.position = record.offset + 1
            for reader in (*self._by_key.get(record.key, ()), *self._of_all):
                reader.push(record)
                touched.add(reader)
        for reader in touched:
            reader.wake()
        self._wake()

    def add(self, reader: FeedReader) -> None:
        """Push records to a reader from now on."""
        readers = self._of_all if reader.key is None else self._by_key.setdefault(reader.key, set())
        readers.add(reader)

    def drop(self, reader: FeedReader) -> None:
        """Push no more records to a reader."""
        if reader.key is None:
            self._of_all.discard(reader)
        elif readers := self._by_key.get(reader.key):
            readers.discard(reader)
            if not readers:
                del self._by_key[reader.key]

    async def reach(self, position: int, timeout: float) -> None:  # noqa: ASYNC109 - a bound, not a scope
        """Wait until the live position is at ``position``, or ``timeout`` seconds have gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.position < position and not self.replaced:
                    if self._moved is None or self._moved.done():
                        self._moved = asyncio.get_running_loop().create_future()
                    await asyncio.shield(self._moved)  # other readers may wait for the same future
