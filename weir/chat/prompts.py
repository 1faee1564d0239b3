"""chat-prompts: which user asked when, and a fingerprint of what; so that who asks again is noticed.

Requests lie in partitions by their uid, so those of one user are brought together here. A prompt itself never is.
"""

from typing import ClassVar

from pydantic import Field

from weir import topics
from weir.chat import similarity
from weir.chat.requests import ChatRequest
from weir.chat.thinking import last_user_text
from weir.envelope import Event
from weir.events.base import EventData
from weir.events.catalogue import data_of
from weir.events.publishing import Events
from weir.settings import Settings


class _OfUser(EventData):
    TOPIC: ClassVar[str] = topics.CHAT_PROMPTS.name

    user: str = Field(description="The user's name, as the client said.")

    def record_key(self, tenant: str) -> str:
        """``tenant:user``."""
        return user_key(tenant, self.user)


class PromptAsked(_OfUser):
    """A user asked something."""

    EVENT_TYPE: ClassVar[str] = "prompt.asked"

    uid: str
    at: str = Field(description="When a door took it; ISO 8601, UTC.")
    fingerprint: str = Field(pattern="^[0-9a-f]{16}$", description="A simhash of the last user text, in hex.")


class PromptsForgotten(_OfUser):
    """What the user asked before a time does not matter any more."""

    EVENT_TYPE: ClassVar[str] = "prompts.forgotten"

    before: str = Field(description="ISO 8601, UTC.")


def user_key(tenant: str, user: str) -> str:
    """The key of a user's records and rows. A tenant has no colon in its name."""
    return f"{tenant}:{user}"


class PromptEvents:
    """Tells what was asked, without making a request wait for it."""

    def __init__(self, events: Events, settings: Settings) -> None:
        self._events = events
        self._wanted = settings.retry_window_s > 0

    def emit(self, request: ChatRequest) -> None:
        """Tell of a request, if its user is known and there is enough of a prompt to tell it from others."""
        if not self._wanted or not request.username:
            return
        fingerprint = similarity.fingerprint(last_user_text(request.body))
        if fingerprint is not None:
            told = PromptAsked(
                user=request.username,
                uid=request.uid,
                at=request.accepted_at,
                fingerprint=f"{fingerprint:016x}",
            )
            self._events.emit(told, request.tenant)


def key_of(told: Event) -> str:
    """Whose prompts an event is about.

    Raises:
        MalformedRecordError: it is no such event.
    """
    model = PromptsForgotten if told.event_type == PromptsForgotten.EVENT_TYPE else PromptAsked
    return user_key(told.tenant_id, data_of(told, model).user)
