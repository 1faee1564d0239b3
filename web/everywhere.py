"""Asks all workers: a table's rows are with the owners of its partitions, and any worker must answer for all."""

import asyncio
from collections.abc import Iterable

from aiohttp import web

from weir.envelope import Json
from weir.peers import FORWARDED, Owners
from weir.worker import Worker


class Everywhere:
    """Asks the other workers the question that this one got."""

    def __init__(self, worker: Worker, owners: Owners) -> None:
        self._worker = worker
        self._owners = owners

    async def others(
        self, http: web.Request, params: Iterable[tuple[str, str]], *, path: str | None = None
    ) -> tuple[list[Json], Json]:
        """Return the other workers' answers to the same question, and the workers that were asked.

        A question from another worker is not passed on: no answers, and no workers that were asked.

        Args:
            http: the request with the question.
            params: the parameters of its query.
            path: the path on the other workers; by default the same.

        Returns:
            the bodies, and ``{workers, missing_workers}``: an incomplete answer names the missing workers.
        """
        if FORWARDED in http.headers:
            return [], {}
        params, workers = list(params), self._owners.all()
        others = sorted(workers - {self._owners.own}, key=str)
        answers = await asyncio.gather(
            *(self._owners.ask(other, path or http.path, params) for other in others), return_exceptions=True
        )
        bodies: list[Json] = []
        missing = [str(self._owners.own)] if self._worker.rebalancing else []
        for other, answer in zip(others, answers, strict=True):
            if isinstance(answer, BaseException) or answer[0] != web.HTTPOk.status_code:
                missing.append(str(other))
            else:
                bodies.append(answer[1])
        asked: Json = {"workers": [str(worker) for worker in sorted(workers, key=str)]}
        return bodies, {**asked, "missing_workers": missing} if missing else asked

    async def rows(self, http: web.Request, name: str, own: list[Json], params: Iterable[tuple[str, str]]) -> Json:
        """Return this worker's rows and those of all others, under ``name``."""
        bodies, asked = await self.others(http, params)
        return {"object": "list", name: [*own, *(row for body in bodies for row in body.get(name, []))], **asked}
