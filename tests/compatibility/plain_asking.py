"""Servers that refuse to stream, or refuse the options that Weir adds."""

from dataclasses import dataclass

from tests.compatibility.cases import Case, Sheet
from tests.compatibility.ends import completion
from tests.compatibility.upstream import Script, chunk, said, whole
from weir.envelope import Json

STREAMED = said(chunk({"role": "assistant", "content": "It is 2."}), chunk({}, "stop"))
WHOLE = (whole(completion()),)


@dataclass(frozen=True, kw_only=True)
class PlainCase(Case):
    """A refusal, the response to the plainer call, and its result."""

    refusal: str
    status: str = "400 Bad Request"
    then: Script = WHOLE
    streamed: bool  # whether a client that asks for a stream gets one in the end
    asked: Json  # the members `stream` and `stream_options` of the last call, for a client that does not stream


SHEET = Sheet(
    title="Servers that cannot stream",
    about="Weir always asks for a stream with usage. If a server refuses that, Weir calls it again without the "
    "options that the client did not ask for, and leaves them out from the start for ten minutes.",
    cases=(
        PlainCase(
            id="plain-no-options",
            peer="servers older than `stream_options`",
            does="refuses `stream_options`",
            gets="the answer, by a second call without them",
            refusal="Unrecognized request argument supplied: stream_options",
            then=STREAMED,
            streamed=True,
            asked={"stream": True},
        ),
        PlainCase(
            id="plain-options-forbidden",
            peer="servers on FastAPI that allow no other fields",
            does="refuses `stream_options` with a 422",
            gets="the answer, by a second call without them",
            refusal="body.stream_options: Extra inputs are not permitted",
            status="422 Unprocessable Entity",
            then=STREAMED,
            streamed=True,
            asked={"stream": True},
        ),
        PlainCase(
            id="plain-no-stream",
            peer="models that do not stream (o1-preview on Azure)",
            does="refuses to stream",
            gets="the answer for a client that asked for none, the refusal for one that did",
            refusal="Unsupported value: 'stream' does not support true with this model.",
            streamed=False,
            asked={"stream": False},
        ),
        PlainCase(
            id="plain-no-streaming-yet",
            peer="hand-written servers",
            does="refuses streaming with a 501",
            gets="the answer for a client that asked for none, the refusal for one that did",
            refusal="Streaming is not implemented.",
            status="501 Not Implemented",
            streamed=False,
            asked={"stream": False},
        ),
    ),
)
