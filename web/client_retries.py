"""Attaches a retry of an openai client to the answer of its first try, wherever that is read or generated.

Every worker is asked for its requests like this one (`RequestIdentity`): those that lost their reader there, those that
are read there, and those that it generates. A first try is one without a reader. It is taken from the worker that named
it, so that of several retries each gets its own; then the retry is accepted under its uid, and the log does the rest,
as for any uid that comes twice. docs/decisions/0026 has the rules.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from yarl import URL

from web.errors import json_response
from web.first_tries import FirstTries, RequestIdentity
from weir.chat.lifecycle import TERMINAL, State
from weir.chat.lookup import Lookup
from weir.envelope import Json
from weir.errors import ApiError, NotFoundError, UnavailableError
from weir.peers import FORWARDED, Owners

logger = logging.getLogger(__name__)

PATH = "/workers/first-tries"  # on which workers ask each other
RETRY_COUNT = "x-stainless-retry-count"
PEERS_S = 1.0  # for all other workers to answer; a slower one is left out
Generated = Callable[[str, str, str], list[str]]
"""Returns the uids being answered on this worker, by tenant, fingerprint and ``think_tags`` (`RequestIdentity`)."""

MAY_PASS = frozenset({408, 409, 425, 429})  # statuses below 500 after which a client tries again


def is_retry(http: web.Request) -> bool:
    """Whether a client marks a request as one that it sends again."""
    count = http.headers.get(RETRY_COUNT, "")
    return len(count) < 4 and count.isdecimal() and int(count) > 0


@dataclass(slots=True)
class _Known:
    """The requests of one identity that all workers know."""

    # requests that lost their reader, each with the worker that keeps it
    left: list[tuple[URL, str]] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)  # requests that were answered or taken by a retry a moment ago
    generated: list[tuple[URL, str]] = field(default_factory=list)

    def add(self, worker: URL, answer: Json) -> None:
        self.left += [(worker, str(uid)) for uid in answer.get("left", ())]
        self.read |= {str(uid) for uid in answer.get("read", ())}
        self.taken |= {str(uid) for uid in answer.get("taken", ())}
        self.generated += [(worker, str(uid)) for uid in answer.get("generated", ())]

    def first_tries(self) -> list[tuple[URL, str]]:
        """Return the requests without a reader. If only its generator knows a request, its reader's worker is gone."""
        kept = {uid for _, uid in self.left} | self.read | self.taken
        return [
            *(one for one in self.left if one[1] not in self.read),
            *(one for one in self.generated if one[1] not in kept),
        ]


class ClientRetries:
    """Handles the retries that come to one worker, and the questions of the other workers."""

    def __init__(self, owners: Owners, lookup: Lookup, tries: FirstTries, generated: Generated) -> None:
        self._generated = generated
        self._owners = owners
        self._lookup = lookup
        self._tries = tries

    # -- for a retry

    async def first_try(self, asked: RequestIdentity) -> str | None:
        """Return the uid of the request that a retry attaches to, taken for it; None if there is none."""
        for worker, uid in (await self._known(asked)).first_tries():
            if not await self._claim(worker, asked, uid):
                continue
            try:
                worth_it = await self._worth_it(uid)
            except asyncio.CancelledError:  # the retry's client left
                self._tries.left(asked, uid)
                raise
            if worth_it:
                logger.info("request %s: a retry of its client attaches to it", uid)
                return uid
        return None

    async def _known(self, asked: RequestIdentity) -> _Known:
        known = _Known()
        known.add(self._owners.own, self._told(asked))
        others = sorted(self._owners.all() - {self._owners.own}, key=str)
        asking = {other: asyncio.ensure_future(self._owners.ask(other, PATH, list(_params(asked)))) for other in others}
        try:
            if asking:
                await asyncio.wait(asking.values(), timeout=PEERS_S)
        finally:
            for task in asking.values():  # the tasks that are late
                task.cancel()
        for other, task in asking.items():
            if task.done() and not task.cancelled() and task.exception() is None and task.result()[0] == _OK:
                known.add(other, task.result()[1])
        return known

    async def _claim(self, worker: URL, asked: RequestIdentity, uid: str) -> bool:
        if worker == self._owners.own:
            return self._take(asked, uid)
        try:
            async with asyncio.timeout(PEERS_S):
                status, _ = await self._owners.ask(worker, f"{PATH}/{uid}", list(_params(asked)), method="POST")
        except (UnavailableError, TimeoutError):
            return False
        return status == _OK

    async def _worth_it(self, uid: str) -> bool:
        """Whether the answer is what the client wants: it is running or complete, or failed for a reason that stays."""
        try:
            async with asyncio.timeout(PEERS_S):
                row = await self._lookup.row(uid)
        except (ApiError, TimeoutError):
            return True  # accepted just now, or its owner is away; under its uid it is answered once all the same
        if row["state"] not in TERMINAL or row["state"] == State.COMPLETED:
            return True
        status = (row.get("error") or {}).get("status")
        return isinstance(status, int) and status < web.HTTPInternalServerError.status_code and status not in MAY_PASS

    # -- for other workers

    async def index(self, http: web.Request) -> web.Response:
        """GET /workers/first-tries: the requests of one identity that this worker knows."""
        return json_response(self._told(_asked(http)))

    async def take(self, http: web.Request) -> web.Response:
        """POST /workers/first-tries/{uid}: take one of them for a retry."""
        asked, uid = _asked(http), http.match_info["uid"]
        if not self._take(asked, uid):
            raise NotFoundError(f"No first try '{uid}' is here.")
        return json_response({"uid": uid})

    def _told(self, asked: RequestIdentity) -> Json:
        return {
            "left": self._tries.without_reader(asked),
            "read": self._tries.read(asked),
            "taken": self._tries.taken(asked),
            "generated": self._generated(*asked),
        }

    def _take(self, asked: RequestIdentity, uid: str) -> bool:
        return self._tries.take(asked, uid, generated=uid in self._generated(*asked))


_OK = web.HTTPOk.status_code


def _params(asked: RequestIdentity) -> list[tuple[str, str]]:
    return list(asked._asdict().items())


def _asked(http: web.Request) -> RequestIdentity:
    if FORWARDED not in http.headers:
        raise NotFoundError(f"Unknown path: {http.method} {http.path}", code="unknown_url")
    return RequestIdentity(*(http.query.get(name, "") for name in RequestIdentity._fields))
