import pytest
from pydantic_core import to_jsonable_python

from tests.defaults import SPECS
from weir import topics
from weir.chat.lifecycle import Happening
from weir.envelope import Event, MalformedRecordError
from weir.events import catalogue
from weir.events.base import EventData, derived_id
from weir.events.feedback import FeedbackSubmitted, FeedbackType
from weir.events.metrics import MetricsTick, QualityMeasured
from weir.settings import DAY

SEEDS_TOPICS = {  # partitions, days of retention
    "ai-feedback-events": (6, 7),
    "ai-learning-signals": (3, 7),
    "ai-insights": (3, 7),
    "agent-thinking-events": (6, 7),
    "agent-decision-events": (6, 7),
    "agent-trace-events": (6, 7),
    "agent-metrics-events": (3, 7),
    "query-lineage-events": (3, 30),
    "audit-events": (6, 90),
}


def event(event_type: str, **data: object) -> Event:
    return Event("evt-1", event_type, "acme", "2026-01-01T00:00:00Z", "weir", data)


def test_the_nine_topics_are_the_seeds() -> None:
    ours = {spec.name: (spec.partitions, (spec.retention_s or 0) / DAY) for spec in SPECS}
    assert {name: ours[name] for name in SEEDS_TOPICS} == SEEDS_TOPICS


@pytest.mark.parametrize("model", catalogue.TYPES, ids=lambda model: model.EVENT_TYPE)
def test_a_type_belongs_to_a_topic_of_the_backbone_or_of_replays_and_has_a_schema_of_the_whole_record(
    model: type[EventData],
) -> None:
    schema = catalogue.schema(model)
    assert model.TOPIC in {*SEEDS_TOPICS, topics.CHAT_REPLAYS.name, topics.CHAT_REPLAY_RESULTS.name}
    assert schema["properties"]["event_type"] == {"const": model.EVENT_TYPE}
    assert schema["properties"]["data"]["type"] == "object"
    assert schema["description"]
    assert to_jsonable_python(schema) == schema


def test_no_two_types_share_a_name() -> None:
    assert len(catalogue.BY_NAME) == len(catalogue.TYPES)


def test_everything_that_can_happen_to_a_request_has_a_model() -> None:
    assert {str(happening) for happening in Happening} <= catalogue.BY_NAME.keys()


def test_data_is_read_into_its_model_and_fields_of_later_versions_are_skipped() -> None:
    given = event("feedback.submitted", uid="u", response_id="chatcmpl-u", feedback_type="rating", rating=4, later=1)
    data = catalogue.data_of(given, FeedbackSubmitted)
    assert (data.feedback_type, data.rating) == (FeedbackType.RATING, 4)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"response_id": "u", "feedback_type": "rating"}, "`data.uid`"),
        ({"uid": "u", "response_id": "u", "feedback_type": "applause"}, "`data.feedback_type`"),
        ({"uid": "u", "response_id": "u", "feedback_type": "rating", "rating": 9}, "`data.rating`"),
    ],
)
def test_a_wrong_field_is_named(data: dict[str, object], told: str) -> None:
    with pytest.raises(MalformedRecordError, match=told):
        catalogue.data_of(event("feedback.submitted", **data), FeedbackSubmitted)


def test_what_was_sent_does_not_stand_in_the_error() -> None:
    with pytest.raises(MalformedRecordError) as told:
        catalogue.data_of(
            event("feedback.submitted", uid="u", response_id="u", feedback_type="hush"), FeedbackSubmitted
        )
    assert "hush" not in str(told.value)


def test_another_type_is_refused() -> None:
    with pytest.raises(MalformedRecordError, match=r"feedback\.submitted"):
        catalogue.data_of(event("metrics.tick", at="x"), FeedbackSubmitted)


def test_records_are_keyed_by_what_must_stay_in_order() -> None:
    thumbs_up = FeedbackSubmitted(uid="u", response_id="chatcmpl-u", feedback_type=FeedbackType.THUMBS_UP)
    quality = QualityMeasured(model="m", uid="u", score=1, feedback_id="evt-1", feedback_type="thumbs_up")
    assert quality.record_key("acme") == "acme:m"
    assert thumbs_up.record_key("acme") == "u"
    assert MetricsTick(at="x").record_key("acme") == "acme"


def test_the_same_thing_told_again_has_the_same_id() -> None:
    assert derived_id("request.completed", "rid") == derived_id("request.completed", "rid")
    assert derived_id("request.completed", "rid") != derived_id("request.completed", "rid2")
