"""What one client did and saw, and what a worker may tell it."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import orjson

from tests.fleet.asks import Ask
from tests.fleet.fleet import Member

AskT = TypeVar("AskT", bound=Ask)


class AskAgainError(Exception):
    """The worker cannot answer; another one will."""

    def __init__(self, reason: str, *, cut: bool = False) -> None:
        super().__init__(reason)
        self.cut = cut  # a worker had taken the request, and gave no answer, or half of one


class WrongAnswerError(Exception):
    """What no client must ever see."""


@dataclass(frozen=True, kw_only=True)
class Interruption:
    """One try that did not bring the answer."""

    at: float  # seconds since the epoch
    member: Member | None  # None: a broker itself
    reason: str
    cut: bool  # a worker had taken the request, and gave no answer, or half of one
    excused: bool  # the worker was dead, or told to stop


@dataclass(kw_only=True)
class Seen(Generic[AskT]):
    """What one client did and saw."""

    ask: AskT
    uid: str | None  # as far as the client knows
    began_at: float = 0.0  # seconds since the epoch
    done_at: float = 0.0
    interruptions: list[Interruption] = field(default_factory=list)
    problem: str = ""


def refused(status: int, body: bytes) -> Exception:
    """503 and 504 say: ask again. Nothing else may come."""
    if status not in {503, 504}:
        return WrongAnswerError(f"HTTP {status}: {body[:300]!r}")
    return AskAgainError(f"{status} {orjson.loads(body)['error']['code']}")
