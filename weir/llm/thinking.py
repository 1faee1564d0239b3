"""Separates thinking from the answer.

Models send thinking in one of three ways: ``delta.reasoning_content`` (DeepSeek, vLLM), ``delta.reasoning`` (Ollama,
OpenRouter), or ``<think>…</think>`` at the start of ``delta.content``, with the tags cut between chunks wherever the
tokenizer cut them. The first two stay as they are. The third is rewritten to ``reasoning_content``, so that a reader
never has to look for tags. A tag later in an answer is text, not thinking.
"""

from enum import Enum, auto

from weir.envelope import Json

OPEN, CLOSE = "<think>", "</think>"


class _Where(Enum):
    START = auto()  # only white space so far: a tag may come
    THINKING = auto()
    AFTER = auto()  # the white space between the closing tag and the answer belongs to neither
    ANSWER = auto()  # until the end of the choice


class TagSplitter:
    """Splits the content of one choice; takes pieces cut anywhere."""

    def __init__(self) -> None:
        self._where = _Where.START
        self._held = ""  # text that may turn out to be a tag, or part of one

    def feed(self, piece: str) -> tuple[str, str]:
        """Take the next piece of content; returns (thinking, answer), either may be empty."""
        if self._where is _Where.ANSWER:
            return "", piece
        if self._where is _Where.AFTER:
            return "", self._answer(piece)
        text, self._held = self._held + piece, ""
        if self._where is _Where.START:
            start = text.lstrip()
            if OPEN.startswith(start[: len(OPEN)]) and len(start) < len(OPEN):
                self._held = text
                return "", ""
            if not start.startswith(OPEN):
                self._where = _Where.ANSWER
                return "", text
            self._where = _Where.THINKING
            text = start.removeprefix(OPEN)
        return self._thinking(text)

    def _thinking(self, text: str) -> tuple[str, str]:
        thinking, tag, answer = text.partition(CLOSE)
        if tag:
            self._where = _Where.AFTER
            return thinking, self._answer(answer)
        keep = _overlap(text, CLOSE)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], ""

    def _answer(self, text: str) -> str:
        answer = text.lstrip()
        if answer:
            self._where = _Where.ANSWER
        return answer

    def close(self) -> tuple[str, str]:
        """End the choice: text that was held back was no tag after all."""
        held, self._held = self._held, ""
        return (held, "") if self._where is _Where.THINKING else ("", held)


def _overlap(text: str, tag: str) -> int:
    """Length of the longest end of ``text`` with which ``tag`` begins."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-n:])), 0)


class ThinkingSplitter:
    """Rewrites the chunks of one stream, each choice on its own, in place."""

    def __init__(self) -> None:
        self._choices: dict[int, TagSplitter] = {}

    def split(self, chunk: Json) -> Json:
        """Move thinking in tags from ``delta.content`` to ``delta.reasoning_content``; returns the same chunk."""
        for choice in chunk.get("choices") or ():
            self._split_choice(choice)
        return chunk

    def _split_choice(self, choice: Json) -> None:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            if not choice.get("finish_reason"):
                return
            delta = {}  # text that was held back must be passed on all the same
        tags = self._choices.setdefault(choice.get("index", 0), TagSplitter())
        content = delta.get("content")
        thinking, answer = tags.feed(content) if isinstance(content, str) and content else ("", content)
        if choice.get("finish_reason"):
            more_thinking, more_answer = tags.close()
            thinking += more_thinking
            answer = (answer or "") + more_answer if more_answer else answer
        if answer != content:
            delta["content"] = answer
        if thinking:
            delta["reasoning_content"] = (delta.get("reasoning_content") or "") + thinking
        if delta:
            choice["delta"] = delta

    def close(self) -> list[Json]:
        """Deltas for text that was still held back when the stream broke off without a finish reason."""
        held = {index: tags.close() for index, tags in self._choices.items()}
        return [
            {"index": index, "delta": {"reasoning_content": thinking} if thinking else {"content": answer}}
            for index, (thinking, answer) in held.items()
            if thinking or answer
        ]
