"""Rows of all workers: a table's rows are with the owners of its partitions, and any worker must list them all."""

import asyncio
from collections.abc import Iterable

from aiohttp import web

from answers.envelope import Json
from app.core import Weir
from tables.owners import FORWARDED, Owners


class Everywhere:
    """Asks the other workers."""

    def __init__(self, app: Weir, owners: Owners) -> None:
        self._app = app
        self._owners = owners

    async def rows(self, http: web.Request, name: str, own: list[Json], params: Iterable[tuple[str, str]]) -> Json:
        """This worker's rows and those of all others, under ``name``; ``missing_workers`` where some do not answer.

        Another worker that asks gets this worker's only.
        """
        body: Json = {"object": "list", name: own}
        if FORWARDED in http.headers:
            return body
        others = sorted(self._owners.all() - {self._owners.own}, key=str)
        answers = await asyncio.gather(
            *(self._owners.ask(other, http.path, params) for other in others), return_exceptions=True
        )
        missing = [str(self._owners.own)] if self._app.rebalancing else []
        for other, answer in zip(others, answers, strict=True):
            if isinstance(answer, BaseException) or answer[0] != web.HTTPOk.status_code:
                missing.append(str(other))
            else:
                body[name] += answer[1].get(name, [])
        body["workers"] = [str(worker) for worker in sorted(self._owners.all(), key=str)]
        if missing:
            body["missing_workers"] = missing  # an incomplete answer says so
        return body
