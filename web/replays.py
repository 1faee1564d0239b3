"""POST /replays and GET /replays/{id}: what ``faust -A app replay`` does, over HTTP.

A run is written down here, and carried out by the command itself, in a process beside the worker: reading a day of
tokens takes processor time, and answers must not wait for it. Any worker tells of any run, for what it does stands in
the log.
"""

import time
from typing import Any, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from answers.envelope import Json
from app import topics
from app.accept import parse
from app.core import Weir
from app.errors import ApiError, InvalidRequestError, NotFoundError
from replays import requests
from replays.errors import GoneError, NothingError, ReplayError, UsageError
from replays.page import page
from replays.plans import LIMIT_MAX, Plan
from replays.runs import Kind, Run
from tables.owners import FORWARDED
from web.errors import json_response
from web.everywhere import Everywhere
from web.processes import Processes
from web.tenants import named_tenant

_STATUSES = {UsageError: (400, "invalid_replay"), NothingError: (404, "nothing_to_replay"), GoneError: (410, "gone")}


class _Body(BaseModel):
    """The body of POST /replays; the command's options, by their names."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    kind: Literal["requests"] = "requests"
    since: str = Field(alias="from")
    until: str = Field("now", alias="to")
    where: dict[str, str] = Field(default_factory=dict)
    model: str | None = None
    route: str | None = None
    limit: int = LIMIT_MAX
    rate: float | None = None
    concurrency: int = 8
    texts: bool = False


class ReplaysView:
    """The runs, as one worker tells them."""

    def __init__(self, app: Weir, everywhere: Everywhere) -> None:
        self._app, self._everywhere = app, everywhere
        self._processes = Processes(app.settings.replays_max)
        app.on_stopped(self._processes.close)

    async def create(self, http: web.Request) -> web.Response:
        """Begin a run; 202 and where it is told of."""
        self._processes.check_room()
        plan = _plan(await http.read(), named_tenant(http))
        try:
            run = await requests.begin(self._app, plan, by="http")
        except ReplayError as error:
            raise _api_error(error) from None
        await self._processes.start(run)
        return json_response(_run_json(run, "running"), status=202, headers={"Location": f"/replays/{run.id}"})

    async def resume(self, http: web.Request) -> web.Response:
        """Go on with a run that was stopped."""
        run = await self._run(http)
        if run.ended is None and not await self._is_running(http, run):
            self._processes.check_room()
            await self._processes.start(run)
        status = "running" if run.ended is None else run.ended.status
        return json_response(_run_json(run, status), status=202, headers={"Location": f"/replays/{run.id}"})

    async def show(self, http: web.Request) -> web.Response:
        """Where a run stands, with its report so far; ``?requests=true`` with each pair."""
        if FORWARDED in http.headers:
            return json_response({"running": self._processes.runs(http.match_info["id"])})
        run = await self._run(http)
        if run.ended is None:
            running = await self._is_running(http, run)
            body = _run_json(run, "running" if running else "unfinished")  # a command may run it, elsewhere
        else:
            body = _run_json(run, run.ended.status)
        if run.kind is Kind.REQUESTS:
            made = await requests.report(self._app, run)
            body["report"] = made.as_json(rows=http.query.get("requests") in {"true", "1"})
        elif run.ended is not None:
            body["report"] = run.ended.summary
        return json_response(body)

    async def page(self, http: web.Request) -> web.Response:
        """The report of a run of requests, for people."""
        run = await self._run(http)
        if run.kind is not Kind.REQUESTS:
            raise NotFoundError("Only a replay of requests has a page.", code="no_page")
        made = await requests.report(self._app, run)
        return web.Response(text=page(made), content_type="text/html", charset="utf-8")

    async def index(self, http: web.Request) -> web.Response:
        """The runs that the log knows, newest first."""
        since = time.time() - (topics.CHAT_REPLAYS.retention_s or 0.0)
        tenant = named_tenant(http)
        runs = [run for run in await requests.runs_of(self._app).recent(since) if _is_of(run, tenant)]
        listed = [_run_json(run, "unfinished" if run.ended is None else run.ended.status) for run in runs]
        return json_response({"object": "list", "replays": listed})

    async def _run(self, http: web.Request) -> Run:
        name = http.match_info["id"]
        try:
            run = await requests.runs_of(self._app).find(name)
        except UsageError as error:
            raise NotFoundError(f"No replay '{name[:100]}': {error}.", code="replay_not_found") from None
        if not _is_of(run, named_tenant(http)):
            raise NotFoundError(f"No replay '{name[:100]}' is known.", code="replay_not_found")
        return run

    async def _is_running(self, http: web.Request, run: Run) -> bool:
        """Whether a worker runs it."""
        if self._processes.runs(run.id):
            return True
        bodies, _ = await self._everywhere.others(http, ())
        return any(body.get("running") for body in bodies)


def _plan(raw: bytes, tenant: str | None) -> Plan:
    body = parse(raw)
    if not isinstance(body, dict):
        raise InvalidRequestError("The body must be a JSON object.")
    try:
        given = _Body.model_validate_json(orjson.dumps(body)).model_dump(exclude={"kind"})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = str(first["loc"][0]) if first["loc"] else None
        raise InvalidRequestError(f"'{field}': {first['msg']}.", param=field) from None
    if tenant is not None and given["where"].setdefault("tenant", tenant) != tenant:
        raise InvalidRequestError("'where': 'tenant' must be the tenant of X-Tenant-ID.", param="where")
    try:
        return Plan(**given)
    except UsageError as error:
        raise _api_error(error) from None


def _api_error(error: ReplayError) -> ApiError:
    """As HTTP says it: fields have no dashes."""
    message = str(error)
    option, colon, rest = message.partition(":")
    field = option.removeprefix("--") if colon and option.startswith("--") else None
    status, code = _STATUSES.get(type(error), (500, "replay_failed"))
    text = f"'{field}':{rest}." if field else f"{message}."
    return InvalidRequestError(text, param=field, code=code, status=status)


def _is_of(run: Run, tenant: str | None) -> bool:
    where: dict[str, Any] = run.parameters.get("where") or {}
    return tenant is None or where.get("tenant") == tenant


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
