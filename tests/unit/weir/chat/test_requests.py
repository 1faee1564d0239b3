"""The record of chat-requests."""

from dataclasses import replace

import orjson
import pytest

from weir import envelope
from weir.chat import requests
from weir.chat.requests import ChatRequest, fingerprint, upstream_body
from weir.envelope import Json, MalformedRecordError
from weir.events.ingress import Ingress
from weir.options import ThinkTags

BODY: Json = {"model": "m", "messages": [{"role": "user", "content": "Grüße 👩‍👩‍👧"}], "x": [None, 1.5]}
REQUEST = ChatRequest(
    uid="req-1",
    event_id="evt-1",
    tenant="acme",
    ingress=Ingress.HTTP,
    accepted_at="2026-01-31T12:00:00.000000Z",
    body=BODY,
    fingerprint=fingerprint(BODY),
    stream=True,
    username="ada",
    chunks_from=41,
)


def test_a_request_is_read_as_it_was_written() -> None:
    assert requests.decode(requests.encode(REQUEST)) == REQUEST
    assert REQUEST.key == b"req-1"


def test_priority_and_deadline_travel_with_it() -> None:
    urgent = replace(REQUEST, priority=9, deadline="2026-01-31T12:01:00.000000Z")
    assert requests.decode(requests.encode(urgent)) == urgent


@pytest.mark.parametrize("tags", [None, *ThinkTags])
def test_what_becomes_of_think_tags_travels_with_it(tags: ThinkTags | None) -> None:
    wanted = replace(REQUEST, think_tags=tags)
    assert requests.decode(requests.encode(wanted)) == wanted


def test_how_it_came_back_from_the_dead_letters_travels_with_it() -> None:
    lives = ({"run": "r-1", "rid": "evt-0"}, {"run": "r-2", "letter": "evt-l", "rid": "evt-1"})
    again = requests.decode(requests.encode(replace(REQUEST, redriven=lives)))
    assert (again.redriven, again.replaces) == (lives, "evt-1")
    assert REQUEST.replaces is None
    assert replace(REQUEST, redriven=({"rid": 5},)).replaces is None  # a Kafka client's


def test_a_request_that_a_kafka_client_wrote_needs_a_uid_and_a_body_only() -> None:
    request = requests.decode(envelope.encode("evt-2", requests.EVENT_TYPE, "acme", {"uid": "u", "body": BODY}))
    assert (request.ingress, request.stream, request.username, request.chunks_from) == (Ingress.KAFKA, False, None, 0)
    assert request.fingerprint == fingerprint(BODY)
    assert request.accepted_at.endswith("Z")


@pytest.mark.parametrize(
    ("given", "expected"), [("cancel", "cancel"), ("continue", "continue"), ("auto", "continue"), (None, "continue")]
)
def test_an_answer_that_no_connection_reads_goes_on_unless_its_record_says_otherwise(
    given: str | None, expected: str
) -> None:
    assert requests.decode(data(on_disconnect=given)).on_disconnect == expected


def test_a_minted_uid_is_known_by_its_form() -> None:
    assert requests.is_minted(requests.mint_uid())
    assert not any(map(requests.is_minted, ("req-1", "mine", f"req-{'G' * 32}", f"req-{'0' * 32}\n")))


def data(**fields: object) -> bytes:
    return envelope.encode("evt-2", requests.EVENT_TYPE, "acme", {"uid": "u", "body": {}, **fields})


MALFORMED: dict[str, tuple[bytes | None, str]] = {
    "a tombstone": (None, "not JSON"),
    "another event": (
        envelope.encode("e", "chat.chunks", "t", {"uid": "u", "body": {}}),
        "event_type is 'chat.chunks'",
    ),
    "no body": (envelope.encode("e", requests.EVENT_TYPE, "t", {"uid": "u"}), "`data.body`"),
    "a body that is text": (data(body="Hello"), "`data.body`"),
    "no uid": (envelope.encode("e", requests.EVENT_TYPE, "t", {"body": {}}), "uid"),
    "a uid that is null": (data(uid=None), "`data.uid` is missing"),
    "a door that is unknown": (data(ingress="window"), "window"),
    "a door that requests do not come through": (data(ingress="cli"), "cli"),
    "a position that is none": (data(chunks_from="far"), "far"),
    "a priority that is none": (data(priority="high"), "high"),
    "a priority that cannot be written": (data(priority=1e308), "`data.priority`"),
    "a history that is none": (data(redriven={"rid": "evt-0"}), "redriven"),
    "a history of text": (data(redriven=["evt-0"]), "redriven"),
    "a position that is null": (data(chunks_from=None), "None"),
    "a body too deep to be written again": (
        data().replace(b'"body":{}', b'"body":{"a":' + b"[" * 400 + b"]" * 400 + b"}"),
        "not a request",
    ),
}


@pytest.mark.parametrize(("value", "names"), MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_request_says_what_is_wrong(value: bytes | None, names: str) -> None:
    with pytest.raises(MalformedRecordError, match=names):
        requests.decode(value)


def test_a_topic_id_that_is_null_is_not_known() -> None:
    """Otherwise the request would expire, as one of another log."""
    assert requests.decode(data(chunks_topic_id=None)).chunks_topic_id == ""


def test_a_fingerprint_depends_on_what_is_asked_and_not_on_the_order_of_its_fields() -> None:
    shuffled = orjson.loads(orjson.dumps(dict(reversed(BODY.items()))))
    assert fingerprint(shuffled) == fingerprint(BODY)
    assert fingerprint({**BODY, "x": [1.5, None]}) != fingerprint(BODY)
    assert fingerprint({**BODY, "temperature": 0}) != fingerprint(BODY)


def test_the_llm_gets_the_clients_body_without_weirs_fields_and_with_a_model() -> None:
    body: Json = {"uid": "u", "username": "ada", "messages": [], "user": "kept", "model": None, "x": None}
    before = dict(body)
    assert upstream_body(body, "default") == {"messages": [], "user": "kept", "model": "default", "x": None}
    assert upstream_body({"model": "gpt-5"}, "default") == {"model": "gpt-5"}
    assert upstream_body({"model": ""}, "default") == {"model": "default"}
    assert body == before


@pytest.mark.parametrize(
    ("options", "asked"),
    [({"stream_options": {"include_usage": True}}, True), ({"stream_options": None}, False), ({}, False)],
)
def test_whether_the_usage_chunk_was_asked_for_is_known(options: Json, asked: bool) -> None:
    body = {**BODY, **options}
    assert requests.decode(data(body=body)).include_usage is asked


LONG = "x" * 300


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("event_id", replace(REQUEST, event_id=LONG)),
        ("tenant_id", replace(REQUEST, tenant=LONG)),
        ("data.uid", replace(REQUEST, uid=LONG)),
        ("data.uid", replace(REQUEST, uid="u" * 129)),
        ("data.username", replace(REQUEST, username=LONG)),
        ("data.body.model", replace(REQUEST, body={**BODY, "model": LONG})),
        ("data.fingerprint", replace(REQUEST, fingerprint=LONG)),
        ("data.accepted_at", replace(REQUEST, accepted_at=LONG)),
        ("data.deadline", replace(REQUEST, deadline=LONG)),
        ("data.chunks_topic_id", replace(REQUEST, chunks_topic_id=LONG)),
        ("data.replay", replace(REQUEST, replay=LONG, replay_of="u")),
        ("data.replay_of", replace(REQUEST, replay="r", replay_of=LONG)),
    ],
)
def test_a_field_that_is_too_long_for_marks_and_rows_is_named(field: str, request_: ChatRequest) -> None:
    with pytest.raises(MalformedRecordError, match=f"`{field}` is longer than"):
        requests.decode(requests.encode(request_))


def test_fields_as_long_as_they_may_be_are_taken() -> None:
    most = replace(REQUEST, uid="u" * 128, event_id="e" * 256, tenant="t" * 256, username="n" * 256)
    assert requests.decode(requests.encode(most)) == most


def test_a_session_is_cut() -> None:
    assert replace(REQUEST, body={**BODY, "metadata": {"session_id": LONG}}).session_id == "x" * 255 + "…"
