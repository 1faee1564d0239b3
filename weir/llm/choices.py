"""Tracks which choices of an answer have begun and ended, to tell its end from a broken connection. Pure."""

import time

from weir.envelope import Json
from weir.llm.deltas.shape import CHUNK

WEIR_FINISH = "weir_finish"
INFERRED = "inferred"
# fields of the previous chunk, copied into a chunk that is made here
_KEPT = ("id", "object", "created", "model", "system_fingerprint")


class Choices:
    """The choices of one answer, as its chunks show them.

    Args:
        wanted: how many the client asked for.
    """

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._calling: dict[int, str] = {}  # choices that call tools, with the finish reason for that
        self._last: Json = {"object": CHUNK}
        self.spoke = False  # some chunk had content that a client sees

    def add(self, chunk: Json) -> bool:
        """Take a chunk into account; returns whether it has content: text, thinking, a tool call, an end."""
        says = False
        for choice in chunk.get("choices") or ():
            index = choice.get("index") or 0
            if choice.get("finish_reason"):
                self._ended.add(index)
                says = True
            else:
                self._begun.add(index)
            delta = choice.get("delta")
            if delta:
                if delta.get("tool_calls") or delta.get("function_call"):
                    self._calling[index] = "tool_calls" if delta.get("tool_calls") else "function_call"
                    says = True
                elif delta.get("content"):
                    says = True
                elif not says:
                    says = any(value for name, value in delta.items() if name != "role")
        self._last = chunk
        self.spoke = self.spoke or says
        return says

    @property
    def all_ended(self) -> bool:
        """Whether every choice that has begun has its finish reason: enough once the server ends the stream."""
        return bool(self._ended) and self._begun <= self._ended

    @property
    def whole(self) -> bool:
        """Whether nothing but usage can be missing, whatever happens to the connection."""
        return self.all_ended and len(self._ended) >= self._wanted

    @property
    def ended(self) -> bool:
        """Whether any choice has a finish reason."""
        return bool(self._ended)

    @property
    def begun(self) -> bool:
        """Whether there is any choice."""
        return bool(self._begun or self._ended)

    def inferred_end(self) -> Json | None:
        """The last chunk of an answer that its server ended without a finish reason; None if each choice has one."""
        return self._end({index: self._calling.get(index, "stop") for index in self._open}, INFERRED)

    def cut(self, limit: str) -> Json | None:
        """The last chunk of an answer that is stopped by the limit of that name; None if every choice has ended."""
        return self._end(dict.fromkeys(self._open, "length"), limit)

    @property
    def _open(self) -> list[int]:
        return sorted(self._begun - self._ended)

    def _end(self, reasons: dict[int, str], mark: str) -> Json | None:
        if not reasons:
            return None
        self._ended.update(reasons)
        return self.chunk([_end(index, reason, mark) for index, reason in reasons.items()])

    def chunk(self, choices: list[Json]) -> Json:
        """A chunk with the fields of the last one, and these choices."""
        kept = {name: self._last[name] for name in _KEPT if name in self._last}
        return {"object": CHUNK, **kept, "choices": choices}


def cut_off(limit: str, model: str) -> Json:
    """The last chunk of an answer that is stopped by the limit of that name, if the latest call sent no content."""
    return {"object": CHUNK, "created": int(time.time()), "model": model, "choices": [_end(0, "length", limit)]}


def _end(index: int, reason: str, mark: str) -> Json:
    return {"index": index, "delta": {}, "finish_reason": reason, WEIR_FINISH: mark}
