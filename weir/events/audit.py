"""audit-events: which user or program did what. Append-only, and never the content. Keyed by the tenant."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from weir.events.base import EventData


class AuditType(StrEnum):
    """The platform's kinds of audit events, as far as they occur in Weir."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    DATA_ACCESS = "DATA_ACCESS"


class ActorType(StrEnum):
    """The kind of actor."""

    USER = "USER"
    SERVICE = "SERVICE"
    SYSTEM = "SYSTEM"
    ANONYMOUS = "ANONYMOUS"


class AuditRecorded(EventData):
    """A user or a program did something, or was refused."""

    EVENT_TYPE: ClassVar[str] = "audit.recorded"
    TOPIC: ClassVar[str] = "audit-events"

    audit_type: AuditType
    action: str = Field(description="Dotted: request.submit, request.read, request.cancel, feedback.submit, …")
    actor_id: str | None = Field(None, description="The user name, as the client sent it.")
    actor_type: ActorType
    resource_type: str = Field(description="The kind of resource: request, feedback, …")
    resource_id: str | None = None
    ingress: str = Field(description="The door the action came through: http, rabbitmq, kafka; or cli.")
    ip_address: str | None = None
    user_agent: str | None = None
    request_method: str | None = None
    request_path: str | None = Field(None, description="The path of the HTTP request, without its query.")
    response_status: int | None = None
    success: bool
    error_code: str | None = Field(None, description="The error code of an action that was refused.")

    def record_key(self, tenant: str) -> str:
        """The key of its record: the tenant."""
        return tenant
