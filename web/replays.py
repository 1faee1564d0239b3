"""POST /replays and GET /replays/{id}: the command ``faust -A app replay``, over HTTP.

A run is written to the log here, and carried out by the command itself, in a process beside the worker: reading a day
of tokens takes processor time, and answers must not wait for it. Any worker can report on any run, as its state is in
the log.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from web.auditing import RESOURCE
from web.connections import body_of
from web.errors import json_response
from web.everywhere import Everywhere
from web.processes import Processes
from web.tenants import named_tenant
from weir import topics
from weir.chat.accept import parse as read_json
from weir.chat.checking import tenant_of
from weir.envelope import Json
from weir.errors import ApiError, InvalidRequestError, NotFoundError
from weir.peers import FORWARDED
from weir.ranges.checks import LIMIT_MAX
from weir.ranges.errors import GoneError, NothingError, ReplayError, UsageError
from weir.ranges.progress import unseen
from weir.ranges.when import parse
from weir.replay.dead_letters.choosing import Wanted
from weir.replay.dead_letters.dead_letters import Redriving
from weir.replay.rebuild.feedback_run import FeedbackRun
from weir.replay.report.page import page
from weir.replay.report.report import ReplayReport
from weir.replay.requests import run as requests
from weir.replay.requests.plans import ReplayPlan
from weir.replay.runs import Run, RunKind
from weir.worker import Worker

PAIRS_MAX = 10_000  # of a report that a worker makes while it also answers
_OPTION = re.compile(r"--([a-z-]+): ")
_STATUSES = {UsageError: (400, "invalid_replay"), NothingError: (404, "nothing_to_replay"), GoneError: (410, "gone")}


class _Body(BaseModel):
    """The common fields of POST /replays' bodies; the options of the commands, by their names."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    since: str = Field(alias="from")
    until: str = Field("now", alias="to")
    where: dict[str, str] = Field(default_factory=dict)
    limit: int = LIMIT_MAX


class _Requests(_Body):
    kind: Literal["requests"] = "requests"
    model: str | None = None
    route: str | None = None
    rate: float | None = None
    concurrency: int = 8

    async def begin(self, worker: Worker, _changelogs: Mapping[str, str]) -> Run:
        """Write the run to the log."""
        return await requests.begin(worker, ReplayPlan(**self.model_dump(exclude={"kind"})), by="http")


class _DeadLetters(_Body):
    kind: Literal["dead-letters"] = "dead-letters"
    reason: str | None = None
    topic: str | None = None

    async def begin(self, worker: Worker, _changelogs: Mapping[str, str]) -> Run:
        """Write the run to the log."""
        now = time.time()
        since, until = parse(self.since, now=now, option="--from"), parse(self.until, now=now, option="--to")
        wanted = Wanted(reason=self.reason, topic=self.topic, where=self.where, limit=self.limit)
        return await Redriving(worker).begin(since, until, wanted, by="http")


class _Feedback(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    kind: Literal["feedback"]
    since: str = Field(alias="from")
    emit: bool = False

    async def begin(self, worker: Worker, changelogs: Mapping[str, str]) -> Run:
        """Write the run to the log."""
        now, work = time.time(), FeedbackRun(worker, changelogs, unseen, 0.0)
        planned = await work.plan(parse(self.since, now=now, option="--from"), emit=self.emit, now=now)
        return await work.begin(planned, by="http")


_BODIES: dict[str, type[_Requests | _DeadLetters | _Feedback]] = {"dead-letters": _DeadLetters, "feedback": _Feedback}


class ReplaysView:
    """The views of runs on one worker.

    Args:
        worker: the worker.
        changelogs: the changelog of each table, by the table's name.
        everywhere: asks the other workers.
    """

    def __init__(self, worker: Worker, changelogs: Mapping[str, str], everywhere: Everywhere) -> None:
        self._worker, self._changelogs, self._everywhere = worker, changelogs, everywhere
        self._processes = Processes(worker.settings.replays_max)

    async def close(self) -> None:
        """End the processes that carry out runs."""
        await self._processes.close()

    async def create(self, http: web.Request) -> web.Response:
        """Begin a run; 202 and the path of its report."""
        with self._processes.place() as start:
            raw = await body_of(http, within_s=self._worker.settings.http_body_timeout_s)
            body = _body(raw, self._tenant(http))
            try:
                run = await body.begin(self._worker, self._changelogs)
            except ReplayError as error:
                raise _api_error(error) from None
            http[RESOURCE] = run.id
            start(run)
        return _accepted(run, "running")

    async def resume(self, http: web.Request) -> web.Response:
        """Continue a run that was stopped, here, unless a worker does."""
        run = await self._run(http)
        if run.is_over:
            return _accepted(run, _status(run, set()))
        if run.id not in await self._running(http):
            with self._processes.place() as start:
                start(run)
        return _accepted(run, "running")

    async def cancel(self, http: web.Request) -> web.Response:
        """Cancel a run, wherever it is carried out."""
        run = await self._run(http)
        await requests.cancel(self._worker, run)
        return _accepted(run, _status(run, set()) if run.is_over else "cancelled")

    async def show(self, http: web.Request) -> web.Response:
        """Answer with the state of a run, and its report when it is over; ``?requests=true`` with each pair."""
        run = await self._run(http)
        body = _run_json(run, _status(run, await self._running(http)))
        if run.ended is not None:
            body["error"] = run.ended.summary.get("error")
            body["report"] = run.ended.summary if run.ended.status == "completed" else None
        if run.kind is RunKind.REQUESTS:
            body["compared"] = await requests.count(self._worker, run)
            if http.query.get("requests") in {"true", "1"}:
                made = await self._report(run, body["compared"])
                body["report"] = await asyncio.to_thread(made.as_json)
        return json_response(body)

    async def page(self, http: web.Request) -> web.Response:
        """Answer with the report of a run of requests, for people."""
        run = await self._run(http)
        if run.kind is not RunKind.REQUESTS:
            raise NotFoundError("Only a replay of requests has a page.", code="no_page")
        made = await self._report(run, await requests.count(self._worker, run))
        text = await asyncio.to_thread(page, made)  # on a thread, so that answers go on
        return web.Response(text=text, content_type="text/html", charset="utf-8")

    async def index(self, http: web.Request) -> web.Response:
        """Answer with the runs in the log, newest first."""
        if FORWARDED in http.headers:
            return json_response({"running": self._processes.runs})
        since = time.time() - (topics.CHAT_REPLAYS.retention_s(self._worker.settings))
        tenant, running = self._tenant(http), await self._running(http)
        runs = [run for run in await requests.runs_of(self._worker).recent(since) if _is_of(run, tenant)]
        return json_response({"object": "list", "replays": [_run_json(run, _status(run, running)) for run in runs]})

    def _tenant(self, http: web.Request) -> str | None:
        tenant = named_tenant(http)
        return None if tenant is None else tenant_of(tenant, self._worker.settings)

    async def _run(self, http: web.Request) -> Run:
        name = http.match_info["id"]
        try:
            run = await requests.runs_of(self._worker).find(name)
        except UsageError as error:
            raise NotFoundError(f"No replay '{name[:100]}': {error}.", code="replay_not_found") from None
        if not _is_of(run, self._tenant(http)):
            raise NotFoundError(f"No replay '{name[:100]}' is known.", code="replay_not_found")
        return run

    async def _running(self, http: web.Request) -> set[str]:
        """Return the runs that workers carry out."""
        bodies, _ = await self._everywhere.others(http, (), path="/replays")
        return {*self._processes.runs, *(run for body in bodies for run in body.get("running", ()))}

    async def _report(self, run: Run, pairs: int) -> ReplayReport:
        if pairs > PAIRS_MAX:
            raise InvalidRequestError(
                f"This run has {pairs} pairs, more than a worker shows ({PAIRS_MAX}): "
                f"faust -A app replay report {run.id}.",
                code="too_many_pairs",
                status=413,
            )
        return await requests.report(self._worker, run, texts=False)


def _body(raw: bytes, tenant: str | None) -> _Requests | _DeadLetters | _Feedback:
    body = read_json(raw)
    if not isinstance(body, dict):
        raise InvalidRequestError("The body must be a JSON object.")
    model = _BODIES.get(str(body.get("kind")), _Requests)
    try:
        given = model.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = str(first["loc"][0]) if first["loc"] else None
        raise InvalidRequestError(f"'{field}': {first['msg']}.", param=field) from None
    if isinstance(given, _Feedback):
        if tenant is not None:
            raise InvalidRequestError("A rebuild is of all tenants: leave X-Tenant-ID out.", param="X-Tenant-ID")
    elif tenant is not None and given.where.setdefault("tenant", tenant) != tenant:
        raise InvalidRequestError("'where': 'tenant' must be the tenant of X-Tenant-ID.", param="where")
    return given


def _api_error(error: ReplayError) -> ApiError:
    """Return the error with the names of HTTP: fields have no dashes."""
    option = _OPTION.match(str(error))
    field = option and option.group(1)
    status, code = _STATUSES.get(type(error), (500, "replay_failed"))
    text = f"'{field}': {str(error)[option.end() :]}." if option else f"{error}."
    return InvalidRequestError(text, param=field, code=code, status=status)


def _is_of(run: Run, tenant: str | None) -> bool:
    return tenant is None or run.tenant == tenant


def _status(run: Run, running: set[str]) -> str:
    if run.ended is not None and (run.is_over or run.id not in running):
        return run.ended.status
    return "running" if run.id in running else "unfinished"  # a command may carry it out, which workers do not know


def _accepted(run: Run, status: str) -> web.Response:
    return json_response(_run_json(run, status), status=202, headers={"Location": f"/replays/{run.id}"})


def _run_json(run: Run, status: str) -> Json:
    return {
        "id": run.id,
        "object": "replay",
        "kind": run.kind,
        "status": status,
        "parameters": run.parameters,
        "started_at": run.started_at,
        "ended_at": None if run.ended is None else run.ended.ended_at,
    }
