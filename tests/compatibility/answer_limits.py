"""Servers whose answers never end, and the limits that stop them."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.compatibility.cases import Case, Sheet
from tests.compatibility.ends import MESSAGE, ROLE
from tests.compatibility.upstream import Ends, Pause, Script, Step, chunk, event, head, whole

LIMITS = {"ANSWER_MAX_BYTES": "65536", "ANSWER_MAX_TOKENS": "150", "ANSWER_MAX_S": "3"}
WORD = event(chunk({"content": "a"}))
ARGUMENTS = {"index": 0, "function": {"arguments": "a"}}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
SLOWLY: Sequence[Step] = [WORD, Pause(0.4)] * 60


@dataclass(frozen=True, kw_only=True)
class LimitCase(Case):
    """An answer without an end, and the limit that ends it."""

    script: Script
    limit: str
    said: bool = True  # whether there was any output: then the answer ends with `length`, else with an error
    tokens: int | None = None  # characters of text


SHEET = Sheet(
    title="Limits of an answer",
    about="An answer that reaches ANSWER_MAX_BYTES, ANSWER_MAX_TOKENS or ANSWER_MAX_S ends with `length` and the "
    "limit's name in `weir_finish`, its call is closed; an answer without any text ends with an error that names "
    "the limit.",
    cases=(
        LimitCase(
            id="limit-tokens",
            peer="a model that repeats itself",
            does="repeats a word for ever",
            gets="as many words as ANSWER_MAX_TOKENS",
            script=(head(), ROLE, WORD * 400, Ends.HOLD),
            limit="ANSWER_MAX_TOKENS",
            tokens=150,
        ),
        LimitCase(
            id="limit-tokens-thinking",
            peer="a model that never stops thinking",
            does="thinks for ever",
            gets="as many thoughts as ANSWER_MAX_TOKENS",
            script=(head(), ROLE, event(chunk({"reasoning_content": "a"})) * 400, Ends.HOLD),
            limit="ANSWER_MAX_TOKENS",
            tokens=0,
        ),
        LimitCase(
            id="limit-tokens-tool-call",
            peer="a model that repeats itself in a tool call",
            does="writes arguments for ever",
            gets="the call as far as it came",
            script=(
                head(),
                event(chunk({"role": "assistant", "tool_calls": [CALL]})),
                event(chunk({"tool_calls": [ARGUMENTS]})) * 400,
                Ends.HOLD,
            ),
            limit="ANSWER_MAX_TOKENS",
            tokens=0,
        ),
        LimitCase(
            id="limit-bytes",
            peer="a server that sends garbage",
            does="sends a kilobyte with each chunk, for ever",
            gets="the first of them, up to ANSWER_MAX_BYTES",
            script=(head(), ROLE, *[event(chunk({"content": "a" * 1000}))] * 140, Ends.HOLD),
            limit="ANSWER_MAX_BYTES",
        ),
        LimitCase(
            id="limit-time",
            peer="a model that is slow",
            does="sends a word every 0.4 s, for ever",
            gets="the words within ANSWER_MAX_S",
            script=(head(), ROLE, *SLOWLY),
            limit="ANSWER_MAX_S",
        ),
        LimitCase(
            id="limit-time-in-silence",
            peer="a server that hangs after its headers",
            does="sends nothing, for longer than ANSWER_MAX_S",
            gets="an error that names ANSWER_MAX_S",
            script=(head(), ROLE, Ends.HOLD),
            limit="ANSWER_MAX_S",
            said=False,
        ),
        LimitCase(
            id="limit-empty-chunks",
            peer="a gateway that keeps connections busy",
            does="sends chunks without choices, for ever",
            gets="an error that names ANSWER_MAX_BYTES",
            script=(head(), *[event({**chunk(), "choices": []})] * 1000, Ends.HOLD),
            limit="ANSWER_MAX_BYTES",
            said=False,
        ),
        LimitCase(
            id="limit-comments",
            peer="a gateway that keeps connections busy",
            does="sends comments, for ever",
            gets="an error that names ANSWER_MAX_BYTES",
            script=(head(), *[b": " + b"keep-alive " * 100 + b"\n\n"] * 100, Ends.HOLD),
            limit="ANSWER_MAX_BYTES",
            said=False,
        ),
        LimitCase(
            id="limit-event",
            peer="a server that sends garbage",
            does="sends an event without an end",
            gets="an error that names ANSWER_MAX_BYTES",
            script=(head(), b"data: ", *[b"a" * 10_000] * 20, Ends.HOLD),
            limit="ANSWER_MAX_BYTES",
            said=False,
        ),
        LimitCase(
            id="limit-object",
            peer="a server that does not stream",
            does="sends one JSON object of 200 kB",
            gets="an error that names ANSWER_MAX_BYTES",
            script=(whole({"choices": [{"index": 0, "message": MESSAGE | {"content": "a" * 200_000}}]}), Ends.HOLD),
            limit="ANSWER_MAX_BYTES",
            said=False,
        ),
    ),
)
