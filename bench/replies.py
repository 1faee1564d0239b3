"""Reads the messages of one answer in a response queue for the load generator: protocol logic without I/O.

It counts tokens while they come, for the time of each, and checks the whole answer at its end: messages numbered
without a gap, every token once, in order, and no more.
"""

import re
from collections.abc import Mapping
from typing import Any

from bench.reading import Answer

_TOKEN = re.compile(rb"(\d+)@(\d+)")


class Reply:
    """One answer, fed message by message."""

    def __init__(self, uid: str, expected: int, sent_at: float) -> None:
        self.answer = Answer(sent_at)
        self._uid = uid
        self._expected = expected
        self._text = bytearray()
        self._wrong = ""

    def feed(self, headers: Mapping[str, Any], body: bytes, now: float) -> bool:
        """Take a message that was read at ``now``; returns whether the answer is over."""
        answer = self.answer
        if (headers.get("uid"), headers.get("seq")) != (self._uid, answer.messages):
            self._wrong = self._wrong or f"message {answer.messages} of {self._uid} has the headers {dict(headers)}"
        answer.messages += 1
        self._text += body
        answer.arrive(body.count(b"@"), now)
        if headers.get("done") is not True:
            return False
        self._check(headers)
        return True

    def _check(self, headers: Mapping[str, Any]) -> None:
        *words, rest = bytes(self._text).split(b" ")
        found = [match.groups() for word in words if (match := _TOKEN.fullmatch(word))]
        if self._wrong:
            self.answer.error = self._wrong
        elif headers.get("status") != "completed":
            self.answer.error = f"{self._uid} did not complete: {dict(headers)}"
        elif rest or len(found) != len(words) or [int(index) for index, _ in found] != list(range(self._expected)):
            self.answer.error = (
                f"{len(found)} tokens or not in order, not {self._expected}: {bytes(self._text[-300:])!r}"
            )
        else:
            self.answer.time([stamp for _, stamp in found])
