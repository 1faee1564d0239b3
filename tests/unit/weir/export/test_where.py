"""The records that conditions choose."""

import pytest

from tests.unit.weir.export.helpers import body_of, record_of, request_of
from weir import envelope
from weir.chat import requests
from weir.export.where import Where
from weir.ranges.errors import UsageError

REQUEST = requests.encode(
    request_of("req-1", tenant="acme", body=body_of(n=2, metadata={"session_id": "s"}), username="ada")
)


@pytest.mark.parametrize(
    "condition",
    [
        "key=k",
        "uid=req-1",
        "tenant=acme",
        "model=m",
        "username=ada",
        "session_id=s",
        "ingress=http",
        "event_type=chat.requested",
        "event_id=evt-req-1",
        "source=weir",
        "data.body.n=2",
        "data.stream=true",
        "data.body.nothing=null",
    ],
)
def test_a_request_is_found_by_each_of_its_fields(condition: str) -> None:
    assert Where([condition]).matches(record_of(REQUEST))
    assert not Where([f"{condition}x"]).matches(record_of(REQUEST))


def test_a_value_that_is_nested_too_deeply_matches_no_condition() -> None:
    deep = envelope.encode("evt-1", "t", "default", {"x": 1}).replace(b'"x":1', b'"x":' + b"[" * 600 + b"]" * 600)
    assert not Where(["data.x=null"]).matches(record_of(deep))
    assert Where(["tenant=default"]).matches(record_of(deep))


def test_all_conditions_must_hold() -> None:
    assert Where(["uid=req-1", "tenant=acme"]).matches(record_of(REQUEST))
    assert not Where(["uid=req-1", "tenant=other"]).matches(record_of(REQUEST))
    assert Where().matches(record_of(None))


def test_a_value_may_have_an_equals_sign() -> None:
    value = envelope.encode("evt-1", "t", "default", {"uid": "a=b"})
    assert Where(["uid=a=b"]).matches(record_of(value))


def test_what_is_no_event_has_a_key_only() -> None:
    assert Where(["key=k"]).matches(record_of(b"\xff"))
    assert not Where(["uid=k"]).matches(record_of(b"\xff"))
    assert not Where(["data.uid=null"]).matches(record_of(None))


@pytest.mark.parametrize("condition", ["tenants=acme", "data.=x", "=x"])
def test_a_field_that_is_not_there_is_answered_with_those_that_are(condition: str) -> None:
    with pytest.raises(UsageError, match=r"there is no field .*; there are key, event_id, .*, and data\.…"):
        Where([condition])
