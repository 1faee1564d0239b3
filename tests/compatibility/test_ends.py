"""Every path gets the whole answer, however its server ends and writes it; and an error if the answer is not whole."""

import pytest

from tests.compatibility.encodings import SHEET as ENCODINGS
from tests.compatibility.ends import SHEET as ENDS
from tests.compatibility.ends import EndCase
from tests.compatibility.paths import Lab

WHOLE = [case for case in (*ENDS.cases, *ENCODINGS.cases) if case.error is None]
BROKEN = [case for case in ENDS.cases if case.error is not None]


@pytest.mark.parametrize("case", WHOLE, ids=[case.id for case in WHOLE])
async def test_an_answer_is_whole_however_it_ends(lab: Lab, case: EndCase) -> None:
    lab.upstream.play(case.id, case.script)
    found = await lab.ask_everywhere(case.id)
    for path, heard in found.items():
        assert (heard.status, heard.error) == (200, None), path
        assert heard.text == case.text, path
        assert (heard.finish_reason, heard.weir_finish) == (case.finish_reason, case.marked), path
        assert (heard.usage is not None) == case.usage, path
        assert heard.ended, path
    assert len(lab.upstream.calls(case.id)) == 4 * case.calls  # a stream, a JSON object, two messages


@pytest.mark.parametrize("case", BROKEN, ids=[case.id for case in BROKEN])
async def test_an_answer_that_broke_off_is_an_error_after_what_was_said(lab: Lab, case: EndCase) -> None:
    lab.upstream.play(case.id, case.script)
    found = await lab.ask_everywhere(case.id, only=("stream", "again", "stored", "json", "rabbitmq", "rabbitmq-whole"))
    for path, heard in found.items():
        assert heard.error is not None, path
        assert heard.error["code"] == case.error, (path, heard.error)
        assert heard.finish_reason is None, path
    assert {found[path].text for path in ("stream", "again", "rabbitmq")} == {case.text}
    assert {found[path].status for path in ("stored", "json")} == {502}
    assert len(lab.upstream.calls(case.id)) == 4 * case.calls, "what was said is not asked for again"
