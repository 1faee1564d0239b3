"""Makes the events about decisions (agent-decision-events). Pure."""

from typing import Final

from weir.answering.continuing import ContinuationPlan
from weir.chat.account import ROUTE, decision_id
from weir.chat.frames import FrameKind
from weir.chat.requests import ChatRequest
from weir.events.decisions import Candidate, DecisionMade, DecisionType

# The ways to end an answer that another attempt left, each with the reason for it and against the others.
_FINISH, _CALL, _CONTINUE, _RESTART, _FAIL = "finish", "call", "continue", "restart", "fail"
_CHOSEN: Final = {
    _FINISH: "the answer is whole, only its end is missing",
    _CALL: "nothing was said to the reader yet",
    _CONTINUE: "the LLM goes on with what it has said",
    _RESTART: "the LLM cannot go on with this answer, so it is said again",
    _FAIL: "the LLM cannot go on with this answer, and a stream must not repeat itself",
}
_REJECTED: Final = {
    _FINISH: dict.fromkeys((_CALL, _CONTINUE, _RESTART, _FAIL), "nothing is left to be said"),
    _CALL: {_FINISH: "the answer is not whole", _CONTINUE: "there is nothing to go on with"},
    _CONTINUE: {_FINISH: "the answer is not whole", _RESTART: "what was said would be said twice"},
    _RESTART: {_FINISH: "the answer is not whole", _CONTINUE: _CHOSEN[_RESTART].partition(",")[0]},
    _FAIL: {_CONTINUE: _CHOSEN[_FAIL].partition(",")[0], _RESTART: "OPENAI_CONTINUATION is fail"},
}


def decision(request: ChatRequest, attempt: str, does: ContinuationPlan, *, again: bool, worker: str) -> DecisionMade:
    """Return the event of the decision that led to an attempt.

    Args:
        request: the request.
        attempt: the LLM call that follows.
        does: the plan.
        again: whether this worker's own call broke off before.
        worker: host:port of the worker that decides.
    """
    if does.kind is FrameKind.BEGIN:
        model = str(request.body.get("model"))
        chosen = f"{ROUTE}:{model}"
        kind, reason = DecisionType.ROUTING, "the only route"
        candidates = [Candidate(name=chosen, route=ROUTE, model=model)]
    else:
        kind = DecisionType.FAILOVER if again else DecisionType.CONTINUATION
        chosen = _choice(does)
        reason = _CHOSEN[chosen]
        rejected = [Candidate(name=name, rejected=why) for name, why in _REJECTED[chosen].items()]
        candidates = [Candidate(name=chosen), *rejected]
    return DecisionMade(
        uid=request.uid,
        decision_id=decision_id(attempt),
        decision_type=kind,
        attempt=attempt,
        candidates=candidates,
        chosen=chosen,
        reason=reason,
        worker=worker,
    )


def _choice(does: ContinuationPlan) -> str:
    if does.kind is FrameKind.RESTART:
        return _RESTART
    if does.error is not None:
        return _FAIL
    if does.body is None:
        return _FINISH
    return _CONTINUE if does.goes_on else _CALL
