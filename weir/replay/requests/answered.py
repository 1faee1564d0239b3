"""Answers, read out of chat-chunks as they come: of many requests in one pass, each until its end."""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from weir.chat.account import Account
from weir.chat.decoding import decode
from weir.chat.fold import Answer, fold
from weir.chat.frames import Kind
from weir.chat.notes import Notes, Part
from weir.chat.requests import ChatRequest
from weir.llm.prices import Prices
from weir.log.log import Record
from weir.replay.report.comparison import Outcome

REPEATED: Final = "repeated"  # status of a submission that was answered with what an earlier one had got
TEXT_MAX: Final = 32_768  # characters of an answer that are kept, to compare it: some 8,000 tokens


@dataclass(frozen=True, slots=True)
class Ended:
    """How a request went, and what was said."""

    outcome: Outcome
    said: bytes = b""  # zlib

    @property
    def text(self) -> str:
        """The answer's first ``TEXT_MAX`` characters."""
        return zlib.decompress(self.said).decode() if self.said else ""


@dataclass(slots=True)
class _Open:
    request: ChatRequest  # of its body, the model is enough
    answer: Answer
    notes: Notes = field(default_factory=Notes)


class Answered:
    """Folds records of chat-chunks for the requests that it is told to watch.

    Args:
        prices: what tokens cost.
        ended: is told of each request that has ended, once.
    """

    def __init__(self, prices: Prices, ended: Callable[[ChatRequest, Ended], None]) -> None:
        self._prices, self._ended = prices, ended
        self._open: dict[bytes, _Open] = {}  # by key

    @property
    def open(self) -> int:
        """Requests that have not ended yet."""
        return len(self._open)

    def watch(self, request: ChatRequest) -> None:
        """Wait for the end of a request; records about it from before are missed."""
        self._open[request.key] = _Open(request, Answer(rid=request.event_id))

    def accepted(self, request: ChatRequest) -> None:
        """A request that is watched already was accepted: when, is told by its own record."""
        known = self._open.get(request.key)
        if known is not None:
            known.request = replace(request, body={"model": request.body.get("model")})

    def forget(self, uid: str) -> None:
        """Wait for it no more."""
        self._open.pop(uid.encode(), None)

    def take(self, records: Iterable[Record]) -> None:
        """The next records of any partition, in the order of each partition."""
        for record in records:
            known = self._open.get(record.key or b"")
            if known is not None and known.request.chunks_from <= record.offset:
                self._fold(known, record)

    def left(self) -> Iterable[tuple[ChatRequest, Ended]]:
        """Those that have not ended, as far as they have come."""
        for known in self._open.values():
            begun = known.answer.attempts > 0
            outcome = Outcome(
                model=str(known.request.body.get("model")),
                status="running" if begun else "unknown",
                attempts=known.answer.attempts,
            )
            yield known.request, Ended(outcome)

    def _fold(self, known: _Open, record: Record) -> None:
        frame = decode(record)
        if frame is None:
            return
        if frame.kind in {Kind.ATTACH, Kind.CONFLICT} and frame.submission == known.request.event_id:
            del self._open[known.request.key]
            outcome = Outcome(model=str(known.request.body.get("model")), status=REPEATED)
            self._ended(known.request, Ended(outcome))
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

    def _result(self, known: _Open, ended_at: float) -> Ended:
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
        outcome = Outcome(
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
        return Ended(outcome, zlib.compress(text[:TEXT_MAX].encode("utf-8", "replace"), 1))


def said(notes: Notes) -> str:
    """What an answer says, without its thoughts: its text, and the functions it calls."""
    parts = [
        f"{passage.tool or ''}({passage.text})" if passage.part is Part.TOOL else passage.text
        for passage in notes.passages
        if passage.part is not Part.THOUGHT
    ]
    return "\n".join(parts)
