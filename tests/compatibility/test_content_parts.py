"""Every path gives text and thinking of an answer in parts."""

from tests.compatibility.content_parts import SHEET, PartsCase
from tests.compatibility.paths import Lab
from tests.compatibility.steps import bare
from weir.llm.deltas.shape import PARTS


@SHEET.parametrize()
async def test_text_and_thinking_come_out_of_the_parts(lab: Lab, case: PartsCase) -> None:
    lab.upstream.play(case.id, case.script)
    for path, heard in (await lab.ask_everywhere(case.id)).items():
        assert heard.error is None, path
        assert heard.text == case.text, path
        assert heard.finish_reason == "stop", path
        if not path.startswith("rabbitmq"):  # a queue carries the text alone
            assert heard.thinking == case.thinking, path
            assert bare(heard.message.get(PARTS) or []) == list(case.parts), path
