"""Every path gets the error that the server meant, and the openai client raises the right exception."""

from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.compatibility.paths import Lab
from tests.compatibility.upstream_errors import SHEET, ErrorCase

MESSAGES: list[Any] = [{"role": "user", "content": "Say it."}]
PASSED_ON = ("retry-after", "retry-after-ms", "x-should-retry")


@pytest.fixture(scope="module")
def lab_env() -> dict[str, str]:
    return {"UPSTREAM_RETRIES": "1"}


@SHEET.parametrize()
async def test_an_error_keeps_its_meaning(lab: Lab, case: ErrorCase) -> None:
    found, calls = await lab.ask_apart(case.id, case.script)
    for path, heard in found.items():
        error = dict(heard.error or {})
        assert case.message in error.pop("message"), path
        assert (error.pop("type"), error.pop("code"), error.pop("param")) == (case.type, case.code, case.param), path
        if path.startswith("rabbitmq"):  # the status and the headers travel in the error
            assert error.pop("status") == case.status
            assert error.pop("headers", {}) == case.headers
            error = {name.removeprefix("upstream_"): value for name, value in error.items()}
        else:
            assert heard.status == case.status, path
            assert {name: heard.headers[name] for name in PASSED_ON if name in heard.headers} == case.headers, path
        assert error == case.members, path
    assert calls == dict.fromkeys(calls, case.calls)


@SHEET.parametrize()
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_the_openai_client_raises_what_the_server_meant(lab: Lab, case: ErrorCase, stream: bool) -> None:
    lab.upstream.play(case.id, case.script)
    async with AsyncOpenAI(base_url=f"{lab.worker.url}/v1", api_key="x", max_retries=0, timeout=30) as client:
        with pytest.raises(getattr(openai, case.raises)) as caught:
            await client.chat.completions.create(model=case.id, messages=MESSAGES, stream=stream)
    assert caught.value.status_code == case.status
    assert len(lab.upstream.calls(case.id)) == case.calls
