"""Reads chat messages whose fields may hold any value: every question about them has an answer, never an error."""

from collections.abc import Iterator, Mapping

Body = Mapping[str, object]  # a chat completion request, as parsed from JSON


def messages_of(body: Body) -> list[object]:
    """The messages of a request, or none where they are not a list."""
    messages = body.get("messages")
    return messages if isinstance(messages, list) else []


def as_text(content: object) -> str:
    """The text of a message's content: a string, null, or a list of parts.

    A part without text (image_url, input_audio, file, …) stands as its type in brackets, so that an answer
    can show that it was received.
    """
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_part_text(part) for part in content)
    return ""


def _part_text(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    for key in ("text", "refusal"):
        if isinstance(part.get(key), str):
            return str(part[key])
    return f"[{str(part.get('type'))[:40]}]"


def text_of(message: object) -> str:
    """The text of one message, empty where it has none."""
    return as_text(message.get("content")) if isinstance(message, dict) else ""


def role_of(message: object) -> str:
    """The role of one message, empty where it has none."""
    role = message.get("role") if isinstance(message, dict) else None
    return role if isinstance(role, str) else ""


def last_user_text(body: Body) -> str:
    """The text of the last user message; of the last message of any role where no user speaks."""
    messages = messages_of(body)
    user = [message for message in messages if role_of(message) == "user"]
    return text_of((user or messages or [None])[-1])


def leaves(value: object) -> Iterator[str]:
    """All strings in a JSON value, as a flat sequence; null members count as absent.

    The order of an object's keys does not matter: a proxy that parses and rebuilds a request must get the
    same answer. It walks with a stack of its own, for nesting can be deeper than Python's recursion limit.
    """
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            for key in sorted(item, key=str, reverse=True):
                if item[key] is not None:
                    stack += (item[key], str(key))
        elif isinstance(item, list):
            stack += reversed(item)
        else:
            yield str(item)
