"""The workers' views of each request after a run, and their logs."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable

import aiohttp

from tests.fleet.fleet import Fleet, State
from tests.fleet.table import Check, counted
from weir.chat.frames import Status
from weir.envelope import Json

SETTLED_WITHIN_S = 60.0  # tables follow the log
AT_ONCE = 20  # questions
FINAL = frozenset({"deadline_exceeded"})  # errors that are the end of a request
STALLED = re.compile("table recovery (got no record for|starts anew)")  # what weir/log/recovery.py pushes out of


class Views:
    """Asks any worker of a fleet."""

    def __init__(self, fleet: Fleet, session: aiohttp.ClientSession) -> None:
        self._fleet = fleet
        self._session = session

    async def rows(self, uids: Iterable[str]) -> dict[str, Json]:
        """GET /requests/{uid} of each, as soon as it shows that the request has ended."""
        return await self._each(uids, "/requests/{}", lambda row: row.get("state") in set(Status))

    async def stored(self, uids: Iterable[str]) -> dict[str, Json]:
        """GET /v1/chat/completions/{uid} of each, as soon as it gives an answer, or a final error."""
        return await self._each(uids, "/v1/chat/completions/{}", _answers)

    async def _each(self, uids: Iterable[str], path: str, good: Callable[[Json], bool]) -> dict[str, Json]:
        slots = asyncio.Semaphore(AT_ONCE)

        async def in_turn(uid: str) -> tuple[str, Json]:
            async with slots:
                return uid, await self._ask(path.format(uid), good)

        return dict(await asyncio.gather(*map(in_turn, uids)))

    async def _ask(self, path: str, good: Callable[[Json], bool]) -> Json:
        """Ask any worker until the answer is good, within a time limit."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SETTLED_WITHIN_S
        while True:
            member = random.choice(self._fleet.up)
            try:
                async with self._session.get(member.worker.url + path) as answer:
                    body: Json = await answer.json()
            except aiohttp.ClientError as error:
                body = {"failure": repr(error)}
            if good(body) or loop.time() > deadline:
                return body
            await asyncio.sleep(0.5)


def _answers(body: Json) -> bool:
    error = body.get("error") or {}
    return bool(body.get("choices")) or error.get("code") in FINAL


def states(rows: dict[str, Json], wanted: dict[str, str]) -> Check:
    """Compare the rows with the log."""
    found = Counter(str(row.get("state")) for row in rows.values())
    problems = [f"{uid}: {row}" for uid, row in rows.items() if row.get("state") != wanted[uid]]
    return Check(name="GET /requests/{uid}", value=counted(found), problems=problems)


def texts(stored: dict[str, Json], wanted: dict[str, str | None]) -> Check:
    """Compare stored answers with the expected ones: a text, or, for None, an error."""
    problems = [f"{uid}: {body}" for uid, body in stored.items() if text_of(body) != wanted[uid]]
    value = f"{len(stored) - len(problems)} as expected"
    return Check(name="GET /v1/chat/completions/{uid}", value=value, problems=problems)


def text_of(body: Json) -> str | None:
    """The text of a chat.completion; None for any other body."""
    return str(body["choices"][0]["message"].get("content") or "") if body.get("choices") else None


def logs(fleet: Fleet) -> list[Check]:
    """The errors in the workers' logs."""
    tracebacks, stalls, errors = [], [], Counter[str]()
    for log in sorted({member.worker.log for member in fleet.members}):
        for line in log.read_text(errors="replace").splitlines():
            if "Traceback" in line:
                tracebacks.append(f"in {log.name}")
            elif STALLED.search(line):
                stalls.append(f"{log.name}: {line}")
            elif found := re.search(r"\[(?:ERROR|CRITICAL)\] (.*)", line):
                errors[re.sub(r"\d+", "N", found[1])] += 1
    return [
        Check(name="tracebacks in worker logs", value=len(tracebacks), problems=tracebacks),
        Check(
            name="errors in worker logs",
            value=errors.total(),
            notes=[f"{n} x {line}" for line, n in errors.most_common()],
        ),
        Check(name="table recoveries that had to be pushed", value=len(stalls), notes=stalls),
    ]


def exits(fleet: Fleet) -> Check:
    """The exit codes of stopped workers, and workers that ended by themselves."""
    codes = {member.name: member.exit_code for member in fleet.members if member.exit_code is not None}
    problems = [f"{name} ended with {code}" for name, code in codes.items() if code]
    problems += [
        f"{member.name} {member.state}, in {member.worker.log.name}"
        for member in fleet.members
        if member.state in {State.DIED, State.STUCK}
    ]
    value = counted(Counter(str(code) for code in codes.values()))
    return Check(name="exit codes after SIGTERM", value=value, problems=problems)
