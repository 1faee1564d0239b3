"""Finds which offset may be committed: the lowest one that was delivered and is not acknowledged yet.

Faust commits past work in flight: it looks for consecutive *acknowledged* offsets, does not know which ones were
delivered, and is off by one at a gap and before the first commit (faust-streaming issue 606, pull request 707). A
worker that dies then loses the requests in flight. `Settlement` replaces that bookkeeping in any Faust consumer, mixed
in before the driver's own class::

    class Consumer(Settlement, aiokafka_driver.Consumer): ...

`Outstanding` is the bookkeeping itself, independent of Faust.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Generator, Mapping
from heapq import heappop, heappush
from typing import Any

from faust.transport.consumer import Consumer
from faust.types import TP, Message
from faust.types.tuples import ack_lock
from mode.utils.futures import notify

HANDOVER_S = 5.0  # how long a seek waits for the message that is being handed to the streams


class Outstanding:
    """The offsets delivered from one partition, and up to which of them all are settled."""

    def __init__(self) -> None:
        self._delivered: list[int] = []  # a heap: a seek may deliver lower offsets again
        self._unacked: set[int] = set()
        self._level: int | None = None

    def __len__(self) -> int:
        """The number of offsets that were delivered and are not acknowledged."""
        return len(self._unacked)

    def delivered(self, offset: int) -> None:
        """Note that a record was handed out. Noting it twice is harmless."""
        if offset not in self._unacked:
            self._unacked.add(offset)
            heappush(self._delivered, offset)

    def acked(self, offset: int) -> None:
        """Note that a record was acknowledged. A record that was never delivered is ignored."""
        self._unacked.discard(offset)

    def advance(self) -> int | None:
        """The offset to commit, so that no unacknowledged record lies below it; None before any record is settled.

        The answer is repeated until more is settled, so a commit that failed is tried again.
        """
        waiting, unacked = self._delivered, self._unacked
        while waiting and waiting[0] not in unacked:
            settled = heappop(waiting)
            self._level = waiting[0] if waiting else settled + 1
        return self._level


class _Handing:
    """A message on its way to its streams."""

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, None]:
        return self._coroutine.__await__()


class Settlement(Consumer):
    """At-least-once for a Faust consumer whose messages are acknowledged late and in any order.

    It relies on streams that do not acknowledge by themselves (`stream.noack()`): Faust acknowledges cancelled events,
    too, and its compiled stream iterator does so without asking the consumer about generations.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.outstanding: defaultdict[TP, Outstanding] = defaultdict(Outstanding)
        self._put_down = asyncio.Event()  # clear while the fetcher holds a message
        self._put_down.set()
        deliver = self.callback

        async def callback(message: Message) -> None:
            if self.app.topics.acks_enabled_for(message.topic):
                self.outstanding[message.tp].delivered(message.offset)
            await deliver(message)

        self.callback = lambda message: _Handing(callback(message))

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:  # noqa: ASYNC109 -- Faust's signature
        """Await the first coroutine, as Faust does, but hand a message over at once if its streams have room for it.

        Faust makes four tasks for each message, and waits for the first of them. That is three turns of the event loop,
        one message after the other, while the tokens of hundreds of answers wait for the same loop.
        """
        if isinstance(coros[0], _Handing) and self.flow_active and not self.suspend_flow.is_set() and self._has_room():
            await coros[0]
            coros[1].close()
            return None
        return await super().wait_first(*coros, timeout=timeout)

    def _has_room(self) -> bool:
        return not any(channel.queue.full() for channel in self.app.topics)

    def ack(self, message: Message) -> bool:
        """Settle a message, unless a rebalance has made its delivery obsolete.

        After a rebalance the offset is delivered again, with a newer generation; an acknowledgement of the older
        delivery must not settle the newer one.
        """
        if message.generation_id == self.app.consumer_generation_id:
            return bool(super().ack(message))
        with ack_lock:
            message.acked = True
            self._unacked_messages.discard(message)
            notify(self._waiting_for_ack)
        return False

    def committed(self, tp: TP) -> int | None:
        """The offset that the group has committed, as far as this worker knows; None before the first."""
        return self._committed_offset.get(tp)

    def settled(self, tp: TP) -> bool:
        """Whether every delivered record of a partition is acknowledged."""
        return not self.outstanding.get(tp)

    def _new_offset(self, tp: TP) -> int | None:
        # Faust's compiled streams write to _acked and _acked_index without calling ack(), so take it from there.
        with ack_lock:
            done, self._acked[tp] = self._acked[tp], []
            self._acked_index[tp].clear()
        outstanding = self.outstanding[tp]
        for offset in done:
            outstanding.acked(offset)
        return outstanding.advance()

    def _should_commit(self, tp: TP, offset: int) -> bool:
        committed = self._committed_offset[tp]
        return committed is None or offset > committed

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        before = {tp: self._committed_offset[tp] for tp in offsets}
        done = await super()._commit_offsets(offsets, start_new_transaction)
        if not done:  # Faust notes them as committed all the same, and would not try again
            self._committed_offset.update(before)
        return bool(done)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: only delivered offsets count. Faust would mark the neighbour of a gap as acknowledged."""

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109
        """The base class's batches, noting whether a message is on its way to the streams."""
        async for item in super().getmany(timeout):
            self._put_down.clear()
            try:
                yield item
            finally:
                self._put_down.set()

    async def perform_seek(self) -> None:
        """Seek the committed offsets; all records from there on will be delivered again.

        Recovery seeks while messages flow (faust-streaming issue 596): a message delivered between the seek and the
        clearing of the queues is lost, and the read offset of a message in the fetcher's hands is noted after the seek,
        which makes Faust drop the records before it. So the flow stops first; recovery resumes it.

        A worker that stops reads nothing again, and acknowledged records are still to be committed.
        """
        self.stop_flow()
        if self.app.should_stop:
            return
        # As a task, even where there is nothing to wait for: in the turns that it takes, a fetch that is done finds the
        # flow stopped, and drops what it has from before the seek.
        put_down = asyncio.ensure_future(self._put_down.wait())
        try:
            done, _ = await asyncio.wait({put_down}, timeout=HANDOVER_S)
        finally:
            put_down.cancel()
        if not done:
            self.log.warning("A message did not reach its streams within %s s; seeking anyway", HANDOVER_S)
        await super().perform_seek()
        self._forget(set(self.outstanding) | set(self._acked))

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the messages in flight: the next owner gets them again."""
        self._forget(revoked)
        await super().on_partitions_revoked(revoked)

    def _forget(self, tps: set[TP]) -> None:
        with ack_lock:
            for tp in tps:
                self.outstanding.pop(tp, None)
                self._acked.pop(tp, None)
                self._acked_index.pop(tp, None)
