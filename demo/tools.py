"""Chooses the tool that the demo model calls, and its arguments."""

from dataclasses import dataclass
from typing import cast

import orjson

from demo.messages import Body, last_user_text, messages_of, role_of
from demo.prose import cut

_SAMPLES: dict[str, object] = {"integer": 7, "number": 1.5, "boolean": True, "array": [], "object": {}}


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """One call of a function."""

    id: str
    name: str
    arguments: list[str]  # a JSON object, in the pieces in which it is streamed


def tool_call(body: Body, seed: bytes) -> ToolCall | None:
    """The call that answers a request: of its first function, or of the one that tool_choice names.

    None where there is no function to call, where tool_choice is "none", and after a tool's result, so that
    an agent's loop comes to its end.
    """
    choice = body.get("tool_choice")
    messages = messages_of(body)
    if choice == "none" or (messages and role_of(messages[-1]) == "tool"):
        return None
    functions = [f for f in map(_function, _items(body.get("tools"))) if f]
    wanted = (_function(choice) or {}).get("name")
    functions = [f for f in functions if f["name"] == wanted] or functions
    if not functions:
        return None
    arguments = orjson.dumps(_arguments(functions[0], last_user_text(body)[:100])).decode()
    name = str(functions[0]["name"])
    return ToolCall(id=f"call_demo_{seed.hex()[:16]}", name=name, arguments=cut(arguments, seed))


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _function(tool: object) -> dict[str, object] | None:
    function = tool.get("function") if isinstance(tool, dict) else None
    named = isinstance(function, dict) and isinstance(function.get("name"), str)
    return cast("dict[str, object]", function) if named else None


def _arguments(function: dict[str, object], text: str) -> dict[str, object]:
    parameters = function.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    if not isinstance(properties, dict):
        return {}
    return {str(name): _argument(schema, text) for name, schema in properties.items()}


def _argument(schema: object, text: str) -> object:
    if not isinstance(schema, dict):
        return None
    allowed, kind = schema.get("enum"), schema.get("type")
    if isinstance(allowed, list) and allowed:
        return allowed[0]
    if kind == "string":
        return text.encode("utf-8", "replace").decode()
    return _SAMPLES.get(kind) if isinstance(kind, str) else None
