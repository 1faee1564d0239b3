"""``--format openai-finetune``: a request and its answer as an example for OpenAI's fine-tuning. Pure.

The body is as a client of the Kafka door wrote it, and any field may hold any value.

What such an example may hold is in OpenAI's API reference (FineTuneChatRequestInput): messages of the roles system,
user, assistant, tool and function, tools that are functions, and no field besides those that are known.
"""

from collections.abc import Container
from typing import Any, Final

import orjson

from weir.chat.frames import Status
from weir.envelope import Json
from weir.export.joined import Joined
from weir.export.tally import Skip

# The fields of a message, by its role; others (thinking, for one) are left out.
_FIELDS: Final[dict[str, frozenset[str]]] = {
    "system": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name"}),
    "assistant": frozenset({"role", "content", "name", "refusal", "tool_calls", "function_call", "weight"}),
    "tool": frozenset({"role", "content", "tool_call_id"}),
    "function": frozenset({"role", "content", "name"}),
}
_BESIDE: Final = ("tools", "parallel_tool_calls", "functions")  # fields of a request that belong to the example
_PARTS: Final = frozenset({"text", "image_url", "refusal"})
_CUT_OFF: Final = frozenset({"length", "content_filter"})
_ENDS: Final = {
    Status.FAILED: Skip.FAILED,
    Status.CANCELLED: Skip.CANCELLED,
    Status.EXPIRED: Skip.EXPIRED,
}


def example(joined: Joined, corrected: str | None) -> bytes | Skip:
    """A line with its line feed, or the reason why there is none.

    Args:
        joined: the request and its answer.
        corrected: the correction of the answer by a user; it is used whatever the answer was.
    """
    if joined.repeated:
        return Skip.AGAIN
    said = _said(joined) if corrected is None else {"role": "assistant", "content": corrected}
    if isinstance(said, Skip):
        return said
    messages = _messages(joined.request.body.get("messages"))
    if isinstance(messages, Skip):
        return messages
    found = {name: joined.request.body[name] for name in _BESIDE if joined.request.body.get(name) is not None}
    if not _functions(found.get("tools", [])):
        return Skip.TOOLS
    try:
        return orjson.dumps({"messages": [*messages, said], **found}, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # nested more deeply than can be written again
        return Skip.MALFORMED


def _said(joined: Joined) -> Json | Skip:
    """The answer's first choice as a message, without its thinking."""
    answer = joined.answer
    if answer.gap:
        return Skip.BROKEN
    if answer.terminal is None:
        return Skip.UNFINISHED
    if (skip := _ENDS.get(answer.terminal.status)) is not None:
        return skip
    if _known(answer.finish_reasons.get(0), _CUT_OFF):
        return Skip.TRUNCATED
    choices = joined.said.result()["choices"]
    message = choices[0]["message"] if choices and choices[0]["index"] == 0 else {}
    said: Json = {"role": "assistant", "content": message.get("content")}
    calls = {name: message[name] for name in ("tool_calls", "function_call") if message.get(name)}
    return {**said, **calls} if said["content"] or calls else Skip.EMPTY


def _messages(given: Any) -> list[Json] | Skip:
    """The messages of the request, in the known fields; or the reason why they do not fit."""
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        return Skip.MALFORMED
    # Newer models call the system's messages the developer's; the format of examples has only the old name.
    asked = [{**one, "role": "system"} if one.get("role") == "developer" else one for one in given]
    if not all(_known(one.get("role"), _FIELDS) for one in asked):
        return Skip.ROLE
    if any(not _known_parts(one.get("content")) for one in asked):
        return Skip.CONTENT
    if asked[-1]["role"] == "assistant":
        return Skip.PREFIX
    if not _answered(asked):
        return Skip.CALLS
    return [{name: value for name, value in one.items() if name in _FIELDS[one["role"]]} for one in asked]


def _known(word: Any, words: Container[str]) -> bool:
    return isinstance(word, str) and word in words


def _known_parts(content: Any) -> bool:
    if isinstance(content, list):
        return all(isinstance(part, dict) and _known(part.get("type"), _PARTS) for part in content)
    return content is None or isinstance(content, str)


def _functions(tools: Any) -> bool:
    return isinstance(tools, list) and all(isinstance(one, dict) and one.get("type") == "function" for one in tools)


def _answered(messages: list[Json]) -> bool:
    """Whether all tool calls have their answers right behind them, and every such answer has its call."""
    waiting: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            if not _known(message.get("tool_call_id"), waiting):
                return False
            waiting.discard(message["tool_call_id"])
        elif waiting:
            return False
        else:
            calls = message.get("tool_calls") or []
            if not isinstance(calls, list) or not all(_has_id(call) for call in calls):
                return False
            waiting = {call["id"] for call in calls}
    return not waiting


def _has_id(call: Any) -> bool:
    return isinstance(call, dict) and isinstance(call.get("id"), str)
