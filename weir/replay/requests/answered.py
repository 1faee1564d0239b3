"""Reads answers from chat-chunks as they come: of many requests in one pass, each until its end."""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from weir.chat.account import Account
from weir.chat.decoding import decode
from weir.chat.fold import Answer, fold
from weir.chat.frames import FrameKind
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


@dataclass(slots=True)
class _Open:
    request: ChatRequest  # of its body, only the model is kept
    answer: Answer
    notes: Notes = field(default_factory=Notes)


class Answered:
    """Folds records of chat-chunks for the requests that it watches.

    Args:
        prices: the prices of tokens.
        ended: called once for each request that has ended.
    """

    def __init__(self, prices: Prices, ended: Callable[[ChatRequest, EndedReplay], None]) -> None:
        self._prices, self._ended = prices, ended
        self._open: dict[bytes, _Open] = {}  # by key

    @property
    def open(self) -> int:
        """The number of requests that have not ended yet."""
        return len(self._open)

    def watch(self, request: ChatRequest) -> None:
        """Wait for the end of a request; earlier records about it are missed."""
        self._open[request.key] = _Open(request, Answer(rid=request.event_id))

    def accepted(self, request: ChatRequest) -> None:
        """Note that a watched request was accepted, at the time of its own record."""
        known = self._open.get(request.key)
        if known is not None:
            known.request = replace(request, body={"model": request.body.get("model")})

    def forget(self, uid: str) -> None:
        """Stop waiting for a request."""
        self._open.pop(uid.encode(), None)

    def take(self, records: Iterable[Record]) -> None:
        """Take the next records of any partition, in the order of each partition."""
        for record in records:
            known = self._open.get(record.key or b"")
            if known is not None and known.request.chunks_from <= record.offset:
                self._fold(known, record)

    def left(self) -> Iterable[tuple[ChatRequest, EndedReplay]]:
        """The requests that have not ended, each with its answer so far."""
        for known in self._open.values():
            begun = known.answer.attempts > 0
            outcome = AnswerOutcome(
                model=str(known.request.body.get("model")),
                status="running" if begun else "unknown",
                attempts=known.answer.attempts,
            )
            yield known.request, EndedReplay(outcome)

    def _fold(self, known: _Open, record: Record) -> None:
        frame = decode(record)
        if frame is None:
            return
        if frame.kind in {FrameKind.ATTACH, FrameKind.CONFLICT} and frame.submission == known.request.event_id:
            del self._open[known.request.key]
            outcome = AnswerOutcome(model=str(known.request.body.get("model")), status=REPEATED)
            self._ended(known.request, EndedReplay(outcome))
            return
        folded = fold(known.answer, record.offset, frame)
        if folded.answer.restarts > known.answer.restarts:
            known.notes = Notes()
        for chunk in folded.chunks:
            known.notes.add(chunk)
        known.answer = folded.answer
        if known.answer.terminal is not None:
            del self._open[known.request.key]
            self._ended(known.request, self._result(known, record.timestamp))

    def _result(self, known: _Open, ended_at: float) -> EndedReplay:
        terminal = known.answer.terminal
        if terminal is None:
            raise RuntimeError("ended without a terminal")
        account = Account(
            request=known.request,
            answer=known.answer,
            terminal=terminal,
            notes=known.notes,
            ended_at=ended_at,
            prices=self._prices,
        )
        text = said(known.notes)
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
