"""Every path splits thinking out of tags, or leaves it there, as the request or the setting wants it."""

import aiohttp
import pytest

from tests.compatibility.paths import QUESTION, Lab
from tests.compatibility.think_tags import SHEET, TagsCase


@pytest.fixture(scope="module")
def lab_env() -> dict[str, str]:
    return {"THINK_TAGS": "keep"}


@SHEET.parametrize()
async def test_tags_are_split_or_kept_as_wanted(lab: Lab, case: TagsCase) -> None:
    lab.upstream.play(case.id, case.script)
    thinking, text = case.gets_parts
    for path, heard in (await lab.ask_everywhere(case.id, headers=case.headers)).items():
        assert heard.error is None, path
        assert heard.text == text, path
        if not path.startswith("rabbitmq"):  # a queue carries the text alone
            assert heard.thinking == thinking, path


async def test_another_value_is_an_error_that_names_the_header(lab: Lab) -> None:
    body, headers = {"model": "m", "messages": QUESTION}, {"X-Think-Tags": "maybe"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{lab.worker.url}/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        error = (await answer.json())["error"]
        assert (answer.status, error["param"]) == (400, "X-Think-Tags")
    assert lab.upstream.calls("m") == []
