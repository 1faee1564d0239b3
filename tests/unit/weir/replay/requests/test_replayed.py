"""A request as a run sends it again."""

from dataclasses import replace

from tests.unit.weir.answering.helpers import BODY, REQUEST
from weir.chat.requests import OnDisconnect
from weir.events.ingress import Ingress
from weir.replay.requests.plans import ReplayPlan
from weir.replay.requests.replayed import again, replay_uid
from weir.replay.runs import Run, RunKind

RUN = Run(id="20260131T120000Z-00000001", kind=RunKind.REQUESTS)
PLAN = ReplayPlan(since="earliest")


def test_the_same_request_is_made_each_time_and_another_one_for_another_run_or_submission() -> None:
    first = again(REQUEST, BODY, run=RUN, plan=PLAN, chunks_from=7)
    second = again(REQUEST, BODY, run=RUN, plan=PLAN, chunks_from=9)
    assert (first.uid, first.event_id, first.fingerprint) == (second.uid, second.event_id, second.fingerprint)
    assert first.uid == replay_uid(RUN.id, REQUEST)
    others = [replay_uid("another run", REQUEST), replay_uid(RUN.id, replace(REQUEST, event_id="evt-2"))]
    assert len({first.uid, REQUEST.uid, *others}) == 4


def test_no_client_waits_for_its_answer() -> None:
    asked = again(replace(REQUEST, stream=True, priority=3), BODY, run=RUN, plan=PLAN, chunks_from=7)
    assert (asked.ingress, asked.stream, asked.on_disconnect) == (Ingress.REPLAY, False, OnDisconnect.CONTINUE)
    assert (asked.replay, asked.replay_of, asked.chunks_from) == (RUN.id, REQUEST.uid, 7)
    assert (asked.deadline, asked.priority, asked.body) == (None, 0, BODY)


def test_a_plan_may_name_another_model() -> None:
    plan = ReplayPlan(since="earliest", model="other")
    assert again(REQUEST, BODY, run=RUN, plan=plan, chunks_from=0).body == {**BODY, "model": "other"}
