"""Checks the form of a chat request.

The checks cover what Weir itself relies on, and what is wrong for every model; everything else goes to the LLM
unchanged, as the LLM knows its own options best.

The reference is OpenAI's "Create chat completion". Every error names the field by its path: ``messages[2].content``.
"""

import re
from typing import Any

from weir.chat.requests import OnDisconnect
from weir.envelope import Json
from weir.errors import InvalidRequestError
from weir.limits import NAME_CHARS

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MESSAGES_MAX = 10_000
CHOICES_MAX = 128  # OpenAI's own limit of n
DEADLINE_MAX_S = 7 * 86400.0  # as long as chat-chunks keeps an answer
NAME_MAX = NAME_CHARS  # of a model's or user's name

# An assistant that has one of these may have no content. The last three are servers' names for reasoning.
_INSTEAD_OF_CONTENT = (
    "tool_calls",
    "function_call",
    "refusal",
    "audio",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
)

# A uid is a Kafka key, part of a queue's name and of a URL's path: letters, digits and marks that all three take.
# As a path, "." and ".." would lead elsewhere (RFC 3986, 5.2.4); "chatcmpl-" is the prefix of an answer's id.
_UID = re.compile(r"(?!\.{1,2}\Z|chatcmpl-)[A-Za-z0-9._:@=+~-]{1,128}")

# The member that each known kind of content part must have, and its own required strings.
_PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "text": ("text", ()),
    "refusal": ("refusal", ()),
    "image_url": ("image_url", ("url",)),
    "input_audio": ("input_audio", ("data", "format")),
    "file": ("file", ()),
}


def check_body(body: Any) -> Json:
    """Check a parsed request body and return it.

    Raises:
        InvalidRequestError: the first mistake in the body; the error names its field.
    """
    if not isinstance(body, dict):
        raise InvalidRequestError(f"The body must be a JSON object, not {_name(body)}.")
    _optional(body, "model", str)
    _optional(body, "username", str)
    _optional(body, "stream", bool)
    _optional(body, "cancel", bool)
    _optional(body, "stream_options", dict)
    _optional(body.get("stream_options") or {}, "include_usage", bool, "stream_options.include_usage")
    for field in ("model", "username"):
        if len(body.get(field) or "") > NAME_MAX:
            raise InvalidRequestError(f"'{field}' is longer than {NAME_MAX} characters.", param=field)
    check_uid(body.get("uid"))
    _check_waiting(body)
    _check_n(body.get("n"))
    _check_messages(body.get("messages"))
    _check_tools(body.get("tools"))
    return body


def check_uid(uid: Any) -> None:
    """Check a client's name for its request: 1-128 letters, digits and ``. _ : @ = + ~ -``, with a few exceptions."""
    if uid is not None and not (isinstance(uid, str) and _UID.fullmatch(uid)):
        raise InvalidRequestError(
            "'uid' must be a string of 1 to 128 letters, digits and . _ : @ = + ~ - "
            "(not just '.' or '..', nor beginning with 'chatcmpl-')",
            param="uid",
        )


def _check_waiting(body: Json) -> None:
    """Check the fields about waiting: the deadline, and what happens when the last reader leaves."""
    on_disconnect, deadline_s = body.get("on_disconnect"), body.get("deadline_s")
    # a list: the client's value may not be hashable
    if on_disconnect is not None and on_disconnect not in list(OnDisconnect):
        raise InvalidRequestError(f"'on_disconnect' must be one of {', '.join(OnDisconnect)}.", param="on_disconnect")
    if deadline_s is None:
        return
    if not isinstance(deadline_s, int | float) or isinstance(deadline_s, bool) or not 0 < deadline_s <= DEADLINE_MAX_S:
        raise InvalidRequestError(
            f"'deadline_s' must be a number of seconds from 0 to {DEADLINE_MAX_S:.0f}.", param="deadline_s"
        )


def _check_n(n: Any) -> None:
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= CHOICES_MAX):
        raise InvalidRequestError(f"'n' must be an integer from 1 to {CHOICES_MAX}.", param="n")


def _check_messages(messages: Any) -> None:
    if messages is None:
        raise InvalidRequestError("Missing required parameter: 'messages'.", param="messages", code="missing_required")
    _require_array(messages, "messages")
    if not messages:
        raise InvalidRequestError("'messages' is empty; it must have one message or more.", param="messages")
    if len(messages) > MESSAGES_MAX:
        raise InvalidRequestError(f"'messages' has more than {MESSAGES_MAX} items.", param="messages")
    for index, message in enumerate(messages):
        _check_message(message, f"messages[{index}]")


def _check_message(message: Any, path: str) -> None:
    _require_object(message, path)
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRequestError(f"'{path}.role' must be one of {', '.join(ROLES)}.", param=f"{path}.role")
    if role == "tool":
        _required_string(message, "tool_call_id", path)
    _check_tool_calls(message.get("tool_calls"), f"{path}.tool_calls")
    content = message.get("content")
    if content is None:
        if role != "assistant" or not any(message.get(name) for name in _INSTEAD_OF_CONTENT):
            raise InvalidRequestError(f"'{path}.content' is required.", param=f"{path}.content")
    elif isinstance(content, list):
        _check_parts(content, f"{path}.content")
    elif not isinstance(content, str):
        raise InvalidRequestError(
            f"'{path}.content' must be a string or an array of content parts, not {_name(content)}.",
            param=f"{path}.content",
        )


def _check_parts(parts: list[Any], path: str) -> None:
    if not parts:
        raise InvalidRequestError(f"'{path}' must not be an empty array.", param=path)
    for index, part in enumerate(parts):
        at = f"{path}[{index}]"
        _require_object(part, at)
        _required_string(part, "type", at)
        member, strings = _PARTS.get(part["type"], ("type", ()))
        if strings:
            _require_object(part.get(member), f"{at}.{member}")
            for name in strings:
                _required_string(part[member], name, f"{at}.{member}")
        elif member == "file":
            _require_object(part.get(member), f"{at}.{member}")
        else:
            _required_string(part, member, at)


def _check_tool_calls(calls: Any, path: str) -> None:
    if calls is None:
        return
    _require_array(calls, path)
    for index, call in enumerate(calls):
        at = f"{path}[{index}]"
        _require_object(call, at)
        _required_string(call, "id", at)
        if call.get("type", "function") == "function":
            _require_object(call.get("function"), f"{at}.function")
            _required_string(call["function"], "name", f"{at}.function")
            _required_string(call["function"], "arguments", f"{at}.function")


def _check_tools(tools: Any) -> None:
    if tools is None:
        return
    _require_array(tools, "tools")
    for index, tool in enumerate(tools):
        at = f"tools[{index}]"
        _require_object(tool, at)
        _required_string(tool, "type", at)
        if tool["type"] == "function":
            _require_object(tool.get("function"), f"{at}.function")
            _required_string(tool["function"], "name", f"{at}.function")


def _require_object(value: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise InvalidRequestError(f"'{path}' must be an object, not {_name(value)}.", param=path)


def _require_array(value: Any, path: str) -> None:
    if not isinstance(value, list):
        raise InvalidRequestError(f"'{path}' must be an array, not {_name(value)}.", param=path)


def _required_string(holder: Json, name: str, path: str) -> None:
    if not isinstance(holder.get(name), str):
        raise InvalidRequestError(
            f"'{path}.{name}' must be a string, not {_name(holder.get(name))}.", param=f"{path}.{name}"
        )


def _optional(holder: Json, name: str, kind: type, path: str | None = None) -> None:
    value = holder.get(name)
    if value is not None and not isinstance(value, kind):
        wanted = {str: "a string", bool: "true or false", dict: "an object"}[kind]
        path = path or name
        raise InvalidRequestError(f"'{path}' must be {wanted}, not {_name(value)}.", param=path)


def _name(value: Any) -> str:
    """Return JSON's name for a value's type."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
