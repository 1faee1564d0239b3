"""Sends the records of dead letters again, each at most once in a run.

Every record that is sent has a header that names the run and the letter. A resumed run looks for it in the topics that
it writes to, from where they ended when the run began: so a run that was killed at any point sends no record twice. The
headers of earlier runs stay, as far as there is room.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from weir import topics
from weir.chat import requests
from weir.chat.requests import ChatRequest, OnDisconnect
from weir.envelope import MalformedRecordError, utc_iso
from weir.events.base import derived_id
from weir.events.publishing import Events
from weir.events.replays import ReplayRedriven
from weir.log.log import Headers, LogClient, LogOffset, LogRefusedError, Partition, Record, partition_of
from weir.log.partitioner import partition_for
from weir.rabbitmq import orders as deliveries
from weir.rabbitmq.orders import Order
from weir.ranges.offset_ranges import each, onward
from weir.replay.dead_letters.choosing import CUT, Chosen
from weir.replay.dead_letters.letters import HEADER, SOURCES, Letter, completed, parse
from weir.replay.dead_letters.orders import order_again
from weir.replay.dead_letters.outcomes import Sent
from weir.replay.runs import Run

logger = logging.getLogger(__name__)

HISTORY_MAX: Final = 10  # the most runs in a record's headers, this one included
TOO_LARGE: Final = "with the mark of the run it fits into no record"
UNWRITABLE: Final = "it cannot be written again"


class SentAt(NamedTuple):
    """The place of a record that was sent again."""

    at: Partition
    offset: int


class Sender:
    """Sends the letters of one run.

    Args:
        log: the log to write to.
        events: publishes an event for each letter that was sent.
        run: the run.
        tenant: the tenant of the events.
        orders: RabbitMQ's orders, by the submission whose answer was ordered.
        value_max_bytes: the largest record that the log takes, with its key and headers.
    """

    def __init__(
        self,
        log: LogClient,
        events: Events,
        run: Run,
        *,
        tenant: str,
        orders: Mapping[str, Order],
        value_max_bytes: int,
    ) -> None:
        self._log, self._events, self._run, self._tenant = log, events, run, tenant
        self._orders, self._value_max_bytes = orders, value_max_bytes
        self.places: dict[str, SentAt] = {}  # places of the records that were sent, by letter
        self.requests: dict[str, Sent] = {}  # the requests among them, by letter
        self.ordered: set[str] = set()  # letters whose answers are ordered again
        self.skipped: Counter[str] = Counter()  # letters that were not sent, by the reason

    # -- letters that were sent before

    async def recall(self, chosen: Mapping[str, Chosen], published: Collection[str]) -> None:
        """Find the letters that this run sent before it was stopped, and publish the missing events.

        Args:
            chosen: letters, by their ids.
            published: ids of letters whose event was published.

        Raises:
            LogError: the log cannot be read.
        """
        for topic in SOURCES:
            for number in range(self._log.partitions(topic)):
                at = Partition(topic, number)
                async for record in each(self._log, await onward(self._log, at, self._run.end_of(at))):
                    self._recall(record, chosen)
        for name in self.places.keys() - set(published):
            await self._tell(chosen[name])

    def _recall(self, record: Record, chosen: Mapping[str, Chosen]) -> None:
        marks = [value.decode(errors="replace") for name, value in record.headers if name == HEADER]
        run, _, name = marks[-1].partition("/") if marks else ("", "", "")
        if run != self._run.id or name not in chosen:
            return
        if record.topic != chosen[name].topic:
            self.ordered.add(name)
            return
        if chosen[name].uid is not None:
            try:
                request = requests.decode(record.value)
            except MalformedRecordError:  # not a record of Weir, whatever its header says
                return
            self.requests[name] = _sent(request)
        self.places[name] = SentAt(Partition(record.topic, record.partition), record.offset)

    # -- letters that are sent now

    async def send(self, batch: Sequence[tuple[Chosen, Record]]) -> None:
        """Send letters again, except those that were sent before, and wait until the log has their records.

        Raises:
            LogError: the log may or may not have some records; a resumed run finds out.
        """
        # A letter is written after the end of its request: the new answer begins behind all frames of the old one.
        topic = topics.CHAT_CHUNKS.name
        at = [Partition(topic, number) for number in range(self._log.partitions(topic))]
        topic_id = await self._log.topic_id(topic)
        bounds = await asyncio.gather(*(self._log.bounds(one) for one in at))
        ends = [LogOffset(one.end, topic_id) for one in bounds]
        await asyncio.gather(*(self._send(chosen, record, ends) for chosen, record in batch))

    async def _send(self, chosen: Chosen, record: Record, ends: Sequence[LogOffset]) -> None:
        if chosen.id not in self.places:
            letter = await completed(self._log, parse(record))
            if letter is None:  # retention has removed it meanwhile
                self.skipped[CUT] += 1
                return
            why_not = await self._append(letter, chosen, ends)
            if why_not is not None:
                self.skipped[why_not] += 1
                return
            await self._order(chosen)
            await self._tell(chosen)
        else:
            await self._order(chosen)

    async def _append(self, letter: Letter, chosen: Chosen, ends: Sequence[LogOffset]) -> str | None:
        """Append the record of a letter to the log; returns the reason if that is impossible, else None."""
        request = None if letter.request is None else self._again(letter.request, chosen, ends)
        headers = self._headers(letter.headers, chosen)
        try:
            key, value = _record(letter) if request is None else (request.key, requests.encode(request))
        except TypeError:  # nested more deeply than can be written; it could be read all the same
            return UNWRITABLE
        if _size(key, value, headers) > self._value_max_bytes:
            return TOO_LARGE
        count = self._log.partitions(letter.topic)
        at = Partition(letter.topic, letter.partition % count if key is None else partition_for(key, count))
        try:
            offset = await self._log.append(*at, key, value, headers)
        except LogRefusedError as error:  # a permanent refusal: trying again would stop all other letters
            logger.warning("letter %s: %s", chosen.id, error)
            return UNWRITABLE
        self.places[chosen.id] = SentAt(at, offset)
        if request is not None:
            self.requests[chosen.id] = _sent(request)
        return None

    def _again(self, request: ChatRequest, chosen: Chosen, ends: Sequence[LogOffset]) -> ChatRequest:
        """The request as a new submission, with the same id whenever the run is resumed."""
        now, end = utc_iso(), ends[partition_of(self._log, topics.CHAT_CHUNKS.name, request.key).partition]
        life = {
            "run": self._run.id,
            "letter": chosen.id,
            "at": now,
            "reason": chosen.reason,
            "rid": request.event_id,
        }
        return replace(
            request,
            event_id=derived_id(self._run.id, chosen.id),
            accepted_at=now,
            chunks_from=end.offset,
            chunks_topic_id=end.topic_id,
            deadline=None,  # a client that sends it again wants the answer
            on_disconnect=OnDisconnect.CONTINUE,  # and no client reads it now
            redriven=(*request.redriven, life)[-HISTORY_MAX:],
        )

    def _headers(self, kept: Headers, chosen: Chosen) -> Headers:
        """The record's own headers, the last ones of earlier runs, and that of this run."""
        earlier = [header for header in kept if header[0] == HEADER][1 - HISTORY_MAX :]
        others = [header for header in kept if header[0] != HEADER]
        return [*others, *earlier, (HEADER, f"{self._run.id}/{chosen.id}".encode())]

    async def _order(self, chosen: Chosen) -> None:
        """Order the delivery of a request from RabbitMQ, after the request."""
        order = self._orders.get(chosen.ordered or "")
        if order is None or chosen.id in self.ordered:
            return
        again = order_again(order, self.requests[chosen.id])
        at = partition_of(self._log, topics.CHAT_DELIVERIES.name, again.key)
        await self._log.append(*at, again.key, deliveries.encode(again), self._headers((), chosen))
        self.ordered.add(chosen.id)

    async def _tell(self, chosen: Chosen) -> None:
        place = self.places[chosen.id]
        data = ReplayRedriven(
            run=self._run.id,
            letter=chosen.id,
            topic=place.at.topic,
            partition=place.at.partition,
            offset=place.offset,
            uid=chosen.uid,
            reason=chosen.reason,
        )
        event_id = derived_id(self._run.id, chosen.id, data.EVENT_TYPE)
        await self._events.publish(data, self._tenant, event_id=event_id)


def _record(letter: Letter) -> tuple[bytes | None, bytes]:
    """The key and the value of a record that is not a request, unchanged."""
    return letter.key or None, letter.value or b""


def _sent(request: ChatRequest) -> Sent:
    return Sent(request.uid, request.event_id, request.chunks_from, request.chunks_topic_id)


def _size(key: bytes | None, value: bytes, headers: Headers) -> int:
    return len(key or b"") + len(value) + sum(len(name.encode()) + len(text) for name, text in headers)
