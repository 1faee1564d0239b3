"""Encodings of answers: half characters, numbers that JSON does not have, other content types."""

import orjson

from tests.compatibility.cases import Sheet
from tests.compatibility.ends import MESSAGE, ROLE, STOP, TEXT, EndCase, completion
from tests.compatibility.upstream import DONE, chunk, event, head, whole

BOM = b"\xef\xbb\xbf"


def written(content: bytes, more: bytes = b"") -> bytes:
    """An event whose content and other fields of its choice are written by hand."""
    top = b'"id":"cmpl-1","object":"chat.completion.chunk","created":1,"model":"scripted"'
    delta = b'{"content":"%b"}' % content
    return event(b'{%b,"choices":[{"index":0,"delta":%b,"finish_reason":null%b}]}' % (top, delta, more))


def with_logprobs(logprob: bytes, other: bytes) -> bytes:
    """An event whose log probabilities are not JSON numbers."""
    others = b'[{"token":"3","logprob":%b,"bytes":null}]' % other
    token = b'{"token":"2.","logprob":%b,"bytes":[50],"top_logprobs":%b}' % (logprob, others)
    return written(b"It is 2.", b',"logprobs":{"content":[%b]}' % token)


def named(events: bytes) -> bytes:
    """Return the same events with names and other line ends."""
    return events.replace(b"data: ", b"event: message\r\ndata: ").replace(b"\n\n", b"\r\n\r\n")


SHEET = Sheet(
    title="Encodings",
    about="A body that is nearly JSON, nearly UTF-8, or has a wrong content type is read by its content. Characters "
    "and numbers that JSON cannot hold become a replacement character or null, and the answer is kept.",
    cases=(
        EndCase(
            id="encoding-halves-escaped",
            peer="servers in Python (`json.dumps`)",
            does="writes half an emoji in each of two chunks, as `\\ud83d` and `\\ude00`",
            gets="the emoji",
            script=(head(), ROLE + written(rb"Hi \ud83d") + written(rb"\ude00!") + STOP + DONE),
            text="Hi 😀!",
        ),
        EndCase(
            id="encoding-half-alone",
            peer="servers in Python (`json.dumps`)",
            does="writes one half of an emoji, then text",
            gets="a replacement character in its place",
            script=(head(), ROLE + written(rb"Hi \ud83d") + written(rb" there") + STOP + DONE),
            text="Hi \ufffd there",
        ),
        EndCase(
            id="encoding-half-at-end",
            peer="servers in Python (`json.dumps`)",
            does="ends an answer with half an emoji",
            gets="a replacement character in its place",
            script=(head(), ROLE + written(rb"Hi \ud83d") + STOP + DONE),
            text="Hi \ufffd",
        ),
        EndCase(
            id="encoding-low-half-alone",
            peer="servers in Python (`json.dumps`)",
            does="writes the second half of an emoji only",
            gets="a replacement character in its place",
            script=(head(), ROLE + written(rb"Hi \ude00!") + STOP + DONE),
            text="Hi \ufffd!",
        ),
        EndCase(
            id="encoding-bytes-cut",
            peer="llama.cpp of early versions",
            does="cuts the UTF-8 of an emoji between two chunks",
            gets="the emoji",
            script=(head(), ROLE + written(b"Hi \xf0\x9f") + written(b"\x98\x80!") + STOP + DONE),
            text="Hi 😀!",
        ),
        EndCase(
            id="encoding-bytes-broken",
            peer="servers that decode token by token",
            does="sends bytes that are no UTF-8",
            gets="a replacement character in their place",
            script=(head(), ROLE + written(b"Hi \xff!") + STOP + DONE),
            text="Hi \ufffd!",
        ),
        EndCase(
            id="encoding-latin-1",
            peer="proxies that change an encoding",
            does="sends Latin-1",
            gets="a replacement character in the place of each letter that it broke",
            script=(head(), ROLE + written(b"Gr\xfc\xdfe") + STOP + DONE),
            text="Gr\ufffd\ufffde",
        ),
        EndCase(
            id="encoding-infinity",
            peer="vLLM, SGLang",
            does="sends `-Infinity` and `NaN` as log probabilities",
            gets="the answer, with OpenAI's -9999 in their place",
            script=(head(), ROLE + with_logprobs(b"-Infinity", b"NaN") + STOP + DONE),
        ),
        EndCase(
            id="encoding-float-too-large",
            peer="servers in Go and Rust",
            does="sends a log probability of `-1e999`",
            gets="the answer, with OpenAI's -9999 in its place",
            script=(head(), ROLE + with_logprobs(b"-1e999", b"1e999") + STOP + DONE),
        ),
        EndCase(
            id="encoding-control-characters",
            peer="hand-written JSON",
            does="sends a tab inside a string as it is",
            gets="the tab",
            script=(head(), ROLE + written(b"It\tis 2.") + STOP + DONE),
            text="It\tis 2.",
        ),
        EndCase(
            id="encoding-bom",
            peer="servers on .NET",
            does="sends a byte order mark before the first event",
            gets="the whole answer",
            script=(head(), BOM + event(chunk(MESSAGE)) + STOP + DONE),
        ),
        EndCase(
            id="encoding-bom-cut",
            peer="servers on .NET",
            does="sends a byte order mark in pieces, and then blank lines",
            gets="the whole answer",
            script=(head(), BOM[:2], BOM[2:] + b"\r\n\r\n", TEXT + STOP + DONE),
        ),
        EndCase(
            id="encoding-stream-as-json",
            peer="gateways that set one content type for all",
            does="streams under `application/json`",
            gets="the whole answer",
            script=(head(content_type="application/json"), ROLE + TEXT + STOP + DONE),
        ),
        EndCase(
            id="encoding-json-as-stream",
            peer="servers that ignore `stream`",
            does="sends one JSON object under `text/event-stream`",
            gets="the whole answer",
            script=(whole(completion(), content_type="text/event-stream"),),
        ),
        EndCase(
            id="encoding-json-with-bom",
            peer="servers on .NET",
            does="sends one JSON object after a byte order mark",
            gets="the whole answer",
            script=(head(content_type="text/plain"), BOM + orjson.dumps(completion())),
        ),
        EndCase(
            id="encoding-no-content-type",
            peer="minimal servers",
            does="sends no content type",
            gets="the whole answer",
            script=(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", ROLE + TEXT + STOP + DONE),
        ),
        EndCase(
            id="encoding-carriage-returns",
            peer="sse-starlette",
            does="ends lines with CRLF, and names its events",
            gets="the whole answer",
            script=(head(), named(event(chunk(MESSAGE)) + STOP + DONE)),
        ),
        EndCase(
            id="encoding-pings",
            peer="OpenRouter, sse-starlette",
            does="sends comments between the events",
            gets="the whole answer",
            script=(head(), b": OPENROUTER PROCESSING\n\n", ROLE, b": ping\r\n\r\n", TEXT + STOP, b":\n\n", DONE),
        ),
    ),
)
