"""Writes finished requests into the log and the tables: the past that a starting worker finds.

    python -m bench.history COUNT

The settings are those of the worker, from the environment; a worker has run once and has made the topics. Each request
gets every record that an answered one leaves, made by Weir's own encoders: the request, the begin mark, a frame of
tokens, the terminal, the trace events, and the changes of both tables, one for each event, as they are before any
compaction. At the end the consumer group's offsets are committed behind these records, so a worker that starts reads
its tables, has no request left to answer, and serves.
"""

import asyncio
import sys
from collections.abc import Awaitable, Iterator
from time import time
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, TopicPartition

from app import app, parts
from app.engine import log_client
from bench.recovery import old_uid
from weir import envelope, topics
from weir.chat import frames, requests
from weir.chat.ends import EndedRequest
from weir.chat.ends import ends as ends_in
from weir.chat.frames import Frame, FrameKind, Status, Terminal
from weir.chat.lifecycle import Happening
from weir.chat.requests import ChatRequest
from weir.chat.states import apply, request_rows
from weir.chat.traces import Traces
from weir.envelope import Json, utc_iso
from weir.events.ingress import Ingress
from weir.events.publishing import Events
from weir.log.embedded.client import EmbeddedLog
from weir.log.log import Headers, LogClient, Partition, partition_of
from weir.table_rows import row_max_bytes

TOKENS = 4  # the tables hold no tokens, so few will do
AT_ONCE = 500  # requests on their way to the log
USAGE = {"prompt_tokens": 8, "completion_tokens": TOKENS, "total_tokens": 8 + TOKENS}
TIMINGS = {"first_chunk_ms": 5.125, "total_ms": 25.25}
CONSUMED = (topics.CHAT_REQUESTS.name, topics.AGENT_TRACES.name)
CHANGELOGS = parts.tables.changelogs


class Landing:
    """A log client's ``append`` that remembers the pending records, and the end of each partition."""

    def __init__(self, log: LogClient) -> None:
        self._log = log
        self._landings: list[asyncio.Future[int]] = []
        self.ends: dict[Partition, int] = {}  # no other client writes

    async def begin(self, *names: str) -> None:
        """Find the ends of the partitions of these topics."""
        for name in names:
            for number in range(self._log.partitions(name)):
                at = Partition(name, number)
                self.ends[at] = (await self._log.bounds(at)).end

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> Awaitable[int]:
        """Append like the log client."""
        landing = asyncio.ensure_future(self._log.append(topic, partition, key, value))
        self._landings.append(landing)
        self.ends[Partition(topic, partition)] += 1
        return landing

    def partitions(self, topic: str) -> int:
        """The number of partitions, from the log client."""
        return self._log.partitions(topic)

    def record_max_bytes(self, topic: str) -> int:
        """The largest record of a topic, from the log client."""
        return self._log.record_max_bytes(topic)

    def place(self, topic: str, key: bytes) -> Partition:
        """The partition of a topic that a key belongs to."""
        return partition_of(self._log, topic, key)

    async def landed(self) -> None:
        """Wait for all pending records."""
        landings, self._landings = self._landings, []
        await asyncio.gather(*landings)


class Changes(dict[bytes, bytes]):
    """Stands for a table: a row that is put into it goes to its changelog, and is not kept."""

    def __init__(self, landing: Landing, changelog: str) -> None:
        super().__init__()
        self._landing, self._changelog = landing, changelog

    def __setitem__(self, key: bytes, value: bytes) -> None:
        """Write a change."""
        self._landing.append(*self._landing.place(self._changelog, key), key, value)


class RowKeeper:
    """Takes the trace events in place of the log, and updates the requests table with them."""

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        changes = Changes(landing, CHANGELOGS["requests"])
        self._rows = request_rows(changes, row_max_bytes(parts.worker.settings))
        self._row: Json | None = None

    def next(self) -> None:
        """Start a new row with the next event."""
        self._row = None

    def partitions(self, topic: str) -> int:
        """The number of partitions, from the log client."""
        return self._landing.partitions(topic)

    def record_max_bytes(self, topic: str) -> int:
        """The largest record of a topic, from the log client."""
        return self._landing.record_max_bytes(topic)

    def append(self, topic: str, partition: int, key: bytes, value: bytes, _headers: Headers = ()) -> Awaitable[int]:
        """Append like the log client."""
        row = apply(self._row, envelope.decode(value))
        if row is not None:
            self._row = row
            self._rows.put(key.decode(), row)
        return self._landing.append(topic, partition, key, value)


class Past:
    """Writes finished requests."""

    def __init__(self, log: LogClient) -> None:
        self._landing = Landing(log)
        self._rows = RowKeeper(self._landing)
        self._events = Events(cast("LogClient", self._rows))
        self._traces = Traces(self._events, worker="127.0.0.1:8080")
        self._ends = ends_in(Changes(self._landing, CHANGELOGS["terminals"]), row_max_bytes(parts.worker.settings))

    async def write(self, count: int) -> dict[Partition, int]:
        """Write so many requests; returns the ends of the partitions afterwards."""
        tables = (CHANGELOGS["requests"], CHANGELOGS["terminals"])
        await self._landing.begin(*CONSUMED, topics.CHAT_CHUNKS.name, *tables)
        for number in range(count):
            self._write(self._request(old_uid(number)))
            if number % AT_ONCE == AT_ONCE - 1:
                await self._landing.landed()
        await self._landing.landed()
        if dropped := self._events.dropped.total():
            raise RuntimeError(f"{dropped} trace events are missing")
        return self._landing.ends

    def _request(self, uid: str) -> ChatRequest:
        body: Json = {"model": "bench", "messages": [{"role": "user", "content": f"What is a weir? Ask {uid}."}]}
        return ChatRequest(
            uid=uid,
            event_id=envelope.new_id("evt"),
            tenant="default",
            ingress=Ingress.HTTP,
            accepted_at=utc_iso(),
            body=body,
            fingerprint=requests.fingerprint(body),
            stream=True,
            chunks_from=self._landing.ends[self._landing.place(topics.CHAT_CHUNKS.name, uid.encode())],
        )

    def _write(self, request: ChatRequest) -> None:
        key, attempt = request.key, envelope.new_id("att")
        at = self._landing.place(topics.CHAT_CHUNKS.name, key)
        begun = {"attempt": attempt, "chunks_from": request.chunks_from}
        self._rows.next()
        self._landing.append(topics.CHAT_REQUESTS.name, at.partition, key, requests.encode(request))
        self._traces.emit(request, Happening.ACCEPTED, {"chunks_from": request.chunks_from})
        self._traces.emit(request, Happening.ATTEMPTED, begun)
        for number, frame in enumerate(_answer(request, attempt)):
            event_id = f"{attempt}.{number}" if number else attempt
            self._landing.append(*at, key, frames.encode(frame, event_id=event_id, tenant=request.tenant))
        ended = EndedRequest(
            rid=request.event_id,
            fingerprint=request.fingerprint,
            tenant=request.tenant,
            status=Status.COMPLETED,
            first=request.chunks_from,
            last=self._landing.ends[at] - 1,
            ended_at=time(),
        )
        self._ends.put(request.uid, ended)
        told: Json = {"finish_reason": "stop", "usage": USAGE, "error": None, "timings": TIMINGS}
        told |= {"attempt": attempt, "first": ended.first, "last": ended.last}
        self._traces.emit(request, Happening.COMPLETED, told)
        self._events.flush()  # before the next request's


def _answer(request: ChatRequest, attempt: str) -> Iterator[Frame]:
    """All frames of an answer."""
    head = {"id": f"chatcmpl-{request.uid}", "object": "chat.completion.chunk", "created": int(time())}
    deltas: list[Json] = [{"role": "assistant", "content": f"word{index} "} for index in range(TOKENS)]
    choices: list[Json] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunks: list[Json] = [{**head, "model": "bench", "choices": [choice]} for choice in choices]
    end = Terminal(status=Status.COMPLETED, finish_reason="stop", usage=USAGE, timings=TIMINGS)
    named: dict[str, Any] = {"uid": request.uid, "rid": request.event_id, "attempt": attempt}
    yield Frame(**named, kind=FrameKind.BEGIN, after=-1, fingerprint=request.fingerprint)
    yield Frame(**named, kind=FrameKind.CHUNKS, chunks=chunks)
    yield Frame(**named, kind=FrameKind.TERMINAL, seq=len(chunks), terminal=end)


async def commit(log: LogClient, ends: dict[Partition, int]) -> None:
    """Commit the consumer group's offsets behind the written records."""
    offsets = {at: end for at, end in ends.items() if at.topic in CONSUMED}
    group = app.conf.id
    if isinstance(log, EmbeddedLog):
        return await log.file.commit(group, offsets)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=app.settings.kafka_bootstrap_servers, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        there = {TopicPartition(app.settings.topic_prefix + at.topic, at.partition): end for at, end in offsets.items()}
        consumer.assign(list(there))
        await consumer.commit(there)
    finally:
        await consumer.stop()
    return None


async def main(count: int) -> None:
    """Write the past of a worker."""
    log = log_client(parts.worker.settings)  # the client itself, which knows what the group has committed
    await log.start()
    try:
        await commit(log, await Past(log).write(count))
    finally:
        await log.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
