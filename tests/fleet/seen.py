"""What one client did and saw, and the errors that a worker may answer."""

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
        self.cut = cut  # a worker had taken the request, and gave no answer, or part of one


class WrongAnswerError(Exception):
    """An answer that no client must ever get."""


@dataclass(frozen=True, kw_only=True)
class Interruption:
    """One try that did not bring the answer."""

    at: float  # seconds since the epoch
    member: Member | None  # None: a broker itself
    reason: str
    cut: bool  # a worker had taken the request, and gave no answer, or part of one
    excused: bool  # the worker was dead, or was being stopped


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
    """503 and 504 ask the client to try again. No other status may come."""
    if status not in {503, 504}:
        return WrongAnswerError(f"HTTP {status}: {body[:300]!r}")
    return AskAgainError(f"{status} {orjson.loads(body)['error']['code']}")
