"""Publishes events: into the log, in the envelope, with their headers, each in its topic.

``emit`` is for events that must never slow an answer down: it neither waits nor raises. Events linger for a moment, so
that many go together; they are bounded, and events beyond the bound are dropped and counted, which happens when the log
is away for longer than the bound lasts. ``publish`` is for events whose publisher waits until they are in the log.
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
from weir.log.log import Headers, LogClient, LogError, partition_of

logger = logging.getLogger(__name__)

WAITING_MAX = 20_000  # events on their way to the log; a request has about a dozen
LINGER_S = 0.05  # how long an event waits for others: together they cost the log and its readers little more than one
VALUE_MAX_BYTES = 8 << 20  # of one event, unless the log takes less
ENVELOPE_BYTES = 2048  # of that, for the envelope around the data; and of a record, for its key and headers
ROOM_MIN_BYTES = 2 * ENVELOPE_BYTES  # a topic that takes less takes no events
LOG_EVERY_S = 10.0  # between two lines about events that were dropped


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
    """An event of the present time as a record; data that does not fit is made smaller (``weir.limits.fitted``).

    Raises:
        TypeError: the data holds a value from a client or an LLM that cannot be JSON.
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
        self._round: asyncio.Future[None] | None = None  # done when the lingering events are in the log, or are dropped
        self._flying: set[asyncio.Future[None]] = set()  # earlier rounds that are not in the log yet
        self._logged_at = -LOG_EVERY_S
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
        """Publish an event without a wait. Never raises.

        Args:
            data: the data of the event.
            tenant: the tenant of the event.
            event_id: the same for the same event published again (``weir.events.base.derived_id``); a new one if None.
            traceparent: W3C trace context of the work that the event is about.
            replay: the run, if the event is about a replayed request.
        """
        if len(self._waiting) + len(self._lingering) >= WAITING_MAX:
            self._drop(data.TOPIC, "too many events wait already")
            return
        try:
            event = encode(
                data, tenant, event_id=event_id, traceparent=traceparent, replay=replay, max_bytes=self._room(data)
            )
        except Exception as error:  # noqa: BLE001 - data from a client or an LLM must not break an answer
            self._drop(data.TOPIC, f"it cannot be written: {error}")
            return
        if self._round is None:
            loop = asyncio.get_running_loop()
            self._round = loop.create_future()
            loop.call_later(LINGER_S, self.flush)
        self._lingering.append(event)

    async def landed(self, seconds: float) -> None:
        """Wait until every event emitted so far is in the log or is dropped, at most so long. Never raises."""
        rounds = set(self._flying)  # a few, however many events there are
        if self._round is not None:
            rounds.add(self._round)
        if rounds:
            await asyncio.wait(rounds, timeout=seconds)

    async def publish(
        self, data: EventData, tenant: str, *, event_id: str | None = None, traceparent: str | None = None
    ) -> int:
        """Publish an event, and wait until it is in the log. Returns its offset.

        Raises:
            LogError: the event may or may not be in the log.
            TypeError: the data holds a value that cannot be JSON.
        """
        event = encode(data, tenant, event_id=event_id, traceparent=traceparent, max_bytes=self._room(data))
        return await self._append(event)

    def _room(self, data: EventData) -> int:
        """Bytes for the value of an event, in its topic."""
        return min(self._max_bytes, max(ROOM_MIN_BYTES, self._log.record_max_bytes(data.TOPIC) - ENVELOPE_BYTES))

    def flush(self) -> None:
        """Append the lingering events now. Never raises and never waits."""
        events, self._lingering = self._lingering, []
        round_, self._round = self._round, None
        landings = []
        for event in events:
            try:
                landing = self._append(event)
            except LogError as error:  # the log client is stopped
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
        """Flush, and wait for events that are not in the log yet, at most so long. Never raises."""
        self.flush()
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=seconds)

    def _append(self, event: Outgoing) -> "asyncio.Future[int]":
        at = partition_of(self._log, event.topic, event.key)
        return asyncio.ensure_future(self._log.append(*at, event.key, event.value, event.headers))

    def _landed(self, topic: str, landing: "asyncio.Future[int]") -> None:
        self._waiting.discard(landing)
        if not landing.cancelled() and (error := landing.exception()) is not None:
            self._drop(topic, str(error))

    def _drop(self, topic: str, why: str) -> None:
        self.dropped[topic] += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            logger.warning("an event for %s is dropped (%d so far): %s", topic, self.dropped.total(), why)
