"""The process beside the worker that parses SQL: a real one."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from weir.lineage import process
from weir.lineage.process import NotParsedError, SqlProcess

SQL = "```sql\nSELECT a FROM t\n```"


@pytest.fixture
async def parser() -> AsyncIterator[SqlProcess]:
    parser = SqlProcess("trino")
    yield parser
    await parser.close()


def pid_of(parser: SqlProcess) -> int:
    assert parser._process is not None
    return parser._process.pid


async def test_it_is_started_when_it_is_asked_and_asked_again(parser: SqlProcess) -> None:
    assert parser._process is None
    (query,) = await parser.queries(SQL, [])
    first = pid_of(parser)
    assert (query["statement"], query["sources"][0]["table"]) == ("select", "t")
    assert await parser.queries("no SQL", ["{}"]) == []
    assert pid_of(parser) == first


async def test_many_ask_at_once_and_each_gets_its_own_answer(parser: SqlProcess) -> None:
    asked = [f"```sql\nSELECT a FROM t{n}\n```" for n in range(50)]
    answers = await asyncio.gather(*(parser.queries(text, []) for text in asked))
    assert [answer[0]["sources"][0]["table"] for answer in answers] == [f"t{n}" for n in range(50)]


async def test_one_that_dies_is_started_again(parser: SqlProcess) -> None:
    await parser.queries(SQL, [])
    os.kill(pid_of(parser), signal.SIGKILL)
    with pytest.raises(NotParsedError):
        await parser.queries(SQL, [])
    assert len(await parser.queries(SQL, [])) == 1


async def test_one_that_takes_too_long_is_killed(parser: SqlProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    await parser.queries(SQL, [])
    stuck = pid_of(parser)
    os.kill(stuck, signal.SIGSTOP)
    monkeypatch.setattr(process, "PARSE_S", 0.2)
    with pytest.raises(NotParsedError, match="not within"):
        await parser.queries(SQL, [])
    monkeypatch.undo()
    assert len(await parser.queries(SQL, [])) == 1
    assert pid_of(parser) != stuck


async def test_a_cancelled_caller_takes_no_answer_of_another(parser: SqlProcess) -> None:
    await parser.queries(SQL, [])
    os.kill(pid_of(parser), signal.SIGSTOP)
    asking = asyncio.create_task(parser.queries(SQL, []))
    await asyncio.sleep(0.1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    (query,) = await parser.queries("```sql\nSELECT b FROM other\n```", [])
    assert query["sources"][0]["table"] == "other"


async def test_too_many_are_not_kept_waiting(parser: SqlProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "WAITING_MAX", 2)
    results = await asyncio.gather(*(parser.queries(SQL, []) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, NotParsedError) for result in results) == 3


async def test_what_it_is_asked_stands_in_no_error(parser: SqlProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PARSE_S", 0.0)
    with pytest.raises(NotParsedError) as told:
        await parser.queries("```sql\nSELECT hush FROM t\n```", [])
    assert "hush" not in str(told.value)
