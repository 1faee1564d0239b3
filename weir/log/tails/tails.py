"""The tails of one process, and the feeds that they share."""

import asyncio
import logging

from weir.log.log import LogClient, LogError, LogOffset, Partition
from weir.log.memory import Memory
from weir.log.tails.feed import Feed
from weir.log.tails.limits import TailLimits
from weir.log.tails.pages import LogPages
from weir.log.tails.tail import Tail

logger = logging.getLogger(__name__)


class Tails:
    """The tails of one process: a feed for each partition that is read, shared by all its readers.

    Args:
        client: the log, of either broker. The caller starts and stops it.
        limits: limits on memory and reads.
    """

    def __init__(self, client: LogClient, limits: TailLimits | None = None) -> None:
        self.client = client
        self.limits = limits or TailLimits()
        self._feeds: dict[Partition, Feed] = {}
        self._locks: dict[Partition, asyncio.Lock] = {}  # one entry per partition of the topics read
        self._pages = LogPages(client, self.limits.reads)
        self.turns = asyncio.Semaphore(self.limits.turns)
        self.memory = Memory(self.limits.memory_bytes)
        self._sweeper: asyncio.Task[None] | None = None
        self._stopped = False

    async def start(self) -> None:
        """Start. A partition is followed from its first reader on."""
        self._stopped = False
        self._sweeper = asyncio.create_task(self._sweep(), name="tails: unfollow idle partitions")

    async def stop(self) -> None:
        """Close every tail and unfollow every partition. Never raises."""
        self._stopped = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        for at, feed in list(self._feeds.items()):
            for reader in list(feed.readers):
                await reader.close()
            await feed.scan.stop()
            await self._unfollow(at, feed)

    @property
    def readers(self) -> int:
        """How many tails are open."""
        return sum(len(feed.readers) for feed in self._feeds.values())

    def open(
        self,
        at: Partition,
        position: int | None = None,
        key: bytes | None = None,
        *,
        topic_id: str = "",
        page_records: int | None = None,
    ) -> Tail:
        """A reader of ``at``; enter it with ``async with``.

        Args:
            at: the partition.
            position: the first offset to look at; None is the live end when it is entered.
            key: give only the records with this key; None gives all.
            topic_id: the id of the topic in which the position was found, if it is known.
            page_records: records of one page that it reads; None is ``TailLimits.page_records``.
        """
        return Tail(
            at,
            position,
            key,
            topic_id=topic_id,
            page_records=page_records,
            limits=self.limits,
            pages=self._pages,
            follow=self._feed,
        )

    async def end(self, at: Partition) -> LogOffset:
        """The next offset that the live feed will deliver: the log's end, or a little less.

        It makes no broker call if the partition is followed already; else the partition is followed from now on.
        """
        feed = await self._feed(at)
        return LogOffset(feed.position, feed.topic_id)

    # -- feeds

    async def _feed(self, at: Partition) -> Feed:
        if feed := self._feeds.get(at):
            feed.idle_since = asyncio.get_running_loop().time()
            return feed
        async with self._locks.setdefault(at, asyncio.Lock()):
            if self._stopped:
                raise LogError("the tails were stopped")
            if feed := self._feeds.get(at):
                return feed
            # In this order: an older id with a newer end refuses right positions, and never accepts wrong ones.
            topic_id = await self.client.topic_id(at.topic)
            end = (await self.client.bounds(at)).end
            feed = Feed(at, LogOffset(end, topic_id), self.limits, self._pages, self._replaced)
            await self.client.follow(at, end, feed.deliver, feed.replace)
            if not feed.replaced:
                self._feeds[at] = feed
            return feed

    def _replaced(self, feed: Feed) -> None:
        """Forget a feed that the client follows no more: the log was replaced."""
        if self._feeds.get(feed.at) is feed:
            del self._feeds[feed.at]

    async def _unfollow(self, at: Partition, feed: Feed) -> None:
        async with self._locks.setdefault(at, asyncio.Lock()):
            if feed.readers or self._feeds.get(at) is not feed:
                return
            del self._feeds[at]
            try:
                await self.client.unfollow(at)
            except LogError as error:
                logger.warning("cannot unfollow %s-%d: %s", at.topic, at.partition, error)

    async def _sweep(self) -> None:
        """Unfollow partitions that had no reader for ``linger_s``."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(self.limits.linger_s / 2, 30.0))
            for at, feed in list(self._feeds.items()):
                if not feed.readers and loop.time() - feed.idle_since >= self.limits.linger_s:
                    await self._unfollow(at, feed)
