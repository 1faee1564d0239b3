"""A client whose stream broke sends its POST again, with the id of its last event."""

from dataclasses import dataclass, field
from typing import Literal

from tests.compatibility.cases import Case, Sheet
from weir.envelope import Json

FETCH = "fetch-event-source (Microsoft), sse.js"
WORDS = ("one ", "two ", "three ", "four ", "five")


@dataclass(frozen=True, kw_only=True)
class RepeatCase(Case):
    """A stream, the part of it that its client got, and the POST that the client sends again."""

    named: Literal["uid", "key", "not"] = "uid"  # how the request is named, both times
    running: bool = True  # whether the answer is being generated when the POST comes again
    has: int = 2  # words that the client has; all of them and the end, if it is more than there are
    event_id: str | None = None  # Last-Event-ID of the second POST; None: that of the last event that the client has
    more: Json = field(default_factory=dict)  # fields of the second POST
    status: int = 200
    gets_words: tuple[str, ...] | None = None  # None: the words that the client does not have
    code: str | None = None  # the error code
    calls: int = 1


SHEET = Sheet(
    title="Streams that are resumed by POST",
    about="A POST with `Last-Event-ID` resumes after that event, if its body is that of the first POST. On both logs.",
    cases=(
        RepeatCase(
            id="post-again-with-a-uid",
            peer=FETCH,
            does="sends the same POST with `Last-Event-ID` while the answer is generated",
            gets="the events after that id",
        ),
        RepeatCase(
            id="post-again-after-the-end",
            peer=FETCH,
            does="comes back when the answer has ended",
            gets="the rest, from the log",
            running=False,
        ),
        RepeatCase(
            id="post-again-with-a-key",
            peer=FETCH,
            does="names the request by `Idempotency-Key`",
            gets="the events after that id",
            named="key",
        ),
        RepeatCase(
            id="post-again-without-a-name",
            peer=FETCH,
            does="has never named the request",
            gets="the events after that id: the event's id says which answer it is a part of",
            named="not",
        ),
        RepeatCase(
            id="post-again-with-all",
            peer=FETCH,
            does="sends the id of the end of the stream",
            gets="`[DONE]` alone",
            running=False,
            has=99,
        ),
        RepeatCase(
            id="post-again-with-another-body",
            peer="any client",
            does="sends the id with another body under the same uid",
            gets="409 `uid_conflict`, as without the id",
            more={"temperature": 0.3},
            status=409,
            code="uid_conflict",
        ),
        RepeatCase(
            id="post-again-with-another-body-and-no-name",
            peer="any client",
            does="sends the id of an event of an answer to another question",
            gets="409 `uid_conflict`: no answer is glued to another",
            named="not",
            more={"temperature": 0.3},
            status=409,
            code="uid_conflict",
        ),
        RepeatCase(
            id="post-again-with-an-id-of-no-event",
            peer="any client",
            does="sends the id of an event behind the end of the log",
            gets="410: the event was one of another log",
            named="not",
            event_id="0-999999999-0",
            status=410,
            code="gone",
        ),
        RepeatCase(
            id="post-again-with-an-id-past-64-bits",
            peer="any client",
            does="sends an offset that no log has",
            gets="400 that names `Last-Event-ID`",
            named="not",
            event_id="0-9999999999999999999-0",
            status=400,
        ),
        RepeatCase(
            id="post-again-with-an-id-of-another-kind",
            peer="clients that keep the ids of another service",
            does="sends `Last-Event-ID: 42`",
            gets="400 that names `Last-Event-ID`: a new answer would be added to half an old one",
            event_id="42",
            status=400,
        ),
        RepeatCase(
            id="post-again-with-an-empty-id",
            peer="clients that always send the header",
            does="sends an empty `Last-Event-ID`",
            gets="the stream from its start",
            event_id="",
            gets_words=WORDS,
        ),
        RepeatCase(
            id="post-again-for-the-whole-answer",
            peer="any client",
            does="sends the id without `stream`",
            gets="the whole answer as JSON",
            more={"stream": False},
            gets_words=WORDS,
        ),
    ),
)
