"""The meaning of messages: pure functions from and to AMQP's properties."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractIncomingMessage
from pamqp import decode, encode

from weir.chat.frames import Status, Terminal
from weir.chat.validation import check_uid
from weir.errors import InvalidRequestError
from weir.rabbitmq import contract
from weir.rabbitmq.contract import DeliveryProgress, Reply
from weir.rabbitmq.doubles import write_doubles


def came(**properties: Any) -> AbstractIncomingMessage:
    """Return a received message with these properties; no test here needs more of one."""
    return cast("AbstractIncomingMessage", Message(b"", **properties))


def test_the_uid_names_the_response_queue() -> None:
    reply = contract.reply_of(came(), {"uid": "u-1"}, "response_")
    assert reply == Reply("response_u-1", "u-1", declare=True, correlation_id=None)


def test_reply_to_is_the_clients_own_queue() -> None:
    reply = contract.reply_of(came(reply_to="mine", correlation_id="c"), {"uid": "u-1"}, "response_")
    assert reply == Reply("mine", "u-1", declare=False, correlation_id="c")


@pytest.mark.parametrize("body", [{}, {"uid": None}, {"uid": ""}, {"uid": 5}])
def test_message_id_is_the_uid_where_the_body_has_none(body: dict[str, Any]) -> None:
    reply = contract.reply_of(came(message_id="m-1"), body, "response_", "minted")
    assert reply == Reply("response_m-1", "m-1", declare=True, correlation_id=None)


def test_a_request_without_a_name_gets_one() -> None:
    assert contract.reply_of(came(), {}, "response_", "req-1") == Reply("response_req-1", "req-1", True, None)


@pytest.mark.parametrize("body", [None, [], "text", 3, {}, {"uid": ["a"]}])
def test_what_has_neither_name_nor_reply_to_can_be_told_nothing(body: Any) -> None:
    assert contract.reply_of(came(), body, "response_") is None


@pytest.mark.parametrize("uid", ["u" * 129, "ü" * 128])
def test_a_name_that_makes_no_queue_is_none(uid: str) -> None:
    assert contract.reply_of(came(), {"uid": uid}, "p" * 100) is None


@pytest.mark.parametrize("name", ["a b", "a/b", "Grüße", "..", "chatcmpl-1", 'q"', "🙂"])
def test_a_name_that_could_be_no_key_becomes_one(name: str) -> None:
    uid = contract.uid_of(name)
    check_uid(uid)
    assert uid.startswith("rmq-")
    assert uid == contract.uid_of(name) != contract.uid_of(f"{name}2")


def test_a_name_that_can_be_a_key_is_the_uid() -> None:
    assert contract.uid_of("123e4567-e89b") == "123e4567-e89b"


def test_the_deadline_counts_from_now() -> None:
    deadline = contract.deadline_of(came(expiration=90))
    assert deadline is not None
    left = datetime.fromisoformat(deadline) - datetime.now(UTC)
    assert timedelta(seconds=88) < left <= timedelta(seconds=90)
    assert contract.deadline_of(came()) is None


def test_an_absurd_deadline_is_far_away() -> None:
    deadline = contract.deadline_of(came(expiration=10**12))
    assert deadline is not None
    assert datetime.fromisoformat(deadline) < datetime.now(UTC) + timedelta(days=366)


@pytest.mark.parametrize("headers", [{"X-Tenant-ID": "acme"}, {"x-tenant-id": b"acme"}])
def test_a_header_names_the_tenant(headers: dict[str, Any]) -> None:
    assert contract.tenant_of(came(headers=headers)) == "acme"


def test_without_the_header_the_tenant_is_open() -> None:
    assert contract.tenant_of(came(headers={"x-other": 1})) is None


@pytest.mark.parametrize(
    "place", [DeliveryProgress(), DeliveryProgress(1, 5, 0xFF), DeliveryProgress(7, 2**40, 0xFFFFFFFF, ended=True)]
)
def test_a_messages_id_tells_the_place(place: DeliveryProgress) -> None:
    assert contract.place_of(contract.message_id("evt-1", place)) == ("evt-1", place)


@pytest.mark.parametrize("given", [None, "", "evt-1", "evt-1:1:2", "a:b:c:d", "a:1:2:ff:fin", "a:1:2:ff:end:x"])
def test_an_id_of_another_program_holds_no_place(given: str | None) -> None:
    assert contract.place_of(given) is None


def test_the_last_message_tells_how_it_ended() -> None:
    usage = {"total_tokens": 3}
    terminal = Terminal(status=Status.COMPLETED, finish_reason="tool_calls", usage=usage)
    headers = contract.ended("u-1", 4, terminal, {"tool_calls": [{"id": "c1"}]})
    assert headers == {
        "uid": "u-1",
        "seq": 4,
        "done": True,
        "status": "completed",
        "finish_reason": "tool_calls",
        "usage": usage,
        "tool_calls": [{"id": "c1"}],
    }


def test_what_is_refused_is_told_as_what_failed() -> None:
    terminal = contract.failed(InvalidRequestError("no", param="messages", status=400))
    headers = contract.ended("u-1", 0, terminal)
    assert (headers["done"], headers["status"]) == (True, "failed")
    assert headers["error"] == {
        "message": "no",
        "type": "invalid_request_error",
        "param": "messages",
        "code": None,
        "status": 400,
    }


@pytest.mark.parametrize("calls", [[{"arguments": "x" * 40_000}], [{"arguments": object()}]])
def test_calls_that_no_header_can_carry_are_named(calls: list[dict[str, Any]]) -> None:
    headers = contract.ended("u", 0, Terminal(status=Status.COMPLETED), {"tool_calls": calls, "refusal": "no"})
    assert "tool_calls" not in headers
    assert (headers["omitted"], headers["refusal"]) == (["tool_calls"], "no")


@pytest.mark.parametrize("usage", [{"n": 2**70}, {"n": {1, 2}}, {"n": "x" * 40_000}])
def test_usage_that_no_header_can_carry_is_named(usage: Any) -> None:
    headers = contract.ended("u", 0, Terminal(status=Status.COMPLETED, finish_reason="stop", usage=usage))
    assert headers == {
        "uid": "u",
        "seq": 0,
        "done": True,
        "status": "completed",
        "finish_reason": "stop",
        "omitted": ["usage"],
    }


def test_all_headers_together_fit_into_a_frame() -> None:
    large = "x" * 32_000
    terminal = Terminal(status=Status.FAILED, usage={"n": large}, error={"message": large})
    headers = contract.ended("u", 0, terminal, {"tool_calls": [large], "refusal": large})
    assert headers["omitted"] == ["refusal"]
    assert len(encode.field_table(headers)) < 128 * 1024 - 8192


@pytest.mark.parametrize("value", [0.1, -0.0, 1e300, 5e-324, 0.000123, 123456789.123456789])
def test_floats_of_headers_are_exact(value: float) -> None:
    write_doubles()
    _, table = decode.field_table(encode.field_table({"usage": {"cost": value, "list": [value]}, "n": True}))
    assert table == {"usage": {"cost": value, "list": [value]}, "n": True}
