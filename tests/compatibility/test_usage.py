"""Every path gives the counted usage, and null where there is none."""

import asyncio
from typing import Any

import aiohttp

from tests.compatibility.paths import Heard, Lab
from tests.compatibility.usage import SHEET, UsageCase
from weir.envelope import Json

TOLD_WITHIN_S = 15.0


@SHEET.parametrize()
async def test_usage_is_exact_and_null_where_it_was_not_counted(lab: Lab, case: UsageCase) -> None:
    lab.upstream.play(case.id, case.script)
    found = await lab.ask_everywhere(case.id, only=case.only)
    for path, heard in found.items():
        assert heard.error is None, path
        assert heard.ended, path
        if path.startswith("rabbitmq"):
            assert tuple(heard.headers.get("omitted", ())) == case.omitted, path
            assert heard.usage == case.usage, path
        else:
            assert without_null(heard.usage) == case.usage, path
    trace = await traced(lab, found["json"])
    names = ("total_input_tokens", "total_output_tokens", "total_thinking_tokens", "total_cost_usd")
    assert [trace[name] for name in names] == [case.input, case.output, case.thinking, None]


def without_null(value: Any) -> Any:
    """Return usage without the fields that the openai client's types add."""
    return {k: without_null(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


async def traced(lab: Lab, heard: Heard) -> Json:
    """Return the sums of an answer's trace, when its events are there."""
    uid = str(heard.body["id"]).removeprefix("chatcmpl-")
    async with aiohttp.ClientSession() as session, asyncio.timeout(TOLD_WITHIN_S):
        while True:
            async with session.get(f"{lab.worker.url}/thinking/{uid}/metrics") as answer:
                trace: Json = await answer.json()
            if trace.get("total_duration_ms") is not None:
                return trace
            await asyncio.sleep(0.1)
