"""Every type of event by its name: its model, its JSON Schema, and how to read it."""

from typing import Final, TypeVar

from pydantic import ValidationError

from weir.envelope import Event, Json, MalformedRecordError
from weir.events import audit, decisions, feedback, insights, lineage, metrics, replays, signals, thinking, traces
from weir.events.base import EventData

TYPES: Final[tuple[type[EventData], ...]] = (
    feedback.FeedbackSubmitted,
    feedback.FeedbackExpired,
    feedback.FeedbackRescored,
    signals.SignalRecorded,
    signals.SignalsTick,
    insights.InsightRaised,
    insights.InsightCleared,
    thinking.ThinkingStarted,
    thinking.ThinkingStep,
    thinking.ThinkingApiCall,
    thinking.ThinkingCompleted,
    decisions.DecisionMade,
    decisions.DecisionOutcome,
    traces.RequestAccepted,
    traces.AttemptStarted,
    traces.RequestCompleted,
    traces.RequestFailed,
    traces.RequestCancelled,
    traces.RequestExpired,
    traces.RequestRedriven,
    traces.RequestForgotten,
    metrics.MetricsRecorded,
    metrics.QualityMeasured,
    metrics.MetricsTick,
    metrics.QualityRebuilt,
    lineage.QueryLineage,
    audit.AuditRecorded,
    replays.ReplayStarted,
    replays.ReplaySelected,
    replays.ReplayEnded,
    replays.ReplayCompared,
    replays.ReplayRedriven,
)

BY_NAME: Final = {each.EVENT_TYPE: each for each in TYPES}

Data = TypeVar("Data", bound=EventData)


def data_of(event: Event, model: type[Data]) -> Data:
    """The typed ``data`` of an event.

    Raises:
        MalformedRecordError: the event has another type, or a field is wrong; the message names the field, not its
            value.
    """
    if event.event_type != model.EVENT_TYPE:
        raise MalformedRecordError(f"event_type is {event.event_type!r}, not {model.EVENT_TYPE!r}")
    try:
        return model.model_validate(event.data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedRecordError(f"`data.{where}`: {first['msg']}") from None


def schema(model: type[EventData]) -> Json:
    """The JSON Schema (2020-12) of a whole record's value: the envelope, with the event's ``data``."""
    data = model.model_json_schema(mode="serialization")
    definitions = data.pop("$defs", {})
    envelope: Json = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": model.EVENT_TYPE,
        "description": (model.__doc__ or "").partition("\n")[0],
        "x-kafka-topic": model.TOPIC,
        "x-schema-version": model.VERSION,
        "type": "object",
        "required": ["event_id", "event_type", "tenant_id", "timestamp", "source", "data"],
        "properties": {
            "event_id": {
                "type": "string",
                "description": "The same event has the same id.",
            },
            "event_type": {"const": model.EVENT_TYPE},
            "tenant_id": {"type": "string"},
            "timestamp": {"type": "string", "format": "date-time"},
            "source": {"type": "string"},
            "data": data,
        },
    }
    return {**envelope, "$defs": definitions} if definitions else envelope
