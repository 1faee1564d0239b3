"""Every path gets an answer without an end up to its limit, and the name of that limit."""

import pytest

from tests.compatibility.answer_limits import LIMITS, SHEET, LimitCase
from tests.compatibility.paths import Lab


@pytest.fixture(scope="module")
def lab_env() -> dict[str, str]:
    return LIMITS


@SHEET.parametrize()
async def test_an_answer_without_an_end_is_stopped(lab: Lab, case: LimitCase) -> None:
    lab.upstream.play(case.id, case.script)
    found = await lab.ask_everywhere(case.id, only=("stream", "again", "stored", "json", "rabbitmq", "rabbitmq-whole"))
    for path, heard in found.items():
        assert heard.ended, path
        if case.said:
            assert heard.error is None, path
            assert (heard.finish_reason, heard.weir_finish) == ("length", case.limit), path
            assert case.tokens is None or len(heard.text) == case.tokens, path
        else:
            assert heard.error is not None, path
            assert (heard.error["code"], heard.error["param"]) == ("answer_too_long", case.limit), path
            assert case.limit in heard.error["message"], path
            assert path.startswith("rabbitmq") or heard.status in {200, 502}, path
    assert len(lab.upstream.calls(case.id)) == 4
