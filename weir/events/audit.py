"""audit-events: who did what. Append-only, and never the content. Keyed by the tenant."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from weir.events.base import EventData


class AuditType(StrEnum):
    """The platform's kinds, as far as they occur here."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    DATA_ACCESS = "DATA_ACCESS"


class ActorType(StrEnum):
    """Who did it."""

    USER = "USER"
    SERVICE = "SERVICE"
    SYSTEM = "SYSTEM"
    ANONYMOUS = "ANONYMOUS"


class AuditRecorded(EventData):
    """Somebody did something."""

    EVENT_TYPE: ClassVar[str] = "audit.recorded"
    TOPIC: ClassVar[str] = "audit-events"

    audit_type: AuditType
    action: str = Field(description="Dotted: request.submit, request.read, request.cancel, feedback.submit, …")
    actor_id: str | None = Field(None, description="As the client said: its user name.")
    actor_type: ActorType
    resource_type: str = Field(description="request, feedback, …")
    resource_id: str | None = None
    ingress: str = Field(description="The door: http, rabbitmq, kafka; or cli.")
    ip_address: str | None = None
    user_agent: str | None = None
    request_method: str | None = None
    request_path: str | None = Field(None, description="Without its query.")
    response_status: int | None = None
    success: bool
    error_code: str | None = Field(None, description="Of one that was refused.")

    def record_key(self, tenant: str) -> str:
        """The tenant."""
        return tenant
