"""Reads dead letters: a record that could not be processed, with the reason. `weir.chat.dead_letters` writes them."""

import base64
import binascii
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from weir import envelope, topics
from weir.chat import requests
from weir.chat.dead_letters import EVENT_TYPE, HEADER_CHARS, HEADERS, KEY_BYTES, tenant_of
from weir.chat.requests import ChatRequest
from weir.envelope import Json, MalformedRecordError
from weir.events.redaction import Redactor
from weir.log.log import Headers, LogClient, Partition, Record, record_at

SHORT: Final = Redactor(200)  # cuts a reason for a report, so that it holds no prompt: LLMs quote requests
HEADER: Final = "weir-redriven"  # of a record that was sent again: run/letter
SOURCES: Final = (topics.CHAT_REQUESTS.name, topics.CHAT_DELIVERIES.name, topics.AI_FEEDBACK.name)
"""Topics whose records become dead letters, and can be sent again."""


@dataclass(frozen=True, kw_only=True)
class Letter:
    """One letter of chat-dead-letters."""

    id: str  # event id of the letter
    buried_for: str  # a tenant: the default one if it was not known
    reason: str
    topic: str  # the topic of its record; or a queue of RabbitMQ, with an offset below 0
    partition: int
    offset: int
    key: bytes
    value: bytes | None  # None: left out, for its size
    size_bytes: int
    headers: Headers
    error: Json  # OpenAI's error object, of a request that failed or expired; else empty

    @property
    def code(self) -> str | None:
        """OpenAI's code of the error."""
        found = self.error.get("code") or self.error.get("type")
        return str(found) if isinstance(found, str | int) else None

    @property
    def safe_reason(self) -> str:
        """The reason without any text of people or models: fit for reports."""
        text = f"{self.reason.partition(':')[0]}: {self.code}" if self.error else self.reason
        return SHORT(text)

    @cached_property
    def request(self) -> ChatRequest | None:
        """The request in the letter; None if its record is not a request, or not a valid one."""
        if self.topic != topics.CHAT_REQUESTS.name or self.value is None:
            return None
        try:
            return requests.decode(self.value)
        except MalformedRecordError:
            return None

    @property
    def tenant(self) -> str | None:
        """The tenant of its record; None if the record names none, so that it belongs to no tenant."""
        if self.error:  # the request was valid
            return self.buried_for
        return tenant_of(self.value)

    @property
    def earlier(self) -> list[str]:
        """The letters from which its record has come back."""
        return [value.decode(errors="replace").rpartition("/")[2] for name, value in self.headers if name == HEADER]

    @property
    def is_replay(self) -> bool:
        """Whether its request was a replay of another one."""
        return self.request is not None and self.request.replay is not None

    @property
    def is_whole(self) -> bool:
        """Whether the letter holds its record to the byte: long records are cut."""
        cut = len(self.key) >= KEY_BYTES or len(self.headers) >= HEADERS
        return self.value is not None and not cut and all(len(value) < HEADER_CHARS for _, value in self.headers)


def parse(record: Record) -> Letter:
    """Read a letter.

    Raises:
        MalformedRecordError: the record is not a letter.
    """
    event = envelope.decode(record.value)
    data = event.data
    if event.event_type != EVENT_TYPE:
        raise MalformedRecordError(f"event_type is {event.event_type!r}, not {EVENT_TYPE!r}")
    try:
        return Letter(
            id=event.event_id,
            buried_for=event.tenant_id,
            reason=str(data["reason"]),
            topic=str(data["topic"]),
            partition=int(data["partition"]),
            offset=int(data["offset"]),
            key=_bytes(data["key"]),
            value=None if data["value"] is None else _bytes(data["value"]),
            size_bytes=int(data["size_bytes"]),
            headers=tuple((str(name), _bytes(value)) for name, value in data["headers"]),
            error=data["error"] if isinstance(data.get("error"), dict) else {},
        )
    except (KeyError, ValueError, TypeError) as error:
        raise MalformedRecordError(f"not a dead letter: {error!r}") from None


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("no base64") from None


async def completed(log: LogClient, letter: Letter) -> Letter | None:
    """A letter that holds its record to the byte, read from its topic if need be; None if it is gone from there.

    Raises:
        LogError: the log cannot be read.
    """
    if letter.is_whole:
        return letter
    at = Partition(letter.topic, letter.partition)
    if not 0 <= at.partition < log.partitions(at.topic):  # from another cluster, or not written by Weir
        return None
    bounds = await log.bounds(at)
    there = bounds.start <= letter.offset < bounds.end  # a letter may name any number, and a log refuses some
    record = await record_at(log, at, letter.offset) if there else None
    if record is None or len(record.value or b"") != letter.size_bytes or not _starts(record.key, letter.key):
        return None
    return replace(letter, key=record.key or b"", value=record.value or b"", headers=tuple(record.headers))


def _starts(key: bytes | None, kept: bytes) -> bool:
    return (key or b"")[:KEY_BYTES] == kept
