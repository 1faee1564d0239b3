"""Asks a broker for the id of a topic (KIP-516), which differs from the id of a recreated topic of the same name.

aiokafka asks for metadata in version 5 at most, and ids come with version 10, so the request is written out here, in
aiokafka's own types. https://kafka.apache.org/protocol#The_Messages_Metadata
"""

import base64
from io import BytesIO
from typing import Any

from aiokafka.errors import NoError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

__all__ = ["TopicIdRequest", "topic_id_in"]

_API_KEY, _VERSION = 3, 10
_NO_ID = bytes(16)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc] # aiokafka has no types
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(len(_NO_ID))


_BROKER = (("node_id", Int32), ("host", CompactString()), ("port", Int32), ("rack", CompactString()))
_PARTITION = (
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)),
    ("isr", CompactArray(Int32)),
    ("offline_replicas", CompactArray(Int32)),
)
_TAGS = ("tags", TaggedFields)


class _MetadataResponse(Response):  # type: ignore[misc] # aiokafka has no types
    API_KEY = _API_KEY
    API_VERSION = _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(*_BROKER, _TAGS)),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                ("partitions", CompactArray(*_PARTITION, _TAGS)),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        ("cluster_authorized_operations", Int32),
        _TAGS,
    )


class _MetadataRequest(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    FLEXIBLE_VERSION = True
    API_KEY = _API_KEY
    API_VERSION = _VERSION
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("topic", CompactString()), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class TopicIdRequest(Request[_MetadataRequest]):  # type: ignore[misc] # aiokafka has no types
    """Metadata of one topic. Sending it to a broker before Kafka 2.8 raises NotImplementedError."""

    API_KEY = _API_KEY

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_MetadataRequest]) -> _MetadataRequest:
        """The request; it never creates the topic."""
        return request_struct_class([(_NO_ID, self._topic, {})], False, False, False, {})


def topic_id_in(response: Any) -> str:
    """The topic id in an answer, in Kafka's own notation; empty for a topic that has none.

    Raises:
        KafkaError: the broker reports an error for the topic.
    """
    for code, _, topic_id, *_ in response.topics:
        if (kind := for_code(code)) is not NoError:
            raise kind
        return "" if topic_id == _NO_ID else base64.urlsafe_b64encode(topic_id).decode().rstrip("=")
    raise UnknownTopicOrPartitionError
