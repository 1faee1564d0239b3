"""The text of an answer, as bytes, from its chunks: what goes into the bodies of messages."""

import zlib
from collections.abc import Iterable

from answers.completion import merge_delta
from answers.envelope import Json
from rabbitmq.contract import Place

THINKING, THOUGHT = "<think>\n", "\n</think>\n\n"
REASONING = ("reasoning_content", "reasoning")  # what models call it


class Text:
    """The text of choice 0, as it comes. A queue of plain texts has room for one."""

    def __init__(self, *, thinking: bool) -> None:
        """``thinking``: whether reasoning is part of the text, within ``<think>`` tags."""
        self.thinking = thinking
        self._within = False
        self._message: Json = {}

    def add(self, chunks: Iterable[Json]) -> bytes:
        """The bytes that chunks add."""
        added: list[str] = []
        for chunk in chunks:
            for choice in chunk.get("choices") or ():
                if not choice.get("index"):
                    added += self._of(choice.get("delta") or {})
        return "".join(added).encode("utf-8", "replace")

    def end(self) -> bytes:
        """The bytes that the end adds."""
        closing = THOUGHT if self._within else ""
        self._within = False
        return closing.encode()

    @property
    def tool_calls(self) -> list[Json] | None:
        """The tool calls so far, as a message has them."""
        calls = self._message.get("tool_calls")
        return [{k: v for k, v in call.items() if k != "index"} for call in calls] if calls else None

    def _of(self, delta: Json) -> list[str]:
        if delta.get("tool_calls"):
            merge_delta(self._message, {"tool_calls": delta["tool_calls"]})
        parts: list[str] = []
        reasoning = next((delta[name] for name in REASONING if isinstance(delta.get(name), str)), "")
        if reasoning and self.thinking:
            if not self._within:
                parts.append(THINKING)
                self._within = True
            parts.append(reasoning)
        text = delta.get("content")
        if isinstance(text, str) and text:
            if self._within:
                parts.append(THOUGHT)
                self._within = False
            parts.append(text)
        return parts


class DivergedError(Exception):
    """The answer was said again, and differs from what of it is in the queue."""


class Ahead:
    """Takes from an answer what is out already: of one that is said again, or read again from its start.

    What is out is known by its length and checksum (`Place`), not by its text. An LLM that says the same again goes
    on as if nothing had happened.
    """

    def __init__(self, place: Place) -> None:
        self._position, self._crc = place.position, place.crc
        self._here = 0
        self._here_crc = 0

    def rest(self, text: bytes) -> bytes:
        """What of ``text``, the next bytes of the answer, is not out yet.

        Raises:
            DivergedError: something else is out.
        """
        missing = self._position - self._here
        if missing <= 0:
            return text
        part = text[:missing]
        self._here += len(part)
        self._here_crc = zlib.crc32(part, self._here_crc)
        if self._here == self._position and self._here_crc != self._crc:
            raise DivergedError
        return text[missing:]

    def end(self) -> None:
        """The answer ends here.

        Raises:
            DivergedError: more than that is out.
        """
        if self._here < self._position:
            raise DivergedError
