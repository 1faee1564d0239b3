"""Kafka's door: checks what a client writes to chat-requests itself as the other doors check it.

A door of Weir checks a request before it writes it, and marks the record by a header (``weir-accepted``). A marked
record is only decoded: its request was accepted, so it must come to an end, also where a newer version would refuse it.
Any other record is a Kafka client's. Its fields are put where an HTTP client has them, and go through the same
`weir.chat.checking.check`.

The mark is a header and no field of the value, because a client that takes a record of Weir as a pattern copies its
value, as kcat shows it. The mark is no defence: a client that may write to chat-requests can set it too, and is trusted
by ACL (docs/security.md). An invalid request with the mark costs a failed LLM call, and stops no worker.
"""

from dataclasses import replace

from weir import envelope, topics
from weir.chat import requests
from weir.chat.checking import check
from weir.chat.requests import ChatRequest
from weir.envelope import Json, is_time, seconds_of, utc_iso
from weir.errors import InvalidRequestError
from weir.events.ingress import Ingress
from weir.log.log import LogClient, Record, partition_of
from weir.settings import Settings

BESIDE_THE_BODY = ("uid", "username", "stream", "on_disconnect")
"""Fields of the record that an HTTP client has in its body. The record's fields count before those of the body."""


def is_moved(log: LogClient, record: Record, request: ChatRequest) -> bool:
    """Whether the chat agent copies a record into the partition of its uid, and answers the copy."""
    if requests.is_accepted(record.headers):
        return False
    return partition_of(log, topics.CHAT_REQUESTS.name, request.key).partition != record.partition


def request_in(record: Record, settings: Settings) -> ChatRequest:
    """Return the request in a record of chat-requests.

    Raises:
        MalformedRecordError: the record is not a request.
        InvalidRequestError: the request is wrong; the error names its field.
    """
    if requests.is_accepted(record.headers):
        return requests.decode(record.value)
    if len(record.value or b"") > settings.record_value_max_bytes:
        raise InvalidRequestError("The request is too large.", code="request_too_large", status=413)
    event = envelope.decode(record.value)
    return _checked(requests.read(event), event.data, record, settings)


def _checked(request: ChatRequest, data: Json, record: Record, settings: Settings) -> ChatRequest:
    """Check a Kafka client's request; times are those of the record, so each delivery gives the same result."""
    if not request.event_id:
        raise InvalidRequestError("'event_id' must not be empty.", param="event_id")
    if not is_time(record.timestamp):
        raise InvalidRequestError("The record's timestamp is not a time in milliseconds.", param="timestamp")
    if request.deadline is not None and seconds_of(request.deadline) is None:
        raise InvalidRequestError("'deadline' must be an ISO 8601 time.", param="deadline")
    beside = {name: data[name] for name in BESIDE_THE_BODY if data.get(name) is not None}
    asked = check(
        {**data["body"], **beside},
        settings,
        ingress=Ingress.KAFKA,
        asked_at_s=record.timestamp,
        tenant=request.tenant,
        deadline=request.deadline,
    )
    return replace(
        request,
        tenant=asked.tenant,
        accepted_at=request.accepted_at if seconds_of(request.accepted_at) else utc_iso(record.timestamp),
        body=asked.body,
        fingerprint=asked.fingerprint,
        stream=asked.stream,
        username=asked.username,
        deadline=asked.deadline,
        on_disconnect=asked.on_disconnect,
        think_tags=request.think_tags or asked.think_tags,
    )
