"""Checks feedback: the bodies of the HTTP doors, and the rules for feedback from any writer.

Every error names the field, and none repeats the client's value.
"""

from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson
from pydantic import ValidationError

from weir.chat.checking import tenant_of
from weir.chat.validation import NAME_MAX, check_uid
from weir.envelope import Json, new_id
from weir.errors import InvalidRequestError
from weir.events.base import derived_id
from weir.events.feedback import FeedbackSource, FeedbackSubmitted, FeedbackType
from weir.feedback.scores import source_of
from weir.settings import Settings

ID_MAX = 256  # characters of an event's id
METADATA_MAX_BYTES = 16 * 1024  # as JSON: for notes of a client, not for storage
TEXTS: Final = ("comment", "original", "corrected")
NAMES: Final = ("user_id", "session_id", "category")
_OWN: Final = frozenset({FeedbackSource.RETRY, FeedbackSource.ABANDON})

# Fields by the names that clients give them: the platform's sample has SQL, and keeps the texts under `data`.
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "original": ("original", "original_sql"),
    "corrected": ("corrected", "corrected_sql"),
    "feedback_id": ("feedback_id", "event_id"),
}
_FIELDS: Final = (
    "response_id",
    "feedback_type",
    "feedback_source",
    "severity",
    "rating",
    "edit_distance",
    "metadata",
    "feedback_id",
    "tenant_id",
    *TEXTS,
    *NAMES,
)


class Count(StrEnum):
    """The things that a worker counts of feedback since its start."""

    RECEIVED = "received"  # new pieces
    DUPLICATE = "duplicate"  # pieces that came again
    JOINED = "joined"  # pieces that got their signal
    EXPIRED = "expired"  # pieces that waited for too long
    FOREIGN = "foreign"  # pieces about a request of another tenant
    DEAD = "dead"  # records that went to the dead letters
    MOVED = "moved"  # records that came in a wrong partition
    ABANDONED = "abandoned"  # pieces made here of cancelled requests
    RETRIED = "retried"  # pieces made here of requests that were asked again


class Given(NamedTuple):
    """Feedback from an HTTP door, checked."""

    feedback_id: str  # the client's, or made up: the same id twice counts once
    event_id: str
    tenant: str
    data: FeedbackSubmitted


def from_body(body: Any, *, settings: Settings, tenant: str | None = None, kind: FeedbackType | None = None) -> Given:
    """Check a client's body.

    Args:
        body: the parsed JSON.
        settings: the limits, and the default tenant.
        tenant: X-Tenant-ID, if there is one; else the body's ``tenant_id`` counts.
        kind: the type of feedback by the URL's path.

    Raises:
        InvalidRequestError: the first mistake in the body; the error names its field.
    """
    fields = _fields(body)
    named = fields.pop("tenant_id", None)
    if named is not None and (not isinstance(named, str) or tenant not in {None, named}):
        raise _wrong("tenant_id", "must be the tenant of X-Tenant-ID, or be left out")
    owner = tenant_of(named, settings, param="tenant_id") if tenant is None else tenant_of(tenant, settings)
    if kind is not None and fields.setdefault("feedback_type", kind) != kind:
        raise _wrong("feedback_type", f"must be {kind} here, or be left out")
    feedback_id = _feedback_id(fields.pop("feedback_id", None))
    fields["uid"] = uid_of(fields.get("response_id"))
    data = _typed(fields)
    if data.feedback_source in _OWN:
        raise _wrong("feedback_source", "must be explicit or implicit: the others are what Weir itself sees")
    check(data, settings)
    return Given(feedback_id, derived_id("feedback", owner, feedback_id), owner, data)


def check(data: FeedbackSubmitted, settings: Settings) -> None:
    """Check the rules that span fields, and the limits, for feedback from any door.

    Raises:
        InvalidRequestError: the first mistake; the error names its field.
    """
    check_uid(data.uid)
    for name in NAMES:
        if len(getattr(data, name) or "") > NAME_MAX:
            raise _wrong(name, f"is longer than {NAME_MAX} characters")
    for name in TEXTS:
        if len(getattr(data, name) or "") > settings.feedback_text_max:
            raise _wrong(name, f"is longer than {settings.feedback_text_max} characters")
    _check_metadata(data.metadata)
    if data.feedback_type is not FeedbackType.RATING and data.rating is not None:
        raise _wrong("rating", f"belongs to feedback of the type rating, not {data.feedback_type}")
    if data.feedback_type is FeedbackType.RATING and data.rating is None:
        raise _wrong("rating", "is required: 1 to 5 stars")
    _check_correction(data)


def uid_of(response_id: Any) -> str:
    """Return the uid of the request that a client calls ``chatcmpl-{uid}``, or by the uid itself.

    Raises:
        InvalidRequestError: no request can have that name.
    """
    if response_id is None:
        raise _wrong("response_id", "is required: the id of the answer")
    if isinstance(response_id, str):
        uid = response_id.removeprefix("chatcmpl-")
        try:
            check_uid(uid)
        except InvalidRequestError:
            pass
        else:
            return uid
    raise _wrong("response_id", "must be the id of an answer: chatcmpl- and the uid of its request, or the uid alone")


def _fields(body: Any) -> Json:
    """Return the fields that are used here, by Weir's names; null counts as left out."""
    if not isinstance(body, dict):
        raise InvalidRequestError("The body must be a JSON object.")
    nested = body.get("data")
    if nested is not None and not isinstance(nested, dict):
        raise _wrong("data", "must be an object")
    found: Json = {}
    for field in _FIELDS:
        for name in _NAMES.get(field, (field,)):
            value = body.get(name)
            if value is None and field in TEXTS:
                value = (nested or {}).get(name)
            if value is not None:
                found.setdefault(field, value)
    return found


def _feedback_id(given: Any) -> str:
    if given is None:
        return new_id("fb")
    if not isinstance(given, str) or not 1 <= len(given) <= ID_MAX:
        raise _wrong("feedback_id", f"must be a string of 1 to {ID_MAX} characters")
    return given


def _typed(fields: Json) -> FeedbackSubmitted:
    try:
        # As JSON and strict: no number from a text, nor from true.
        data = FeedbackSubmitted.model_validate_json(orjson.dumps(fields), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        if first["type"] == "missing":
            raise _wrong(str(first["loc"][0]), "is required") from None
        raise _wrong(str(first["loc"][0]), f"is wrong: {first['msg']}") from None
    except TypeError:  # orjson reads deeper nesting than it writes
        raise InvalidRequestError("The body is nested too deeply.", code="invalid_json") from None
    source = data.feedback_source if "feedback_source" in fields else None
    return data.model_copy(update={"feedback_source": source_of(data.feedback_type, source)})


def _check_metadata(metadata: Json) -> None:
    try:
        size = len(orjson.dumps(metadata))
    except TypeError:
        raise _wrong("metadata", "is nested too deeply") from None
    if size > METADATA_MAX_BYTES:
        raise _wrong("metadata", f"is larger than {METADATA_MAX_BYTES} bytes")


def _check_correction(data: FeedbackSubmitted) -> None:
    if data.feedback_type is not FeedbackType.CORRECTION:
        for name in ("original", "corrected", "edit_distance"):
            if getattr(data, name) is not None:
                raise _wrong(name, f"belongs to feedback of the type correction, not {data.feedback_type}")
        return
    for name in ("original", "corrected"):
        if getattr(data, name) is None:
            raise _wrong(name, "is required in a correction")
    if data.original == data.corrected:
        raise _wrong("corrected", "must differ from 'original'")


def _wrong(field: str, what: str) -> InvalidRequestError:
    return InvalidRequestError(f"'{field}' {what}.", param=field)
