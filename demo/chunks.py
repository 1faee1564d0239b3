"""A reply as the bytes of OpenAI's SSE stream, made before the first is sent.

A round is one token of every choice: choices are interleaved as they would be by a model that decodes them in
one batch. Pauses fall between rounds, so `tokens per second` is per choice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import orjson

from demo.reply import Reply, head, logprobs, usage
from demo.request import error_body
from demo.text import Script
from demo.tools import ToolCall

DONE = b"data: [DONE]\n\n"
ERROR = b"data: " + error_body("[demo model] broken in mid-answer, on purpose", kind="server_error") + b"\n\n"


@dataclass(frozen=True, kw_only=True)
class Stream:
    """The body of a streamed response, in order; each string of bytes ends with a whole SSE event."""

    opening: bytes  # the role of every choice
    rounds: list[bytes]  # the tokens
    closing: bytes  # finish reasons, usage if asked for, [DONE]


class _Writer:
    """Makes chunks that share the reply's id, model and date."""

    def __init__(self, reply: Reply) -> None:
        head_json = orjson.dumps(head(reply, "chat.completion.chunk"))[:-1]
        # With include_usage, OpenAI sends usage: null in every chunk but the last.
        self._end = b',"usage":null}\n\n' if reply.question.include_usage else b"}\n\n"
        self._noise = reply.question.mode.noise
        self._start = b"data: " + head_json + (b',"x_demo":{"note":"ignore me"}' if self._noise else b"")

    def choice(self, index: int, delta: dict[str, object], *, logs: object = None, end: object = None) -> bytes:
        if self._noise:
            delta = {**delta, "x_demo_delta": [1, None]}
        dumps = orjson.dumps
        return b"".join(
            (
                self._start,
                b',"choices":[{"index":%d,"delta":' % index,
                dumps(delta),
                b',"logprobs":',
                b"null" if logs is None else dumps(logs),
                b',"finish_reason":',
                b"null" if end is None else dumps(end),
                b"}]",
                self._end,
            )
        )

    def empty(self) -> bytes:
        """Chunks without content, as Azure's filter and some gateways send: an SSE comment, no choices."""
        return b": demo comment\n\n" + self._start + b',"choices":[],"prompt_filter_results":[]' + self._end

    def usage(self, total: dict[str, object]) -> bytes:
        return self._start + b',"choices":[],"usage":' + orjson.dumps(total) + b"}\n\n"


def stream_of(reply: Reply) -> Stream:
    """The whole stream of a reply."""
    writer = _Writer(reply)
    opening = b"".join(writer.choice(i, _role(said)) for i, said in enumerate(reply.scripts))
    rounds = [b"".join(r) for r in zip_longest(*_tokens_by_choice(reply, writer), fillvalue=b"")]
    closing = b"".join(writer.choice(i, {}, end=said.finish_reason) for i, said in enumerate(reply.scripts))
    if reply.question.mode.noise:
        opening = writer.empty() + opening
        rounds = [writer.empty() + r if i % 3 == 2 else r for i, r in enumerate(rounds)]
    if reply.question.include_usage:
        closing += writer.usage(usage(reply))
    return Stream(opening=opening, rounds=rounds, closing=closing + DONE)


def _role(said: Script) -> dict[str, object]:
    return {"role": "assistant", "content": None if said.tool_call else "", "refusal": None}


def _tokens_by_choice(reply: Reply, writer: _Writer) -> list[list[bytes]]:
    return [list(_tokens(reply, writer, i, said)) for i, said in enumerate(reply.scripts)]


def _tokens(reply: Reply, writer: _Writer, index: int, said: Script) -> Iterator[bytes]:
    question = reply.question
    if question.mode.thinking and not said.inline:
        for token in said.thinking:
            yield writer.choice(index, {question.mode.thinking.value: token})
    if said.tool_call:
        for delta in _call_deltas(said.tool_call):
            yield writer.choice(index, {"tool_calls": [delta]})
    for token in said.content:
        logs = logprobs([token], question.top_logprobs) if question.logprobs else None
        yield writer.choice(index, {"content": token}, logs=logs)


def _call_deltas(call: ToolCall) -> Iterator[dict[str, object]]:
    """First the call with its name, then its arguments piece by piece, as OpenAI does."""
    function = {"name": call.name, "arguments": ""}
    yield {"index": 0, "id": call.id, "type": "function", "function": function}
    for piece in call.arguments:
        yield {"index": 0, "function": {"arguments": piece}}
