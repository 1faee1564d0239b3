"""What the workers say in the end: their views of each request, and their logs."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from answers.frames import Status
from tests.cycle.fleet import State
from tests.cycle.scenario import Run
from tests.cycle.table import Check, counted
from tests.cycle.told import Accepted

SETTLED_WITHIN_S = 60.0  # tables follow the log
AT_ONCE = 20  # questions
STALLED = re.compile("table recovery (got no record for|starts anew)")  # what transports/recovery.py pushes out of


async def rows(run: Run, accepted: list[Accepted]) -> Check:
    """GET /requests/{uid}, from any worker."""
    states: Counter[str] = Counter()

    async def problem(one: Accepted) -> str:
        row = await _ask(run, f"/requests/{one.uid}", lambda row: row.get("state") in set(Status))
        states[str(row.get("state"))] += 1
        return "" if row.get("state") == Status.COMPLETED else f"{one.uid}: {row}"

    problems = await _each(accepted, problem)
    return Check(name="GET /requests/{uid}", value=counted(states), problems=problems)


async def stored(run: Run, accepted: list[Accepted]) -> Check:
    """GET /v1/chat/completions/{uid}, from any worker."""

    async def problem(one: Accepted) -> str:
        body = await _ask(run, f"/v1/chat/completions/{one.uid}", lambda body: bool(body.get("choices")))
        text = body["choices"][0]["message"]["content"] if body.get("choices") else None
        return "" if text == one.seen.ask.expected else f"{one.uid}: {body}"

    problems = await _each(accepted, problem)
    value = f"{len(accepted) - len(problems)} as expected"
    return Check(name="GET /v1/chat/completions/{uid}", value=value, problems=problems)


async def _each(accepted: list[Accepted], problem: Callable[[Accepted], Awaitable[str]]) -> list[str]:
    slots = asyncio.Semaphore(AT_ONCE)

    async def in_turn(one: Accepted) -> str:
        async with slots:
            return await problem(one)

    return [found for found in await asyncio.gather(*map(in_turn, accepted)) if found]


async def _ask(run: Run, path: str, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask any worker until the answer is good; for so long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLED_WITHIN_S
    while True:
        member = random.choice(run.fleet.up)
        try:
            async with run.session.get(member.worker.url + path) as answer:
                body: dict[str, Any] = await answer.json()
            found = answer.status == 200 and good(body)
        except aiohttp.ClientError as error:
            body, found = {"error": repr(error)}, False
        if found or loop.time() > deadline:
            return body
        await asyncio.sleep(0.5)


def logs(run: Run) -> list[Check]:
    """What the workers wrote to their logs."""
    tracebacks, stalls, errors = [], [], Counter[str]()
    for member in run.fleet.members:
        for line in member.worker.log.read_text(errors="replace").splitlines():
            if "Traceback" in line:
                tracebacks.append(f"{member.name}, in {member.worker.log.name}")
            elif STALLED.search(line):
                stalls.append(f"{member.name}: {line}")
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


def exits(run: Run) -> Check:
    """How the workers ended that were told to, and who ended unasked."""
    codes = {member.name: member.exit_code for member in run.fleet.members if member.exit_code is not None}
    problems = [f"{name} ended with {code}" for name, code in codes.items() if code]
    problems += [f"{member.name} died" for member in run.fleet.members if member.state is State.DIED]
    value = ", ".join(f"{name} {code}" for name, code in codes.items())
    return Check(name="exit codes after SIGTERM", value=value, problems=problems)
