"""Words insights for people: title, description and advice, from a verdict."""

import hashlib
from typing import Final

from weir.envelope import utc_iso
from weir.events.base import derived_id
from weir.events.insights import InsightCleared, InsightRaised, InsightStatus, InsightType
from weir.insights.judging import Verdict

UNITS: Final = {
    InsightType.QUALITY_DROP: "score",
    InsightType.ERROR_RATE: "ratio",
    InsightType.LATENCY: "ms",
    InsightType.COST: "USD",
    InsightType.FEEDBACK_DROUGHT: "ratio",
}

_TITLES: Final = {
    InsightType.QUALITY_DROP: "Answers of {model} are rated worse",
    InsightType.ERROR_RATE: "Too many requests to {model} fail",
    InsightType.LATENCY: "{model} is slow",
    InsightType.COST: "Requests to {model} cost more",
    InsightType.FEEDBACK_DROUGHT: "No more feedback on {model}",
}

_MEASURED: Final = {
    InsightType.QUALITY_DROP: "The mean score of {count} signals was {value}",
    InsightType.ERROR_RATE: "{value} of {count} requests failed",
    InsightType.LATENCY: "95 % of {count} requests took at most {value} ms",
    InsightType.COST: "Each of {count} requests cost {value} USD",
    InsightType.FEEDBACK_DROUGHT: "Of {count} answers, {value} got feedback",
}

_ADVICE: Final = {
    InsightType.QUALITY_DROP: "Look at the feedback of this window, and at what changed: model, route, prompts.",
    InsightType.ERROR_RATE: "Look at the error codes in agent-metrics-events; route around the model if it is down.",
    InsightType.LATENCY: "Look at the load of the model's server, and at the length of prompts and answers.",
    InsightType.COST: "Look at the tokens of each request, and at the route: is a dearer model asked than before?",
    InsightType.FEEDBACK_DROUGHT: "See whether the clients still send feedback.",
}


def insight_id(name: str, kind: InsightType, start_ms: int) -> str:
    """The id of an insight: the same for a breach and its end, whichever worker finds it."""
    return f"ins-{hashlib.sha256(f'{name}|{kind}|{start_ms}'.encode()).hexdigest()[:32]}"


def event_id(data: InsightRaised | InsightCleared) -> str:
    """The event id: one for each insight and status."""
    return derived_id("insight", data.insight_id, str(data.status))


def raised(name: str, verdict: Verdict, start_ms: int, end_ms: int, detected_ms: int) -> InsightRaised:
    """The insight of a breach that begins.

    Args:
        name: tenant:model.
        verdict: the breach.
        start_ms: the start of the window that shows it.
        end_ms: the end of that window.
        detected_ms: when the breach was detected.
    """
    model = name.partition(":")[2]
    return InsightRaised(
        insight_id=insight_id(name, verdict.kind, start_ms),
        insight_type=verdict.kind,
        severity=verdict.severity,
        status=InsightStatus.ACTIVE,
        model=model,
        title=_TITLES[verdict.kind].format(model=model),
        description=_described(verdict),
        recommendation=_ADVICE[verdict.kind],
        value=verdict.value,
        threshold=verdict.limit,
        previous=verdict.previous,
        unit=UNITS[verdict.kind],
        count=verdict.count,
        window_start=_iso(start_ms),
        window_end=_iso(end_ms),
        detected_at=_iso(detected_ms),
    )


def cleared(verdict: Verdict, since: InsightRaised, start_ms: int, end_ms: int) -> InsightCleared:
    """The insight of a breach that is over; ``since`` is the one that raised it."""
    data = since.model_dump()
    data |= {
        "status": InsightStatus.RESOLVED,
        "title": f"Over: {since.title}",
        "description": _described(verdict),
        "recommendation": None,
        "value": verdict.value,
        "threshold": verdict.limit,
        "previous": verdict.previous,
        "count": verdict.count,
        "window_start": _iso(start_ms),
        "window_end": _iso(end_ms),
        "rebuilt": None,
    }
    return InsightCleared.model_validate(data)


def withdrawn(since: InsightRaised) -> InsightCleared:
    """The insight that retracts a breach, which the rebuilt window does not show."""
    data = since.model_dump()
    data |= {
        "status": InsightStatus.RESOLVED,
        "title": f"Withdrawn: {since.title}",
        "description": "The window was rebuilt, and does not show it any more.",
        "recommendation": None,
    }
    return InsightCleared.model_validate(data)


def _described(verdict: Verdict) -> str:
    parts = []
    if verdict.value is not None:
        parts.append(_MEASURED[verdict.kind].format(count=verdict.count, value=_number(verdict.value)))
    if verdict.limit is not None:
        parts.append(f"the limit is {_number(verdict.limit)}")
    if verdict.previous is not None:
        parts.append(f"before it was {_number(verdict.previous)}")
    if verdict.reason:
        parts.append(verdict.reason)
    return "; ".join(parts) + "."


def _number(value: float) -> str:
    return f"{value:.4g}"


def _iso(time_ms: int) -> str:
    return utc_iso(time_ms / 1000)
