"""audit-events: who did what, and never the content."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from weir import limits
from weir.chat.checking import TENANT
from weir.errors import ApiError
from weir.events.audit import ActorType, AuditRecorded, AuditType
from weir.events.ingress import Ingress
from weir.events.publishing import Events

AGENT_MAX_CHARS: Final = 200  # of a client's name for itself


class Action(NamedTuple):
    """Something that can be done."""

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
    """Who called, as far as the door knows."""

    ingress: Ingress
    ip_address: str | None = None
    user_agent: str | None = None
    method: str | None = None
    path: str | None = None  # without its query


class Audit:
    """Records what is done on one worker.

    Args:
        events: how it is told.
        default_tenant: of what names none.
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
        """Tell that somebody did something, or was refused. Never raises and never waits.

        Args:
            action: what.
            caller: through which door, from where.
            tenant: in whose name.
            actor: who, as the client said.
            service: whether a program of the system did it for somebody.
            resource_id: to what.
            status: HTTP status of the answer, where there is one already.
            error_code: of what was refused.
            event_id: the same for the same thing told again.
            traceparent: W3C trace context.
        """
        actor = limits.name(actor)  # a Kafka client may have written anything
        data = _recorded(
            action, caller, actor, service=service, resource_id=resource_id, status=status, error_code=error_code
        )
        self._events.emit(data, tenant, event_id=event_id, traceparent=traceparent)

    def refused(self, caller: Caller, error: ApiError, *, tenant: str | None) -> None:
        """Tell that a request was refused; a tenant that is none counts as not named."""
        named = tenant if tenant is not None and TENANT.fullmatch(tenant) else None
        code = str(error.error.get("code") or error.error.get("type"))
        self.record(SUBMIT, caller, tenant=named or self._default_tenant, error_code=code)

    async def publish(self, action: Action, caller: Caller, *, tenant: str, actor: str, resource_id: str) -> None:
        """Tell that somebody is about to do something, and wait until that is in the log.

        Args:
            action: what.
            caller: through which door, from where.
            tenant: in whose name.
            actor: who.
            resource_id: to what.

        Raises:
            LogError: it may or may not be in the log.
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
