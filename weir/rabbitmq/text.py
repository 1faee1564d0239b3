"""Turns the chunks of an answer into the bytes of message bodies."""

import zlib
from collections.abc import Iterable

from weir.chat.completion import Completion, shape_of
from weir.envelope import Json
from weir.rabbitmq.contract import DeliveryProgress

THINKING, THOUGHT = "<think>\n", "\n</think>\n\n"
REASONING = ("reasoning_content", "reasoning")  # the names that models use for it
BESIDE = ("tool_calls", "function_call", "refusal")  # fields of a message that are not text of the answer


class Text:
    """The text of choice 0, piece by piece. A queue of plain texts has room for one choice."""

    def __init__(self, uid: str, *, thinking: bool) -> None:
        """``thinking``: whether reasoning is part of the text, within ``<think>`` tags."""
        self.thinking = thinking
        self._within = False
        self._shape = shape_of(uid)
        self._beside = Completion(uid)

    def add(self, chunks: Iterable[Json]) -> bytes:
        """The bytes that some chunks add to the text."""
        added: list[str] = []
        for chunk in chunks:
            for given in chunk.get("choices") or ():
                choice = self._shape.choice(given)
                if not choice["index"]:
                    added += self._of(choice["delta"])
        return "".join(added).encode("utf-8", "replace")

    def end(self) -> bytes:
        """The bytes that the end of the answer adds to the text."""
        closing = THOUGHT if self._within else ""
        self._within = False
        return closing.encode()

    @property
    def beside(self) -> Json:
        """The fields of the message so far that are not text of the answer: tool calls, a refusal."""
        choices = self._beside.result()["choices"]
        return {name: choices[0]["message"][name] for name in BESIDE if choices and choices[0]["message"].get(name)}

    def _of(self, delta: Json) -> list[str]:
        if beside := {name: delta[name] for name in BESIDE if delta.get(name)}:
            self._beside.add({"choices": [{"index": 0, "delta": beside}]})
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
    """The answer was generated again, and differs from the part that is in the queue."""


class Ahead:
    """Skips the part of an answer that is in the queue: of an answer generated again, or read again from its start.

    That part is known by its length and checksum (`DeliveryProgress`), not by its text. An answer that an LLM repeats
    word for word goes on as if nothing had happened.
    """

    def __init__(self, place: DeliveryProgress) -> None:
        self._position, self._crc = place.position, place.crc
        self._here = 0
        self._here_crc = 0

    def rest(self, text: bytes) -> bytes:
        """The part of ``text``, the next bytes of the answer, that is not in the queue yet.

        Raises:
            DivergedError: the queue has other bytes.
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
        """Note the end of the answer.

        Raises:
            DivergedError: the queue has more bytes than the answer.
        """
        if self._here < self._position:
            raise DivergedError
