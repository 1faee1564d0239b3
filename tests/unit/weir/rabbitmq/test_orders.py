"""The record of chat-deliveries."""

from dataclasses import replace

import orjson
import pytest

from weir import envelope
from weir.envelope import MalformedRecordError
from weir.rabbitmq import orders
from weir.rabbitmq.orders import Order

ORDER = Order(
    uid="u-1",
    submission="evt-1",
    tenant="acme",
    fingerprint="f",
    chunks_from=41,
    stream=True,
    name="Ü 1",
    queue="response_Ü 1",
    declare=True,
    again=False,
    correlation_id="c",
)


def test_an_order_is_read_as_it_was_written() -> None:
    assert orders.decode(orders.encode(ORDER)) == ORDER
    assert ORDER.key == b"u-1"
    again = replace(ORDER, redriven=True)
    assert orders.decode(orders.encode(again)) == again


def test_an_order_of_an_earlier_version_is_for_any_answer() -> None:
    assert not orders.decode(changed(redriven="gone")).redriven


def changed(**fields: object) -> bytes:
    event = orjson.loads(orders.encode(ORDER))
    event["data"] = {name: value for name, value in (event["data"] | fields).items() if value != "gone"}
    return orjson.dumps(event)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "not JSON"),
        (envelope.encode("e", "chat.requested", "t", {}), "event_type is 'chat.requested'"),
        (changed(queue="gone"), "queue"),
        (changed(submission="gone"), "submission"),
        (changed(chunks_from="far"), "far"),
        (changed(chunks_from=None), "None"),
    ],
)
def test_what_is_no_order_says_why(value: bytes | None, reason: str) -> None:
    with pytest.raises(MalformedRecordError, match=reason):
        orders.decode(value)


@pytest.mark.parametrize("field", ["uid", "submission", "fingerprint", "name", "queue", "chunks_topic_id"])
def test_a_field_that_is_too_long_for_a_mark_is_named(field: str) -> None:
    """A mark that does not fit would be tried again for ever."""
    with pytest.raises(MalformedRecordError, match=f"`data.{field}` is longer than"):
        orders.decode(changed(**{field: "x" * 300}))
