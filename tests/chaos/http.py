"""The clients' HTTP calls, one connection at a time."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from tests.chaos.plan import Manner
from tests.chaos.seen import Watched, Whole
from tests.fleet.fleet import Fleet, Member, NoWorkerServesError
from tests.fleet.seen import AskAgainError, WrongAnswerError
from tests.fleet.stream import Reading, read_into

EXPIRED = "deadline_exceeded"
CONFLICTS = {409: "uid_conflict", 422: "idempotency_key_reused"}
AGAIN = frozenset({404, 503, 504})  # not known (yet), or not available now
CONNECT_S = 5.0
QUESTION_S = 20.0  # for requests that are answered at once, if at all


class Http:
    """Asks the workers of a fleet."""

    def __init__(self, fleet: Fleet, session: aiohttp.ClientSession, chance: random.Random) -> None:
        self._fleet = fleet
        self._session = session
        self._chance = chance

    def pick(self, *, not_again: Member | None = None) -> Member:
        """A worker to ask.

        Raises:
            AskAgainError: no worker serves.
        """
        try:
            return self._fleet.pick(self._chance, not_again=not_again)
        except NoWorkerServesError as error:
            raise AskAgainError(str(error)) from None

    # -- streams

    async def ask(self, member: Member, seen: Watched, reading: Reading, enough: Callable[[], bool]) -> None:
        """Send a request, and read its stream.

        Raises:
            AskAgainError, WrongAnswerError: as for `read_into`.
        """
        async with self._post(member, seen.ask, seen.ask.body, stream=True) as answer:
            seen.sent += 1
            await self._read(answer, seen, reading, enough)

    async def resume(self, member: Member, seen: Watched, reading: Reading, enough: Callable[[], bool]) -> None:
        """Read a stream behind the last event that the reader has.

        Raises:
            AskAgainError, WrongAnswerError: as for `read_into`.
        """
        headers = {"Last-Event-ID": reading.last_id} if reading.last_id else {}
        url = f"{member.worker.url}/v1/chat/completions/{seen.uid}/stream"
        async with self._talking(), self._session.get(url, headers=headers, timeout=_timeout(seen.ask)) as answer:
            if answer.status == 204:  # the stream has no further event
                reading.done = True
                return
            await self._read(answer, seen, reading, enough)

    async def _read(
        self, answer: aiohttp.ClientResponse, seen: Watched, reading: Reading, enough: Callable[[], bool]
    ) -> None:
        if answer.status != 200:
            error = await _error(answer, seen.ask)
            reading.error, reading.done = error, True
            seen.known.set()
            return
        reading.uid = seen.uid = answer.headers["X-Request-ID"]
        seen.known.set()
        seen.comes()
        try:
            await read_into(reading, answer.content, enough)
        finally:
            seen.goes()

    # -- answers in one piece

    async def whole(self, member: Member, seen: Watched) -> Whole:
        """Send a request, and wait for its answer.

        Raises:
            AskAgainError, WrongAnswerError: there is no answer, or a wrong one.
        """
        async with self._post(member, seen.ask, seen.ask.body, stream=False) as answer:
            seen.sent += 1
            return await self._whole(answer, seen)

    async def stored(self, member: Member, seen: Watched) -> Whole:
        """Fetch the stored answer.

        Raises:
            AskAgainError, WrongAnswerError: there is no answer (yet), or a wrong one.
        """
        url = f"{member.worker.url}/v1/chat/completions/{seen.uid}"
        async with self._talking(), self._session.get(url, timeout=_quick()) as answer:
            if answer.status == 202:
                raise AskAgainError("not yet")
            return await self._whole(answer, seen)

    @staticmethod
    async def _whole(answer: aiohttp.ClientResponse, seen: Watched) -> Whole:
        if answer.status != 200:
            error = await _error(answer, seen.ask)
            seen.known.set()
            return Whole(error=error["code"])
        body = orjson.loads(await answer.read())
        seen.uid = str(body["id"]).removeprefix("chatcmpl-")
        seen.known.set()
        choice = body["choices"][0]
        return Whole(text=choice["message"].get("content") or "", finish=choice["finish_reason"])

    # -- other calls

    async def cancel(self, member: Member, seen: Watched) -> str:
        """Cancel a request; returns how it ended.

        Raises:
            AskAgainError, WrongAnswerError: the request cannot be cancelled.
        """
        url = f"{member.worker.url}/v1/chat/completions/{seen.uid}/cancel"
        async with self._talking(), self._session.post(url, timeout=_quick()) as answer:
            if answer.status != 200:
                await _error(answer, seen.ask)
            return str(orjson.loads(await answer.read())["status"])

    async def conflict(self, member: Member, seen: Watched) -> None:
        """Send another body under the name of a request.

        Raises:
            AskAgainError, WrongAnswerError: the request is not refused (yet).
        """
        async with self._post(member, seen.ask, {**seen.ask.body, "temperature": 0.5}, stream=False) as answer:
            body = await answer.read()
            if answer.status in AGAIN:
                raise AskAgainError(str(answer.status))
            if answer.status not in CONFLICTS or orjson.loads(body)["error"]["code"] != CONFLICTS[answer.status]:
                raise WrongAnswerError(f"another body under the same name: {answer.status} {body[:300]!r}")
        seen.conflicts += 1

    @asynccontextmanager
    async def _post(
        self, member: Member, ask: Manner, body: dict[str, Any], *, stream: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Idempotency-Key": ask.name} if ask.keyed else {}
        named = {"uid": ask.name} if ask.named and not ask.keyed else {}
        sent = {**body, **named, **ask.extra, "stream": stream}
        url = f"{member.worker.url}/v1/chat/completions"
        async with (
            self._talking(),
            self._session.post(url, json=sent, headers=headers, timeout=_timeout(ask)) as answer,
        ):
            yield answer

    @asynccontextmanager
    async def _talking(self) -> AsyncIterator[None]:
        """Turn the errors of a worker that dies, hangs or is away into AskAgainError."""
        try:
            yield
        except TimeoutError as error:
            raise AskAgainError("out of patience") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            cut = not isinstance(error, aiohttp.ClientConnectorError)
            raise AskAgainError(type(error).__name__, cut=cut) from error


async def _error(answer: aiohttp.ClientResponse, ask: Manner) -> dict[str, Any]:
    """The end of a request that could not be answered.

    Raises:
        AskAgainError: the error is not its end.
        WrongAnswerError: the error must not come.
    """
    body = await answer.read()
    error: dict[str, Any] = orjson.loads(body)["error"]
    if error.get("code") == EXPIRED and ask.deadline_s is not None:
        return error
    if answer.status in AGAIN:
        raise AskAgainError(f"{answer.status} {error.get('code')}")
    raise WrongAnswerError(f"HTTP {answer.status}: {body[:300]!r}")


def _timeout(ask: Manner) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=ask.patience_s)


def _quick() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=QUESTION_S, sock_connect=CONNECT_S)
