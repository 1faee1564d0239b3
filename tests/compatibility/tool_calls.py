"""Tool calls in the pieces in which servers send them."""

from dataclasses import dataclass, field
from typing import Any

from tests.compatibility.cases import Case, Sheet
from tests.compatibility.upstream import Script, chunk, said, whole
from weir.envelope import Json

OSLO, ROME = '{"city": "Oslo"}', '{"city": "Rome"}'
ONE = (("call_a", "weather", OSLO),)
TWO = (("call_a", "weather", OSLO), ("call_b", "time", ROME))
MADE_UP = "call_*"  # an id that Weir makes up, the same for each reader


@dataclass(frozen=True, kw_only=True)
class ToolCallsCase(Case):
    """An answer, and the calls in it."""

    script: Script
    calls: tuple[tuple[str, str, str], ...] = field(default=ONE)  # id, name, arguments
    text: str = ""
    function_call: Json | None = None
    finish_reason: str = "tool_calls"


def piece(name: str | None = None, arguments: Any = None, **fields: Any) -> Json:
    """A piece of a call: fields that are not given are left out; ``function_`` are other fields of its function."""
    function: Json = {}
    if name is not None:
        function["name"] = name
    if arguments is not None:
        function["arguments"] = arguments
    return {**fields, **({"function": function} if function else {})}


def deltas(*given: list[Any] | Json) -> Script:
    """An answer whose deltas have these lists of pieces, or are these objects."""
    chunks = [chunk({"tool_calls": one} if isinstance(one, list) else one) for one in given]
    return said(chunk({"role": "assistant", "content": None}), *chunks, chunk({}, "tool_calls"))


def message(*calls: Json | None, **more: Any) -> Script:
    """Return the calls in one piece, from a server that does not stream."""
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [*calls], **more}}
    choice["finish_reason"] = "tool_calls"
    return (whole({"id": "cmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}),)


def head(index: Any, id_: str | None, name: str, arguments: Any = "") -> Json:
    """The first piece of a call as OpenAI sends it."""
    return piece(name, arguments, index=index, id=id_, type="function")


SHEET = Sheet(
    title="Tool calls",
    about="Each tool call arrives as one call, with an index and an id of its own, on every path: streamed, resumed, "
    "stored, without streaming, and in the headers of a queue's last message.",
    cases=(
        ToolCallsCase(
            id="calls-openai",
            peer="OpenAI",
            does="sends id and name once, cuts the arguments anywhere, sends the calls one after the other",
            gets="the two calls",
            script=deltas(
                [head(0, "call_a", "weather")],
                [piece(arguments='{"city": ', index=0)],
                [piece(arguments='"Oslo"}', index=0)],
                [head(1, "call_b", "time")],
                [piece(arguments=ROME, index=1)],
            ),
            calls=TWO,
        ),
        ToolCallsCase(
            id="calls-interleaved",
            peer="servers with parallel calls",
            does="sends pieces of two calls by turns, some in one delta",
            gets="the two calls",
            script=deltas(
                [head(0, "call_a", "weather"), head(1, "call_b", "time")],
                [piece(arguments='{"city": ', index=1), piece(arguments='{"city": "O', index=0)],
                [piece(arguments='slo"}', index=0), piece(arguments='"Rome"}', index=1)],
            ),
            calls=TWO,
        ),
        ToolCallsCase(
            id="calls-without-index",
            peer="Gemini's OpenAI endpoint, Ollama before 0.5",
            does="sends each call whole, without an index",
            gets="the two calls",
            script=deltas(
                [piece("weather", OSLO, id="call_a", type="function")],
                [piece("time", ROME, id="call_b", type="function")],
            ),
            calls=TWO,
        ),
        ToolCallsCase(
            id="calls-without-index-in-one-delta",
            peer="Gemini's OpenAI endpoint",
            does="sends both calls whole in one delta, without an index",
            gets="the two calls",
            script=deltas(
                [
                    piece("weather", OSLO, id="call_a", type="function"),
                    piece("time", ROME, id="call_b", type="function"),
                ]
            ),
            calls=TWO,
        ),
        ToolCallsCase(
            id="calls-without-index-in-pieces",
            peer="proxies that drop the index",
            does="sends pieces without an index, and sends id and name in the first of each call",
            gets="the two calls",
            script=deltas(
                [piece("weather", "", id="call_a")],
                [piece(arguments='{"city": ')],
                [piece(arguments='"Oslo"}')],
                [piece("time", "", id="call_b")],
                [piece(arguments=ROME)],
            ),
            calls=TWO,
        ),
        ToolCallsCase(
            id="calls-index-null",
            peer="servers whose index is optional",
            does="sends the index as null",
            gets="the two calls",
            script=deltas([head(None, "call_a", "weather", OSLO)], [head(None, "call_b", "time", ROME)]),
            calls=TWO,
        ),
        ToolCallsCase(
            id="calls-index-null-then-0",
            peer="servers whose index is optional",
            does="sends the index as null in the first piece, and 0 in the others",
            gets="one call",
            script=deltas(
                [head(None, "call_a", "weather")],
                [piece(arguments=OSLO[:8], index=0)],
                [piece(arguments=OSLO[8:], index=0)],
            ),
        ),
        ToolCallsCase(
            id="calls-index-0-then-missing",
            peer="servers whose index is optional",
            does="sends the index in the first piece only",
            gets="one call",
            script=deltas([head(0, "call_a", "weather")], [piece(arguments=OSLO[:8])], [piece(arguments=OSLO[8:])]),
        ),
        ToolCallsCase(
            id="calls-index-mixed",
            peer="servers whose index is optional",
            does="sends the first call without an index, the second one with index 0",
            gets="the two calls",
            script=deltas(
                [piece("weather", OSLO, id="call_a")],
                [head(0, "call_b", "time", "")],
                [piece(arguments=ROME, index=0)],
            ),
            calls=TWO,
        ),
        ToolCallsCase(
            id="calls-index-always-0",
            peer="Ollama, NVIDIA Dynamo, SGLang with gemma4",
            does="sends index 0 for every call, with an id of its own",
            gets="the two calls",
            script=deltas([head(0, "call_a", "weather", OSLO)], [head(0, "call_b", "time", ROME)]),
            calls=TWO,
        ),
        ToolCallsCase(
            id="calls-index-always-0-in-pieces",
            peer="gateways in front of Gemini and of the Responses API",
            does="sends index 0 for every call, and cuts the arguments",
            gets="the two calls",
            script=deltas(
                [head(0, "call_a", "weather")],
                [piece(arguments=OSLO[:8], index=0)],
                [piece(arguments=OSLO[8:], index=0)],
                [head(0, "call_b", "time")],
                [piece(arguments=ROME[:8], index=0)],
                [piece(arguments=ROME[8:], index=0)],
            ),
            calls=TWO,
        ),
        ToolCallsCase(
            id="calls-index-always-0-one-function",
            peer="SGLang with gemma4",
            does="sends index 0 for two calls of the same function",
            gets="the two calls",
            script=deltas([head(0, "call_a", "weather", OSLO)], [head(0, "call_b", "weather", ROME)]),
            calls=(("call_a", "weather", OSLO), ("call_b", "weather", ROME)),
        ),
        ToolCallsCase(
            id="calls-index-always-0-without-arguments",
            peer="Ollama",
            does="sends index 0 for two calls that have no arguments yet",
            gets="the two calls",
            script=deltas(
                [head(0, "call_a", "weather")], [head(0, "call_b", "time")], [piece(arguments=ROME, index=0)]
            ),
            calls=(("call_a", "weather", ""), ("call_b", "time", ROME)),
        ),
        ToolCallsCase(
            id="calls-index-from-1",
            peer="servers that count from 1",
            does="sends indexes 1 and 2",
            gets="the two calls, with the indexes 0 and 1",
            script=deltas(
                [head(1, "call_a", "weather", OSLO)], [head(2, "call_b", "time")], [piece(arguments=ROME, index=2)]
            ),
            calls=TWO,
        ),
        ToolCallsCase(
            id="calls-index-jumps",
            peer="SGLang with gemma4: the index is the tool's place among the tools",
            does="sends indexes 7 and 3",
            gets="the two calls, in the order in which they begin",
            script=deltas([head(7, "call_a", "weather", OSLO)], [head(3, "call_b", "time", ROME)]),
            calls=TWO,
        ),
        ToolCallsCase(
            id="calls-index-as-text",
            peer="proxies in languages without types",
            does='sends the index as "0" and "1"',
            gets="the two calls",
            script=deltas([head("0", "call_a", "weather", OSLO)], [head("1", "call_b", "time", ROME)]),
            calls=TWO,
        ),
        ToolCallsCase(
            id="calls-head-repeated",
            peer="vLLM, Fireworks, several gateways",
            does="repeats id, type and name in every piece",
            gets="one call, whose name is said once",
            script=deltas(
                [head(0, "call_a", "weather", "")],
                [head(0, "call_a", "weather", OSLO[:8])],
                [head(0, "call_a", "weather", OSLO[8:])],
                [head(0, "call_a", "weather", "")],
            ),
        ),
        ToolCallsCase(
            id="calls-head-repeated-empty",
            peer="Databricks, Bedrock gateways, Azure",
            does="repeats id, type and name as empty strings",
            gets="one call, with its id",
            script=deltas(
                [head(0, "call_a", "weather", "")],
                [piece("", OSLO[:8], index=0, id="", type="")],
                [piece("", OSLO[8:], index=0, id="", type="")],
            ),
        ),
        ToolCallsCase(
            id="calls-head-repeated-null",
            peer="vLLM, LiteLLM",
            does="repeats id, type and name as null",
            gets="one call",
            script=deltas(
                [head(0, "call_a", "weather", None)],
                [{"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": OSLO}}],
                [{"index": 0, "id": None, "type": None, "function": None}],
            ),
        ),
        ToolCallsCase(
            id="calls-id-anew",
            peer="vLLM before 0.8",
            does="makes up another id for each piece of a call",
            gets="one call, with the first id",
            script=deltas(
                [head(0, "call_a", "weather", "")],
                [piece(arguments=OSLO[:8], index=0, id="call_x")],
                [piece(arguments=OSLO[8:], index=0, id="call_y")],
                [piece(arguments="", index=0, id="call_z")],
            ),
        ),
        ToolCallsCase(
            id="calls-name-in-pieces",
            peer="servers that stream the name",
            does='sends the name as "wea" and "ther"',
            gets="one call of weather",
            script=deltas([head(0, "call_a", "wea")], [piece("ther", index=0)], [piece(arguments=OSLO, index=0)]),
        ),
        ToolCallsCase(
            id="calls-name-grows",
            peer="servers that repeat what is parsed so far",
            does='sends the name as "wea" and "weather"',
            gets="one call of weather",
            script=deltas([head(0, "call_a", "wea")], [piece("weather", index=0)], [piece(arguments=OSLO, index=0)]),
        ),
        ToolCallsCase(
            id="calls-name-later",
            peer="servers that say the id first",
            does="sends the name in the second piece",
            gets="one call of weather",
            script=deltas([piece(index=0, id="call_a", type="function")], [piece("weather", OSLO, index=0)]),
        ),
        ToolCallsCase(
            id="calls-type-missing",
            peer="Mistral, Cohere",
            does="sends no type",
            gets='type "function"',
            script=deltas([piece("weather", OSLO, index=0, id="call_a")]),
        ),
        ToolCallsCase(
            id="calls-without-id",
            peer="Ollama before 0.3, llama.cpp",
            does="sends calls without an id",
            gets="an id that Weir makes up, so that a client can answer the call",
            script=deltas([piece("weather", OSLO, index=0)], [piece("time", ROME, index=1)]),
            calls=((MADE_UP, "weather", OSLO), (MADE_UP, "time", ROME)),
        ),
        ToolCallsCase(
            id="calls-without-id-and-index",
            peer="Gemini's OpenAI endpoint",
            does="sends both calls whole, with an empty id, and no index",
            gets="the two calls, with ids",
            script=deltas([piece("weather", OSLO, id="")], [piece("weather", ROME, id="")]),
            calls=((MADE_UP, "weather", OSLO), (MADE_UP, "weather", ROME)),
        ),
        ToolCallsCase(
            id="calls-without-id-index-0",
            peer="Gemini proxies",
            does="sends both calls whole with index 0, and no id",
            gets="the two calls, with ids",
            script=deltas([piece("weather", OSLO, index=0)], [piece("weather", ROME, index=0)]),
            calls=((MADE_UP, "weather", OSLO), (MADE_UP, "weather", ROME)),
        ),
        ToolCallsCase(
            id="calls-arguments-object",
            peer="Ollama's native API behind a proxy",
            does="sends the arguments as an object",
            gets="the arguments as JSON text",
            script=deltas([piece("weather", {"city": "Oslo"}, index=0, id="call_a")]),
            calls=(("call_a", "weather", '{"city":"Oslo"}'),),
        ),
        ToolCallsCase(
            id="calls-arguments-null",
            peer="servers whose functions have no parameters",
            does="sends the arguments as null",
            gets="empty arguments",
            script=deltas([{"index": 0, "id": "call_a", "function": {"name": "time", "arguments": None}}]),
            calls=(("call_a", "time", ""),),
        ),
        ToolCallsCase(
            id="calls-said-again",
            peer="servers that sum up at the end",
            does="repeats the whole call in the last chunk",
            gets="one call",
            script=deltas(
                [head(0, "call_a", "weather")], [piece(arguments=OSLO, index=0)], [head(0, "call_a", "weather", OSLO)]
            ),
        ),
        ToolCallsCase(
            id="calls-same-id-twice",
            peer="gateways that use the function's name as the id",
            does="sends two calls with the same id and index",
            gets="the two calls",
            script=deltas([head(0, "weather", "weather", OSLO)], [head(0, "weather", "weather", ROME)]),
            calls=(("weather", "weather", OSLO), ("weather", "weather", ROME)),
        ),
        ToolCallsCase(
            id="calls-quotes-and-braces",
            peer="any server",
            does="cuts arguments within an escape, with braces and quotes in strings",
            gets="one call",
            script=deltas(
                [head(0, "call_a", "sql")],
                [piece(arguments='{"q": "}{\\', index=0)],
                [piece(arguments='"]\\\\', index=0)],
                [piece("sql", '"}', index=0)],
            ),
            calls=(("call_a", "sql", '{"q": "}{\\"]\\\\"}'),),
        ),
        ToolCallsCase(
            id="calls-empty-list",
            peer="vLLM, TGI, LocalAI",
            does="sends `tool_calls: []` in each chunk of a text",
            gets="the text, and no calls",
            script=said(
                chunk({"role": "assistant", "content": "", "tool_calls": []}),
                chunk({"content": "No", "tool_calls": []}),
                chunk({"content": ".", "tool_calls": []}),
                chunk({"tool_calls": [], "function_call": None}, "stop"),
            ),
            calls=(),
            text="No.",
            finish_reason="stop",
        ),
        ToolCallsCase(
            id="calls-no-objects",
            peer="broken servers",
            does="sends tool calls that are no objects, or hold nothing",
            gets="the call that is one",
            script=deltas(
                [None, "x", 1, {}], {"tool_calls": "x"}, [{"function": "x"}], [head(0, "call_a", "weather", OSLO)]
            ),
        ),
        ToolCallsCase(
            id="calls-one-object",
            peer="broken servers",
            does="sends one call in the place of a list",
            gets="the call",
            script=deltas({"tool_calls": head(0, "call_a", "weather", OSLO)}),
        ),
        ToolCallsCase(
            id="calls-flat",
            peer="proxies of other APIs",
            does="sends name and arguments beside the id, without `function`",
            gets="the call",
            script=deltas([{"id": "call_a", "type": "function", "name": "weather", "arguments": OSLO}]),
        ),
        ToolCallsCase(
            id="calls-function-call",
            peer="OpenAI before tool calls",
            does="sends `function_call`, and its name once",
            gets="the function call",
            script=deltas(
                {"function_call": {"name": "weather", "arguments": ""}},
                {"function_call": {"arguments": OSLO[:8]}},
                {"function_call": {"arguments": OSLO[8:]}},
            ),
            calls=(),
            function_call={"name": "weather", "arguments": OSLO},
        ),
        ToolCallsCase(
            id="calls-function-call-repeated",
            peer="gateways of older APIs",
            does="repeats the name of a `function_call` in each piece, empty at the end",
            gets="the function call, whose name is said once",
            script=deltas(
                {"function_call": {"name": "weather", "arguments": ""}},
                {"function_call": {"name": "weather", "arguments": OSLO[:8]}},
                {"function_call": {"name": "", "arguments": OSLO[8:]}},
                {"function_call": {"name": None, "arguments": None}},
            ),
            calls=(),
            function_call={"name": "weather", "arguments": OSLO},
        ),
        ToolCallsCase(
            id="calls-function-call-object",
            peer="gateways of older APIs",
            does="sends the arguments of a `function_call` as an object",
            gets="the arguments as JSON text",
            script=deltas({"function_call": {"name": "weather", "arguments": {"city": "Oslo"}}}),
            calls=(),
            function_call={"name": "weather", "arguments": '{"city":"Oslo"}'},
        ),
        ToolCallsCase(
            id="calls-not-streamed",
            peer="a server that does not stream",
            does="sends both calls in one message, with index 0 for both",
            gets="the two calls",
            script=message(head(0, "call_a", "weather", OSLO), head(0, "call_b", "time", ROME)),
            calls=TWO,
        ),
        ToolCallsCase(
            id="calls-not-streamed-odd",
            peer="a server that does not stream",
            does="sends calls without index and id, the arguments as objects, and null among them",
            gets="the two calls, with ids",
            script=message(piece("weather", {"city": "Oslo"}), None, piece("weather", {"city": "Oslo"})),
            calls=((MADE_UP, "weather", '{"city":"Oslo"}'), (MADE_UP, "weather", '{"city":"Oslo"}')),
        ),
    ),
)
