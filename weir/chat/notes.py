"""Takes notes of an answer while it is generated: thoughts, text and tool calls, in the order in which they came.

One chunk costs well under a microsecond more than counting it: strings are kept, and joined only at the end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from weir.envelope import Json
from weir.limits import cut

CHARS_MAX: Final = 1_000_000  # of one answer; later characters are only counted
PASSAGES_MAX: Final = 128  # of one answer; later passages are not kept apart any more
FUNCTION_CALL: Final = -1  # in the place of an index: a message has one at most, as OpenAI had them before tool calls
THOUGHTS: Final = ("reasoning_content", "reasoning")


class Part(Enum):
    """The kind of a passage."""

    THOUGHT = "thought"
    TEXT = "text"
    TOOL = "tool"


@dataclass(slots=True)
class Passage:
    """A run of tokens of one kind."""

    part: Part
    tool: str | None = None  # the name of the called function
    pieces: list[str] = field(default_factory=list)
    chars: int = 0
    probability: float = 0.0  # sum over its tokens, where the LLM sends it
    tokens: int = 0  # tokens whose probability is known

    @property
    def text(self) -> str:
        """The text that was kept of it: of a tool call, its arguments."""
        return "".join(self.pieces)

    @property
    def confidence(self) -> float | None:
        """Mean probability of its tokens, from 0 to 1."""
        return min(1.0, self.probability / self.tokens) if self.tokens else None


class Notes:
    """Notes of the first choice of one answer."""

    def __init__(self, chunks: Sequence[Json] = ()) -> None:
        self.passages: list[Passage] = []
        self.model: str | None = None  # the model's name as the LLM sends it
        self._calls: dict[int, Passage] = {}
        self._kept = 0
        for chunk in chunks:
            self.add(chunk)

    @property
    def tools(self) -> list[str]:
        """The names of the called functions, each once."""
        return list(dict.fromkeys(each.tool for each in self.passages if each.tool))

    def add(self, chunk: Json) -> None:
        """Add the next chunk object. Never raises, whatever the chunk holds."""
        if self.model is None and isinstance(chunk.get("model"), str):
            self.model = cut(chunk["model"]) or None
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") if isinstance(choice, dict) and not choice.get("index") else None
            if not isinstance(delta, dict):
                continue
            for name in THOUGHTS:
                if thought := delta.get(name):
                    self._say(self._run(Part.THOUGHT), thought)
                    break
            if text := delta.get("content"):
                run = self._run(Part.TEXT)
                self._say(run, text)
                if choice.get("logprobs"):
                    _weigh(run, choice["logprobs"])
            if calls := delta.get("tool_calls"):
                self._call(calls)
            if called := delta.get("function_call"):
                self._call([{"index": FUNCTION_CALL, "function": called}])

    def _run(self, part: Part) -> Passage:
        """Return the passage that goes on, or a new one."""
        if self.passages and self.passages[-1].part is part:
            return self.passages[-1]
        if len(self.passages) < PASSAGES_MAX:
            self.passages.append(Passage(part))
            return self.passages[-1]
        return next((each for each in reversed(self.passages) if each.part is part), self.passages[-1])

    def _say(self, passage: Passage, text: Any) -> None:
        if not isinstance(text, str):
            return
        passage.chars += len(text)
        if self._kept < CHARS_MAX:
            self._kept += len(text)
            passage.pieces.append(text)

    def _call(self, calls: Any) -> None:
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict) or not isinstance(call.get("index", 0), int):
                continue
            passage = self._calls.get(call.get("index", 0))
            if passage is None:
                if len(self.passages) >= PASSAGES_MAX:
                    continue
                passage = self._calls[call.get("index", 0)] = Passage(Part.TOOL)
                self.passages.append(passage)
            name = function.get("name")
            if isinstance(name, str) and name and name != passage.tool:  # some servers send the name in pieces
                passage.tool = cut((passage.tool or "") + name)
            self._say(passage, function.get("arguments"))


def _weigh(passage: Passage, logprobs: Any) -> None:
    """Add up the probabilities of tokens in OpenAI's ``logprobs.content``."""
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    for token in tokens if isinstance(tokens, list) else ():
        logprob = token.get("logprob") if isinstance(token, dict) else None
        if isinstance(logprob, int | float):
            passage.probability += math.exp(min(0.0, logprob))
            passage.tokens += 1
