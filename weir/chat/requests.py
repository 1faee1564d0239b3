"""An accepted request: the record of chat-requests."""

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from weir import envelope, limits, topics
from weir.envelope import Event, Json, MalformedRecordError, new_id
from weir.events.ingress import Ingress
from weir.log.log import Headers, LogClient, Partition, partition_of
from weir.options import ThinkTags
from weir.telemetry import traceparent

EVENT_TYPE = "chat.requested"

# Weir's own fields in a client's body; the LLM never sees them.
OWN_FIELDS = frozenset({"uid", "username", "on_disconnect", "deadline_s", "cancel"})

THINK_TAGS_HEADER = "X-Think-Tags"
"""Of an HTTP request or a RabbitMQ message: what becomes of ``<think>`` tags in its answer."""

# How the client wants to read the answer, which is not what the LLM is asked.
READING_FIELDS = frozenset({"stream", "stream_options"})

_MINTED = re.compile(r"req-[0-9a-f]{32}")

ACCEPTED: Headers = (("weir-accepted", b"1"),)
"""Headers of a record whose request was checked by the door that wrote it, or sent again by Weir."""

OFFSET_MAX = 2**63 - 1  # of Kafka; no JSON that is written here has a larger number


class OnDisconnect(StrEnum):
    """What becomes of a request when its last reader has left."""

    AUTO = "auto"  # one of the others, by whether its client can find the answer again; no record has it
    CONTINUE = "continue"
    CANCEL = "cancel"  # after a time of grace

    def resolved(self, *, findable: bool) -> "OnDisconnect":
        """The value that a record keeps. ``findable``: the client has a name for its request, or no connection."""
        if self is not OnDisconnect.AUTO:
            return self
        return OnDisconnect.CONTINUE if findable else OnDisconnect.CANCEL


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One submission of a request."""

    uid: str
    event_id: str  # of this submission; the first one's is the request's ``rid``
    tenant: str
    ingress: Ingress
    accepted_at: str  # ISO 8601, UTC
    body: Json  # what the LLM gets
    fingerprint: str  # of the body: two submissions of one uid must agree on it
    stream: bool  # the client wants tokens as they come
    username: str | None = None
    chunks_from: int = 0  # end of its chat-chunks partition before it was published: nothing about it is older
    chunks_topic_id: str = ""  # of the chat-chunks that this is an offset of; empty: not known
    priority: int = 0  # a higher one is more urgent
    deadline: str | None = None  # ISO 8601, UTC: after it, the client does not want the answer
    on_disconnect: OnDisconnect = OnDisconnect.CONTINUE
    think_tags: ThinkTags | None = None  # what becomes of <think> tags; None: as the worker that asks has it
    traceparent: str | None = None  # W3C Trace Context: what all that is done for it is part of
    replay: str | None = None  # the run that asks it again: no client waits for the answer, and nothing of it leaves
    replay_of: str | None = None  # the uid of its original
    redriven: tuple[Json, ...] = ()  # how it came back from the dead letters, newest last: run, letter, at, reason, rid

    @property
    def key(self) -> bytes:
        """The record's key, in all topics around this request."""
        return self.uid.encode()

    @property
    def replaces(self) -> str | None:
        """Of one that came back from the dead letters: the submission whose end its own is to replace."""
        rid = self.redriven[-1].get("rid") if self.redriven else None
        return rid if isinstance(rid, str) else None

    @property
    def session_id(self) -> str | None:
        """The client's session, where OpenAI's ``metadata`` names one."""
        metadata = self.body.get("metadata")
        session = metadata.get("session_id") if isinstance(metadata, dict) else None
        return limits.cut(session) if isinstance(session, str) else None

    @property
    def include_usage(self) -> bool:
        """Whether the client asked for the usage chunk."""
        return bool((self.body.get("stream_options") or {}).get("include_usage"))


def mint_uid() -> str:
    """A uid for a request that its client has not named."""
    return new_id("req")


def is_minted(uid: str) -> bool:
    """Whether a uid was made by a door. A client that brings it sends such a request again, or repeats its uid."""
    return _MINTED.fullmatch(uid) is not None


def chunks_of(log: LogClient, uid: str) -> Partition:
    """The partition of chat-chunks where the answer to a request stands."""
    return partition_of(log, topics.CHAT_CHUNKS.name, uid.encode())


def fingerprint(body: Json) -> str:
    """A digest of what the LLM is asked: not of the order of fields, nor of how the client wants to read the answer."""
    asked = {key: value for key, value in body.items() if key not in READING_FIELDS}
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def upstream_body(body: Json, default_model: str) -> Json:
    """The client's body without Weir's own fields, with a model."""
    rest = {key: value for key, value in body.items() if key not in OWN_FIELDS}
    rest["model"] = body.get("model") or default_model
    return rest


def encode(request: ChatRequest) -> bytes:
    """The request as an event."""
    data: dict[str, Any] = {
        "uid": request.uid,
        "ingress": request.ingress,
        "accepted_at": request.accepted_at,
        "stream": request.stream,
        "username": request.username,
        "chunks_from": request.chunks_from,
        "fingerprint": request.fingerprint,
        "body": request.body,
    }
    if request.chunks_topic_id:
        data["chunks_topic_id"] = request.chunks_topic_id
    if request.priority:
        data["priority"] = request.priority
    if request.deadline is not None:
        data["deadline"] = request.deadline
    if request.on_disconnect is not OnDisconnect.CONTINUE:
        data["on_disconnect"] = request.on_disconnect
    if request.think_tags is not None:
        data["think_tags"] = request.think_tags
    if request.traceparent is not None:
        data["traceparent"] = request.traceparent
    if request.replay is not None:
        data["replay"] = request.replay
        data["replay_of"] = request.replay_of
    if request.redriven:
        data["redriven"] = request.redriven
    return envelope.encode(request.event_id, EVENT_TYPE, request.tenant, data)


def is_accepted(headers: Headers) -> bool:
    """Whether a record of chat-requests says that its request was checked before it was written."""
    return ACCEPTED[0] in headers


def decode(value: bytes | None) -> ChatRequest:
    """Read a request.

    Raises:
        MalformedRecordError: the record is no request; the message names what is missing.
    """
    return read(envelope.decode(value))


def read(event: Event) -> ChatRequest:
    """The request of an event.

    Raises:
        MalformedRecordError: it is none; the message names what is missing.
    """
    data = event.data
    if event.event_type != EVENT_TYPE:
        raise MalformedRecordError(f"event_type is {event.event_type!r}, not {EVENT_TYPE!r}")
    if not isinstance(data.get("body"), dict):
        raise MalformedRecordError("`data.body` is not an object")
    if data.get("ingress") == Ingress.CLI:
        raise MalformedRecordError("`data.ingress` is cli, and no request comes through a command")
    place = traceparent.parse(data.get("traceparent"))  # of a Kafka client, who may write anything
    try:
        request = ChatRequest(
            uid=str(_given(data, "uid")),
            event_id=event.event_id,
            tenant=event.tenant_id,
            ingress=Ingress(data.get("ingress", Ingress.KAFKA)),
            accepted_at=str(data.get("accepted_at") or event.timestamp),
            body=_without_own_fields(data["body"]),
            fingerprint=str(data.get("fingerprint") or fingerprint(data["body"])),
            stream=bool(data.get("stream")),
            username=None if data.get("username") is None else str(data["username"]),
            chunks_from=offset_in(data, "chunks_from", 0),
            chunks_topic_id=str(data.get("chunks_topic_id") or ""),
            priority=_priority(data.get("priority", 0)),
            deadline=None if data.get("deadline") is None else str(data["deadline"]),
            on_disconnect=OnDisconnect(data.get("on_disconnect") or OnDisconnect.AUTO).resolved(findable=True),
            think_tags=None if data.get("think_tags") is None else ThinkTags(data["think_tags"]),
            traceparent=None if place is None else str(place),
            replay=None if data.get("replay") is None else str(data["replay"]),
            replay_of=None if data.get("replay_of") is None else str(data["replay_of"]),
            redriven=_history(data.get("redriven", [])),
        )
    except (KeyError, ValueError, TypeError, RecursionError) as error:  # a uid may be nested deeper than str() goes
        raise MalformedRecordError(f"not a request: {error!r}") from None
    _check_sizes(request)
    return request


def _given(data: Json, name: str) -> Any:
    if data.get(name) is None:
        raise ValueError(f"`data.{name}` is missing")
    return data[name]


def _without_own_fields(body: Json) -> Json:
    """A Kafka client may leave Weir's own fields in the body, and the body of a record may be sent to any LLM."""
    own = OWN_FIELDS & body.keys()
    return {name: value for name, value in body.items() if name not in own} if own else body


def _check_sizes(request: ChatRequest) -> None:
    """A Kafka client may write a megabyte into any field, and most of them get into marks, events and rows."""
    model = request.body.get("model")
    for field, value, chars in (
        ("event_id", request.event_id, limits.NAME_CHARS),
        ("tenant_id", request.tenant, limits.NAME_CHARS),
        ("data.uid", request.uid, limits.UID_CHARS),
        ("data.username", request.username, limits.NAME_CHARS),
        ("data.body.model", model if isinstance(model, str) else None, limits.NAME_CHARS),
        ("data.fingerprint", request.fingerprint, limits.NAME_CHARS),
        ("data.accepted_at", request.accepted_at, limits.TIME_CHARS),
        ("data.deadline", request.deadline, limits.TIME_CHARS),
        ("data.chunks_topic_id", request.chunks_topic_id, limits.NAME_CHARS),
        ("data.replay", request.replay, limits.NAME_CHARS),
        ("data.replay_of", request.replay_of, limits.NAME_CHARS),
    ):
        if value is not None and len(value) > chars:
            raise MalformedRecordError(f"`{field}` is longer than {chars} characters")


def offset_in(data: Json, name: str, default: int | None = None) -> int:
    """An offset of Kafka in a record's data, which any client may have written; 0 for a negative one, as for none.

    Raises:
        ValueError: it is no offset.
    """
    offset = data.get(name, default)
    if not isinstance(offset, int) or isinstance(offset, bool) or offset > OFFSET_MAX:
        raise ValueError(f"`data.{name}` is {str(offset)[:40]!r}, which is no offset")
    return max(0, offset)


def _priority(given: Any) -> int:
    priority = int(given)
    if abs(priority) > OFFSET_MAX:
        raise ValueError("`data.priority` is out of range")
    return priority


def _history(lives: Any) -> tuple[Json, ...]:
    if not isinstance(lives, list) or not all(isinstance(life, dict) for life in lives):
        raise TypeError("`redriven` is not an array of objects")
    return tuple(lives)
