"""The text of an answer, as bytes, from its chunks: what goes into the bodies of messages."""

import zlib
from collections.abc import Iterable

from weir.chat.completion import Completion, shape_of
from weir.envelope import Json
from weir.rabbitmq.contract import Place

THINKING, THOUGHT = "<think>\n", "\n</think>\n\n"
REASONING = ("reasoning_content", "reasoning")  # what models call it
BESIDE = ("tool_calls", "function_call", "refusal")  # of a message that are no text of the answer


class Text:
    """The text of choice 0, as it comes. A queue of plain texts has room for one."""

    def __init__(self, uid: str, *, thinking: bool) -> None:
        """``thinking``: whether reasoning is part of the text, within ``<think>`` tags."""
        self.thinking = thinking
        self._within = False
        self._shape = shape_of(uid)
        self._beside = Completion(uid)

    def add(self, chunks: Iterable[Json]) -> bytes:
        """The bytes that chunks add."""
        added: list[str] = []
        for chunk in chunks:
            for given in chunk.get("choices") or ():
                choice = self._shape.choice(given)
                if not choice["index"]:
                    added += self._of(choice["delta"])
        return "".join(added).encode("utf-8", "replace")

    def end(self) -> bytes:
        """The bytes that the end adds."""
        closing = THOUGHT if self._within else ""
        self._within = False
        return closing.encode()

    @property
    def beside(self) -> Json:
        """What of the message so far is no text of the answer: tool calls, a refusal."""
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
