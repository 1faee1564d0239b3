"""From the chunks of a stream to one chat.completion object, as if the upstream had not been asked to stream."""

from typing import Any

from answers.envelope import Json

# Fields that a delta repeats rather than extends.
_WHOLE = frozenset({"role", "id", "type", "finish_reason", "index"})


def merge_delta(message: Json, delta: Json) -> None:
    """Add a delta to a message: text is appended, lists are merged by their items' ``index``, the rest replaced.

    The delta stays as it is: what the message takes from it and extends later is copied.
    """
    for key, new in delta.items():
        old = message.get(key)
        if new is None:
            message.setdefault(key, None)
        elif isinstance(new, dict):
            message[key] = old if isinstance(old, dict) else {}
            merge_delta(message[key], new)
        elif isinstance(new, list):
            message[key] = _merge_lists(old if isinstance(old, list) else [], new)
        elif isinstance(old, str) and isinstance(new, str) and key not in _WHOLE:
            message[key] = old + new
        else:
            message[key] = new


def _indexed(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) and "index" in v for v in value)


def _merge_lists(old: list[Any], new: list[Any]) -> list[Any]:
    """Lists of objects with an ``index`` (tool calls) merge item by item; others (logprobs) are concatenated."""
    if not _indexed(new) or (old and not _indexed(old)):
        return old + new
    merged = {item["index"]: item for item in old}
    for item in new:
        merge_delta(merged.setdefault(item["index"], {"index": item["index"]}), item)
    return [merged[index] for index in sorted(merged)]


class Completion:
    """Collects chunks; ``result()`` is the chat.completion object so far."""

    def __init__(self, uid: str) -> None:
        self._top: Json = {"id": f"chatcmpl-{uid}", "object": "chat.completion"}
        self._choices: dict[int, Json] = {}

    def add(self, chunk: Json) -> None:
        """Take one chunk object into the answer."""
        for key, value in chunk.items():
            if key not in {"id", "object", "choices"} and value is not None:
                self._top[key] = value
        for choice in chunk.get("choices") or ():
            self._add_choice(choice)

    def _add_choice(self, chunk_choice: Json) -> None:
        index = chunk_choice.get("index", 0)
        choice = self._choices.setdefault(
            index,
            {
                "index": index,
                "message": {"role": "assistant", "content": None},
                "logprobs": None,
                "finish_reason": None,
            },
        )
        merge_delta(choice["message"], chunk_choice.get("delta") or {})
        for key, value in chunk_choice.items():
            if key == "logprobs":
                merge_delta(choice, {key: value})
            elif key not in {"index", "delta"} and value is not None:
                choice[key] = value  # finish_reason, or a verdict that is repeated (Azure's content filter)

    def result(self) -> Json:
        """The chat.completion object; its choices in order of their index."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        return {**self._top, "choices": [{**c, "message": _finished(c["message"])} for c in choices]}


def _finished(message: Json) -> Json:
    """As OpenAI answers without streaming: tool calls carry no index, and empty text beside them is null."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    bare = [{k: v for k, v in call.items() if k != "index"} for call in calls]
    return {**message, "tool_calls": bare, "content": message.get("content") or None}
