"""Every path gives the model's calls, and all paths give the same."""

from tests.compatibility.paths import Heard, Lab
from tests.compatibility.tool_calls import MADE_UP, SHEET, ToolCallsCase

ONE_REQUEST = ("stream", "again", "resumed", "stored")  # paths of one request, with the same ids


def calls(heard: Heard, case: ToolCallsCase) -> list[tuple[str | None, str | None, str | None]]:
    """Return the calls, without the ids that Weir made up."""
    expected = [id_ for id_, _, _ in case.calls]
    made_up = [
        want == MADE_UP and (got[0] or "").startswith("call_")
        for want, got in zip(expected, heard.tool_calls, strict=True)
    ]
    return [(MADE_UP, *got[1:]) if made else got for made, got in zip(made_up, heard.tool_calls, strict=True)]


@SHEET.parametrize()
async def test_each_tool_call_arrives_as_one_call(lab: Lab, case: ToolCallsCase) -> None:
    lab.upstream.play(case.id, case.script)
    found = await lab.ask_everywhere(case.id)
    for path, heard in found.items():
        assert heard.error is None, path
        assert len(heard.tool_calls) == len(case.calls), (path, heard.tool_calls)
        assert calls(heard, case) == list(case.calls), path
        assert heard.finish_reason == case.finish_reason, path
        assert heard.text == case.text, path
        assert heard.ended, path
        ids = [id_ for id_, _, _ in heard.tool_calls]
        assert case.id == "calls-same-id-twice" or len(set(ids)) == len(ids), path
        function_call = heard.message.get("function_call")
        assert (function_call or None) == case.function_call, path
        assert all(call["type"] == "function" for call in heard.message.get("tool_calls") or ()), path
    same = [found[path].tool_calls for path in ONE_REQUEST if path in found]
    assert all(each == same[0] for each in same)
    places = {
        call["index"]
        for event in found["stream"].events
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls") or ()
    }
    assert places == set(range(len(case.calls)))
    assert all("index" not in call for call in found["stored"].message.get("tool_calls") or ())
