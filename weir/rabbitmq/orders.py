"""The record of chat-deliveries: an order to deliver the answer of a submission to a RabbitMQ queue."""

from dataclasses import asdict, dataclass

from weir import envelope, limits
from weir.chat.requests import offset_in
from weir.envelope import MalformedRecordError, new_id

EVENT_TYPE = "chat.delivery_ordered"

# Fields that are in a delivered mark or in the code that reads it. A Kafka client may write a megabyte into any of
# them.
_IN_MARKS = ("uid", "submission", "tenant", "fingerprint", "name", "queue", "chunks_topic_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order for one delivery, placed after its request was in chat-requests."""

    uid: str
    submission: str  # event id of the request's record
    tenant: str
    fingerprint: str  # of the request's body
    chunks_from: int  # no record of the answer is older in its partition of chat-chunks
    stream: bool  # tokens as they come; else one message
    name: str  # the client's name for its request: the uid, unless that name cannot be a uid
    queue: str
    declare: bool  # Weir creates the queue; else it is the client's own
    again: bool  # the message may have been taken before, so that this may be the second order for one delivery
    correlation_id: str | None = None
    chunks_topic_id: str = ""  # the id of the topic in which chunks_from is an offset; empty if unknown
    redriven: bool = False  # its request came back from the dead letters: deliver only the answer that this begins

    @property
    def key(self) -> bytes:
        """The record's key."""
        return self.uid.encode()


def encode(order: Order) -> bytes:
    """The order as the value of an event."""
    data = asdict(order)
    del data["tenant"]
    return envelope.encode(new_id("evt"), EVENT_TYPE, order.tenant, data)


def decode(value: bytes | None) -> Order:
    """Read an order.

    Raises:
        MalformedRecordError: the record is not an order; the message names the missing field.
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
