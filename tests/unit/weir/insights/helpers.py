"""Events at times that tests choose, and limits that are easy to compute with."""

import itertools
from typing import Any

from weir.envelope import Event, utc_iso
from weir.events.metrics import MetricsRecorded
from weir.events.signals import SignalRecorded
from weir.insights.durations import Durations
from weir.insights.judging import InsightLimits
from weir.insights.reading import Measured, Ticked, read
from weir.insights.window import WindowFigures

T0 = 1_800_000_000  # seconds since the epoch; the start of a window
SPANS = Durations(size_ms=10_000, lateness_ms=3_000, ahead_ms=60_000, kept=6, quiet=3, expiry_ms=600_000)
LIMITS = InsightLimits(
    baseline=3,
    requests_min=10,
    signals_min=10,
    clear_ratio=0.8,
    quality_min=0.0,
    quality_drop=0.5,
    error_rate_max=0.05,
    errors_min=3,
    latency_p95_max_ms=5000,
    latency_ratio=2,
    latency_floor_ms=500,
    cost_ratio=2,
    cost_max_usd=None,
    drought_ratio=0.1,
    drought_expected=10,
    normal_after=6,
)
_ids = itertools.count()


def metrics(at_s: float = 0, **changes: Any) -> Event:
    """A request to model ``m`` that ended so many seconds after ``T0``."""
    data = {"model": "m", "uid": "u", "status": "completed", "attempts": 1, "ended_at": utc_iso(T0 + at_s), **changes}
    return Event(f"evt-{next(_ids)}", MetricsRecorded.EVENT_TYPE, "acme", "", "weir", data)


def signal(at_s: float = 0, score: float = 1.0, **changes: Any) -> Event:
    """A signal about model ``m``."""
    data = {
        "model": "m",
        "uid": "u",
        "score": score,
        "weight": 1.0,
        "feedback_id": "evt-f",
        "feedback_type": "thumbs_up",
        "feedback_source": "explicit",
        "given_at": utc_iso(T0 + at_s),
        "status": "completed",
        **changes,
    }
    return Event(f"evt-{next(_ids)}", SignalRecorded.EVENT_TYPE, "acme", "", "weir", data)


def tick(at_s: float, kind: str = "metrics") -> Event:
    return Event(f"evt-{next(_ids)}", f"{kind}.tick", "default", "", "weir", {"at": utc_iso(T0 + at_s)})


def seen(event: Event) -> Measured | Ticked:
    found = read(event)
    assert found is not None
    return found


def window_of(*events: Event) -> WindowFigures:
    """A window with these events."""
    window = WindowFigures()
    for event in events:
        found = seen(event)
        assert isinstance(found, Measured)
        if isinstance(found.data, MetricsRecorded):
            window.add_request(found.data)
        else:
            window.add_signal(found.data)
    return window


def requests(count: int, **changes: Any) -> list[Event]:
    return [metrics(**changes) for _ in range(count)]


def signals(count: int, score: float, **changes: Any) -> list[Event]:
    return [signal(score=score, **changes) for _ in range(count)]
