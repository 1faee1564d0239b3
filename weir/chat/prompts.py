"""chat-prompts: when each user asked, with a fingerprint of the prompt, so that a user's retries are noticed.

Requests lie in partitions by their uid, so those of one user are brought together here. The prompt itself is not kept.
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
    at: str = Field(description="When a door accepted the request; ISO 8601, UTC.")
    fingerprint: str = Field(pattern="^[0-9a-f]{16}$", description="A simhash of the last user text, in hex.")


class PromptsForgotten(_OfUser):
    """The user's prompts before a time do not matter any more."""

    EVENT_TYPE: ClassVar[str] = "prompts.forgotten"

    before: str = Field(description="ISO 8601, UTC.")


def user_key(tenant: str, user: str) -> str:
    """Return the key of a user's records and rows. A tenant has no colon in its name."""
    return f"{tenant}:{user}"


class PromptEvents:
    """Publishes fingerprints of prompts, without making a request wait for it."""

    def __init__(self, events: Events, settings: Settings) -> None:
        self._events = events
        self._wanted = settings.retry_window_s > 0

    def emit(self, request: ChatRequest) -> None:
        """Publish a request's fingerprint, if its user is known and the prompt is long enough to differ from others."""
        if not self._wanted or not request.username:
            return
        fingerprint = similarity.fingerprint(last_user_text(request.body))
        if fingerprint is not None:
            asked = PromptAsked(
                user=request.username,
                uid=request.uid,
                at=request.accepted_at,
                fingerprint=f"{fingerprint:016x}",
            )
            self._events.emit(asked, request.tenant)


def key_of(event: Event) -> str:
    """Return the key of the user of an event.

    Raises:
        MalformedRecordError: it is not such an event.
    """
    model = PromptsForgotten if event.event_type == PromptsForgotten.EVENT_TYPE else PromptAsked
    return user_key(event.tenant_id, data_of(event, model).user)
