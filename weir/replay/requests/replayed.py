"""Makes the request that a run sends again. No I/O.

Its uid and its event id are made from the run's and the original's. So each process that carries out the run makes
the same request, and the worker that owns it answers it once.
"""

import hashlib

from weir.chat import requests
from weir.chat.requests import ChatRequest, OnDisconnect
from weir.envelope import Json
from weir.events.base import derived_id
from weir.events.ingress import Ingress
from weir.replay.requests.plans import ReplayPlan
from weir.replay.runs import Run
from weir.telemetry.traceparent import mint


def replay_uid(run_id: str, original: ChatRequest) -> str:
    """The uid under which a run sends a request again."""
    name = f"{original.uid} {original.event_id}".encode()
    return f"rpl-{run_id}-{hashlib.blake2b(name, digest_size=8).hexdigest()}"


def again(
    original: ChatRequest, body: Json, *, run: Run, plan: ReplayPlan, chunks_from: int, accepted_at: str = ""
) -> ChatRequest:
    """A request as a run sends it again: no client waits for it, so it may be restarted, and may take its time."""
    asked = body if plan.model is None else {**body, "model": plan.model}
    return ChatRequest(
        uid=replay_uid(run.id, original),
        event_id=derived_id("replay", run.id, original.uid, original.event_id),
        tenant=original.tenant,
        ingress=Ingress.REPLAY,
        accepted_at=accepted_at,
        body=asked,
        fingerprint=requests.fingerprint(asked),
        stream=False,
        username=original.username,
        chunks_from=chunks_from,
        on_disconnect=OnDisconnect.CONTINUE,
        think_tags=original.think_tags,
        traceparent=str(mint()),
        replay=run.id,
        replay_of=original.uid,
    )
