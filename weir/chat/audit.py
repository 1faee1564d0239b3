"""audit-events: which client did what, and never the content of requests and answers."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from weir import limits
from weir.chat.checking import TENANT
from weir.errors import ApiError
from weir.events.audit import ActorType, AuditRecorded, AuditType
from weir.events.ingress import Ingress
from weir.events.publishing import Events

AGENT_MAX_CHARS: Final = 200  # of a client's User-Agent


class Action(NamedTuple):
    """A kind of act that is recorded."""

    name: str
    kind: AuditType
    resource: str


SUBMIT: Final = Action("request.submit", AuditType.CREATE, "request")
CANCEL: Final = Action("request.cancel", AuditType.UPDATE, "request")
READ: Final = Action("request.read", AuditType.DATA_ACCESS, "request")
GIVE_FEEDBACK: Final = Action("feedback.submit", AuditType.CREATE, "feedback")
READ_FEEDBACK: Final = Action("feedback.read", AuditType.DATA_ACCESS, "feedback")
REPLAY: Final = Action("replay.start", AuditType.CREATE, "replay")
CANCEL_REPLAY: Final = Action("replay.cancel", AuditType.UPDATE, "replay")
READ_REPLAY: Final = Action("replay.read", AuditType.DATA_ACCESS, "replay")
LIST: Final = Action("request.list", AuditType.DATA_ACCESS, "request")
EXPORT: Final = Action("topic.export", AuditType.DATA_ACCESS, "topic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The client, as far as the door knows it."""

    ingress: Ingress
    ip_address: str | None = None
    user_agent: str | None = None
    method: str | None = None
    path: str | None = None  # without its query


class Audit:
    """Records acts on one worker.

    Args:
        events: publishes the audit events.
        default_tenant: the tenant of acts that name none.
    """

    def __init__(self, events: Events, default_tenant: str) -> None:
        self._events, self._default_tenant = events, default_tenant

    def record(
        self,
        action: Action,
        caller: Caller,
        *,
        tenant: str,
        actor: str | None = None,
        service: bool = False,
        resource_id: str | None = None,
        status: int | None = None,
        error_code: str | None = None,
        event_id: str | None = None,
        traceparent: str | None = None,
    ) -> None:
        """Record that a client did something, or was refused. Never raises and never waits.

        Args:
            action: the act.
            caller: the client and its door.
            tenant: the tenant of the client.
            actor: the user, as the client named it.
            service: whether a program of the system did it for the user.
            resource_id: the object of the act.
            status: HTTP status of the answer, where there is one already.
            error_code: the code of the refusal.
            event_id: the event's id: the same each time the same act is recorded.
            traceparent: W3C trace context.
        """
        actor = limits.name(actor)  # a Kafka client may have written anything
        data = _recorded(
            action, caller, actor, service=service, resource_id=resource_id, status=status, error_code=error_code
        )
        self._events.emit(data, tenant, event_id=event_id, traceparent=traceparent)

    def refused(self, caller: Caller, error: ApiError, *, tenant: str | None) -> None:
        """Record that a request was refused; an invalid tenant name counts as none."""
        named = tenant if tenant is not None and TENANT.fullmatch(tenant) else None
        code = str(error.error.get("code") or error.error.get("type"))
        self.record(SUBMIT, caller, tenant=named or self._default_tenant, error_code=code)

    async def publish(self, action: Action, caller: Caller, *, tenant: str, actor: str, resource_id: str) -> None:
        """Record that a client is about to do something, and wait until the record is in the log.

        Args:
            action: the act.
            caller: the client and its door.
            tenant: the tenant of the client.
            actor: the user.
            resource_id: the object of the act.

        Raises:
            LogError: the event may or may not be in the log.
        """
        await self._events.publish(_recorded(action, caller, actor, resource_id=resource_id), tenant)


def _recorded(
    action: Action,
    caller: Caller,
    actor: str | None,
    *,
    service: bool = False,
    resource_id: str | None = None,
    status: int | None = None,
    error_code: str | None = None,
) -> AuditRecorded:
    return AuditRecorded(
        audit_type=action.kind,
        action=action.name,
        actor_id=actor,
        actor_type=_actor_type(actor, service=service),
        resource_type=action.resource,
        resource_id=resource_id,
        ingress=caller.ingress,
        ip_address=caller.ip_address,
        user_agent=caller.user_agent and caller.user_agent[:AGENT_MAX_CHARS],
        request_method=caller.method,
        request_path=caller.path,
        response_status=status,
        success=error_code is None and (status is None or status < 400),
        error_code=error_code,
    )


def _actor_type(actor: str | None, *, service: bool) -> ActorType:
    if service:
        return ActorType.SERVICE
    return ActorType.ANONYMOUS if actor is None else ActorType.USER
