"""Detects that a user asks again, by fingerprints of the user's last prompts. Pure.

A row is ``{"prompts": [prompt, …]}``, the newest last.
"""

from dataclasses import asdict, dataclass
from typing import NamedTuple

from weir.chat.prompts import PromptAsked, PromptsForgotten
from weir.chat.similarity import nearly_same
from weir.envelope import Event, Json
from weir.events.catalogue import data_of
from weir.feedback.pieces import seconds

KEPT = 8  # prompts of one user: a user that asks more often within the window is a program


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The facts about one prompt."""

    uid: str
    at: float  # when it was accepted, in seconds since the epoch
    fingerprint: str  # 64 bits in hex


class RetryStep(NamedTuple):
    """The result of one more prompt."""

    kept: list[Prompt]
    retried: str | None  # the uid of the request whose answer was not good enough
    by: str | None  # the uid of the request that asks again


def prompts(row: Json | None) -> list[Prompt]:
    """Return the prompts of a row."""
    return [Prompt(**fields) for fields in (row or {}).get("prompts", ())]


def row_of(kept: list[Prompt]) -> Json:
    """Return the row with these prompts."""
    return {"prompts": [asdict(prompt) for prompt in kept]}


def asked(known: list[Prompt], new: Prompt, *, window_s: float) -> RetryStep:
    """Add one more prompt of the same user.

    Records of two doors may come in another order than they were accepted in: the earlier prompt of a pair is the one
    that was asked again. Of several, only the nearest in time is, so a prompt counts against one request. A request
    that is sent again under its own uid is the same request.
    """
    if any(prompt.uid == new.uid for prompt in known):
        return RetryStep(known, None, None)
    alike = [p for p in known if abs(p.at - new.at) <= window_s and _alike(p, new)]
    kept = sorted([*known, new], key=lambda prompt: prompt.at)
    kept = [prompt for prompt in kept if kept[-1].at - prompt.at <= window_s][-KEPT:]
    if not alike:
        return RetryStep(kept, None, None)
    nearest = min(alike, key=lambda prompt: abs(prompt.at - new.at))
    earlier, later = sorted((nearest, new), key=lambda prompt: prompt.at)
    return RetryStep(kept, earlier.uid, later.uid)


def last_at(row: Json) -> float:
    """Return when the user asked last, in seconds since the epoch."""
    return max((prompt.at for prompt in prompts(row)), default=0.0)


def _alike(one: Prompt, other: Prompt) -> bool:
    return nearly_same(int(one.fingerprint, 16), int(other.fingerprint, 16))


def after(known: list[Prompt], event: Event, *, window_s: float) -> RetryStep:
    """Return the prompts of a user after an event.

    Raises:
        MalformedRecordError: it is not an event of chat-prompts.
    """
    if event.event_type == PromptsForgotten.EVENT_TYPE:
        before = seconds(data_of(event, PromptsForgotten).before)
        return RetryStep([prompt for prompt in known if prompt.at >= before], None, None)
    data = data_of(event, PromptAsked)
    return asked(known, Prompt(uid=data.uid, at=seconds(data.at), fingerprint=data.fingerprint), window_s=window_s)
