"""Valid and invalid feedback, for each of the seven kinds."""

from typing import Any

import pytest

from weir.envelope import Json
from weir.errors import InvalidRequestError
from weir.events.base import derived_id
from weir.events.feedback import FeedbackSource, FeedbackSubmitted, FeedbackType
from weir.feedback.rules import METADATA_MAX_BYTES, Given, check, from_body
from weir.settings import Settings

SETTINGS = Settings()
UP: Json = {"response_id": "chatcmpl-u", "feedback_type": "thumbs_up"}
CORRECTION: Json = {**UP, "feedback_type": "correction", "original": "a", "corrected": "b"}
RATING: Json = {**UP, "feedback_type": "rating", "rating": 5}
LONG = "x" * (SETTINGS.feedback_text_max + 1)


def given(body: Any, **more: Any) -> Given:
    return from_body(body, settings=SETTINGS, **more)


@pytest.mark.parametrize("kind", [kind for kind in FeedbackType if kind not in {"correction", "rating"}])
def test_kinds_that_need_no_more_than_their_answer(kind: FeedbackType) -> None:
    data = given({**UP, "feedback_type": kind, "comment": "so"}).data
    assert (data.uid, data.feedback_type, data.comment) == ("u", kind, "so")
    assert data.feedback_source == ("implicit" if kind.startswith("implicit") else "explicit")


def test_a_rating_has_stars_and_a_correction_two_texts() -> None:
    assert given(RATING).data.rating == 5
    data = given(CORRECTION).data
    assert (data.original, data.corrected, data.edit_distance) == ("a", "b", None)


def test_the_platforms_sample_is_understood_as_it_is() -> None:
    sample = {
        "event_id": "fb-001",
        "event_type": "feedback.submitted",
        "tenant_id": "acme-corp",
        "user_id": "user-1",
        "session_id": "sess-1",
        "response_id": "resp-1",
        "feedback_type": "correction",
        "feedback_source": "explicit",
        "data": {"original_sql": "SELECT 1", "corrected_sql": "SELECT 2", "comment": "two"},
        "timestamp": "2026-01-31T12:00:00Z",
    }
    found = given(sample)
    assert (found.tenant, found.feedback_id, found.data.uid) == ("acme-corp", "fb-001", "resp-1")
    assert (found.data.original, found.data.corrected, found.data.comment) == ("SELECT 1", "SELECT 2", "two")
    assert (found.data.user_id, found.data.session_id) == ("user-1", "sess-1")
    assert found == given({**sample, "tenant_id": None}, tenant="acme-corp")


def test_a_clients_own_id_makes_the_events_id_within_its_tenant() -> None:
    one = given({**UP, "feedback_id": "mine"})
    assert one.event_id == given({**RATING, "feedback_id": "mine"}).event_id
    assert one.event_id != given({**UP, "feedback_id": "mine"}, tenant="acme").event_id
    made_up = given(UP)
    assert made_up.event_id != given(UP).event_id
    assert made_up.event_id == derived_id("feedback", "default", made_up.feedback_id)  # what a 503 asks to send again


def test_the_paths_kind_may_be_left_out_of_the_body() -> None:
    body = {"response_id": "u", "rating": 1}
    assert given(body, kind=FeedbackType.RATING).data.feedback_type is FeedbackType.RATING
    with pytest.raises(InvalidRequestError) as told:
        given({**body, "feedback_type": "thumbs_up"}, kind=FeedbackType.RATING)
    assert told.value.error["param"] == "feedback_type"


def test_null_fields_count_as_left_out_and_unknown_ones_are_skipped() -> None:
    data = given({**UP, "rating": None, "original": None, "severity": None, "later": 1, "data": None}).data
    assert (data.rating, data.severity) == (None, "INFO")


BAD: dict[str, tuple[Any, str | None]] = {
    "no object": ([UP], None),
    "no answer": ({"feedback_type": "thumbs_up"}, "response_id"),
    "an answer that is none": ({**UP, "response_id": "chatcmpl-a/b"}, "response_id"),
    "an answer that is a number": ({**UP, "response_id": 7}, "response_id"),
    "only a prefix": ({**UP, "response_id": "chatcmpl-"}, "response_id"),
    "no kind": ({"response_id": "u"}, "feedback_type"),
    "an unknown kind": ({**UP, "feedback_type": "applause"}, "feedback_type"),
    "an unknown source": ({**UP, "feedback_source": "gossip"}, "feedback_source"),
    "a source of our own": ({**UP, "feedback_source": "retry"}, "feedback_source"),
    "an unknown severity": ({**UP, "severity": "HUGE"}, "severity"),
    "a rating without stars": ({**UP, "feedback_type": "rating"}, "rating"),
    "no stars": ({**RATING, "rating": 0}, "rating"),
    "six stars": ({**RATING, "rating": 6}, "rating"),
    "half a star": ({**RATING, "rating": 3.5}, "rating"),
    "stars in words": ({**RATING, "rating": "5"}, "rating"),
    "stars that are true": ({**RATING, "rating": True}, "rating"),
    "stars on thumbs": ({**UP, "rating": 5}, "rating"),
    "a text on thumbs": ({**UP, "corrected": "b"}, "corrected"),
    "SQL on thumbs": ({**UP, "data": {"original_sql": "b"}}, "original"),
    "a distance on thumbs": ({**UP, "edit_distance": 0.5}, "edit_distance"),
    "a correction of nothing": ({**CORRECTION, "original": None}, "original"),
    "a correction to nothing": ({**CORRECTION, "corrected": None}, "corrected"),
    "a correction that changes nothing": ({**CORRECTION, "corrected": "a"}, "corrected"),
    "a distance of two": ({**CORRECTION, "edit_distance": 2}, "edit_distance"),
    "a comment that is too long": ({**UP, "comment": LONG}, "comment"),
    "a correction that is too long": ({**CORRECTION, "corrected": LONG}, "corrected"),
    "a comment that is none": ({**UP, "comment": {}}, "comment"),
    "a session that is too long": ({**UP, "session_id": "s" * 257}, "session_id"),
    "a user that is a number": ({**UP, "user_id": 7}, "user_id"),
    "an id that is too long": ({**UP, "feedback_id": "f" * 257}, "feedback_id"),
    "an id that is empty": ({**UP, "feedback_id": ""}, "feedback_id"),
    "metadata that is none": ({**UP, "metadata": []}, "metadata"),
    "metadata that is too large": ({**UP, "metadata": {"a": "x" * METADATA_MAX_BYTES}}, "metadata"),
    "data that is none": ({**UP, "data": "b"}, "data"),
    "a tenant that is none": ({**UP, "tenant_id": "a b"}, "tenant_id"),
    "a tenant that is a number": ({**UP, "tenant_id": 7}, "tenant_id"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named(name: str) -> None:
    body, param = BAD[name]
    with pytest.raises(InvalidRequestError) as told:
        given(body)
    assert told.value.error["param"] == param
    assert told.value.status == 400
    assert param is None or param in str(told.value)


def test_two_tenants_are_one_too_many() -> None:
    with pytest.raises(InvalidRequestError) as told:
        given({**UP, "tenant_id": "other"}, tenant="acme")
    assert told.value.error["param"] == "tenant_id"


def test_what_was_sent_does_not_stand_in_the_error() -> None:
    for body in ({**UP, "feedback_type": "hush"}, {**RATING, "rating": "hush"}, {**UP, "response_id": "hush hush"}):
        with pytest.raises(InvalidRequestError) as told:
            given(body)
        assert "hush" not in str(told.value)


def test_deep_metadata_is_refused() -> None:
    deep: Json = {}
    for _ in range(600):
        deep = {"a": deep}
    with pytest.raises(InvalidRequestError):
        given({**UP, "metadata": deep})
    data = FeedbackSubmitted(uid="u", response_id="u", feedback_type=FeedbackType.THUMBS_UP, metadata=deep)
    with pytest.raises(InvalidRequestError):
        check(data, SETTINGS)


def test_the_rules_hold_for_feedback_from_kafka_too_and_weirs_own_sources_pass() -> None:
    data = FeedbackSubmitted(
        uid="u",
        response_id="u",
        feedback_type=FeedbackType.IMPLICIT_REJECT,
        feedback_source=FeedbackSource.RETRY,
    )
    check(data, SETTINGS)
    for wrong in ({"rating": 3}, {"uid": "a/b"}, {"comment": LONG}):
        with pytest.raises(InvalidRequestError):
            check(data.model_copy(update=wrong), SETTINGS)
