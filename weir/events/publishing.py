"""The one way that events leave: into the log, in the envelope, with their headers, each after its kind.

``emit`` is for what must never slow an answer down: it neither waits nor raises. Events linger for a moment, so that
many go together; they are bounded, and what does not fit is dropped and counted, which happens when the log is away for
longer than the bound lasts. ``publish`` is for what somebody waits for.
"""

import asyncio
import logging
import time
from collections import Counter
from functools import partial
from typing import NamedTuple

from weir import envelope, limits
from weir.envelope import new_id
from weir.events.base import EVENT_TYPE, REPLAY, SCHEMA_VERSION, TRACEPARENT, EventData
from weir.log.log import Headers, LogClient, LogError
from weir.log.partitioner import partition_for

logger = logging.getLogger(__name__)

WAITING_MAX = 20_000  # events on their way to the log; a request has about a dozen
LINGER_S = 0.05  # how long an event waits for others: together they cost the log and its readers little more than one
VALUE_MAX_BYTES = 8 << 20  # of one event, unless the log takes less
ENVELOPE_BYTES = 2048  # of that, for the envelope around the data; and of a record, for its key and headers
ROOM_MIN_BYTES = 2 * ENVELOPE_BYTES  # a topic that takes less takes no events
TOLD_EVERY_S = 10.0  # between two lines about events that were dropped


class Outgoing(NamedTuple):
    """One event, ready to be appended."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers


def encode(
    data: EventData,
    tenant: str,
    *,
    event_id: str | None = None,
    traceparent: str | None = None,
    replay: str | None = None,
    max_bytes: int = VALUE_MAX_BYTES,
) -> Outgoing:
    """An event of now as a record, whose data is made smaller where it does not fit (``weir.limits.fitted``).

    Raises:
        TypeError: it holds something that is not JSON, sent by a client or an LLM.
    """
    headers = [(EVENT_TYPE, data.EVENT_TYPE.encode()), (SCHEMA_VERSION, b"%d" % data.VERSION)]
    if traceparent is not None:
        headers.append((TRACEPARENT, traceparent.encode()))
    if replay is not None:
        headers.append((REPLAY, replay.encode()))
    fields, event_id = data.model_dump(mode="json", warnings=False), event_id or new_id("evt")
    value = envelope.encode(event_id, data.EVENT_TYPE, tenant, fields)
    if len(value) > max_bytes:
        logger.warning("an event for %s of %d bytes is cut: a record holds %d", data.TOPIC, len(value), max_bytes)
        fields = limits.fitted(fields, max_bytes - ENVELOPE_BYTES)
        value = envelope.encode(event_id, data.EVENT_TYPE, tenant, fields)
    return Outgoing(data.TOPIC, data.record_key(tenant).encode(), value, headers)


class Events:
    """Publishes the events of one worker."""

    def __init__(self, log: LogClient, *, max_bytes: int = VALUE_MAX_BYTES) -> None:
        self._log = log
        self._max_bytes = max_bytes  # of an event's value
        self._lingering: list[Outgoing] = []
        self._waiting: set[asyncio.Future[int]] = set()
        self._round: asyncio.Future[None] | None = None  # done when what lingers now is in the log, or is dropped
        self._flying: set[asyncio.Future[None]] = set()  # earlier rounds that are on their way
        self._told_at = -TOLD_EVERY_S
        self.dropped: Counter[str] = Counter()  # by topic

    def emit(
        self,
        data: EventData,
        tenant: str,
        *,
        event_id: str | None = None,
        traceparent: str | None = None,
        replay: str | None = None,
    ) -> None:
        """Tell something, without a wait. Never raises.

        Args:
            data: what to tell.
            tenant: whose event it is.
            event_id: the same for the same thing told again (``weir.events.base.derived_id``); a fresh one if None.
            traceparent: W3C trace context of what it is part of.
            replay: the run, of something about a request that is asked again.
        """
        if len(self._waiting) + len(self._lingering) >= WAITING_MAX:
            self._drop(data.TOPIC, "too many wait already")
            return
        try:
            event = encode(
                data, tenant, event_id=event_id, traceparent=traceparent, replay=replay, max_bytes=self._room(data)
            )
        except Exception as error:  # noqa: BLE001 -- what others sent must not break an answer
            self._drop(data.TOPIC, f"it cannot be written: {error}")
            return
        if self._round is None:
            loop = asyncio.get_running_loop()
            self._round = loop.create_future()
            loop.call_later(LINGER_S, self.flush)
        self._lingering.append(event)

    async def landed(self, seconds: float) -> None:
        """Wait until all that was emitted is in the log or is dropped, at most so long. Never raises."""
        rounds = set(self._flying)  # a few, however many events there are
        if self._round is not None:
            rounds.add(self._round)
        if rounds:
            await asyncio.wait(rounds, timeout=seconds)

    async def publish(
        self, data: EventData, tenant: str, *, event_id: str | None = None, traceparent: str | None = None
    ) -> int:
        """Tell something, and wait until it is in the log: its offset.

        Raises:
            LogError: it may or may not be in the log.
            TypeError: it holds something that is not JSON.
        """
        event = encode(data, tenant, event_id=event_id, traceparent=traceparent, max_bytes=self._room(data))
        return await self._append(event)

    def _room(self, data: EventData) -> int:
        """Bytes for the value of an event, in its topic."""
        return min(self._max_bytes, max(ROOM_MIN_BYTES, self._log.record_max_bytes(data.TOPIC) - ENVELOPE_BYTES))

    def flush(self) -> None:
        """Append what lingers, now. Never raises and never waits."""
        events, self._lingering = self._lingering, []
        round_, self._round = self._round, None
        landings = []
        for event in events:
            try:
                landing = self._append(event)
            except LogError as error:  # the client is stopped
                self._drop(event.topic, str(error))
                continue
            self._waiting.add(landing)
            landing.add_done_callback(partial(self._landed, event.topic))
            landings.append(landing)
        if round_ is not None:
            self._flying.add(round_)
            asyncio.gather(*landings, return_exceptions=True).add_done_callback(lambda _: self._ended(round_))

    def _ended(self, round_: "asyncio.Future[None]") -> None:
        self._flying.discard(round_)
        round_.set_result(None)

    async def drain(self, seconds: float) -> None:
        """Flush, and wait for what is on its way, at most so long. Never raises."""
        self.flush()
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=seconds)

    def _append(self, event: Outgoing) -> "asyncio.Future[int]":
        partition = partition_for(event.key, self._log.partitions(event.topic))
        return asyncio.ensure_future(self._log.append(event.topic, partition, event.key, event.value, event.headers))

    def _landed(self, topic: str, landing: "asyncio.Future[int]") -> None:
        self._waiting.discard(landing)
        if not landing.cancelled() and (error := landing.exception()) is not None:
            self._drop(topic, str(error))

    def _drop(self, topic: str, why: str) -> None:
        self.dropped[topic] += 1
        now = time.monotonic()
        if now - self._told_at >= TOLD_EVERY_S:
            self._told_at = now
            logger.warning("an event for %s is dropped (%d so far): %s", topic, self.dropped.total(), why)
