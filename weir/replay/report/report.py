"""The results of a replay: totals of both sides, the clear differences, and every pair."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Final, TypeVar

from weir.envelope import Json
from weir.replay.report.comparison import AnswerOutcome, Compared
from weir.replay.report.judging import COMPLETED, FAILED, MEASURES, JudgedErrors, JudgedMeasure, judged, judged_errors

T = TypeVar("T")

VERSION: Final = 2  # of the JSON; a field with a new meaning raises it, a new field does not


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """The plan of a run, and how far it has come."""

    run_id: str
    model: str | None  # the model for all requests; None: each request's own
    from_time: str | None  # ISO 8601, of the originals; None: from the log's beginning
    to_time: str | None  # ISO 8601; None: to its end
    started_at: str  # ISO 8601
    ended_at: str | None  # None while it runs
    selected: int  # requests that the run replays
    status: str  # completed, interrupted, running
    parameters: Json = field(default_factory=dict)  # the other parameters of the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Times of completed requests, in milliseconds."""

    count: int
    p50: float
    p95: float
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The totals of one side of all pairs."""

    statuses: Mapping[str, int]  # status → requests
    error_rate: float | None  # failed ones among those completed or failed; None if there are none
    latency_ms: Times | None  # None if none is known
    ttft_ms: Times | None
    input_tokens: int | None  # this and the next two: over the pairs where both sides are known; None without any
    output_tokens: int | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Likenesses:
    """The similarity of the texts."""

    pairs: int  # pairs whose similarity is known
    identical: int  # pairs with the same text
    mean: float | None  # 0 to 1
    p10: float | None  # one pair in ten is less alike


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """The results of a replay."""

    facts: RunFacts
    requests: tuple[Compared, ...]  # by the uid of the original
    original: Totals
    replay: Totals
    unknown: Mapping[str, int]  # input_tokens, output_tokens, cost_usd → pairs that are left out of that total
    statuses: Mapping[tuple[str, str], int]  # (original, replay) → pairs
    likenesses: Likenesses
    judged: tuple[JudgedMeasure, ...]
    errors: JudgedErrors

    def as_json(self, *, rows: bool = True) -> Json:
        """The report as JSON, the same for the same pairs in any order.

        - ``version``, and ``run``: the fields of ``RunFacts`` - ``compared``: pairs; ``unknown``: pairs that are left
        out of a total, by its name - ``original``, ``replay``: the fields of ``Totals``; times in ms, shares 0 to 1,
        null for an unknown value - ``statuses``: for each way that pairs ended, ``original``, ``replay`` and ``pairs``
        - ``similarity``: the fields of ``Likenesses`` - ``judged``: by measure, ``unit``, ``of`` (whether ``original``
        and ``replay`` are the median or the total),
          ``pairs``, ``original``, ``replay``, ``ratio``, the median ``difference`` with its 95 % interval from ``low``
          to ``high``, and the ``verdict``
        - ``errors``: the fields of ``JudgedErrors`` - ``requests``, if ``rows``: each pair, as ``compared_from`` reads
        it
        """
        made: Json = {
            "version": VERSION,
            "run": asdict(self.facts),
            "compared": len(self.requests),
            "original": _totals_json(self.original),
            "replay": _totals_json(self.replay),
            "unknown": dict(self.unknown),
            "statuses": [
                {"original": original, "replay": replay, "pairs": pairs}
                for (original, replay), pairs in self.statuses.items()
            ],
            "similarity": _rounded(asdict(self.likenesses), 4),
            "judged": {each.measure.name: _judged_json(each) for each in self.judged},
            "errors": _rounded(asdict(self.errors), 6),
        }
        return made | {"requests": [each.as_json() for each in self.requests]} if rows else made


def report_of(facts: RunFacts, compared: Iterable[Compared]) -> ReplayReport:
    """The report of a run, from its pairs in any order."""
    requests = tuple(sorted(compared, key=lambda each: (each.replay_of, each.uid)))
    counted = {name: _both_known(name, requests) for name in ("input_tokens", "output_tokens", "cost_usd")}
    return ReplayReport(
        facts=facts,
        requests=requests,
        original=_totals(lambda each: each.original, requests, counted),
        replay=_totals(lambda each: each.replay, requests, counted),
        unknown={name: len(requests) - len(known) for name, known in counted.items()},
        statuses=dict(sorted(Counter((each.original.status, each.replay.status) for each in requests).items())),
        likenesses=_likenesses(requests),
        judged=tuple(judged(measure, requests) for measure in MEASURES),
        errors=judged_errors(requests),
    )


def _both_known(name: str, requests: Sequence[Compared]) -> list[Compared]:
    return [each for each in requests if None not in (getattr(each.original, name), getattr(each.replay, name))]


def _totals(
    side: Callable[[Compared], AnswerOutcome], requests: Sequence[Compared], counted: Mapping[str, Sequence[Compared]]
) -> Totals:
    statuses = Counter(side(each).status for each in requests)
    answered = statuses[COMPLETED] + statuses[FAILED]
    completed = [side(each) for each in requests if side(each).status == COMPLETED]
    input_tokens = _known([side(each).input_tokens for each in counted["input_tokens"]])
    output_tokens = _known([side(each).output_tokens for each in counted["output_tokens"]])
    costs = _known([side(each).cost_usd for each in counted["cost_usd"]])
    return Totals(
        statuses=dict(sorted(statuses.items())),
        error_rate=statuses[FAILED] / answered if answered else None,
        latency_ms=_times([each.latency_ms for each in completed]),
        ttft_ms=_times([each.ttft_ms for each in completed]),
        input_tokens=sum(input_tokens) if input_tokens else None,
        output_tokens=sum(output_tokens) if output_tokens else None,
        cost_usd=math.fsum(costs) if costs else None,
    )


def _known(values: Sequence[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _times(values: Sequence[float | None]) -> Times | None:
    known = sorted(_known(values))
    if not known:
        return None
    return Times(count=len(known), p50=_quantile(known, 0.5), p95=_quantile(known, 0.95), mean=fmean(known))


def _likenesses(requests: Sequence[Compared]) -> Likenesses:
    known = sorted(each.similarity for each in requests if each.similarity is not None)
    return Likenesses(
        pairs=len(known),
        identical=sum(each.identical for each in requests if each.similarity is not None),
        mean=fmean(known) if known else None,
        p10=_quantile(known, 0.1) if known else None,
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of at least one value do not exceed, interpolated."""
    at = (len(ordered) - 1) * share
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


# -- as JSON


_DIGITS: Final[Mapping[str, int]] = {"ms": 1, "USD": 9, "tokens": 1}  # enough for what one can measure, or be billed


def _totals_json(totals: Totals) -> Json:
    return {
        "statuses": dict(totals.statuses),
        "error_rate": _round(totals.error_rate, 6),
        "latency_ms": totals.latency_ms and _rounded(asdict(totals.latency_ms), _DIGITS["ms"]),
        "ttft_ms": totals.ttft_ms and _rounded(asdict(totals.ttft_ms), _DIGITS["ms"]),
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "cost_usd": _round(totals.cost_usd, _DIGITS["USD"]),
    }


def _judged_json(each: JudgedMeasure) -> Json:
    names = ("original", "replay", "difference", "low", "high")
    return {
        "unit": each.measure.unit,
        "of": "total" if each.measure.total else "median",
        "pairs": each.pairs,
        **_rounded({name: getattr(each, name) for name in names}, _DIGITS[each.measure.unit]),
        "ratio": _round(each.ratio, 4),
        "verdict": each.verdict,
    }


def _rounded(fields: Mapping[str, Any], digits: int) -> Json:
    return {name: _round(value, digits) for name, value in fields.items()}


def _round(value: Any, digits: int) -> Any:
    return round(value, digits) if isinstance(value, float) else value
