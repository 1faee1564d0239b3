"""Ends of answers, good and bad, and the part of the answer that is kept after a bad one."""

from dataclasses import dataclass

import orjson

from tests.compatibility.cases import Case, Sheet
from tests.compatibility.upstream import DONE, Ends, Pause, Script, chunk, event, head, whole
from weir.envelope import Json

ROLE = event(chunk({"role": "assistant", "content": ""}))
TEXT = event(chunk({"content": "It is "})) + event(chunk({"content": "2."}))
STOP = event(chunk({}, "stop"))
USAGE = event({**chunk(), "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
MESSAGE: Json = {"role": "assistant", "content": "It is 2."}


def piece(data: bytes) -> bytes:
    """One piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def completion(finish_reason: str | None = "stop") -> Json:
    """A whole chat.completion, for servers that do not stream."""
    choice = {"index": 0, "message": MESSAGE, "finish_reason": finish_reason}
    return {"id": "cmpl-1", "object": "chat.completion", "created": 1, "model": "scripted", "choices": [choice]}


@dataclass(frozen=True, kw_only=True)
class EndCase(Case):
    """An answer, its text, and how it ends."""

    script: Script
    text: str = "It is 2."
    finish_reason: str | None = "stop"
    marked: str | None = None  # `weir_finish` of the choice
    usage: bool = False  # whether there is a usage
    error: str | None = None  # the error code, where the answer does not come to its end
    calls: int = 1  # calls of the server for one request


SHEET = Sheet(
    title="Ends of an answer",
    about="An answer is complete when its server says so, or when it has its finish reason; events on the connection "
    "after that change nothing. A finish reason that the server left out is inferred, and marked `weir_finish`.",
    cases=(
        EndCase(
            id="end-done-with-blanks",
            peer="proxies that fold lines",
            does="writes blanks around `[DONE]`",
            gets="the whole answer",
            script=(head(), ROLE + TEXT + STOP, b"data:  [DONE] \t\n\n"),
        ),
        EndCase(
            id="end-done-without-blank-line",
            peer="llama-cpp-python",
            does="ends the body right after `[DONE]`",
            gets="the whole answer",
            script=(head(), ROLE + TEXT + STOP, b"data: [DONE]"),
        ),
        EndCase(
            id="end-no-done",
            peer="Gemini, Cohere",
            does="never sends `[DONE]`",
            gets="the whole answer",
            script=(head(), ROLE + TEXT + STOP + USAGE),
            usage=True,
        ),
        EndCase(
            id="end-done-without-finish-reason",
            peer="text-generation-webui",
            does="sends `[DONE]` and no finish reason",
            gets="`stop`, marked as inferred",
            script=(head(), ROLE + TEXT + DONE),
            marked="inferred",
        ),
        EndCase(
            id="end-empty-finish-reason",
            peer="some proxies",
            does='sends `"finish_reason": ""` until `[DONE]`',
            gets="`stop`, marked as inferred",
            script=(head(), ROLE + TEXT + event(chunk({}, "")) + DONE),
            marked="inferred",
        ),
        EndCase(
            id="end-done-after-tool-call",
            peer="text-generation-webui",
            does="sends a tool call, `[DONE]` and no finish reason",
            gets="`tool_calls`, marked as inferred",
            script=(head(), event(chunk({"role": "assistant", "tool_calls": [CALL]})) + DONE),
            text="",
            finish_reason="tool_calls",
            marked="inferred",
        ),
        EndCase(
            id="end-done-after-function-call",
            peer="servers older than tools",
            does="sends a function call, `[DONE]` and no finish reason",
            gets="`function_call`, marked as inferred",
            script=(head(), event(chunk({"role": "assistant", "function_call": CALL["function"]})) + DONE),
            text="",
            finish_reason="function_call",
            marked="inferred",
        ),
        EndCase(
            id="end-reset-after-finish",
            peer="servers behind a load balancer",
            does="resets the connection after the finish reason",
            gets="the whole answer",
            script=(head(), ROLE + TEXT + STOP, Ends.RESET),
        ),
        EndCase(
            id="end-reset-after-done",
            peer="servers behind a load balancer",
            does="resets the connection after `[DONE]`",
            gets="the whole answer",
            script=(head(), ROLE + TEXT + STOP + USAGE + DONE, Ends.RESET),
            usage=True,
        ),
        EndCase(
            id="end-cut-chunked-after-finish",
            peer="uvicorn, when its worker is killed",
            does="closes a chunked body without its last piece, after the finish reason",
            gets="the whole answer",
            script=(CHUNKED, piece(ROLE + TEXT + STOP)),
        ),
        EndCase(
            id="end-bad-piece-after-finish",
            peer="broken proxies",
            does="sends a piece that is no HTTP, after the finish reason",
            gets="the whole answer",
            script=(CHUNKED, piece(ROLE + TEXT + STOP), Pause(0.3), b"zzz\r\nx\r\n"),
        ),
        EndCase(
            id="end-held-after-done",
            peer="TGI behind a proxy",
            does="keeps the connection open after `[DONE]`",
            gets="the whole answer, at once",
            script=(head(), ROLE + TEXT + STOP + DONE, Ends.HOLD),
        ),
        EndCase(
            id="end-held-after-finish",
            peer="servers that never send `[DONE]`",
            does="keeps the connection open after the finish reason",
            gets="the whole answer, 2 s later",
            script=(head(), ROLE + TEXT + STOP, Ends.HOLD),
        ),
        EndCase(
            id="end-late-usage",
            peer="vLLM under load",
            does="sends usage half a second after the finish reason, and keeps the connection open",
            gets="the whole answer with its usage",
            script=(head(), ROLE + TEXT + STOP, Pause(0.5), USAGE, Ends.HOLD),
            usage=True,
        ),
        EndCase(
            id="end-half-event-after-finish",
            peer="servers that die while they count",
            does="breaks off in the middle of the usage",
            gets="the whole answer, without usage",
            script=(head(), ROLE + TEXT + STOP + USAGE[:60], Ends.RESET),
        ),
        EndCase(
            id="end-object-held",
            peer="servers without Content-Length",
            does="sends one JSON object and keeps the connection open",
            gets="the whole answer, 2 s later",
            script=(head(content_type="application/json") + orjson.dumps(completion()), Ends.HOLD),
        ),
        EndCase(
            id="end-object-short",
            peer="proxies that change a body",
            does="announces more bytes than its JSON object has, and closes",
            gets="the whole answer",
            script=(whole(completion()).replace(b"Content-Length: ", b"Content-Length: 9"),),
        ),
        EndCase(
            id="end-object-without-finish-reason",
            peer="servers that do not stream",
            does="sends one JSON object without a finish reason",
            gets="`stop`, marked as inferred",
            script=(whole(completion(None)),),
            marked="inferred",
        ),
        EndCase(
            id="end-cut-before-finish",
            peer="any server that dies",
            does="ends the body in the middle of the answer",
            gets="the text so far, and an error: the answer may be incomplete",
            script=(head(), ROLE + TEXT),
            finish_reason=None,
            error="upstream_disconnected",
        ),
        EndCase(
            id="end-reset-before-finish",
            peer="any server that dies",
            does="resets the connection in the middle of an event",
            gets="the text so far, and an error",
            script=(head(), ROLE + TEXT + STOP[:40], Pause(0.2), Ends.RESET),
            finish_reason=None,
            error="upstream_disconnected",
        ),
        EndCase(
            id="end-bad-piece-before-finish",
            peer="broken proxies",
            does="sends a piece that is no HTTP, in the middle of the answer",
            gets="the text so far, and an error that names the reason",
            script=(CHUNKED, piece(ROLE + TEXT), Pause(0.3), b"zzz\r\nx\r\n"),
            finish_reason=None,
            error="upstream_invalid_response",
        ),
    ),
)
