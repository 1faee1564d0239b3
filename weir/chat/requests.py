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

# Weir's own fields in a client's body; the LLM never gets them.
OWN_FIELDS = frozenset({"uid", "username", "on_disconnect", "deadline_s", "cancel"})

THINK_TAGS_HEADER = "X-Think-Tags"
"""Header of an HTTP request or a RabbitMQ message: how ``<think>`` tags in its answer are handled."""

# How the client wants to read the answer, which is not sent to the LLM.
READING_FIELDS = frozenset({"stream", "stream_options"})

_MINTED = re.compile(r"req-[0-9a-f]{32}")

ACCEPTED: Headers = (("weir-accepted", b"1"),)
"""Headers of a record whose request was checked by the door that wrote it, or was sent again by Weir."""

OFFSET_MAX = 2**63 - 1  # of Kafka; JSON that Weir writes has no larger number


class OnDisconnect(StrEnum):
    """What happens to a request when its last reader has left."""

    AUTO = "auto"  # one of the others, by whether its client can find the answer again; never in a record
    CONTINUE = "continue"
    CANCEL = "cancel"  # after a time of grace

    def resolved(self, *, findable: bool) -> "OnDisconnect":
        """Return the value for the record. ``findable``: the client has a name for its request, or no connection."""
        if self is not OnDisconnect.AUTO:
            return self
        return OnDisconnect.CONTINUE if findable else OnDisconnect.CANCEL


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One submission of a request."""

    uid: str
    event_id: str  # of this submission; the event id of the first submission is the request's ``rid``
    tenant: str
    ingress: Ingress
    accepted_at: str  # ISO 8601, UTC
    body: Json  # the body for the LLM
    fingerprint: str  # of the body: two submissions of one uid must have the same
    stream: bool  # whether the client wants tokens as they come
    username: str | None = None
    chunks_from: int = 0  # end of its chat-chunks partition before it was published: no record about it is older
    chunks_topic_id: str = ""  # the topic id of the chat-chunks that chunks_from is an offset of; empty: not known
    priority: int = 0  # a higher one is more urgent
    deadline: str | None = None  # ISO 8601, UTC: after it, the client does not want the answer
    on_disconnect: OnDisconnect = OnDisconnect.CONTINUE
    # how <think> tags are handled; None: by the setting of the worker that calls the LLM
    think_tags: ThinkTags | None = None
    traceparent: str | None = None  # W3C Trace Context: its trace has all spans about the request
    replay: str | None = None  # the run that sends it again: no client waits for the answer, and none of it leaves Weir
    replay_of: str | None = None  # the uid of its original
    redriven: tuple[Json, ...] = ()  # how it came back from the dead letters, newest last: run, letter, at, reason, rid

    @property
    def key(self) -> bytes:
        """The key of the record, in all topics about this request."""
        return self.uid.encode()

    @property
    def replaces(self) -> str | None:
        """The submission whose end this one's replaces, if this one came back from the dead letters."""
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
    """Make a uid for a request that its client has not named."""
    return new_id("req")


def is_minted(uid: str) -> bool:
    """Whether a door made the uid. A client that gives such a uid sends a request again, or repeats its uid."""
    return _MINTED.fullmatch(uid) is not None


def chunks_of(log: LogClient, uid: str) -> Partition:
    """Return the partition of chat-chunks with the answer to a request."""
    return partition_of(log, topics.CHAT_CHUNKS.name, uid.encode())


def fingerprint(body: Json) -> str:
    """Return a digest of the body for the LLM, whatever the order of its fields and the way that the client reads."""
    asked = {key: value for key, value in body.items() if key not in READING_FIELDS}
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def upstream_body(body: Json, default_model: str) -> Json:
    """Return the client's body without Weir's own fields, with a model."""
    rest = {key: value for key, value in body.items() if key not in OWN_FIELDS}
    rest["model"] = body.get("model") or default_model
    return rest


def encode(request: ChatRequest) -> bytes:
    """Encode the request as an event."""
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
    """Whether the headers of a record of chat-requests say that its request was checked before it was written."""
    return ACCEPTED[0] in headers


def decode(value: bytes | None) -> ChatRequest:
    """Decode a request.

    Raises:
        MalformedRecordError: the record is not a request; the message names what is missing.
    """
    return read(envelope.decode(value))


def read(event: Event) -> ChatRequest:
    """Return the request of an event.

    Raises:
        MalformedRecordError: the event is not a request; the message names what is missing.
    """
    data = event.data
    if event.event_type != EVENT_TYPE:
        raise MalformedRecordError(f"event_type is {event.event_type!r}, not {EVENT_TYPE!r}")
    if not isinstance(data.get("body"), dict):
        raise MalformedRecordError("`data.body` is not an object")
    if data.get("ingress") == Ingress.CLI:
        raise MalformedRecordError("`data.ingress` is cli, and no request comes through a command")
    place = traceparent.parse(data.get("traceparent"))  # of a Kafka client, which may write anything
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
    """Remove Weir's own fields: a Kafka client may leave them in the body, and a record's body may go to any LLM."""
    own = OWN_FIELDS & body.keys()
    return {name: value for name, value in body.items() if name not in own} if own else body


def _check_sizes(request: ChatRequest) -> None:
    """Check the sizes of fields: a Kafka client may write a megabyte into any; most go into marks, events and rows."""
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
    """Return an offset in a record's data, which any client may have written; 0 for a negative one.

    Raises:
        ValueError: it is not an offset.
    """
    offset = data.get(name, default)
    if not isinstance(offset, int) or isinstance(offset, bool) or offset > OFFSET_MAX:
        raise ValueError(f"`data.{name}` is {str(offset)[:40]!r}, not an offset")
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
