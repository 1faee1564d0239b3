"""What Faust's Kafka consumer needs to lose nothing. Each repair stands alone, so that a test can leave it out.

| breaks in Faust 0.15.3                                               | where                               | repair |
|----------------------------------------------------------------------|-------------------------------------|--------|
| commits run ahead of work (faust-streaming 606, 707)                 | ``Consumer._new_offset``, ``ack``, ``_add_gap`` in ``faust/transport/consumer.py`` | `Settlement` |
| an acknowledgement of an older generation settles the newer delivery | ``Consumer.ack``                    | `Settlement` |
| recovery seeks while messages flow, then clears the queues (596)     | ``Consumer.perform_seek``, called by ``Recovery.on_recovery_completed`` and ``_resume_streams`` | `Settlement` |
| a rebalance before the first commit skips messages (604)             | ``AIOKafkaConsumer.seek_to_committed`` in aiokafka | `SeekToStart` |
| recovery can hang                                                    | ``faust/tables/recovery.py``        | `transports.recovery` |
| a commit can overtake the changelog of a table                         | ``ProducerBuffer.flush`` gives up after 0.1 s | `TablesFirst` |
| a record waits up to 1.5 s behind idle partitions of its broker       | ``AIOKafkaConsumerThread._create_worker_consumer`` | `ShortPolls` |
| a worker that does not poll leaves the group for good (138)          | aiokafka's ``max_poll_interval_ms`` | the setting, see `transports.kafka.driver` |
"""  # noqa: E501 - a table

import asyncio
from collections.abc import Mapping

import aiokafka
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP

from transports.settlement import Settlement

__all__ = ["SeekToStart", "Settlement", "ShortPolls", "TablesFirst"]

FLUSH_S = 10.0  # how long a commit waits for table changes to reach the log; then it is tried again later
POLL_MS = 20  # longest wait of one fetch; an idle worker sends 50 fetches/s to a broker, about 1 % of a core


class SeekToStart(Consumer):
    """Goes back to the oldest record where no offset, or offset 0, is committed (faust-streaming 604).

    aiokafka's ``seek_to_committed`` moves only to offsets above 0; other partitions stay where they are. After the
    first assignment that is the start. After a rebalance before the first commit, the position is behind the records
    that were delivered meanwhile, and Faust has just thrown those away with the queues: they are never seen again.

    Only with ``consumer_auto_offset_reset=earliest``; ``latest`` asks for the opposite. Changelogs are left alone:
    recovery seeks them itself.
    """

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek each partition to its committed offset, or to its start."""
        committed: Mapping[TP, int | None] = await super().seek_to_committed()
        fresh = [tp for tp, offset in committed.items() if not offset and not self._is_changelog_tp(tp)]
        if fresh and self.app.conf.consumer_auto_offset_reset == "earliest":
            await self.seek_wait(dict(await self.earliest_offsets(*fresh)))
        return committed  # type: ignore[return-value] # Faust's annotation forgets None


class _ShortPollThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = POLL_MS  # noqa: SLF001 - Faust passes a constant, and no setting
        return consumer


class ShortPolls(Consumer):
    """Keeps one partition from waiting for another.

    aiokafka has one fetch under way for each broker. While the records of a partition are being handed over, the next
    fetch leaves without that partition, and waits until one of the *others* has news, or until its longest wait is
    over. Faust sets that to 1.5 s, with no setting for it: with 64 clients, the median request waited 1.5 s to be
    read, on an idle machine.
    """

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _ShortPollThread(self, loop=self.loop, beacon=self.beacon)


class TablesFirst(Consumer):
    """Commits offsets only after the table changes made before are in the log.

    Faust flushes its producer before a commit, but ``ProducerBuffer.flush`` gives up after 0.1 s, with changes still
    waiting. A worker that dies then has committed a request whose table entry nobody will ever write.
    """

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        producer = self.app.producer
        try:
            async with asyncio.timeout(FLUSH_S):
                while producer.buffer.size:
                    await producer.buffer.flush()
                await producer.flush()
        except TimeoutError:
            self.log.warning("no commit: table changes have not reached Kafka within %s s", FLUSH_S)
            return False
        return bool(await super()._commit(offsets))
