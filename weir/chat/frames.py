"""Frames: the records of chat-chunks.

One record is one frame. Token frames carry OpenAI chunk objects; marks name the worker that generates, show that it is
alive, tell a second submission of the same uid where the answer is, and record how the request ended.

    begin      a first attempt asks for the request           compare-and-set on ``after``
    takeover   a later attempt goes on where the answer stands compare-and-set on ``after``
    restart    a later attempt says the answer again           compare-and-set on ``after``
    chunks     tokens; ``seq`` numbers the first of them
    heartbeat  the attempt is alive though it writes no tokens
    handoff    the attempt is over, and its worker is leaving: another worker may go on at once
    attach     submission ``submission`` has the same body: its answer starts at offset ``first`` or later, and was over
               before it if ``ended``
    conflict   submission ``submission`` has another body under the same uid
    delivered  submission ``submission`` has its whole answer in ``queue`` of RabbitMQ
    reader     the reader ``submission`` is there now, or not any more (``present``)
    terminal   how the request ended; the first that counts is final. From its attempt; a cancelled or expired one,
               where the client does not want the answer any more, from any writer
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from weir import envelope, limits
from weir.envelope import Json, MalformedRecordError


class FrameKind(StrEnum):
    """The kind of a frame."""

    BEGIN = "begin"
    TAKEOVER = "takeover"
    RESTART = "restart"
    CHUNKS = "chunks"
    HEARTBEAT = "heartbeat"
    HANDOFF = "handoff"
    ATTACH = "attach"
    CONFLICT = "conflict"
    DELIVERED = "delivered"
    READER = "reader"
    TERMINAL = "terminal"


CLAIMS = frozenset({FrameKind.BEGIN, FrameKind.TAKEOVER, FrameKind.RESTART})
"""Marks by which an attempt claims a request."""

ASIDE = frozenset({FrameKind.ATTACH, FrameKind.CONFLICT, FrameKind.DELIVERED, FrameKind.READER})
"""Marks about a submission or a reader; they change nothing about the answer."""


class Status(StrEnum):
    """How a request ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


"""Member of a choice, of a terminal and of the last RabbitMQ message whose finish_reason the model did not give:
``inferred``, or the name of the setting that stopped the answer."""

ANYBODY = ""
"""The rid of a cancelled or expired end whose writer does not know which submission of the uid came first."""

ENDED_WITHOUT_ATTEMPT = frozenset({Status.CANCELLED, Status.EXPIRED})
"""Ends that any writer may write: they need no attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """The end of a request."""

    status: Status
    finish_reason: str | None = None  # of choice 0
    weir_finish: str | None = None  # what set finish_reason, if the model did not: `inferred`, or the name of a limit
    usage: Json | None = None  # OpenAI's usage object, as the upstream counted
    error: Json | None = None  # OpenAI's error object plus `status`, the HTTP status it would have had
    timings: Json = field(default_factory=dict)  # milliseconds since the attempt began, by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One record of chat-chunks, decoded."""

    uid: str
    rid: str  # the event id of the first accepted record of this uid; ANYBODY if the writer does not know it
    kind: FrameKind
    attempt: str = ""  # one LLM call; "" for marks that belong to no attempt
    seq: int = 0  # number of the frame's first chunk within the answer
    chunks: list[Json] = field(default_factory=list)
    after: int = -1  # begin, takeover, restart: offset of the last counting record that the writer had folded
    fingerprint: str = ""  # begin, delivered: the fingerprint of the request's body
    # attach, conflict, delivered: the event id of the submission's record; reader: the reader's name
    submission: str = ""
    first: int = -1  # attach: no record about the answer is older than this offset
    ended: bool = False  # attach: the answer was over
    queue: str = ""  # delivered: the queue
    present: bool = False  # reader: whether the reader is there
    terminal: Terminal | None = None


def encode(frame: Frame, *, event_id: str, tenant: str) -> bytes:
    """Encode a frame as an event of now; empty fields are left out."""
    data: Json = {"uid": frame.uid, "rid": frame.rid, "mark": frame.kind}
    if frame.kind is FrameKind.CHUNKS:
        data = {"uid": frame.uid, "rid": frame.rid, "attempt": frame.attempt, "seq": frame.seq}
        data["chunks"] = frame.chunks
    elif frame.attempt:
        data["attempt"] = frame.attempt
        data["seq"] = frame.seq
    if frame.kind in CLAIMS:
        data["after"] = frame.after
        data["fingerprint"] = frame.fingerprint
    if frame.kind in ASIDE:
        data["submission"] = frame.submission
        data["first"] = frame.first
        if frame.ended:
            data["ended"] = True
    if frame.kind is FrameKind.DELIVERED:
        data["queue"] = frame.queue
        data["fingerprint"] = frame.fingerprint
    if frame.kind is FrameKind.READER:
        data["present"] = frame.present
    if frame.terminal is not None:
        data |= _terminal_fields(frame.terminal)
    return envelope.encode(event_id, f"chat.{frame.kind}", tenant, data)


def decode(value: bytes | None) -> Frame:
    """Decode a frame.

    Raises:
        MalformedRecordError: the record is not a frame.
    """
    data = envelope.decode(value).data
    try:
        kind = FrameKind(data.get("mark", FrameKind.CHUNKS))
        return Frame(
            uid=str(data["uid"]),
            rid=str(data["rid"]),
            kind=kind,
            attempt=str(data.get("attempt", "")),
            seq=int(data.get("seq", 0)),
            chunks=_chunks(data.get("chunks", [])),
            after=int(data.get("after", -1)),
            fingerprint=str(data.get("fingerprint", "")),
            submission=str(data.get("submission", "")),
            first=int(data.get("first", -1)),
            ended=bool(data.get("ended")),
            queue=str(data.get("queue", "")),
            present=bool(data.get("present")),
            terminal=_terminal(data) if kind is FrameKind.TERMINAL else None,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise MalformedRecordError(f"not a frame: {error}") from None


def _chunks(chunks: Any) -> list[Json]:
    if not isinstance(chunks, list) or not all(isinstance(chunk, dict) for chunk in chunks):
        raise TypeError("`chunks` is not an array of objects")
    return chunks


def _terminal_fields(terminal: Terminal) -> dict[str, Any]:
    """Return a terminal as a record holds it: cut, so that it always fits into one."""
    return {
        "status": terminal.status,
        "finish_reason": limits.name(terminal.finish_reason),
        **({} if terminal.weir_finish is None else {"weir_finish": limits.name(terminal.weir_finish)}),
        "usage": limits.small_object(terminal.usage),
        "error": _error(terminal.error),
        "timings": limits.small_object(terminal.timings),
    }


def _terminal(data: Json) -> Terminal:
    return Terminal(
        status=Status(data["status"]),
        # Cut here as well: a log may hold terminals that were written before there were limits.
        finish_reason=limits.name(data.get("finish_reason")),
        weir_finish=limits.name(data.get("weir_finish")),
        usage=limits.small_object(data.get("usage")),
        error=_error(data.get("error")),
        timings=limits.small_object(data.get("timings")) or {},
    )


def _error(error: Any) -> Json | None:
    return limits.error_object(error) if isinstance(error, dict) else None
