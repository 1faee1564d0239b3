"""GET /insights and GET /quality: insights, and the windows of figures behind them, from any worker."""

import heapq
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from aiohttp import web

from web.errors import json_response
from web.everywhere import Everywhere
from web.queries import integer
from web.tenants import named_tenant
from weir import topics
from weir.envelope import Json, utc_iso
from weir.errors import InvalidRequestError
from weir.events.insights import InsightStatus, InsightType
from weir.insights.configured import spans
from weir.insights.partition import partition_of
from weir.insights.reading import RecordSource
from weir.insights.rows import QualityRows
from weir.insights.values import ModelRow, WindowKey
from weir.timing import in_turns
from weir.worker import Worker

LIST_MAX, LIST_DEFAULT = 1000, 100
_CHOICES: Final = {"status": set(map(str, InsightStatus)), "type": set(map(str, InsightType))}
_WHOSE: Final = ("tenant", "model")


class InsightsView:
    """The views of insights on one worker."""

    def __init__(self, worker: Worker, everywhere: Everywhere, rows: QualityRows) -> None:
        self._worker, self._rows = worker, rows
        self._spans = spans(worker.settings)
        self._everywhere = everywhere

    async def insights(self, http: web.Request) -> web.Response:
        """Answer with all insights, newest first, by ``?tenant=``, ``?model=``, ``?status=`` and ``?type=``."""
        limit, wanted = _limit(http), _wanted(http, (*_WHOSE, *_CHOICES))
        found = []
        async for name in in_turns(self._names(wanted)):
            found += [one for one in self._insights_of(name) if _has(one, wanted)]
        params = [*wanted.items(), ("limit", str(limit))]
        body = await self._everywhere.rows(http, "insights", _newest(limit, found), params)
        return json_response({**body, "insights": _newest(limit, body["insights"])})

    async def quality(self, http: web.Request) -> web.Response:
        """Answer with windows by tenant and model, by ``?tenant=`` and ``?model=``; ``?limit=`` models at most."""
        limit, wanted = _limit(http), _wanted(http, _WHOSE)
        found = await self._models(wanted, limit)
        params = [*wanted.items(), ("limit", str(limit))]
        body = await self._everywhere.rows(http, "quality", found, params)
        models = sorted(body["quality"], key=lambda one: (one["tenant"], one["model"]))
        return json_response({**body, "quality": models[:limit]})

    def _own(self, name: str) -> bool:
        return partition_of(name) in self._worker.own_partitions(topics.AGENT_METRICS)

    def _names(self, wanted: dict[str, str]) -> Iterator[str]:
        return (name for name in self._rows.names() if self._own(name) and _has(_whose(name), wanted))

    async def _models(self, wanted: dict[str, str], limit: int) -> list[Json]:
        places: defaultdict[str, list[WindowKey]] = defaultdict(list)
        newest: defaultdict[int, dict[str, int]] = defaultdict(dict)
        async for span, times, _ in in_turns(self._rows.windows()):
            if self._own(span.name):
                places[span.name].append(span)
                _advance(newest[partition_of(span.name)], times)
        names = sorted({*places, *self._names(wanted)})
        chosen = [name for name in names if _has(_whose(name), wanted)][:limit]
        return [self._model(name, sorted(places[name]), newest[partition_of(name)]) async for name in in_turns(chosen)]

    def _model(self, name: str, places: list[WindowKey], newest: dict[str, int]) -> Json:
        model = self._rows.model(name) or ModelRow()
        return {
            **_whose(name),
            "watermark": self._watermark(partition_of(name), newest),
            "late": model.late,
            "ahead": model.ahead,
            "active": sorted(model.active),
            "windows": [shown for span in places if (shown := self._window(span)) is not None],
        }

    def _watermark(self, partition: int, newest: dict[str, int]) -> str | None:
        """Return the watermark of the partition's shard; None before both topics have had a record."""
        row = self._rows.partition(partition)
        _advance(newest, row.newest)
        behind_ms = min(newest.values()) - self._spans.lateness_ms if len(newest) == len(RecordSource) else 0
        watermark_ms = max(row.closed_ms, behind_ms)
        return utc_iso(watermark_ms / 1000) if watermark_ms else None

    def _insights_of(self, name: str) -> Iterator[Json]:
        model = self._rows.model(name) or ModelRow()
        for one in (*model.active.values(), *self._rows.over(name)):
            yield {**_whose(name), "type": one["insight_type"], **one}

    def _window(self, span: WindowKey) -> Json | None:
        row = self._rows.window(span)
        if row is None:  # the window was dropped meanwhile
            return None
        return {
            "start": utc_iso(span.start_ms / 1000),
            "end": utc_iso(span.end_ms / 1000),
            "status": "closed" if row.closed else "open",
            **row.window.figures(),
        }


def _advance(newest: dict[str, int], times: dict[str, int]) -> None:
    for source, at_ms in times.items():
        newest[source] = max(at_ms, newest.get(source, at_ms))


def _whose(name: str) -> Json:
    tenant, _, model = name.partition(":")
    return {"tenant": tenant, "model": model}


def _newest(limit: int, insights: list[Json]) -> list[Json]:
    return heapq.nlargest(limit, insights, key=lambda one: str(one["window_start"]))


def _has(one: Json, wanted: dict[str, str]) -> bool:
    return all(one[name] == value for name, value in wanted.items() if name in one)


def _wanted(http: web.Request, names: tuple[str, ...]) -> dict[str, str]:
    """Return the filters of a request. The tenant may also be named by the header that requests have it in."""
    wanted = {name: http.query[name] for name in names if name in http.query}
    if (tenant := named_tenant(http)) is not None:
        wanted["tenant"] = tenant
    for name, allowed in _CHOICES.items():
        if name in wanted and wanted[name] not in allowed:
            raise InvalidRequestError(f"'{name}' must be one of {', '.join(sorted(allowed))}.", param=name)
    return wanted


def _limit(http: web.Request) -> int:
    return integer(http, "limit", default=LIST_DEFAULT, highest=LIST_MAX)
