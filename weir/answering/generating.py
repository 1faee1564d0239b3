"""Runs one attempt at an answer: calls the LLM, writes its frames, and reads the log meanwhile."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from weir.answering.calling import call_of
from weir.answering.continuing import Continuation, ContinuationPlan, spoken
from weir.answering.errors import INTERNAL_ERROR
from weir.answering.frame_writer import FrameWriter
from weir.answering.heard import Heard
from weir.answering.marks import Attempt
from weir.answering.rules import Rules
from weir.answering.view import View
from weir.chat.fold import Answer
from weir.chat.frames import FrameKind, Status, Terminal
from weir.chat.requests import ChatRequest
from weir.envelope import Json
from weir.llm.calls import Call
from weir.llm.choices import cut_off
from weir.llm.errors import AnswerTooLongError, UpstreamError, UpstreamUnavailableError
from weir.log.log import LogError, Partition, value_max_bytes
from weir.telemetry.tracing import tracing
from weir.worker import Worker

logger = logging.getLogger(__name__)

HANDOFF_S = 3.0  # for closing an attempt that does not end on this worker


class Model(Protocol):
    """The source of answers: ``weir.llm.upstream.Upstream`` or a stand-in."""

    def stream(self, body: Json, call: Call) -> AsyncGenerator[Json, None]:
        """Yield the chunk objects of one answer; raises UpstreamError."""


class Generating:
    """Generates answers, or the rest of them; each call of `run` is one attempt."""

    def __init__(
        self,
        worker: Worker,
        *,
        model: Model,
        rules: Rules,
    ) -> None:
        self._worker, self._log = worker, worker.log
        self._model = model
        self._rules = rules

    async def run(self, request: ChatRequest, at: Partition, view: View, attempt: Attempt, *, give_up: bool) -> None:
        """Call the LLM, and read along until the terminal, or until another worker has taken over.

        Args:
            request: the request.
            at: the partition of chat-chunks that holds its answer.
            view: the request as the log has it; it is read on.
            attempt: the attempt, whose mark counts.
            give_up: whether to end the request as failed without a call.

        Raises:
            LogError: the chunks may or may not be in the log.
        """
        writer = FrameWriter(
            lambda value: self._log.append(at.topic, at.partition, request.key, value),
            request,
            view.answer.rid,
            attempt.id,
            view.answer.next_seq,
            max_bytes=min(self._rules.frame_max_bytes, value_max_bytes(self._log, at.topic, request.key)),
        )
        speaking = asyncio.create_task(
            self._speak(request, view, writer, attempt, give_up), name=f"speak-{request.uid}"
        )
        watching = asyncio.create_task(self._watch(view, attempt.id, writer), name=f"watch-{request.uid}")
        try:
            await asyncio.wait({speaking, watching, writer.failed}, return_when=asyncio.FIRST_COMPLETED)
            if not watching.done():
                writer.check()  # raises LogError: everything is in doubt, and the rest of the LLM's output is lost
                speaking.result()
                async with asyncio.timeout(self._rules.read_back_s):
                    await asyncio.wait({watching})
            watching.result()
        except TimeoutError:
            raise LogError(f"the terminal in {at.topic} {at.partition} cannot be read back") from None
        except asyncio.CancelledError:
            if self._worker.draining:
                await _stop(speaking)
                await self._hand_off(request, writer)
            raise
        finally:
            await _stop(speaking, watching)

    async def _hand_off(self, request: ChatRequest, writer: FrameWriter) -> None:
        """Close the attempt after its chunks. Where that fails, the next owner waits for the lease."""
        try:
            async with asyncio.timeout(HANDOFF_S):
                await writer.hand_off()
            self._worker.metrics.attempted(FrameKind.HANDOFF, replay=request.replay is not None)
        except (LogError, UpstreamError, TimeoutError) as error:
            logger.warning("request %s: not handed off: %s: %s", request.uid, type(error).__name__, error)

    async def _watch(self, view: View, attempt: str, writer: FrameWriter) -> None:
        """Read along until the terminal, or until another worker has taken over; send heartbeats meanwhile."""
        beat_s = self._rules.lease_s / 3
        while view.answer.attempt == attempt and view.answer.terminal is None and not view.answer.closed:
            await view.wait(beat_s)
            if time.monotonic() - writer.wrote_at >= beat_s:
                writer.beat()

    async def _speak(
        self, request: ChatRequest, view: View, writer: FrameWriter, attempt: Attempt, give_up: bool
    ) -> None:
        """Make one LLM call, and write its output from the first chunk to the terminal frame.

        Raises:
            LogError: the chunks may or may not be in the log.
        """
        before, does = view.answer, attempt.does
        heard = Heard(before, attempt.notes)
        try:
            if give_up:
                terminal = heard.terminal({**INTERNAL_ERROR, "status": 500})
            else:
                await self._call(request, view, writer, heard, does)
                terminal = heard.terminal(does.error)
        except UpstreamUnavailableError as error:
            if self._can_go_on(before, heard):
                logger.warning("request %s: continues with a new call: %s", request.uid, error)
                unwritable = await self._close(request, writer)
                if unwritable is None:
                    return
                terminal = heard.terminal(unwritable.terminal_error)
            else:
                terminal = heard.terminal(error.terminal_error)
        except UpstreamError as error:
            terminal = heard.terminal(error.terminal_error)
        except LogError:
            raise
        except Exception:
            logger.exception("request %s: a defect in answering", request.uid)
            terminal = heard.terminal({**INTERNAL_ERROR, "status": 500})
        try:
            await writer.end(terminal)
        except UpstreamError as error:  # the terminal's content cannot be written, so a bare one is
            await writer.end(Terminal(status=Status.FAILED, error=error.terminal_error))

    async def _close(self, request: ChatRequest, writer: FrameWriter) -> UpstreamError | None:
        """Close the attempt, so that another one can continue; return the error of a chunk too large for any record.

        Raises:
            LogError: the attempt may not be closed.
        """
        try:
            await writer.hand_off()
        except UpstreamError as error:
            return error
        self._worker.metrics.attempted(FrameKind.HANDOFF, replay=request.replay is not None)
        return None

    def _can_go_on(self, before: Answer, heard: Heard) -> bool:
        """Whether another call may continue an answer that broke off here."""
        without = {Continuation.RESTART, Continuation.FAIL}
        return heard.began and before.attempts < self._rules.attempts_max and self._rules.continuation not in without

    async def _call(
        self, request: ChatRequest, view: View, writer: FrameWriter, heard: Heard, does: ContinuationPlan
    ) -> None:
        """Call the LLM, unless only the terminal is missing, and write what it generates."""
        if does.body is None:
            return
        self._check_attempts(view.answer)
        how, said = call_of(request, self._rules.calls, view), view.answer.next_seq
        with tracing.call(request.traceparent, does.body, does.kind) as call:
            try:
                async with aclosing(spoken(does, self._model.stream(does.body, how))) as chunks:
                    async for chunk in chunks:
                        await writer.say(chunk)
                        heard.chunk(chunk)
                        call.chunk(chunk)
            except AnswerTooLongError as error:
                if not said:
                    raise
                end = cut_off(error.limit, str(request.body.get("model")))
                await writer.say(end)
                heard.chunk(end)
        await writer.flush()

    def _check_attempts(self, before: Answer) -> None:
        if before.attempts > self._rules.attempts_max:
            raise UpstreamError(
                f"given up after {self._rules.attempts_max} attempts",
                status=500,
                kind="server_error",
                code="too_many_attempts",
            )


async def _stop(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
