"""Replay requests: each is asked again as a new one, once, and compared with its original when it has ended.

What is asked again has a uid and an event id that are made from the run's and the original's. So a run that was killed
between two records goes on where it was, and what it may have sent already is the same request, however often it is
sent: the worker that owns it answers it once. What a run has done stands in the log: its requests in chat-requests,
their answers in chat-chunks, and the pairs in chat-replay-results.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from answers.envelope import Json, MalformedRecordError, utc_iso
from app import requests, topics
from app.lifecycle import Happening
from app.prices import Prices
from app.publishing import Events
from app.requests import ChatRequest, Ingress, OnDisconnect
from app.thinking import prompt_chars
from app.traceparent import mint
from app.traces import Traces
from events.base import derived_id
from events.replays import ReplayCompared
from replays.answered import Answered, Ended
from replays.comparison import Compared
from replays.errors import GoneError, UnfinishedError
from replays.likeness import likeness
from replays.plans import Plan, plan_from
from replays.runs import Run
from replays.selecting import Original
from replays.spans import Span, records
from transports.log import LogClient, LogError, LogRefusedError, Partition, Record
from transports.partitioner import partition_for

T = TypeVar("T")

RETRY_S: Final = 1.0  # pause before the log is tried again
CATCH_UP_S: Final = 1.0  # of the time that a rate was missed for; more would be a burst


class Follower(Protocol):
    """Is told how a run gets on, as often as a request ends."""

    def __call__(self, compared: Compared, in_flight: int) -> None:
        """One more has ended."""


def replay_uid(run_id: str, original_event_id: str) -> str:
    """The uid under which a run asks a request again."""
    return f"rpl-{run_id}-{hashlib.blake2b(original_event_id.encode(), digest_size=8).hexdigest()}"


class Asking:
    """One run, by whoever runs it.

    Args:
        log: where requests and answers are.
        events: where results go.
        traces: where the lives of requests are told.
        prices: what tokens cost.
        run: with its plan.
        originals: what is replayed, in order.
        patience_s: without any end for so long, the run is given up; it can be resumed.
        on_end: is told of each request that has ended.
    """

    def __init__(
        self,
        *,
        log: LogClient,
        events: Events,
        traces: Traces,
        prices: Prices,
        run: Run,
        originals: Sequence[Original],
        patience_s: float,
        on_end: Follower,
    ) -> None:
        self._log, self._events, self._traces = log, events, traces
        self._run, self._plan = run, plan_from(run.parameters)
        self._originals = {replay_uid(run.id, one.request.event_id): one for one in originals}
        self._patience_s, self._on_end = patience_s, on_end
        self._answered = Answered(prices, self._end)
        self._in_flight = 0
        self._ended = asyncio.Event()  # something has, since it was last looked at
        self._left: list[str] = []  # uids that are not asked yet
        self.compared: dict[str, Compared] = {}  # by uid of the replay

    async def run(self, known: Iterable[Compared]) -> list[Compared]:
        """Ask what was not asked yet, and wait for all ends.

        Args:
            known: pairs that the run has told before it was stopped.

        Raises:
            UnfinishedError: nothing has ended for as long as patience lasts.
            GoneError: a request is not in the log any more.
            LogError: the log refuses.
        """
        self.compared = {one.uid: one for one in known if one.uid in self._originals}
        followed: list[Partition] = []
        try:
            await self._follow_sent(followed)
            await self._ask_rest()
            while self._in_flight:
                await self._some_end()
        finally:
            for at in followed:
                await self._log.unfollow(at)
        await self._events.landed(self._patience_s)
        return list(self.compared.values())

    # -- what was sent before

    async def _follow_sent(self, followed: list[Partition]) -> None:
        """Watch what this run has sent before, and then the answers from where it began."""
        sent = set[str]()
        for number in range(topics.CHAT_PARTITIONS):
            at = Partition(topics.CHAT_REQUESTS.name, number)
            span = Span(at, self._run.end_of(at), (await self._log.bounds(at)).end)
            async for page in records(self._log, span):
                sent |= {uid for record in page if (uid := self._sent(record)) is not None}
        self._in_flight = len(sent)
        self._left = [uid for uid in self._originals if uid not in sent and uid not in self.compared]
        for number in range(topics.CHAT_PARTITIONS):
            at = Partition(topics.CHAT_CHUNKS.name, number)
            await self._log.follow(at, self._run.end_of(at), self._answered.take)
            followed.append(at)

    def _sent(self, record: Record) -> str | None:
        """The uid of a request that this run has sent and that it knows no end of."""
        uid = (record.key or b"").decode(errors="replace")
        if uid not in self._originals or uid in self.compared:
            return None
        try:
            request = requests.decode(record.value)
        except MalformedRecordError:
            return None
        if request.replay != self._run.id:
            return None
        self._watch(request)
        return uid

    def _watch(self, request: ChatRequest) -> None:
        self._answered.watch(replace(request, body={"model": request.body.get("model")}))

    # -- asking

    async def _ask_rest(self) -> None:
        pause_s = 1 / self._plan.rate if self._plan.rate else 0.0
        due_at = time.monotonic()
        for uid in self._left:
            while self._in_flight >= self._plan.concurrency:
                await self._some_end()
            await asyncio.sleep(max(0.0, due_at - time.monotonic()))
            due_at = max(due_at + pause_s, time.monotonic() - CATCH_UP_S)
            await self._ask(uid, self._originals[uid])

    async def _ask(self, uid: str, original: Original) -> None:
        at = Partition(topics.CHAT_CHUNKS.name, partition_for(uid.encode(), topics.CHAT_PARTITIONS))
        body = await self._surely(lambda: self._body(original))
        chunks_from = await self._surely(lambda: self._log.bounds(at))
        request = again(original.request, body, uid=uid, run=self._run, plan=self._plan, chunks_from=chunks_from.end)
        self._in_flight += 1
        self._watch(request)
        value = requests.encode(request)
        await self._surely(lambda: self._log.append(topics.CHAT_REQUESTS.name, at.partition, request.key, value))
        details = {"chunks_from": request.chunks_from, "prompt_chars": prompt_chars(request.body)}
        self._traces.emit(request, Happening.ACCEPTED, details)

    async def _body(self, original: Original) -> Json:
        """What the request says: read again, for all of them would not fit into memory."""
        place = original.place
        found = await self._log.read(place.at, place.offset, limit=1)
        if not found or found[0].offset != place.offset:
            raise GoneError(
                f"topic {place.at.topic}: offset {place.offset} of partition {place.at.partition} is gone, "
                "retention has taken it since the run was started"
            )
        return requests.decode(found[0].value).body

    async def _surely(self, call: Callable[[], Awaitable[T]]) -> T:
        """Ask the log until it answers, for as long as patience lasts: twice does no harm."""
        since = time.monotonic()
        while True:
            try:
                return await call()
            except LogRefusedError:
                raise
            except LogError as error:
                if time.monotonic() - since > self._patience_s:
                    raise UnfinishedError(f"the log has not answered for {self._patience_s:g} s: {error}") from None
                await asyncio.sleep(RETRY_S)

    # -- ends

    async def _some_end(self) -> None:
        """Wait until something has ended.

        Raises:
            UnfinishedError: nothing has, for too long.
        """
        self._ended.clear()
        try:
            async with asyncio.timeout(self._patience_s):
                await self._ended.wait()
        except TimeoutError:
            raise UnfinishedError(
                f"no answer for {self._patience_s:g} s, {self._in_flight} are waited for: is a worker running?"
            ) from None

    def _end(self, request: ChatRequest, ended: Ended) -> None:
        original = self._originals[request.uid]
        compared = compare(request, original, ended, texts=self._plan.texts)
        self.compared[request.uid] = compared
        self._events.emit(told(self._run, compared), request.tenant, event_id=told_id(self._run, compared))
        self._in_flight -= 1
        self._ended.set()
        self._on_end(compared, self._in_flight)


def again(original: ChatRequest, body: Json, *, uid: str, run: Run, plan: Plan, chunks_from: int) -> ChatRequest:
    """A request as a run asks it: nobody waits for its answer, so it may be said anew, and may take its time."""
    asked = body if plan.model is None else {**body, "model": plan.model}
    return ChatRequest(
        uid=uid,
        event_id=derived_id("replay", run.id, original.event_id),
        tenant=original.tenant,
        ingress=Ingress.REPLAY,
        accepted_at=utc_iso(),
        body=asked,
        fingerprint=requests.fingerprint(asked),
        stream=False,
        username=original.username,
        chunks_from=chunks_from,
        on_disconnect=OnDisconnect.CONTINUE,
        traceparent=str(mint()),
        replay=run.id,
        replay_of=original.uid,
    )


def told(run: Run, compared: Compared) -> ReplayCompared:
    """A pair as an event."""
    return ReplayCompared(run=run.id, **compared.as_json())


def told_id(run: Run, compared: Compared) -> str:
    """The event's id: the same whoever tells it."""
    return derived_id("replay.compared", run.id, compared.uid)


def compare(replayed: ChatRequest, original: Original, ended: Ended, *, texts: bool) -> Compared:
    """A pair."""
    before = original.ended
    if before is None:
        raise RuntimeError("compared before its end was looked for")
    left, right = before.text, ended.text
    return Compared(
        uid=replayed.uid,
        replay_of=original.request.uid,
        tenant=replayed.tenant,
        original=before.outcome,
        replay=ended.outcome,
        similarity=likeness(left, right) if left and right else None,
        identical=left == right,
        original_text=left if texts else None,
        replay_text=right if texts else None,
    )
