"""The record of chat-deliveries: a queue of RabbitMQ is to get the answer to a submission."""

from dataclasses import asdict, dataclass

from weir import envelope, limits
from weir.chat.requests import offset_in
from weir.envelope import MalformedRecordError, new_id

EVENT_TYPE = "chat.delivery_ordered"

# Fields that a delivered mark holds, or a reading of it names. A Kafka client may write a megabyte into any of them.
_IN_MARKS = ("uid", "submission", "tenant", "fingerprint", "name", "queue", "chunks_topic_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One delivery, ordered after its request was in chat-requests."""

    uid: str
    submission: str  # event id of the request's record
    tenant: str
    fingerprint: str  # of the request's body
    chunks_from: int  # nothing about the request is older in its partition of chat-chunks
    stream: bool  # tokens as they come; else one message
    name: str  # what the client calls its request: the uid, unless that could be none in here
    queue: str
    declare: bool  # the queue is ours to create; else it is the client's own
    again: bool  # the message may have been taken before, so that this may be the second order for one delivery
    correlation_id: str | None = None
    chunks_topic_id: str = ""  # of the chat-chunks that chunks_from is an offset of; empty: not known
    redriven: bool = False  # its request came back from the dead letters: it is for what that begins, and nothing else

    @property
    def key(self) -> bytes:
        """The record's key."""
        return self.uid.encode()


def encode(order: Order) -> bytes:
    """The order as an event."""
    data = asdict(order)
    del data["tenant"]
    return envelope.encode(new_id("evt"), EVENT_TYPE, order.tenant, data)


def decode(value: bytes | None) -> Order:
    """Read an order.

    Raises:
        MalformedRecordError: the record is none; the message names what is missing.
    """
    event = envelope.decode(value)
    data = event.data
    if event.event_type != EVENT_TYPE:
        raise MalformedRecordError(f"event_type is {event.event_type!r}, not {EVENT_TYPE!r}")
    try:
        order = Order(
            uid=str(data["uid"]),
            submission=str(data["submission"]),
            tenant=event.tenant_id,
            fingerprint=str(data["fingerprint"]),
            chunks_from=offset_in(data, "chunks_from"),
            stream=bool(data["stream"]),
            name=str(data["name"]),
            queue=str(data["queue"]),
            declare=bool(data["declare"]),
            again=bool(data["again"]),
            correlation_id=limits.name(data.get("correlation_id")),
            chunks_topic_id=str(data.get("chunks_topic_id", "")),
            redriven=bool(data.get("redriven")),
        )
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise MalformedRecordError(f"not an order: {error!r}") from None
    for field in _IN_MARKS:
        if len(getattr(order, field)) > limits.NAME_CHARS:
            raise MalformedRecordError(f"`data.{field}` is longer than {limits.NAME_CHARS} characters")
    return order
