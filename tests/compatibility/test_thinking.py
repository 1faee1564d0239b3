"""Every path separates thinking and text."""

from tests.compatibility.paths import Lab
from tests.compatibility.thinking import SHEET, ThinkingCase


@SHEET.parametrize()
async def test_thinking_and_text_are_told_apart(lab: Lab, case: ThinkingCase) -> None:
    lab.upstream.play(case.id, case.script)
    for path, heard in (await lab.ask_everywhere(case.id)).items():
        assert heard.error is None, path
        assert heard.text == case.text, path
        assert heard.finish_reason == "stop", path
        assert heard.ended, path
        if not path.startswith("rabbitmq"):  # a queue carries the text alone
            assert heard.thinking == case.thinking, path
