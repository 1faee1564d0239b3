"""Replays requests: each is sent again as a new one, once, and compared with its original when it has ended.

A replayed request has a uid and an event id that are made from the run's and the original's. So a run that was killed
between two records goes on where it was, and a request that it may have sent already is the same request, however often
it is sent: the worker that owns it answers it once. The progress of a run is in the log: its requests in chat-requests,
their answers in chat-chunks, and the pairs in chat-replay-results. All three are followed from where the run began, so
two processes that carry out one run see each other's requests, and share the work.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from weir import topics
from weir.chat import requests
from weir.chat.kafka_door import request_in
from weir.chat.lifecycle import Happening
from weir.chat.requests import ChatRequest
from weir.chat.thinking import prompt_chars
from weir.chat.traces import Traces
from weir.envelope import Json, utc_iso
from weir.events.publishing import Events
from weir.llm.prices import Prices
from weir.log.log import LogClient, LogError, LogRefusedError, LogReplacedError, Partition, partition_of, record_at
from weir.log.retrying import until_answered
from weir.ranges.errors import CancelledRunError, GoneError, UnfinishedError
from weir.replay.report.comparison import AnswerOutcome, Compared
from weir.replay.requests.answered import Answered, EndedReplay
from weir.replay.requests.following import Following
from weir.replay.requests.pairs import compare, event_id_of, event_of
from weir.replay.requests.plans import plan_from
from weir.replay.requests.replayed import again, replay_uid
from weir.replay.requests.selecting import Original
from weir.replay.runs import Run
from weir.settings import Settings

T = TypeVar("T")

CATCH_UP_S: Final = 1.0  # of the time that a rate was missed for; more would be a burst


class Follower(Protocol):
    """Called with the progress of a run, at each end of a request."""

    def __call__(self, compared: Compared, in_flight: int) -> None:
        """Take the pair of a request that has ended."""


class RequestReplay:
    """Carries out one run; several processes may do so.

    Args:
        log: the log with requests and answers.
        events: the publisher of results.
        traces: the publisher of the requests' lifecycle.
        prices: the prices of tokens.
        run: the run, with its plan.
        originals: the requests to replay, in order.
        patience_s: how long the run waits without any end before it is given up; it can be resumed.
        on_end: called at each end. Must not raise.
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
        settings: Settings,
    ) -> None:
        self._log, self._events, self._traces = log, events, traces
        self._run, self._plan = run, plan_from(run.parameters)
        self._originals = {replay_uid(run.id, one.request): one for one in originals}
        self._patience_s, self._on_end, self._settings = patience_s, on_end, settings
        self._answered = Answered(prices, self._end)
        self._sent: set[str] = set()  # uids in the topic, or on their way to it
        self._flying: set[str] = set()  # those of them that have not ended
        self._news = asyncio.Event()  # set when a request has ended since the last look
        self._withdrawn = asyncio.Event()
        self.compared: dict[str, Compared] = {}  # by uid of the replay

    async def run(self, known: Iterable[Compared]) -> list[Compared]:
        """Send the requests that were not sent yet, and wait for all ends.

        Args:
            known: pairs that the run has published before it was stopped.

        Raises:
            UnfinishedError: no request has ended for ``patience_s``.
            CancelledRunError: the run was cancelled.
            LogError: the log refuses.
        """
        self.compared = {one.uid: one for one in known}
        self._watch_open()
        following = Following(
            self._log,
            self._run,
            self._originals,
            on_request=self._is_sent,
            on_answers=self._answered.take,
            on_cancelled=self._cancelled,
        )
        try:
            await following.start()
            await self._ask_rest()
            while self._flying:
                await self._some_end()
        finally:
            await following.stop()
        await self._events.landed(self._patience_s)
        return list(self.compared.values())

    # -- the log

    def _watch_open(self) -> None:
        """Wait for the ends of all requests without one."""
        for uid, original in self._originals.items():
            if uid not in self.compared:
                body = {"model": self._plan.model or original.request.body.get("model")}
                chunks_from = self._run.end_of(self._place(topics.CHAT_CHUNKS.name, uid))
                self._answered.watch(
                    again(original.request, body, run=self._run, plan=self._plan, chunks_from=chunks_from)
                )

    def _cancelled(self) -> None:
        self._withdrawn.set()
        self._news.set()

    def _is_sent(self, uid: str, request: ChatRequest) -> None:
        if uid in self._sent:
            return  # the first record tells when it was accepted
        self._sent.add(uid)
        if uid not in self.compared:
            self._flying.add(uid)
            self._answered.accepted(request)

    # -- asking

    async def _ask_rest(self) -> None:
        pause_s = 1 / self._plan.rate if self._plan.rate else 0.0
        due_at = time.monotonic()
        for uid, original in self._originals.items():
            if uid in self._sent or uid in self.compared:
                continue
            while len(self._flying) >= self._plan.concurrency:
                await self._some_end()
            await self._pause(due_at)
            due_at = max(due_at + pause_s, time.monotonic() - CATCH_UP_S)
            if uid not in self._sent:  # by another process, meanwhile
                await self._ask(uid, original)

    async def _pause(self, until: float) -> None:
        """Wait for the turn of the next request; cancelling a run does not wait for it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._withdrawn.wait()
        self._check_withdrawn()

    async def _ask(self, uid: str, original: Original) -> None:
        try:
            request = await self._again(original)
        except GoneError:
            self._answered.forget(uid)
            unknown = EndedReplay(AnswerOutcome(model=str(original.request.body.get("model")), status="unknown"))
            self._tell(compare(uid, original, unknown, texts=False))
            return
        self._is_sent(uid, request)
        await self._send(request)
        details = {"chunks_from": request.chunks_from, "prompt_chars": prompt_chars(request.body)}
        self._traces.emit(request, Happening.ACCEPTED, details)

    async def _again(self, original: Original) -> ChatRequest:
        body = await self._surely(lambda: self._body(original))
        at = self._place(topics.CHAT_CHUNKS.name, replay_uid(self._run.id, original.request))
        topic_id = await self._surely(lambda: self._log.topic_id(at.topic))
        chunks_from = (await self._surely(lambda: self._log.bounds(at))).end
        request = again(
            original.request, body, run=self._run, plan=self._plan, chunks_from=chunks_from, accepted_at=utc_iso()
        )
        return replace(request, chunks_topic_id=topic_id)

    async def _send(self, request: ChatRequest) -> None:
        at, value = self._place(topics.CHAT_REQUESTS.name, request.uid), requests.encode(request)
        await self._surely(lambda: self._log.append(*at, request.key, value, requests.ACCEPTED))

    async def _body(self, original: Original) -> Json:
        """The body of a request: read again, for all bodies would not fit into memory.

        Raises:
            GoneError: retention has removed it since the run was started.
        """
        place = original.place
        record = await record_at(self._log, place.at, place.offset)
        if record is None:
            raise GoneError(f"topic {place.at.topic}: offset {place.offset} of {place.at.partition} is gone")
        return request_in(record, self._settings).body

    async def _surely(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call until the log answers, within ``patience_s``: making it twice does no harm."""
        try:
            return await until_answered(call, limit_s=self._patience_s)
        except (LogRefusedError, LogReplacedError):
            raise
        except LogError as error:
            raise UnfinishedError(f"the log has not answered for {self._patience_s:g} s: {error}") from None

    # -- ends

    async def _some_end(self) -> None:
        """Wait until a request has ended.

        In the middle of a long silence, requests in flight are sent again, which is harmless: a worker of a version
        without replays may have dropped them.

        Raises:
            UnfinishedError: none has ended for too long.
            CancelledRunError: the run was cancelled.
        """
        self._news.clear()
        self._check_withdrawn()
        if await self._heard(self._patience_s / 2):
            return
        for uid in sorted(self._flying):
            await self._ask_anew(uid)
        if not await self._heard(self._patience_s / 2):
            raise UnfinishedError(
                f"no answer for {self._patience_s:g} s, {len(self._flying)} are waited for: is a worker running?"
            )

    async def _heard(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            return False
        self._check_withdrawn()
        return True

    async def _ask_anew(self, uid: str) -> None:
        try:
            request = await self._again(self._originals[uid])
        except GoneError:
            return
        if uid in self._flying:
            await self._send(request)

    def _check_withdrawn(self) -> None:
        if self._withdrawn.is_set():
            raise CancelledRunError(f"run {self._run.id} was cancelled")

    def _end(self, request: ChatRequest, ended: EndedReplay) -> None:
        """Take an end; its request may be of another process, with a record that has not been read yet."""
        self._sent.add(request.uid)
        self._tell(compare(request.uid, self._originals[request.uid], ended, texts=self._plan.texts))

    def _place(self, topic: str, uid: str) -> Partition:
        return partition_of(self._log, topic, uid.encode())

    def _tell(self, pair: Compared) -> None:
        self.compared[pair.uid] = pair
        self._events.emit(event_of(self._run, pair), pair.tenant, event_id=event_id_of(self._run, pair))
        self._flying.discard(pair.uid)
        self._news.set()
        self._on_end(pair, len(self._flying))
