"""Records that Kafka's clients write to chat-requests."""

import zlib
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.compatibility.cases import Case, Sheet
from weir.chat.requests import ACCEPTED
from weir.envelope import Json
from weir.log.log import Headers
from weir.log.partitioner import partition_for

QUESTION: list[Json] = [{"role": "user", "content": "Say it."}]
Partitioner = Literal["java", "librdkafka", "none"]


def place_of(partitioner: Partitioner, key: bytes, partitions: int) -> int:
    """Return the partition in which a client puts a key."""
    if partitioner == "java":
        return partition_for(key, partitions)
    if partitioner == "librdkafka":
        return zlib.crc32(key) % partitions  # consistent_random, of a record with a key
    return (partition_for(key, partitions) + 1) % partitions  # any other partition


@dataclass(frozen=True, kw_only=True)
class KafkaCase(Case):
    """A record and its result. The model and the uid of a case are its id, unless its fields name others."""

    body: Json = field(default_factory=lambda: {"messages": QUESTION})  # with the model, unless `model` is in it
    data: Json = field(default_factory=dict)  # fields beside the body; None removes one
    envelope: Json = field(default_factory=dict)  # fields of the event
    headers: Headers = ()
    partitioner: Partitioner = "java"
    asked: Json = field(default_factory=dict)  # the LLM's body beside model and messages
    reason: str = ""  # in the words of the dead letter; empty: the request is answered
    refused: str = ""  # the field that the dead letter's error names, or else its code
    on_kafka_only: bool = False  # on the embedded log the request is answered
    uid: Any = None  # another uid than the id
    by_http: bool = True  # whether the same request by HTTP, under the same uid, gets the same answer


SHEET = Sheet(
    title="Requests from Kafka's clients",
    about="A record of chat-requests is checked as the other doors check a request, and is answered wherever its client"
    " put it. A request that a door would refuse is a dead letter that names the field, and the LLM is not called"
    " for it.",
    cases=(
        KafkaCase(
            id="kafka-java",
            peer="Kafka's Java client, aiokafka",
            does="puts a record into the partition of murmur2 of its key",
            gets="its answer",
        ),
        KafkaCase(
            id="kafka-librdkafka",
            peer="librdkafka: kcat, confluent-kafka (Python, Go, .NET), node-rdkafka",
            does="puts a record into the partition of CRC32 of its key",
            gets="its answer: the request moves to its partition before it is begun",
            partitioner="librdkafka",
        ),
        KafkaCase(
            id="kafka-round-robin",
            peer="kcat without a key, a producer with a partitioner of its own",
            does="puts a record anywhere",
            gets="its answer: the request moves to its partition before it is begun",
            partitioner="none",
        ),
        KafkaCase(
            id="kafka-own-fields-in-the-body",
            peer="a client that knows the HTTP door",
            does="sends `uid`, `username`, `on_disconnect`, `deadline_s` in the body",
            gets="the same as by HTTP: the LLM sees none of them",
            body={
                "messages": QUESTION,
                "uid": "kafka-own-fields-in-the-body",
                "username": "ada",
                "on_disconnect": "continue",
                "deadline_s": 600,
                "cancel": None,
                "temperature": 0.5,
            },
            asked={"temperature": 0.5},
        ),
        KafkaCase(
            id="kafka-no-model",
            peer="a client without a model",
            does="sends no `model`",
            gets="an answer of OPENAI_MODEL",
            body={"messages": QUESTION, "model": None},
        ),
        KafkaCase(
            id="kafka-empty-model",
            peer="a client without a model",
            does='sends `"model": ""`',
            gets="an answer of OPENAI_MODEL",
            body={"messages": QUESTION, "model": ""},
        ),
        KafkaCase(
            id="kafka-stream-in-the-body",
            peer="a client that knows the HTTP door",
            does="sends `stream` in the body",
            gets="its answer",
            body={"messages": QUESTION, "stream": True},
        ),
        KafkaCase(
            id="kafka-copied-record",
            peer="a client that copies a record of Weir, as kcat shows it",
            does="sends all of its fields, with the offsets of another log",
            gets="its answer: the fingerprint is made of the body",
            data={"ingress": "http", "accepted_at": "2026-01-31T12:00:00Z", "fingerprint": "0" * 32, "chunks_from": 0},
        ),
        KafkaCase(
            id="kafka-odd-times",
            peer="a client with times of its own",
            does="sends a `timestamp` that is no time",
            gets="its answer, accepted when the record was written",
            envelope={"timestamp": "yesterday"},
        ),
        KafkaCase(
            id="kafka-no-messages",
            peer="a client with a bug",
            does="sends a body without `messages`",
            gets="a dead letter, and no call",
            body={},
            refused="messages",
            reason="'messages'",
        ),
        KafkaCase(
            id="kafka-empty-messages",
            peer="a client with a bug",
            does="sends an empty array of messages",
            gets="a dead letter, and no call",
            body={"messages": []},
            refused="messages",
            reason="'messages'",
        ),
        KafkaCase(
            id="kafka-wrong-role",
            peer="a client with a bug",
            does="sends a message with an unknown role",
            gets="a dead letter that names the message",
            body={"messages": [*QUESTION, {"role": "boss", "content": "hi"}]},
            refused="messages[1].role",
            reason="'messages[1].role' must be one of",
        ),
        KafkaCase(
            id="kafka-model-is-a-number",
            peer="a client with a bug",
            does="sends a number as the model",
            gets="a dead letter, and no call",
            body={"messages": QUESTION, "model": 5},
            refused="model",
            reason="'model' must be a string",
        ),
        KafkaCase(
            id="kafka-stream-is-text",
            peer="a client with a bug",
            does='sends `"stream": "false"` beside the body',
            gets="a dead letter: Weir does not take the text for true",
            data={"stream": "false"},
            refused="stream",
            reason="'stream' must be true or false",
        ),
        KafkaCase(
            id="kafka-username-is-a-number",
            peer="a client with a bug",
            does="sends a number as the username",
            gets="a dead letter, and no call",
            data={"username": 5},
            refused="username",
            reason="'username' must be a string",
        ),
        KafkaCase(
            id="kafka-uid-with-a-slash",
            peer="a client with names of its own",
            does="sends a uid that is no part of a URL's path",
            gets="a dead letter that says what a uid is",
            uid="a/b",
            refused="uid",
            reason="'uid' must be a string of 1 to 128",
        ),
        KafkaCase(
            id="kafka-uid-is-a-number",
            peer="a client with names of its own",
            does="sends a number as the uid",
            gets="a dead letter that says what a uid is",
            uid=17,
            refused="uid",
            reason="'uid' must be a string of 1 to 128",
        ),
        KafkaCase(
            id="kafka-uid-is-null",
            peer="a client whose field is unset",
            does="sends null as the uid",
            gets="a dead letter that says that the uid is missing",
            data={"uid": None},
            reason="`data.uid` is missing",
        ),
        KafkaCase(
            id="kafka-no-tenant",
            peer="a client without tenants",
            does="sends an empty `tenant_id`",
            gets="a dead letter that says what a tenant is",
            envelope={"tenant_id": ""},
            refused="tenant_id",
            reason="tenant_id must be 1 to 64",
        ),
        KafkaCase(
            id="kafka-tenant-with-spaces",
            peer="a client with tenants of its own",
            does="sends a `tenant_id` with a space",
            gets="a dead letter that says what a tenant is",
            envelope={"tenant_id": "a b"},
            refused="tenant_id",
            reason="tenant_id must be 1 to 64",
        ),
        KafkaCase(
            id="kafka-no-event-id",
            peer="a client without ids",
            does="sends an empty `event_id`",
            gets="a dead letter, and no call",
            envelope={"event_id": ""},
            refused="event_id",
            reason="'event_id' must not be empty",
        ),
        KafkaCase(
            id="kafka-deadline-is-no-time",
            peer="a client with times of its own",
            does="sends a `deadline` that is no time",
            gets="a dead letter, and no call",
            data={"deadline": "in a minute"},
            refused="deadline",
            reason="'deadline' must be an ISO 8601 time",
        ),
        KafkaCase(
            id="kafka-wrong-partition-and-wrong",
            peer="librdkafka",
            does="puts a request that no door would take into the partition of CRC32",
            gets="a dead letter of the unchanged record: the request does not move",
            body={"messages": "hi"},
            partitioner="none",
            refused="messages",
            reason="'messages'",
        ),
        KafkaCase(
            id="kafka-chunks-from-behind-the-end",
            peer="a mirror, a client that copies a record of another cluster",
            does="sends a `chunks_from` that chat-chunks has not reached",
            gets="an expired request and a dead letter: its answer may be in another log",
            data={"chunks_from": 70_000_000},
            refused="log_truncated",
            reason="expired: ",
            by_http=False,
        ),
        KafkaCase(
            id="kafka-chunks-from-is-none",
            peer="a client that copies a record of Weir",
            does="sends a `chunks_from` that is no offset of Kafka",
            gets="a dead letter that names the field",
            data={"chunks_from": 2**63},
            reason="`data.chunks_from`",
            by_http=False,
        ),
        KafkaCase(
            id="kafka-chunks-from-is-negative",
            peer="a client that does not know it",
            does="sends -1, as Kafka's clients write a missing offset",
            gets="its answer",
            data={"chunks_from": -1},
        ),
        KafkaCase(
            id="kafka-another-topic-id",
            peer="a mirror of another cluster",
            does="brings a record of Weir whose `chunks_from` is of another chat-chunks",
            gets="an expired request and a dead letter, on Kafka: the embedded log has no such ids",
            data={"chunks_from": 0, "chunks_topic_id": "AAAAAAAAAAAAAAAAAAAAAA"},
            headers=ACCEPTED,
            refused="log_truncated",
            reason="expired: ",
            on_kafka_only=True,
            by_http=False,
        ),
        KafkaCase(
            id="kafka-says-that-it-was-accepted",
            peer="a client that sets the header of Weir's doors",
            does="sends an empty message with it",
            gets="the LLM's own answer or error: the request is not checked again, and the worker continues",
            body={"messages": [{"role": "user", "content": "Say it."}, {}]},
            headers=ACCEPTED,
            by_http=False,
        ),
    ),
)
