"""Ask all workers: a table's rows are with the owners of its partitions, and any worker must tell of them all."""

import asyncio
from collections.abc import Iterable

from aiohttp import web

from weir.envelope import Json
from weir.peers import FORWARDED, Owners
from weir.worker import Worker


class Everywhere:
    """Asks the other workers what this one is asked."""

    def __init__(self, worker: Worker, owners: Owners) -> None:
        self._worker = worker
        self._owners = owners

    async def others(
        self, http: web.Request, params: Iterable[tuple[str, str]], *, path: str | None = None
    ) -> tuple[list[Json], Json]:
        """What the other workers answer to the same question, and who was asked.

        Another worker that asks gets what this one knows only: no answers, and nobody was asked.

        Args:
            http: the question.
            params: of its query.
            path: where it is asked; its own by default.

        Returns:
            their bodies, and ``{workers, missing_workers}``: what is not whole says so.
        """
        if FORWARDED in http.headers:
            return [], {}
        params, everybody = list(params), self._owners.all()
        others = sorted(everybody - {self._owners.own}, key=str)
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
        told: Json = {"workers": [str(worker) for worker in sorted(everybody, key=str)]}
        return bodies, {**told, "missing_workers": missing} if missing else told

    async def rows(self, http: web.Request, name: str, own: list[Json], params: Iterable[tuple[str, str]]) -> Json:
        """This worker's rows and those of all others, under ``name``."""
        bodies, told = await self.others(http, params)
        return {"object": "list", name: [*own, *(row for body in bodies for row in body.get(name, []))], **told}
