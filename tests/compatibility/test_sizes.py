"""Whatever an LLM sends, the request ends, its row fits into a record, and the worker goes on."""

import asyncio

import aiohttp
import orjson
import pytest

from tests.compatibility.paths import Lab
from tests.compatibility.sizes import SHEET, TEXT, SizeCase
from weir.envelope import Json

ROW_MAX_BYTES = 300_000
ENDED_S = 15.0  # for a row, which follows its answer


@pytest.fixture(scope="module")
def lab_env() -> dict[str, str]:
    return {"UPSTREAM_RETRIES": "0"}


@SHEET.parametrize()
async def test_what_is_too_large_is_cut_and_stops_nothing(lab: Lab, case: SizeCase) -> None:
    lab.upstream.play(case.id, case.script)
    for path, heard in (await lab.ask_everywhere(case.id, case.paths)).items():
        assert heard.ended, path
        if case.error is None:
            assert heard.error is None, path
            assert heard.text == TEXT, path
        else:
            assert heard.error is not None, path
            for name, begins in case.error.items():
                assert heard.error[name].startswith(begins), path
                assert len(heard.error[name]) <= len(begins) + 1, path
    asked = len({"stream", "json", "rabbitmq"}.intersection(case.paths))
    for row in await _rows(lab, case.id, asked):
        assert row["state"] == ("completed" if case.error is None else "failed")
        assert row["ended_at"]
        assert len(orjson.dumps(row)) < ROW_MAX_BYTES


async def _rows(lab: Lab, model: str, count: int) -> list[Json]:
    """Return the rows of the requests for ``model``, when all of them show an end; so the worker is alive."""
    async with asyncio.timeout(ENDED_S), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{lab.worker.url}/requests?limit=1000") as answer:
                rows = [row for row in (await answer.json())["requests"] if row["model"] == model]
            if len([row for row in rows if row.get("ended_at")]) == count:
                return rows
            await asyncio.sleep(0.1)
