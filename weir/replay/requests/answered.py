"""Reads answers from chat-chunks as they come: of many requests in one pass, each until its end."""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from weir.chat.account import Account
from weir.chat.collecting import Awaited, Awaiting
from weir.chat.notes import Notes, Part
from weir.chat.requests import ChatRequest
from weir.llm.prices import Prices
from weir.log.log import Record
from weir.replay.report.comparison import AnswerOutcome

REPEATED: Final = "repeated"  # status of a submission that got the answer of an earlier one
TEXT_MAX: Final = 32_768  # characters of an answer that are kept for comparison: some 8,000 tokens


@dataclass(frozen=True, slots=True)
class EndedReplay:
    """The result of a request, with the answer."""

    outcome: AnswerOutcome
    said: bytes = b""  # zlib

    @property
    def text(self) -> str:
        """The answer's first ``TEXT_MAX`` characters."""
        return zlib.decompress(self.said).decode() if self.said else ""


class Answered:
    """Folds records of chat-chunks for the requests that it watches.

    Args:
        prices: the prices of tokens.
        ended: called once for each request that has ended.
    """

    def __init__(self, prices: Prices, ended: Callable[[ChatRequest, EndedReplay], None]) -> None:
        self._prices, self._ended = prices, ended
        self._awaiting = Awaiting(lambda _: Notes())

    @property
    def open(self) -> int:
        """The number of requests that have not ended yet."""
        return len(self._awaiting)

    def watch(self, request: ChatRequest) -> None:
        """Wait for the end of a request, whose body may hold only its model; earlier records about it are missed."""
        self._awaiting.watch(request, request.chunks_from)

    def accepted(self, request: ChatRequest) -> None:
        """Note that a watched request was accepted, at the time of its own record."""
        for known in self._awaiting.of(request.key):
            known.request = replace(request, body={"model": request.body.get("model")})
            known.start = request.chunks_from

    def forget(self, uid: str) -> None:
        """Stop waiting for a request."""
        for known in self._awaiting.of(uid.encode()):
            self._awaiting.forget(known)

    def take(self, records: Iterable[Record]) -> None:
        """Take the next records of any partition, in the order of each partition."""
        for record in records:
            for known in self._awaiting.take(record):
                self._ended(known.request, self._result(known))

    def left(self) -> Iterable[tuple[ChatRequest, EndedReplay]]:
        """The requests that have not ended, each with its answer so far."""
        for known in self._awaiting:
            begun = known.answer.attempts > 0
            outcome = AnswerOutcome(
                model=str(known.request.body.get("model")),
                status="running" if begun else "unknown",
                attempts=known.answer.attempts,
            )
            yield known.request, EndedReplay(outcome)

    def _result(self, known: Awaited[Notes]) -> EndedReplay:
        terminal = known.answer.terminal
        if terminal is None:  # another submission has the answer
            return EndedReplay(AnswerOutcome(model=str(known.request.body.get("model")), status=REPEATED))
        account = Account(
            request=known.request,
            answer=known.answer,
            terminal=terminal,
            notes=known.said,
            ended_at=known.ended_at,
            prices=self._prices,
        )
        text = said(known.said)
        outcome = AnswerOutcome(
            model=account.model,
            status=account.status.value,
            finish_reason=terminal.finish_reason,
            error_code=account.error_code,
            attempts=known.answer.attempts,
            latency_ms=account.latency_ms,
            ttft_ms=account.ttft_ms,
            input_tokens=account.tokens.input,
            output_tokens=account.tokens.output,
            cost_usd=account.cost_usd,
            chars=len(text),
        )
        return EndedReplay(outcome, zlib.compress(text[:TEXT_MAX].encode("utf-8", "replace"), 1))


def said(notes: Notes) -> str:
    """The content of an answer without its thinking: its text, and the functions that it calls."""
    parts = [
        f"{passage.tool or ''}({passage.text})" if passage.part is Part.TOOL else passage.text
        for passage in notes.passages
        if passage.part is not Part.THOUGHT
    ]
    return "\n".join(parts)
